"""What TorchScript does with numbers, strings, lists and dicts, in Python, so that sizes stay symbolic in a trace."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch

# The numbers that TorchScript writes dtypes as.
DTYPES = (
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.float32,
    torch.float64,
    torch.complex32,
    torch.complex64,
    torch.complex128,
    torch.bool,
    torch.qint8,
    torch.quint8,
    torch.qint32,
    torch.bfloat16,
)
MEMORY_FORMATS = (
    torch.contiguous_format,
    torch.preserve_format,
    torch.channels_last,
    torch.channels_last_3d,
)

NUMBERS = (int, float, bool, complex, torch.SymInt, torch.SymFloat, torch.SymBool)


def holds_tensor(values: Sequence[Any]) -> bool:
    """Whether any of them is a tensor."""
    return any(isinstance(value, torch.Tensor) for value in values)


def _insert(items: list, place: int, value: Any) -> None:
    items.insert(place, value)


def _set_item(items: Any, key: Any, value: Any) -> Any:
    items[key] = value
    return items


def _append(items: list, value: Any) -> list:
    items.append(value)
    return items


def _extend(items: list, more: list) -> None:
    items.extend(more)


def _slice(items: Any, start: Any = None, end: Any = None, step: int = 1) -> Any:
    return items[start:end:step]


def _format(text: str, *values: Any) -> str:
    return text.format(*values)


def _smallest(a: Any, b: Any = None) -> Any:
    return min(a) if b is None else torch.sym_min(a, b)


def _largest(a: Any, b: Any = None) -> Any:
    return max(a) if b is None else torch.sym_max(a, b)


def _divided(a: Any, b: Any) -> Any:
    return a / b


def _derived(index: Any, start: Any, step: Any) -> Any:
    return start + index * step


def _range_length(low: Any, high: Any, step: Any) -> Any:
    return max(0, (high - low + step - (1 if step > 0 else -1)) // step)


def _warn(*_: Any) -> None:
    return None


def _to_int(value: Any) -> Any:
    """Also of a tensor of one number, which a trace cannot know."""
    if isinstance(value, torch.Tensor):
        value = value.item()
    return value if isinstance(value, torch.SymInt) else torch.sym_int(value) if _symbolic(value) else int(value)


def _to_float(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.item()
    return torch.sym_float(value) if _symbolic(value) else float(value)


def _to_bool(value: Any) -> bool:
    return bool(value)


def _symbolic(value: Any) -> bool:
    return isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool)


def _as_number(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) else value


PLAIN: dict[str, Callable[..., Any]] = {
    "aten::add": operator.add,
    "aten::sub": operator.sub,
    "aten::mul": operator.mul,
    "aten::div": _divided,
    "aten::floordiv": operator.floordiv,
    "aten::floor_divide": operator.floordiv,
    "aten::remainder": operator.mod,
    "aten::fmod": math.fmod,
    "aten::pow": operator.pow,
    "aten::neg": operator.neg,
    "aten::eq": operator.eq,
    "aten::ne": operator.ne,
    "aten::lt": operator.lt,
    "aten::le": operator.le,
    "aten::gt": operator.gt,
    "aten::ge": operator.ge,
    "aten::__and__": operator.and_,
    "aten::__or__": operator.or_,
    "aten::__xor__": operator.xor,
    "aten::__lshift__": operator.lshift,
    "aten::__rshift__": operator.rshift,
    "aten::__not__": operator.not_,
    "aten::logical_not": operator.not_,
    "aten::abs": abs,
    "aten::round": round,
    "aten::floor": math.floor,
    "aten::ceil": math.ceil,
    "aten::sqrt": math.sqrt,
    "aten::exp": math.exp,
    "aten::log": math.log,
    "aten::sin": math.sin,
    "aten::cos": math.cos,
    "aten::gcd": math.gcd,
    "aten::sum": sum,
    "aten::sorted": sorted,
    "aten::slice": _slice,
    "aten::copy": lambda value: value.copy(),
    "aten::str": str,
    "aten::ord": ord,
    "aten::chr": chr,
    "aten::lower": str.lower,
    "aten::upper": str.upper,
    "aten::startswith": str.startswith,
    "aten::endswith": str.endswith,
    "aten::split": str.split,
    "aten::strip": str.strip,
    "aten::replace": str.replace,
    "aten::join": str.join,
    "aten::index": lambda items, value: items.index(value),
    "aten::count": lambda items, value: items.count(value),
    "aten::find": str.find,
    "prim::min": _smallest,
    "prim::max": _largest,
    "prim::abs": abs,
}
"""By TorchScript's names, where no operand is a tensor."""


