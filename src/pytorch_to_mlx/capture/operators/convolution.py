"""Convolutions over channels-last images and sequences."""

from __future__ import annotations

from typing import Any

from pytorch_to_mlx.capture.code import Code, as_code, binary, call
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import spatial
from pytorch_to_mlx.errors import CaptureError

NAMES = {1: "runtime.conv1d", 2: "mx.conv2d", 3: "mx.conv3d"}


def single(values: Any) -> Any:
    """A number where all are the same; schema lists of one stand for every axis."""
    listed = list(values) if isinstance(values, list | tuple) else [values]
    return listed[0] if all(each == listed[0] for each in listed) else tuple(listed)


def same_padding(kernel: list[int], dilation: list[int]) -> list[tuple[int, int]]:
    """Before and after each axis, so that a stride of 1 keeps its size; the odd one comes after, as in torch."""
    totals = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def spread(values: Any, rank: int) -> list[int]:
    """One number for each spatial axis."""
    listed = list(values) if isinstance(values, list | tuple) else [values]
    return listed * rank if len(listed) == 1 else listed


def _options(e: Emitter, **numbers: tuple[Any, Any]) -> dict[str, Any]:
    return {name: e.literal(value, name) for name, (value, default) in numbers.items() if value != default}


def _convolve(
    e: Emitter, x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Code:
    rank = x.ndim - 2
    image: Code = x
    if isinstance(padding, str):
        widths = (
            same_padding(list(weight.shape[1:-1]), spread(dilation, rank)) if padding == "same" else [(0, 0)] * rank
        )
        if all(before == after for before, after in widths):
            padding = [before for before, _ in widths]
        else:
            padding = [0] * rank
            image = call("mx.pad", x, as_code([(0, 0), *widths, (0, 0)]))
    options = _options(
        e, stride=(single(stride), 1), padding=(single(padding), 0), dilation=(single(dilation), 1), groups=(groups, 1)
    )
    y = call("runtime.conv3d" if rank == 3 and groups != 1 else NAMES[rank], image, weight, **options)
    return y if bias is None else binary("+", y, bias)


for _rank in (1, 2, 3):
    spatial(_rank, f"conv{_rank}d.default", f"conv{_rank}d.padding")(_convolve)


def _transposed(
    e: Emitter,
    x: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Code:
    rank = x.ndim - 2
    options = _options(
        e,
        stride=(single(stride), 1),
        padding=(single(padding), 0),
        dilation=(single(dilation), 1),
        output_padding=(single(output_padding), 0),
        groups=(groups, 1),
    )
    y = call(f"runtime.conv_transpose{rank}d", x, weight, **options)
    return y if bias is None else binary("+", y, bias)


for _rank in (1, 2, 3):
    spatial(_rank, f"conv_transpose{_rank}d.{'input' if _rank > 1 else 'default'}")(_transposed)


@spatial(-1, "convolution.default")
def convolution(
    e: Emitter,
    x: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Code:
    if transposed:
        return _transposed(e, x, weight, bias, stride, padding, output_padding, groups, dilation)
    if x.ndim not in (3, 4, 5):
        raise CaptureError(f"convolution over {x.ndim - 2} axes: MLX has it over 1, 2 and 3")
    return _convolve(e, x, weight, bias, stride, padding, dilation, groups)
