"""A checkpoint in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pytorch_to_mlx.port import parameter_shapes
from pytorch_to_mlx.weights import TensorSpec, WeightMap

Network = TypeVar("Network", bound=nn.Module)


class Held(dict[str, np.ndarray]):
    """Tensors as a checkpoint that is open."""

    @classmethod
    def empty(cls, shapes: Mapping[str, tuple[int, ...]]) -> Held:
        """Tensors of these shapes, which take no memory."""
        return cls({name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()})

    def info(self, name: str) -> TensorSpec:
        return TensorSpec(name, self[name].shape, str(self[name].dtype))

    def read(self, name: str) -> np.ndarray:
        return self[name]


def loaded(network: Network, weight_map: WeightMap, tensors: Mapping[str, np.ndarray]) -> Network:
    """The network with a checkpoint's weights."""
    held = Held(tensors)
    plan = weight_map.plan(held, parameter_shapes(network))
    network.load_weights([(name, mx.array(np.ascontiguousarray(array))) for name, array in plan.apply(held)])
    network.eval()
    return network
