"""Checkpoints for tests: of a small port that uses most of what ports may declare, and seeded ones of real ports."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from held import loaded
from pydantic import Field
from safetensors.numpy import save

import pytorch_to_mlx
from pytorch_to_mlx import registry
from pytorch_to_mlx.components.s3_tokenizer import S3TokenizerConfig, S3TokenizerModel
from pytorch_to_mlx.models.crepe.port import PORT as CREPE
from pytorch_to_mlx.models.s3_tokenizer.port import PORT as S3_TOKENIZER
from pytorch_to_mlx.port import Part, Port, Reference, Variant
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy
from pytorch_to_mlx.weights import Drop, FoldWeightNorm, Rename, Split, WeightMap

Tensors = dict[str, np.ndarray]
WIDTH, INPUTS = 32, 4


@dataclass(frozen=True)
class ToyConfig:
    """A count that drives a loop is bounded, as in every port: config.json comes from strangers."""

    inputs: int
    width: int
    layers: Annotated[int, Field(ge=1, le=100)]


class Toy(nn.Module):
    """(batch, steps, inputs) to (batch, steps, width)."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.stem = nn.Conv1d(config.inputs, config.width, 3, padding=1)
        self.layers = [nn.Linear(config.width, config.width) for _ in range(config.layers)]
        self.left = nn.Linear(config.width, config.width, bias=False)
        self.right = nn.Linear(config.width, config.width, bias=False)
        self.norm = nn.LayerNorm(config.width)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.stem(x)
        for layer in self.layers:
            x = nn.relu(layer(x))
        return self.norm(self.left(x) * self.right(x))


@dataclass(frozen=True)
class ToyModel:
    """What `load` returns: the network, what it was built from, and where it was."""

    network: Toy
    config: ToyConfig
    folder: Path

    def run(self) -> np.ndarray:
        """The network's output for a fixed input."""
        x = mx.linspace(-1, 1, 2 * 5 * self.config.inputs).reshape(2, 5, self.config.inputs)
        return np.array(self.network(x).astype(mx.float32))


TOY_WEIGHTS = WeightMap(
    FoldWeightNorm("stem", "stem.weight", "OIK->OKI"),
    Rename("stem.bias", "stem.bias"),
    Rename("blocks.{n:d}.{leaf}", "layers.{n}.{leaf}"),
    Split("gates.weight", ("left.weight", "right.weight")),
    Rename("norm.{leaf}", "norm.{leaf}"),
    Drop("steps", "counts training steps", count=1),
)
TOY_FILES = ("toy.safetensors", "toy.pt", "model.safetensors", "model.safetensors.index.json")


def _toy_variant(name: str, layers: int) -> Variant:
    signature = {"gates.weight": (2 * WIDTH, WIDTH), f"blocks.{layers - 1}.bias": (WIDTH,)}
    part = Part(TOY_FILES, signature, TOY_WEIGHTS)
    return Variant(name, f"{layers} layers", "MIT", ToyConfig(INPUTS, WIDTH, layers), (part,), "acme/toy")


def toy_port(**changes: Any) -> Port:
    """The port "toy": variants "small" (2 layers) and "deep" (3), whose checkpoint fits the signature of both."""
    declared = {
        "name": "toy",
        "summary": "a network for tests",
        "task": "nothing",
        "variants": {name: _toy_variant(name, layers) for name, layers in {"small": 2, "deep": 3}.items()},
        "config_type": ToyConfig,
        "build": Toy,
        "model": ToyModel,
        "quantization": QuantizationPolicy(
            quantize=(Choice("layers[.][0-9]+", "most of the weights"),),
            never=(Choice("left|right", "gates are delicate"),),
        ),
        "reference": Reference("toy.py", "none", {}),
    }
    return Port(**{**declared, **changes})


def add_toy() -> None:
    """Make "toy" known. Ports stay registered for the rest of the process; the toy's tensors are no other port's."""
    registry.add(toy_port())


