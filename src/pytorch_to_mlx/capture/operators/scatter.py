"""Writing many elements to places that a tensor of indices names."""

from __future__ import annotations

from typing import Any

from pytorch_to_mlx.capture.code import Code, as_code, method
from pytorch_to_mlx.capture.emitter import Emitter, Tensor
from pytorch_to_mlx.capture.operators.registry import lowers
from pytorch_to_mlx.errors import CaptureError

MODES = ("sum", "mean", "max")


@lowers("scatter.src", "scatter.value")
def scatter(e: Emitter, x: Tensor, dim: int, index: Tensor, source: Any) -> Code:
    return e.runtime("scatter", x, index, _source(e, source), axis=dim)


@lowers("scatter.reduce", "scatter.value_reduce")
def scatter_with(e: Emitter, x: Tensor, dim: int, index: Tensor, source: Any, *, reduce: str) -> Code:
    named = {"add": "sum", "multiply": "prod"}[reduce]
    return e.runtime("scatter", x, index, _source(e, source), axis=dim, reduce=named)


@lowers("scatter_add.default")
def scatter_add(e: Emitter, x: Tensor, dim: int, index: Tensor, source: Tensor) -> Code:
    return e.runtime("scatter", x, index, source, axis=dim, reduce="sum")


@lowers("scatter_reduce.two")
def scatter_reduce(
    e: Emitter, x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Code:
    more = {} if include_self else {"include_self": False}
    return e.runtime("scatter", x, index, source, axis=dim, reduce=reduce, **more)


@lowers("index_reduce.default")
def index_reduce(
    e: Emitter, x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Code:
    more = {} if include_self else {"include_self": False}
    return e.runtime("index_reduce", x, dim, index, source, reduce, **more)


def _source(e: Emitter, source: Any) -> Any:
    return source if isinstance(source, Tensor) else e.literal(source)


@lowers(
    "embedding_bag.padding_idx",
    "embedding_bag.default",
    "_embedding_bag.default",
    "_embedding_bag_forward_only.default",
)
def embedding_bag(
    e: Emitter,
    weight: Tensor,
    index: Tensor,
    offsets: Tensor,
    by_frequency: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> tuple[Code, ...]:
    if any(e.uses(result) for result in (1, 2, 3)):
        raise CaptureError("embedding_bag: what it keeps for its gradient is used")
    padded = padding_idx is not None and (padding_idx >= 0 or "padding_idx" in str(e.node.target))
    bags = e.runtime(
        "embedding_bag",
        weight,
        index if index.ndim == 1 else method(index, "flatten"),
        offsets,
        mode=MODES[mode],
        per_sample_weights=per_sample_weights,
        include_last_offset=True if include_last_offset else None,
        padding_idx=e.literal(padding_idx % weight.shape[0], "padding_idx") if padded else None,  # type: ignore[operator]
    )
    return bags, as_code(None), as_code(None), as_code(None)
