"""ONNX's operators in torch's: each takes a node and its inputs (None where left out) and returns what it gives.

An input is a tensor, or a numpy array of Python's numbers ("host"), as sizes are; what has only such inputs stays so.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from pytorch_to_mlx.errors import CaptureError

Operator = Callable[..., Any]
OPERATORS: dict[str, Operator] = {}

DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    14: torch.complex64,
    15: torch.complex128,
    16: torch.bfloat16,
}
"""By ONNX's numbers."""


def onnx(*names: str) -> Callable[[Operator], Operator]:
    """Register what does ONNX's operators of these names."""

    def register(function: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register


def is_host(value: Any) -> bool:
    """Whether it is an array of Python's numbers."""
    return isinstance(value, np.ndarray)


def host(value: Any) -> np.ndarray:
    """Numbers, or nested lists of them, as an array of objects."""
    items = np.empty(len(value), dtype=object) if isinstance(value, list) else np.empty((), dtype=object)
    if isinstance(value, list):
        for place, each in enumerate(value):
            items[place] = each
    else:
        items[()] = value
    return items


def to_tensor(value: Any) -> torch.Tensor:
    """A tensor of it: of int64, float32 or bool where it is not one yet."""
    if isinstance(value, torch.Tensor):
        return value
    flat = value.reshape(-1).tolist()
    if any(isinstance(each, torch.SymInt | torch.SymFloat) for each in flat):
        made = [torch.scalar_tensor(each, dtype=torch.int64) for each in flat]
        return torch.stack(made).reshape(value.shape) if value.ndim else made[0]
    dtype = torch.bool if flat and isinstance(flat[0], bool) else None
    if dtype is None:
        dtype = torch.float32 if any(isinstance(each, float) for each in flat) else torch.int64
    return torch.tensor(flat, dtype=dtype).reshape(value.shape)


def numbers(value: Any, what: str = "an argument") -> list[Any]:
    """A list of Python's numbers.

    Raises:
        CaptureError: it depends on data.
    """
    if isinstance(value, torch.Tensor):
        raise CaptureError(f"{what} depends on data, so that shapes would")
    return value.reshape(-1).tolist()


def given(node: Any, name: str, value: Any, default: Any = None) -> Any:
    """What is an attribute in old operator sets and an input in new ones, as a list."""
    if value is not None:
        return numbers(value, name)
    found = node.attributes.get(name, default)
    return found


def operands(*values: Any) -> list[Any]:
    """Tensors, with single numbers as such."""
    rank = max((value.ndim for value in values if isinstance(value, torch.Tensor)), default=0)
    return [
        value.item() if is_host(value) and value.size == 1 and value.ndim <= rank else to_tensor(value)
        for value in values
    ]


def _elementwise(name: str, plain: Callable[..., Any] | None, function: Callable[..., Any]) -> None:
    """An operator of numbers: `plain` for Python's, `function` for tensors."""

    @onnx(name)
    def apply(node: Any, *inputs: Any) -> Any:
        if plain is not None and all(map(is_host, inputs)):
            result = np.frompyfunc(plain, len(inputs), 1)(*inputs)
            return result if isinstance(result, np.ndarray) else host(result)
        return function(*operands(*inputs))


def _divided(a: Any, b: Any) -> Any:
    whole = not any(isinstance(each, torch.Tensor) and each.dtype.is_floating_point for each in (a, b))
    return torch.div(a, b, rounding_mode="trunc") if whole and not isinstance(b, float) else torch.div(a, b)


def _divided_number(a: Any, b: Any) -> Any:
    if isinstance(a, float) or isinstance(b, float):
        return a / b
    return a // b if isinstance(a, torch.SymInt) or isinstance(b, torch.SymInt) else math.trunc(a / b)


def _power(a: Any, b: Any) -> Any:
    return torch.pow(a, b)


for _name, _plain, _function in (
    ("Add", operator.add, torch.add),
    ("Sub", operator.sub, lambda a, b: a - b),
    ("Mul", operator.mul, torch.mul),
    ("Div", _divided_number, _divided),
    ("Pow", operator.pow, _power),
    ("Neg", operator.neg, torch.neg),
    ("Abs", abs, torch.abs),
    ("Equal", operator.eq, lambda a, b: a == b),
    ("Less", operator.lt, lambda a, b: a < b),
    ("LessOrEqual", operator.le, lambda a, b: a <= b),
    ("Greater", operator.gt, lambda a, b: a > b),
    ("GreaterOrEqual", operator.ge, lambda a, b: a >= b),
    ("And", lambda a, b: a and b, lambda a, b: a & b),
    ("Or", lambda a, b: a or b, lambda a, b: a | b),
    ("Xor", operator.xor, lambda a, b: a ^ b),
    ("Not", operator.not_, torch.logical_not),
    ("Floor", math.floor, torch.floor),
    ("Ceil", math.ceil, torch.ceil),
    ("Sqrt", lambda a: a**0.5, torch.sqrt),
    ("BitwiseAnd", operator.and_, lambda a, b: a & b),
    ("BitwiseOr", operator.or_, lambda a, b: a | b),
    ("BitwiseXor", operator.xor, lambda a, b: a ^ b),
    ("BitwiseNot", operator.invert, torch.bitwise_not),
):
    _elementwise(_name, _plain, _function)

for _name, _function in (
    ("Exp", torch.exp),
    ("Log", torch.log),
    ("Sin", torch.sin),
    ("Cos", torch.cos),
    ("Tan", torch.tan),
    ("Asin", torch.asin),
    ("Acos", torch.acos),
    ("Atan", torch.atan),
    ("Sinh", torch.sinh),
    ("Cosh", torch.cosh),
    ("Asinh", torch.asinh),
    ("Acosh", torch.acosh),
    ("Atanh", torch.atanh),
    ("Tanh", torch.tanh),
    ("Erf", torch.erf),
    ("Sign", torch.sign),
    ("Round", torch.round),
    ("Reciprocal", torch.reciprocal),
    ("Sigmoid", torch.sigmoid),
    ("Relu", torch.relu),
    ("Softplus", F.softplus),
    ("Softsign", F.softsign),
    ("Mish", F.mish),
    ("HardSwish", F.hardswish),
    ("IsNaN", torch.isnan),
    ("IsInf", torch.isinf),
    ("Det", torch.linalg.det),
):
    _elementwise(_name, None, _function)


@onnx("Mod")
def mod(node: Any, a: Any, b: Any) -> Any:
    if is_host(a) and is_host(b):
        result = np.frompyfunc(operator.mod, 2, 1)(a, b)
        return result if isinstance(result, np.ndarray) else host(result)
    return (torch.fmod if node.attributes.get("fmod") else torch.remainder)(*operands(a, b))


@onnx("LeakyRelu")
def leaky_relu(node: Any, x: Any) -> Any:
    return F.leaky_relu(x, node.attributes.get("alpha", 0.01))


@onnx("PRelu")
def prelu(node: Any, x: Any, slope: Any) -> Any:
    return torch.where(x < 0, x * to_tensor(slope), x)


@onnx("Elu")
def elu(node: Any, x: Any) -> Any:
    return F.elu(x, node.attributes.get("alpha", 1.0))


@onnx("Celu")
def celu(node: Any, x: Any) -> Any:
    return F.celu(x, node.attributes.get("alpha", 1.0))


@onnx("Selu")
def selu(node: Any, x: Any) -> Any:
    alpha, gamma = node.attributes.get("alpha", 1.6732631921768188), node.attributes.get("gamma", 1.0507010221481323)
    return gamma * torch.where(x > 0, x, alpha * torch.expm1(x))


@onnx("Gelu")
def gelu(node: Any, x: Any) -> Any:
    return F.gelu(x, approximate=node.attributes.get("approximate", "none"))


@onnx("HardSigmoid")
def hard_sigmoid(node: Any, x: Any) -> Any:
    return torch.clamp(node.attributes.get("alpha", 0.2) * x + node.attributes.get("beta", 0.5), 0, 1)


@onnx("ThresholdedRelu")
def thresholded_relu(node: Any, x: Any) -> Any:
    return F.threshold(x, node.attributes.get("alpha", 1.0), 0.0)


@onnx("Clip")
def clip(node: Any, x: Any, low: Any = None, high: Any = None) -> Any:
    low = node.attributes.get("min") if low is None else operands(x, low)[1]
    high = node.attributes.get("max") if high is None else operands(x, high)[1]
    if isinstance(low, torch.Tensor) != isinstance(high, torch.Tensor):
        low, high = (None if each is None else torch.as_tensor(each, dtype=x.dtype) for each in (low, high))
    return x if low is None and high is None else torch.clamp(x, low, high)


@onnx("Where")
def where(node: Any, condition: Any, a: Any, b: Any) -> Any:
    if all(map(is_host, (condition, a, b))):
        result = np.frompyfunc(lambda c, x, y: x if c else y, 3, 1)(condition, a, b)
        return result if isinstance(result, np.ndarray) else host(result)
    return torch.where(to_tensor(condition), *(each if not is_host(each) else to_tensor(each) for each in (a, b)))


def _many(name: str, plain: Callable[..., Any], function: Callable[..., Any]) -> None:
    @onnx(name)
    def apply(node: Any, first: Any, *others: Any) -> Any:
        for other in others:
            if is_host(first) and is_host(other):
                first = np.frompyfunc(plain, 2, 1)(first, other)
                first = first if isinstance(first, np.ndarray) else host(first)
            else:
                first = function(to_tensor(first), to_tensor(other))
        return first


_many("Max", lambda a, b: torch.sym_max(a, b), torch.maximum)
_many("Min", lambda a, b: torch.sym_min(a, b), torch.minimum)
_many("Sum", operator.add, torch.add)


@onnx("Mean")
def mean_of(node: Any, *inputs: Any) -> Any:
    return sum(inputs[1:], inputs[0]) / len(inputs)


@onnx("Identity", "Dropout")
def identity(node: Any, x: Any, *rest: Any) -> Any:
    return [x, None][: len(node.outputs)] if node.operator == "Dropout" else x


@onnx("Constant")
def constant(node: Any) -> Any:
    ((name, value),) = node.attributes.items()
    if name == "value":
        small = value.dtype.kind in "iub" and value.size <= 64 and value.ndim <= 1
        if value.ndim == 0:
            return host(value.item())
        return host(value.tolist()) if small else torch.from_numpy(np.array(value))
    return host(value)


@onnx("Cast", "CastLike")
def cast(node: Any, x: Any, like: Any = None) -> Any:
    dtype = to_tensor(like).dtype if like is not None else DTYPES.get(node.attributes["to"])
    if dtype is None:
        raise CaptureError(f"type {node.attributes['to']} is not known")
    if not is_host(x):
        return x.to(dtype)
    plain = bool if dtype == torch.bool else _floating if dtype.is_floating_point else _whole
    result = np.frompyfunc(plain, 1, 1)(x)
    return result if isinstance(result, np.ndarray) else host(result)


def _floating(value: Any) -> Any:
    return torch.sym_float(value)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else torch.sym_int(value)


@onnx("MatMul")
def matmul(node: Any, a: Any, b: Any) -> Any:
    return torch.matmul(to_tensor(a), to_tensor(b))


@onnx("Gemm")
def gemm(node: Any, a: Any, b: Any, c: Any = None) -> Any:
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    a = a.T if node.attributes.get("transA") else a
    if node.attributes.get("transB") and alpha == 1 and (c is None or (beta == 1 and c.ndim == 1)):
        return F.linear(a, b, c)
    y = a @ (b.T if node.attributes.get("transB") else b)
    y = y if alpha == 1 else alpha * y
    return y if c is None else y + (c if beta == 1 else beta * c)


@onnx("Einsum")
def einsum(node: Any, *inputs: Any) -> Any:
    return torch.einsum(node.attributes["equation"], *map(to_tensor, inputs))


def _softmax(name: str, function: Callable[..., Any]) -> None:
    @onnx(name)
    def apply(node: Any, x: Any) -> Any:
        if node.version >= 13:
            return function(x, dim=node.attributes.get("axis", -1))
        axis = node.attributes.get("axis", 1) % x.ndim
        return function(x.flatten(axis), dim=axis).reshape(x.shape)


_softmax("Softmax", torch.softmax)
_softmax("LogSoftmax", torch.log_softmax)


@onnx("Hardmax")
def hardmax(node: Any, x: Any) -> Any:
    axis = node.attributes.get("axis", -1)
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1.0)