ANY: dict[str, Callable[..., Any]] = {
    "aten::len": len,
    "aten::__getitem__": operator.getitem,
    "aten::_set_item": _set_item,
    "aten::append": _append,
    "aten::extend": _extend,
    "aten::insert": _insert,
    "aten::pop": lambda items, *place: items.pop(*place),
    "aten::clear": lambda items: items.clear(),
    "aten::reverse": lambda items: items.reverse(),
    "aten::list": list,
    "aten::keys": lambda items: list(items.keys()),
    "aten::values": lambda items: list(items.values()),
    "aten::items": lambda items: list(items.items()),
    "aten::get": lambda items, *key: items.get(*key),
    "aten::update": lambda items, more: items.update(more),
    "aten::__contains__": operator.contains,
    "aten::__is__": operator.is_,
    "aten::__isnot__": operator.is_not,
    "aten::format": _format,
    "aten::percentFormat": lambda text, *values: text % values,
    "aten::warn": _warn,
    "prim::Print": _warn,
    "aten::Int": _to_int,
    "aten::Float": _to_float,
    "aten::Bool": _to_bool,
    "aten::IntImplicit": _to_int,
    "aten::FloatImplicit": _to_float,
    "aten::ScalarImplicit": _as_number,
    "aten::item": _as_number,
    "aten::size": lambda x, dim=None: list(x.shape) if dim is None else x.shape[dim],
    "aten::dim": lambda x: x.dim(),
    "aten::numel": lambda x: x.numel(),
    "aten::stride": lambda x, dim=None: list(x.stride()) if dim is None else x.stride(dim),
    "aten::is_floating_point": lambda x: x.is_floating_point(),
    "aten::is_complex": lambda x: x.is_complex(),
    "aten::is_contiguous": lambda x, **_: x.is_contiguous(),
    "aten::__derive_index": _derived,
    "aten::__range_length": _range_length,
    "aten::_unwrap_optional": lambda value: value,
    "aten::get_device": lambda x: -1,
    "aten::cpu": lambda x: x,
    "aten::cuda": lambda x: x,
    "aten::backward": _warn,
    "aten::manual_seed": _warn,
    "prim::shape": lambda x: list(x.shape),
    "prim::device": lambda x: x.device,
    "prim::dtype": lambda x: DTYPES.index(x.dtype),
    "prim::layout": lambda x: 0,
    "prim::is_cuda": lambda x: False,
    "prim::is_cpu": lambda x: True,
    "prim::is_mkldnn": lambda x: False,
    "prim::is_quantized": lambda x: False,
    "prim::is_sparse": lambda x: False,
    "prim::is_xpu": lambda x: False,
    "prim::is_mps": lambda x: False,
    "prim::requires_grad": lambda x: False,
    "prim::data": lambda x: x.detach(),
    "prim::itemsize": lambda x: x.itemsize,
    "prim::NumToTensor": lambda value: value,
    "prim::TolistTensor": lambda x: x.tolist(),
    "prim::unchecked_cast": lambda value: value,
    "prim::unchecked_unwrap_optional": lambda value: value,
    "prim::Uninitialized": lambda: None,
    "prim::ListConstruct": lambda *values: list(values),
    "prim::TupleConstruct": lambda *values: values,
    "prim::TupleIndex": lambda values, place: values[place],
    "prim::DictConstruct": lambda *values: dict(zip(values[::2], values[1::2], strict=True)),
    "prim::StringIndex": operator.getitem,
    "prim::rangelist": lambda *bounds: list(range(*bounds)),
    "prim::AutogradAllZero": lambda *_: False,
}
"""By TorchScript's names, of any operands."""
