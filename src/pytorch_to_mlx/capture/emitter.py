"""What lowerings see: tensors as expressions with shape and dtype, and the means to write sizes, numbers and calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import torch
from torch import fx

from pytorch_to_mlx.arrays import dtype_name
from pytorch_to_mlx.capture.code import Code, Slots, as_code, call, method

DTYPES: dict[torch.dtype, mx.Dtype] = {
    torch.bool: mx.bool_,
    torch.uint8: mx.uint8,
    torch.uint16: mx.uint16,
    torch.uint32: mx.uint32,
    torch.uint64: mx.uint64,
    torch.int8: mx.int8,
    torch.int16: mx.int16,
    torch.int32: mx.int32,
    torch.int64: mx.int64,
    torch.float16: mx.float16,
    torch.bfloat16: mx.bfloat16,
    torch.float32: mx.float32,
    torch.float64: mx.float32,  # MLX has float64 on the CPU only
    torch.complex64: mx.complex64,
    torch.complex128: mx.complex64,
}


@dataclass(frozen=True)
class Tensor(Code):
    """The expression of a tensor.

    Attributes:
        value: torch's own description of it: shape, dtype.
    """

    value: torch.Tensor = field(default=None, compare=False)  # type: ignore[assignment]
    node: fx.Node = field(default=None, compare=False)  # type: ignore[assignment]

    @property
    def shape(self) -> torch.Size:
        return self.value.shape

    @property
    def ndim(self) -> int:
        return self.value.ndim

    @property
    def dtype(self) -> torch.dtype:
        return self.value.dtype

    @property
    def is_floating(self) -> bool:
        return self.dtype.is_floating_point or self.dtype.is_complex

    def axis(self, dim: int) -> int:
        """The axis, counted from the front."""
        return dim % max(self.ndim, 1)


class Emitter:
    """Writes the expression of one node.

    Attributes:
        out: torch's description of the result: a tensor, or a tuple of them.
        node: the node.
    """

    def __init__(self, node: fx.Node, slots: Slots, size: Callable[[Any], Code]) -> None:
        self.node = node
        self.out: Any = node.meta.get("val")
        self._slots = slots
        self._size = size

    def literal(self, value: Any, hint: str = "value") -> Code:
        """A number that instances of one class may differ in; sequences of them too."""
        if isinstance(value, Code) or value is None:
            return as_code(value)
        if isinstance(value, tuple | list):
            return as_code(type(value)(self.literal(each, hint) for each in value))
        if isinstance(value, torch.SymInt | torch.SymFloat):
            return self._size(value)
        return self._slots.add(value, hint)

    def size(self, value: Any, hint: str = "size") -> Code:
        """An integer, or the expression of one that follows from the sizes of inputs."""
        if isinstance(value, Code):
            return value
        return self._size(value) if isinstance(value, torch.SymInt) else self._slots.add(int(value), hint)

    def shape(self, sizes: Sequence[Any]) -> Code:
        """A shape, as a tuple."""
        return as_code(tuple(self.size(size) for size in sizes))

    def shape_args(self, sizes: Sequence[Any]) -> list[Code]:
        """The sizes of a shape, as arguments one by one."""
        return [self.size(size) for size in sizes]

    def dtype(self, dtype: torch.dtype) -> Code:
        """MLX's name of it."""
        return Code(written_dtype(DTYPES[dtype]))

    def cast(self, value: Code, have: mx.Dtype | torch.dtype, want: torch.dtype) -> Code:
        """`value`, converted if it is of another dtype."""
        have = DTYPES[have] if isinstance(have, torch.dtype) else have
        return value if have == DTYPES[want] else method(value, "astype", self.dtype(want))

    def as_result(self, value: Code, *operands: Any) -> Code:
        """`value`, which MLX computes from `operands` by its rules of promotion, in torch's dtype."""
        return self.cast(value, promoted(*operands), self.out.dtype)

    def runtime(self, function: str, *args: Any, **kwargs: Any) -> Code:
        """A call of one of `pytorch_to_mlx.runtime`'s lowerings."""
        return call(f"runtime.{function}", *args, **kwargs)

    def uses(self, index: int) -> bool:
        """Whether anybody uses result number `index` of an operator of several."""
        return any(user.args[1] == index for user in self.node.users)


def written_dtype(dtype: mx.Dtype) -> str:
    """As `mx.float32`."""
    plain = dtype_name(dtype)
    return "mx.bool_" if plain == "bool" else f"mx.{plain}"


def promoted(*operands: Any) -> mx.Dtype:
    """The dtype that MLX computes in: of arrays, and of Python numbers, which are weak."""
    arrays = [DTYPES[each.dtype] for each in operands if isinstance(each, Tensor)]
    dtype = arrays[0]
    for other in arrays[1:]:
        dtype = mx.result_type(dtype, other)
    for each in operands:
        if isinstance(each, Tensor) or each is None:
            continue
        if isinstance(each, bool):
            continue
        if isinstance(each, complex):
            dtype = mx.complex64
        elif isinstance(each, float | torch.SymFloat) and not mx.issubdtype(dtype, mx.inexact):
            dtype = mx.float32
        elif dtype == mx.bool_:
            dtype = mx.int32
    return dtype
