"""Tensors out of nothing: of one number, of ranges, of chance."""

from __future__ import annotations

from typing import Any

import torch

from pytorch_to_mlx.capture.code import Code, call, method
from pytorch_to_mlx.capture.emitter import DTYPES, Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers
from pytorch_to_mlx.errors import CaptureError


def dtype_argument(e: Emitter) -> Code | None:
    """The `dtype=` of a function that makes float32 when it is not told."""
    return None if e.out.dtype in (torch.float32, torch.float64) else e.dtype(e.out.dtype)


@lowers("arange.default")
def arange(e: Emitter, end: Any, **options: Any) -> Code:
    return _range(e, end)


@lowers("arange.start")
def arange_from(e: Emitter, start: Any, end: Any, **options: Any) -> Code:
    return _range(e, start, end)


@lowers("arange.start_step")
def arange_by(e: Emitter, start: Any, end: Any, step: Any = 1, **options: Any) -> Code:
    return _range(e, start, end, step)


def _range(e: Emitter, *numbers: Any) -> Code:
    count = e.out.shape[0]
    broken = any(isinstance(number, float) and number % 1 for number in numbers)
    if broken and isinstance(count, int) and not e.out.dtype.is_floating_point:
        # torch drops the fractions once it has the length
        first, _, step = numbers if len(numbers) == 3 else (numbers[0] if len(numbers) == 2 else 0, 0, 1)
        first, step = int(first), int(step)
        if step == 0:
            return call("mx.full", e.shape(e.out.shape), first, dtype=e.dtype(e.out.dtype))
        numbers = (first, first + count * step, step)
    return call("mx.arange", *(e.literal(number) for number in numbers), dtype=e.dtype(e.out.dtype))


@lowers("linspace.default")
def linspace(e: Emitter, start: Any, end: Any, steps: Any, **options: Any) -> Code:
    return call("mx.linspace", e.literal(start), e.literal(end), e.size(steps), dtype=dtype_argument(e))


@lowers("full.default", "full_like.default", "new_full.default", "fill.Scalar", "fill.Tensor")
def full(e: Emitter, first: Any, *rest: Any, **options: Any) -> Code:
    value = rest[-1]
    if isinstance(value, Tensor):
        return call("mx.full", e.shape(e.out.shape), value, dtype=e.dtype(e.out.dtype))
    if e.out.dtype == torch.bool:
        value = bool(value)
    return call("mx.full", e.shape(e.out.shape), e.literal(value), dtype=e.dtype(e.out.dtype))


@lowers(
    "zeros.default",
    "zeros_like.default",
    "new_zeros.default",
    "empty.memory_format",
    "empty_like.default",
    "empty_permuted.default",
    "empty_strided.default",
    "new_empty.default",
    "new_empty_strided.default",
)
def zeros(e: Emitter, *rest: Any, **options: Any) -> Code:
    return call("mx.zeros", e.shape(e.out.shape), dtype=dtype_argument(e))


@lowers("ones.default", "ones_like.default", "new_ones.default")
def ones(e: Emitter, *rest: Any, **options: Any) -> Code:
    return call("mx.ones", e.shape(e.out.shape), dtype=dtype_argument(e))


@lowers("scalar_tensor.default")
def scalar(e: Emitter, value: Any, **options: Any) -> Code:
    return call("mx.array", e.literal(value), dtype=e.dtype(e.out.dtype))


@lowers("eye.default", "eye.m")
def eye(e: Emitter, rows: Any, columns: Any = None, **options: Any) -> Code:
    return call("mx.eye", e.size(rows), None if columns is None else e.size(columns), dtype=dtype_argument(e))


# Noise is an input of a model in this project; where a network draws its own, MLX draws other values.


@lowers("rand.default", "rand.generator", "rand_like.default", "rand_like.generator")
def rand(e: Emitter, *rest: Any, **options: Any) -> Code:
    return call("mx.random.uniform", shape=e.shape(e.out.shape), dtype=dtype_argument(e))


@lowers("randn.default", "randn.generator", "randn_like.default", "randn_like.generator")
def randn(e: Emitter, *rest: Any, **options: Any) -> Code:
    return call("mx.random.normal", shape=e.shape(e.out.shape), dtype=dtype_argument(e))


