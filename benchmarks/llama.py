"""The benchmark's own port: a Llama's parameters under their upstream names. It is converted and loaded, never run."""

from __future__ import annotations

import mlx.nn as nn
from synthetic import LlamaShape

from pytorch_to_mlx.port import Part, Port, Reference, Variant
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy
from pytorch_to_mlx.weights import Rename, WeightMap

FILES = tuple(f"{name}.index.json" for name in ("model.safetensors", "pytorch_model.bin"))


class Llama(nn.Module):
    """Modules that are built from the tensors' names: two axes make a linear layer, one a norm."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.layers = [nn.Module() for _ in range(shape.num_hidden_layers)]
        for name, sizes in shape.tensors().items():
            *parents, leaf, _ = name.split(".")
            parent = self
            for part in parents:
                if isinstance(parent, list):
                    parent = parent[int(part)]
                else:
                    if part not in parent:
                        parent[part] = nn.Module()
                    parent = parent[part]
            parent[leaf] = _module(leaf, sizes)


def _module(leaf: str, sizes: tuple[int, ...]) -> nn.Module:
    if len(sizes) == 1:
        return nn.RMSNorm(*sizes)
    if leaf == "embed_tokens":
        return nn.Embedding(*sizes)
    return nn.Linear(sizes[1], sizes[0], bias=False)


def port(shape: LlamaShape) -> Port:
    """The port for a checkpoint of this shape; what it quantizes is what mlx_lm.convert -q does."""
    tensors = shape.tensors()
    signature = {name: tensors[name] for name in ("model.embed_tokens.weight", "model.norm.weight")}
    weights = WeightMap(Rename("{name*}", "{name*}"))
    variant = Variant(
        "synthetic", f"{shape.num_hidden_layers} layers", "CC0-1.0", shape, (Part(FILES, signature, weights),)
    )
    return Port(
        name="benchmark_llama",
        summary="a Llama's parameters",
        task="benchmark",
        variants={variant.name: variant},
        config_type=LlamaShape,
        build=Llama,
        model=lambda network, config, folder: network,
        quantization=QuantizationPolicy(quantize=(Choice(".*", "as mlx_lm.convert does"),)),
        reference=Reference(script="", upstream="none", stages={}),
    )