def toy_tensors(layers: int = 2) -> Tensors:
    """A state dict of the toy under upstream's names."""
    shapes = {
        "stem.weight_g": (WIDTH, 1, 1),
        "stem.weight_v": (WIDTH, INPUTS, 3),
        "stem.bias": (WIDTH,),
        **{f"blocks.{n}.{leaf}": shape for n in range(layers) for leaf, shape in _LINEAR.items()},
        "gates.weight": (2 * WIDTH, WIDTH),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    return {**SEED.weights(shapes, seed=1), "steps": np.array(7, np.int64)}


_LINEAR = {"weight": (WIDTH, WIDTH), "bias": (WIDTH,)}


# Real ports, of seeded weights


def _load_reference(name: str) -> ModuleType:
    """A file of references/ that needs numpy alone; no package holds it, since scripts run it in other environments."""
    path = Path(*pytorch_to_mlx.__path__) / "references" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # others of them import it
    spec.loader.exec_module(module)
    return module


SEED = _load_reference("_seed")
WEIGHTS_25HZ = _load_reference("_qwen3_25hz_weights")
WEIGHTS_KOKORO = _load_reference("_kokoro_weights")
WEIGHTS_WHISPER = _load_reference("_whisper_weights")
NAMES_WHISPER = _load_reference("_whisper_names")


def crepe_tensors(variant: str = "tiny", seed: int = 0) -> Tensors:
    """Weights of CREPE under torchcrepe's names; the pitch moves with the input."""
    channels: tuple[int, ...] = CREPE.variants[variant].config.channels
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (before, after) in enumerate(zip((1, *channels[:-1]), channels, strict=True), start=1):
        shapes[f"conv{i}.weight"] = (after, before, 512 if i == 1 else 64, 1)
        shapes[f"conv{i}.bias"] = (after,)
        shapes |= {f"conv{i}_BN.{leaf}": (after,) for leaf in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"conv{i}_BN.num_batches_tracked"] = ()
    shapes |= {"classifier.weight": (360, 4 * channels[-1]), "classifier.bias": (360,)}
    return SEED.crepe_weights(shapes, seed)


def voice_encoder_tensors(seed: int = 0) -> Tensors:
    """Weights of the voice encoder under Chatterbox's names; different voices give different embeddings."""
    shapes: dict[str, tuple[int, ...]] = {"similarity_weight": (1,), "similarity_bias": (1,)}
    for n in range(3):
        shapes[f"lstm.weight_ih_l{n}"] = (1024, 256 if n else 40)
        shapes[f"lstm.weight_hh_l{n}"] = (1024, 256)
        shapes |= {f"lstm.bias_{what}_l{n}": (1024,) for what in ("ih", "hh")}
    shapes |= {"proj.weight": (256, 256), "proj.bias": (256,)}
    return SEED.voice_encoder_weights(shapes, seed)


def perth_tensors(seed: int = 0) -> Tensors:
    """Weights of the watermarker under the names of the file that resemble-perth ships."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in ("encoder.layers", *(f"decoder.{speed}_layers" for speed in ("slow", "normal", "fast"))):
        last = 128 if path.startswith("encoder") else 2
        sizes = [(256, 128, 1), *[(256, 256, 7)] * 5, (last, 256, 1)]
        for n, shape in enumerate(sizes):
            shapes |= {f"{path}.{n}.conv.weight": shape, f"{path}.{n}.conv.bias": shape[:1]}
    computed = {"spectrogram.window": (2048,), "inv_spectrogram.window": (2048,), "stretch.phase_advance": (1025, 1)}
    state = SEED.perth_weights(shapes, seed) | {f"ap.{name}": np.zeros(s, np.float32) for name, s in computed.items()}
    return {f"model.{name}": array for name, array in state.items()}


def s3_tokenizer_tensors(config: S3TokenizerConfig, seed: int = 0) -> Tensors:
    """Weights of an S3 tokenizer of any size under the names of s3tokenizer's file; tokens move with the input."""
    state = config.state
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        shapes.update({f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})

    for n, inputs in ((1, 128), (2, state)):
        shapes |= {f"encoder.conv{n}.weight": (state, inputs, 3), f"encoder.conv{n}.bias": (state,)}
    for n in range(config.layers):
        block = f"encoder.blocks.{n}"
        for name in ("query", "key", "value", "out"):
            linear(f"{block}.attn.{name}", state, state)
        del shapes[f"{block}.attn.key.bias"]
        linear(f"{block}.mlp.0", 4 * state, state)
        linear(f"{block}.mlp.2", state, 4 * state)
        shapes |= {f"{block}.{norm}.{leaf}": (state,) for norm in ("attn_ln", "mlp_ln") for leaf in ("weight", "bias")}
        if config.version == "v2":
            shapes[f"{block}.attn.fsmn_block.weight"] = (state, 1, 31)
    if config.version == "v2":
        linear("quantizer._codebook.project_down", 8, state)
    else:
        shapes["encoder.positional_embedding"] = (1500, state)
        shapes["quantizer._codebook.embed"] = (config.codebook, state)
    return SEED.s3_tokenizer_weights(shapes, seed)


def small_s3_tokenizer(variant: str) -> S3TokenizerModel:
    """The network of small recordings, whose sizes no variant has."""
    port, full = S3_TOKENIZER, S3_TOKENIZER.variants[variant]
    config = replace(full.config, state=128, heads=2, layers=2)
    config = config if config.version == "v2" else replace(config, codebook=512)
    network = loaded(port.build(config), full.parts[0].weights, s3_tokenizer_tensors(config))
    return port.model(network, config, Path())


def resemblyzer_tree(chatterbox: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Chatterbox's voice encoder as Resemblyzer's file nests it: names of its own, beside the state of an optimizer."""
    state = {name.replace("proj.", "linear."): array for name, array in chatterbox.items()}
    moments = {
        i: {"step": 9, "exp_avg": array * 0, "exp_avg_sq": array * 0 + 1} for i, array in enumerate(state.values())
    }
    groups = [{"lr": 1e-4, "betas": (0.9, 0.999), "params": list(moments)}]
    return {"step": 9, "model_state": state, "optimizer_state": {"state": moments, "param_groups": groups}}


# Files


def safetensors_file(path: Path, tensors: Tensors) -> Path:
    """One file; tensors lie in it in the order of the library's choice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(tensors))
    return path


def sparse_safetensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """A file of float32 zeros that takes no space on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


def sharded_files(folder: Path, tensors: Tensors, count: int = 3) -> Path:
    """Shards and their index, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    weight_map: dict[str, str] = {}
    for number in range(count):
        held = {name: tensors[name] for name in list(tensors)[number::count]}
        file = safetensors_file(folder / f"model-{number + 1:05}-of-{count:05}.safetensors", held)
        weight_map |= dict.fromkeys(held, file.name)
    total = sum(array.nbytes for array in tensors.values())
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    return index


def torch_file(path: Path, tree: Any, *, old: bool = False) -> Path:
    """A tree of containers and arrays as `torch.save` writes it, today or before 1.6."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(_to_torch(tree), path, _use_new_zipfile_serialization=not old)
    return path


def _to_torch(tree: Any) -> Any:
    import torch

    if isinstance(tree, np.ndarray):
        return torch.from_numpy(tree)
    if isinstance(tree, dict):
        return {key: _to_torch(value) for key, value in tree.items()}
    return tree
