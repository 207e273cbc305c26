"""Pooling; images are (batch, *spatial, channels)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytorch_to_mlx.capture.clean import same_size
from pytorch_to_mlx.capture.code import Code, as_code, call
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import spatial

RANKS = (1, 2, 3)


def one_or_each(e: Emitter, values: Sequence[Any], hint: str) -> Code:
    """A number for all axes, or a tuple of one for each."""
    if all(same_size(value, values[0]) for value in values):
        return e.size(values[0], hint)
    return as_code(tuple(e.size(value, hint) for value in values))


def _unless(e: Emitter, values: Sequence[int], plain: int, hint: str) -> Code | None:
    return None if all(value == plain for value in values) else one_or_each(e, values, hint)


def _windows(
    e: Emitter, x: Tensor, kernel: list[int], stride: list[int], padding: list[int], ceil_mode: bool
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments that name windows, in the order of torch's; those that are not needed are None."""
    size = one_or_each(e, kernel, "kernel_size")
    rank = x.ndim - 2
    same = not stride or _filled(stride, rank) == _filled(kernel, rank)
    return [x, size], {
        "stride": None if same else one_or_each(e, stride, "stride"),
        "padding": _unless(e, padding, 0, "padding"),
        "ceil_mode": True if ceil_mode else None,
    }


def _filled(values: Sequence[int], count: int) -> list[int]:
    return list(values) * (count if len(values) == 1 else 1)


for _rank in RANKS:

    @spatial(_rank, f"max_pool{_rank}d.default")
    def max_pool(
        e: Emitter, x: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int], ceil: bool
    ) -> Code:
        args, options = _windows(e, x, kernel, stride, padding, ceil)
        return e.runtime("max_pool", *args, **options, dilation=_unless(e, dilation, 1, "dilation"))

    @spatial(_rank, f"max_pool{_rank}d_with_indices.default")
    def max_pool_with_indices(e: Emitter, x: Tensor, *rest: Any) -> Any:
        found = max_pool(e, x, *rest)
        return _with_indices(e, found)

    @spatial(_rank, f"avg_pool{_rank}d.default")
    def avg_pool(
        e: Emitter,
        x: Tensor,
        kernel: list[int],
        stride: list[int],
        padding: list[int],
        ceil: bool,
        with_padding: bool,
        divisor: int | None = None,
    ) -> Code:
        args, options = _windows(e, x, kernel, stride, padding, ceil)
        options["count_include_pad"] = None if with_padding else False
        options["divisor_override"] = None if divisor is None else e.literal(divisor, "divisor")
        return e.runtime("avg_pool", *args, **options)

    @spatial(_rank, f"adaptive_avg_pool{_rank}d.default", *([f"_adaptive_avg_pool{_rank}d.default"] * (_rank > 1)))
    def adaptive_avg_pool(e: Emitter, x: Tensor, size: list[Any]) -> Code:
        return _adaptive(e, x, size, "mx.mean", "adaptive_avg_pool")

    @spatial(_rank, f"adaptive_max_pool{_rank}d.default")
    def adaptive_max_pool(e: Emitter, x: Tensor, size: list[Any]) -> Any:
        if not e.uses(1):
            return _adaptive(e, x, size, "mx.max", "adaptive_max_pool"), Code("None")
        return e.runtime("adaptive_max_pool_with_indices", x, one_or_each(e, size, "output_size"))


def _with_indices(e: Emitter, largest: Code) -> Any:
    """The results of an operator that tells places too; those are computed only where somebody uses them."""
    if not e.uses(1):
        return largest, Code("None")
    return Code(largest.text.replace("runtime.max_pool(", "runtime.max_pool_with_indices(", 1))


def _adaptive(e: Emitter, x: Tensor, size: list[Any], reduction: str, function: str) -> Code:
    sizes = _filled(size, x.ndim - 2)
    if all(same_size(want, have) for want, have in zip(sizes, x.shape[1:-1], strict=True)):
        return x
    if all(same_size(each, 1) for each in sizes):
        axes = 1 if len(sizes) == 1 else tuple(range(1, x.ndim - 1))
        return call(reduction, x, axis=axes, keepdims=True)
    return e.runtime(function, x, one_or_each(e, size, "output_size"))


for _rank in (2, 3):

    @spatial(_rank, f"fractional_max_pool{_rank}d.default")
    def fractional_max_pool(e: Emitter, x: Tensor, kernel: list[int], size: list[int], samples: Tensor) -> Code:
        sizes = one_or_each(e, kernel, "kernel_size"), one_or_each(e, size, "output_size")
        return e.runtime("fractional_max_pool", x, *sizes, samples)

    @spatial(_rank, f"max_unpool{_rank}d.default")
    def max_unpool(e: Emitter, x: Tensor, indices: Tensor, size: list[Any], *rest: Any) -> Code:
        # Only the image is channels-last; indices are as torch has them, and without a batch where x had none.
        places = indices if indices.ndim == x.ndim else Code(f"{indices.atom}[None]")
        return e.runtime("max_unpool", x, call("mx.moveaxis", places, 1, -1), e.shape(size))
