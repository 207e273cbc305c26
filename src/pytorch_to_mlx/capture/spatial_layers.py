"""Calls that are a layer without parameters on images or sequences: pooling, upsampling, shuffles of pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx

from pytorch_to_mlx.capture.layers import Layer, Own, arguments_of, different, made_of, recognises
from pytorch_to_mlx.capture.operators.convolution import single
from pytorch_to_mlx.capture.operators.resize import NEAREST, WEIGHTED


def _windows(node: fx.Node) -> tuple[fx.Node, int, dict[str, object]] | None:
    """The image, how many spatial axes it has, and the kernel, stride and padding; None of one without a batch."""
    x, kernel, stride, padding, *_ = arguments_of(node)
    rank = int(str(node.target).partition("d.")[0][-1])
    if x.meta["val"].ndim != rank + 2 or x.meta["val"].dtype != torch.float32:
        return None
    size, step, width = (_each(value, rank) for value in (kernel, stride or kernel, padding))
    return x, rank, {"_kernel_size": size} | different(stride=(step, size), padding=(width, 0))


def _each(values: Sequence[int], rank: int) -> int | tuple[int, ...]:
    return single(list(values) * (rank if len(values) == 1 else 1))  # type: ignore[return-value]


@recognises(*(f"max_pool{rank}d.default" for rank in (1, 2, 3)))
def _max_pool(node: fx.Node, own: Own) -> Layer | None:
    found = _windows(node)
    if found is None:
        return None
    x, rank, numbers = found
    dilation, ceil_mode = arguments_of(node)[4:6]
    options = different(dilation=(_each(dilation, rank), 1), ceil_mode=(ceil_mode, False))
    return made_of(node, "runtime.MaxPool" if options else f"nn.MaxPool{rank}d", [x], numbers | options)


@recognises(*(f"avg_pool{rank}d.default" for rank in (1, 2, 3)))
def _avg_pool(node: fx.Node, own: Own) -> Layer | None:
    found = _windows(node)
    if found is None:
        return None
    x, rank, numbers = found
    ceil_mode, with_padding, *divisor = arguments_of(node)[4:]
    counts_all = with_padding or ("padding" not in numbers and not ceil_mode)
    options = different(ceil_mode=(ceil_mode, False), count_include_pad=(counts_all, True))
    if divisor and divisor[0] is not None:
        options["divisor_override"] = divisor[0]
    return made_of(node, "runtime.AvgPool" if options else f"nn.AvgPool{rank}d", [x], numbers | options)


@recognises("pixel_shuffle.default")
def _pixel_shuffle(node: fx.Node, own: Own) -> Layer | None:
    x, factor = arguments_of(node)
    return made_of(node, "runtime.PixelShuffle", [x], {"_factor": factor}) if x.meta["val"].ndim == 4 else None


@recognises("pixel_unshuffle.default")
def _pixel_unshuffle(node: fx.Node, own: Own) -> Layer | None:
    x, factor = arguments_of(node)
    return made_of(node, "runtime.PixelUnshuffle", [x], {"_factor": factor}) if x.meta["val"].ndim == 4 else None


MODES = {f"{name}{rank}d.vec": mode for name, mode in NEAREST.items() for rank in (1, 2, 3)}
MODES |= {f"{name}.vec": mode for name, mode in WEIGHTED.items() if not name.endswith("_aa")}


@recognises(*MODES)
def _upsample(node: fx.Node, own: Own) -> Layer | None:
    x, size, *align, scales = arguments_of(node)
    if size is not None or scales is None or x.meta["val"].dtype != torch.float32:
        return None
    if not all(isinstance(scale, int | float) for scale in scales):
        return None
    plain = [int(scale) if float(scale).is_integer() else scale for scale in scales]
    mode = MODES[str(node.target).removeprefix("aten.")]
    options = different(mode=(mode, "nearest"), align_corners=(bool(align and align[0]), False))
    return made_of(node, "runtime.Upsample", [x], {"scale_factor": single(plain)} | options)
