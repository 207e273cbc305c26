"""A checkpoint in the shape and with the names of a Llama: bfloat16, several shards, as safetensors or as .bin.

    python synthetic.py FOLDER SHAPE safetensors|bin

with SHAPE a LlamaShape in JSON.
It runs in a process of its own, because it needs torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

SHARD_BYTES = 1_500_000_000
VALUES = (1 << 22) - 1  # drawn once and repeated; odd, so that the rows of a tensor differ


@dataclass(frozen=True)
class LlamaShape:
    """The sizes of a Llama, under the names of its config.json."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int

    @classmethod
    def of(cls, size: float) -> LlamaShape:
        """Llama 2 7B with as many layers as come nearest to `size` bytes; narrower where that is fewer than two."""
        for width in (4096, 2048, 1024, 512, 256):
            shapes = [
                cls(width, -(-width * 43 // 1024) * 64, n, width // 128, width // 128, width * 125 // 16)
                for n in (1, 2)
            ]
            layer = shapes[1].bytes - shapes[0].bytes
            layers = 1 + round((size - shapes[0].bytes) / layer)
            if layers >= 2:
                break
        return replace(shapes[0], num_hidden_layers=max(1, layers))

    @classmethod
    def read(cls, folder: Path) -> LlamaShape:
        """The shape that a checkpoint's config.json tells."""
        config = json.loads((folder / "config.json").read_text())
        return cls(**{field.name: config[field.name] for field in fields(cls)})

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Every tensor's shape by name, in the order of the network."""
        width, mlp, words = self.hidden_size, self.intermediate_size, self.vocab_size
        head = width // self.num_attention_heads
        layer: dict[str, tuple[int, ...]] = {
            "self_attn.q_proj": (head * self.num_attention_heads, width),
            "self_attn.k_proj": (head * self.num_key_value_heads, width),
            "self_attn.v_proj": (head * self.num_key_value_heads, width),
            "self_attn.o_proj": (width, head * self.num_attention_heads),
            "mlp.gate_proj": (mlp, width),
            "mlp.up_proj": (mlp, width),
            "mlp.down_proj": (width, mlp),
            "input_layernorm": (width,),
            "post_attention_layernorm": (width,),
        }
        layers = {
            f"model.layers.{i}.{name}.weight": shape
            for i in range(self.num_hidden_layers)
            for name, shape in layer.items()
        }
        ends: dict[str, tuple[int, ...]] = {"model.norm.weight": (width,), "lm_head.weight": (words, width)}
        return {"model.embed_tokens.weight": (words, width), **layers, **ends}

    @property
    def bytes(self) -> int:
        """Size of all tensors."""
        return sum(2 * int(np.prod(shape)) for shape in self.tensors().values())

    @property
    def largest_bytes(self) -> int:
        """Size of the largest tensor."""
        return max(2 * int(np.prod(shape)) for shape in self.tensors().values())


def write(folder: Path, shape: LlamaShape, kind: str) -> None:
    """Write the checkpoint, with the config and the tokenizer without which mlx_lm refuses it."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    stem, suffix = {"safetensors": ("model", "safetensors"), "bin": ("pytorch_model", "bin")}[kind]
    groups = list(_shards(shape))
    weight_map: dict[str, str] = {}
    values = np.random.default_rng(0).normal(0, 0.02, VALUES).astype(np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)  # bfloat16 is the upper half of float32
    for number, group in enumerate(groups, start=1):
        file = f"{stem}-{number:05d}-of-{len(groups):05d}.{suffix}"
        tensors = {}
        for name, sizes in group.items():
            data = np.resize(np.roll(bits, len(weight_map)), sizes)
            tensors[name] = torch.from_numpy(data).view(torch.bfloat16)
            weight_map[name] = file
        if kind == "bin":
            torch.save(tensors, folder / file)
        else:
            save_file(tensors, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": shape.bytes}, "weight_map": weight_map}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    _write_company(folder, shape)


def _shards(shape: LlamaShape) -> Iterator[dict[str, tuple[int, ...]]]:
    """At least two, however small the checkpoint is."""
    room = limit = min(SHARD_BYTES, shape.bytes * 2 // 3)
    group: dict[str, tuple[int, ...]] = {}
    for name, sizes in shape.tensors().items():
        size = 2 * int(np.prod(sizes))
        if group and size > room:
            yield group
            group, room = {}, limit
        group[name] = sizes
        room -= size
    yield group


def _write_company(folder: Path, shape: LlamaShape) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **asdict(shape),
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    words = {word: number for number, word in enumerate(("<unk>", "<s>", "</s>"))}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"},
    }
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    for name, content in {"config": config, "tokenizer": tokenizer, "tokenizer_config": settings}.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    write(Path(sys.argv[1]), LlamaShape(**json.loads(sys.argv[2])), sys.argv[3])
