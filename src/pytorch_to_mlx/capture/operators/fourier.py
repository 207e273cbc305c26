"""Fourier transforms."""

from __future__ import annotations

from typing import Any

import torch

from pytorch_to_mlx.capture.clean import same_size
from pytorch_to_mlx.capture.code import Code, call, item
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers
from pytorch_to_mlx.errors import CaptureError

SCALED = ("backward", "ortho", "forward")


def _transform(e: Emitter, function: str, x: Code, sizes: Any, axes: Any, norm: str | None) -> Code:
    """A call of one of `mx.fft`, or of `runtime`, without the arguments that are MLX's defaults."""
    many = isinstance(axes, tuple)
    given = None if sizes is None else e.shape(sizes) if many else e.size(sizes)
    return call(
        function,
        x,
        **{"s" if many else "n": given, "axes" if many else "axis": None if axes == -1 else axes},
        norm=None if norm in (None, "backward") else norm,
    )


for _name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):

    @lowers(f"fft_{_name}.default")
    def one(e: Emitter, x: Tensor, n: Any, dim: int, norm: str | None, *, _name: str = _name) -> Code:
        axis = -1 if x.axis(dim) == x.ndim - 1 else dim
        return _transform(e, _module(_name), x, n, axis, norm)

    @lowers(f"fft_{_name}2.default", f"fft_{_name}n.default")
    def several(e: Emitter, x: Tensor, sizes: Any, dims: Any, norm: str | None, *, _name: str = _name) -> Code:
        axes = _axes(x, sizes, dims)
        if sizes is not None:
            sizes = [x.shape[axis] if size == -1 else size for size, axis in zip(sizes, axes, strict=True)]
        return _transform(e, _module(f"{_name}n"), x, sizes, axes, norm)


def _module(name: str) -> str:
    return f"runtime.{name}" if "hfft" in name else f"mx.fft.{name}"


def _axes(x: Tensor, sizes: Any, dims: Any) -> tuple[int, ...]:
    if dims is not None:
        return tuple(dims if isinstance(dims, list) else [dims])
    return tuple(range(-(x.ndim if sizes is None else len(sizes)), 0))


@lowers("_fft_c2c.default")
def complex_to_complex(e: Emitter, x: Tensor, dims: list[int], scaling: int, forward: bool) -> Code:
    return _transform(e, f"mx.fft.{'' if forward else 'i'}fftn", x, None, tuple(dims), _norm(scaling, forward))


@lowers("_fft_r2c.default")
def real_to_complex(e: Emitter, x: Tensor, dims: list[int], scaling: int, onesided: bool) -> Code:
    return _transform(e, f"mx.fft.{'r' if onesided else ''}fftn", x, None, tuple(dims), _norm(scaling, True))


@lowers("_fft_c2r.default")
def complex_to_real(e: Emitter, x: Tensor, dims: list[int], scaling: int, last: Any) -> Code:
    sizes = [*(x.shape[dim] for dim in dims[:-1]), last]
    return _transform(e, "mx.fft.irfftn", x, sizes, tuple(dims), _norm(scaling, False))


def _norm(scaling: int, forward: bool) -> str:
    """MLX's name of what torch counts: nothing, 1 / sqrt(n), 1 / n."""
    return SCALED[scaling] if forward else SCALED[::-1][scaling]


@lowers("fft_fftshift.default", "fft_ifftshift.default")
def shift(e: Emitter, x: Tensor, dims: Any = None) -> Code:
    name = "ifftshift" if "ifftshift" in str(e.node.target) else "fftshift"
    listed = None if dims is None else tuple(dims) if isinstance(dims, list) else dims
    return call(f"mx.fft.{name}", x, axes=listed)


@lowers("fft_fftfreq.default", "fft_rfftfreq.default")
def frequencies(e: Emitter, n: Any, spacing: float = 1.0, **options: Any) -> Code:
    name = "rfftfreq" if "rfftfreq" in str(e.node.target) else "fftfreq"
    made = call(f"mx.fft.{name}", e.size(n), *([] if spacing == 1 else [e.literal(spacing, "spacing")]))
    return e.cast(made, torch.float32, e.out.dtype)


@lowers("stft.default")
def stft(
    e: Emitter,
    x: Tensor,
    n_fft: Any,
    hop: Any = None,
    width: Any = None,
    window: Tensor | None = None,
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Code:
    if align_to_window:
        raise CaptureError("stft: align_to_window=True")
    return _stft(e, x, n_fft, hop, width, window, normalized, onesided, return_complex, center=False)


@lowers("stft.center")
def centred_stft(
    e: Emitter,
    x: Tensor,
    n_fft: Any,
    hop: Any = None,
    width: Any = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Code:
    if align_to_window:
        raise CaptureError("stft: align_to_window=True")
    modes = {"reflect": None, "constant": "constant", "replicate": "edge"}
    if center and pad_mode not in modes:
        raise CaptureError(f"stft: pad_mode={pad_mode!r}")
    options = {"pad_mode": modes[pad_mode]} if center else {"center": False}
    return _stft(e, x, n_fft, hop, width, window, normalized, onesided, return_complex, **options)


def _stft(
    e: Emitter,
    x: Tensor,
    n_fft: Any,
    hop: Any,
    width: Any,
    window: Tensor | None,
    normalized: bool,
    onesided: bool | None,
    return_complex: bool | None,
    **options: Any,
) -> Code:
    if window is not None and window.dtype.is_complex:
        raise CaptureError("stft: a complex window")
    made = call(
        "mx.fft.stft",
        x,
        e.size(n_fft, "n_fft"),
        hop_length=None if hop is None else e.size(hop, "hop_length"),
        win_length=None if width is None else e.size(width, "win_length"),
        window=window,
        **options,
        norm="ortho" if normalized else None,
        onesided=None if onesided is None or x.dtype.is_complex else None if onesided else False,
    )
    if return_complex or e.out.dtype.is_complex:
        return made
    return e.runtime("view_as_real", made)


@lowers("istft.default")
def istft(
    e: Emitter,
    x: Tensor,
    n_fft: Any,
    hop: Any = None,
    width: Any = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: Any = None,
    return_complex: bool = False,
) -> Code:
    if return_complex or (window is not None and window.dtype.is_complex):
        raise CaptureError("istft: of a complex signal")
    if onesided is False or (onesided is None and same_size(x.shape[-2], n_fft)):
        half = item(x, f"..., :{e.size(n_fft // 2 + 1).text}, :")  # torch reads no more, even of what is not Hermitian
    else:
        half = x
    return call(
        "mx.fft.istft",
        half,
        e.size(n_fft, "n_fft"),
        hop_length=None if hop is None else e.size(hop, "hop_length"),
        win_length=None if width is None else e.size(width, "win_length"),
        window=window,
        center=None if center else False,
        norm="ortho" if normalized else None,
        length=None if length is None else e.size(length, "length"),
    )