@lowers("normal.float_float", "normal.Tensor_float", "normal.float_Tensor", "normal.Tensor_Tensor")
def normal(e: Emitter, mean: Any, std: Any, *rest: Any, **options: Any) -> Code:
    scale = std if isinstance(std, Tensor) else e.literal(std, "std")
    offset = mean if isinstance(mean, Tensor) else e.literal(mean, "mean")
    return call(
        "mx.random.normal",
        shape=e.shape(e.out.shape),
        dtype=dtype_argument(e),
        loc=None if mean == 0 else offset,
        scale=None if std == 1 else scale,
    )


@lowers("normal_functional.default", "normal.out")
def normal_like(e: Emitter, x: Tensor, mean: float = 0.0, std: float = 1.0, **options: Any) -> Code:
    return normal(e, mean, std)


@lowers("uniform.default")
def uniform(e: Emitter, x: Tensor, low: float = 0.0, high: float = 1.0, **options: Any) -> Code:
    return call("mx.random.uniform", e.literal(low), e.literal(high), e.shape(e.out.shape), dtype=dtype_argument(e))


def _drawn(function: str, name: str) -> None:
    """A distribution that follows from uniform numbers, by `runtime.<function>`."""

    @lowers(f"{name}.default")
    def lower(e: Emitter, x: Tensor, *parameters: float, **options: Any) -> Code:
        return e.runtime(function, e.shape(e.out.shape), *map(e.literal, parameters), dtype=dtype_argument(e))


_drawn("random_exponential", "exponential")
_drawn("random_cauchy", "cauchy")
_drawn("random_geometric", "geometric")
_drawn("random_log_normal", "log_normal")


@lowers("multinomial.default")
def multinomial(e: Emitter, x: Tensor, count: int, replacement: bool = False, **options: Any) -> Code:
    return e.runtime("random_multinomial", x, e.size(count), replacement=replacement or None)


@lowers("randint.default", "randint.generator")
def randint(e: Emitter, high: Any, shape: Any, **options: Any) -> Code:
    return _integers(e, 0, high)


@lowers("randint.low", "randint.low_generator")
def randint_from(e: Emitter, low: Any, high: Any, shape: Any, **options: Any) -> Code:
    return _integers(e, low, high)


@lowers("randint_like.default", "randint_like.generator")
def randint_like(e: Emitter, x: Tensor, high: Any, **options: Any) -> Code:
    return _integers(e, 0, high)


@lowers("randint_like.low_dtype", "randint_like.low_generator_dtype")
def randint_like_from(e: Emitter, x: Tensor, low: Any, high: Any, **options: Any) -> Code:
    return _integers(e, low, high)


def _integers(e: Emitter, low: Any, high: Any) -> Code:
    whole = not e.out.dtype.is_floating_point
    drawn = call(
        "mx.random.randint",
        e.literal(low),
        e.literal(high),
        e.shape(e.out.shape),
        dtype=e.dtype(e.out.dtype) if whole else None,
    )
    return drawn if whole else method(drawn, "astype", e.dtype(e.out.dtype))


@lowers("randperm.default", "randperm.generator")
def randperm(e: Emitter, count: Any, **options: Any) -> Code:
    return method(call("mx.random.permutation", e.size(count)), "astype", e.dtype(e.out.dtype))


@lowers("bernoulli.default", "bernoulli.p", "bernoulli.Tensor")
def bernoulli(e: Emitter, x: Tensor, chance: Any = None, **options: Any) -> Code:
    odds = x if chance is None else chance if isinstance(chance, Tensor) else e.literal(chance)
    drawn = call("mx.random.bernoulli", odds, e.shape(e.out.shape))
    return method(drawn, "astype", e.dtype(e.out.dtype))


@lowers("dropout.default")
def dropout(e: Emitter, x: Tensor, chance: float, train: bool) -> Code:
    return e.runtime("dropout", x, e.literal(chance, "p")) if train and chance else x


@lowers("native_dropout.default")
def native_dropout(e: Emitter, x: Tensor, chance: float, train: bool | None) -> Code | tuple[Code, Code]:
    if train is False or not chance:
        return x, call("mx.ones", e.shape(x.shape), dtype=e.dtype(torch.bool))
    return e.runtime("dropout_with_mask", x, e.literal(chance, "p"))


@lowers("feature_dropout.default", "alpha_dropout.default", "feature_alpha_dropout.default")
def other_dropout(e: Emitter, x: Tensor, chance: float, train: bool) -> Code:
    if train and chance:
        raise CaptureError(f"{e.node.target} is for training; call eval() on the model first")
    return x


__all__ = ["DTYPES", "dtype_argument"]
