"""Whisper in transformers' layout as openai-whisper's class: their tensors under OpenAI's names."""

import json
from pathlib import Path
from typing import Any

import torch
import whisper
from _whisper_names import renamed
from safetensors.torch import load_file
from whisper.model import ModelDimensions, Whisper

SIZES = {
    "n_mels": "num_mel_bins",
    "n_audio_ctx": "max_source_positions",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers",
    "n_vocab": "vocab_size",
    "n_text_ctx": "max_target_positions",
    "n_text_state": "d_model",
    "n_text_head": "decoder_attention_heads",
    "n_text_layer": "decoder_layers",
}
"""Theirs, by OpenAI's."""
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def originals(folder: Path) -> list[Path]:
    """What is read of a folder: weights first."""
    for name in WEIGHTS:
        index = folder / f"{name}.index.json"
        if index.exists():
            shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            return [*(folder / shard for shard in shards), *_settings(folder)]
        if (folder / name).exists():
            return [folder / name, *_settings(folder)]
    raise SystemExit(f"{folder}: there is none of {', '.join(WEIGHTS)}")


def _settings(folder: Path) -> list[Path]:
    return [path for name in ("config.json", "generation_config.json") if (path := folder / name).exists()]


def load(folder: Path, variant: str) -> Whisper:
    """The model, with the alignment heads that the folder tells; those that upstream has for the variant, or its
    default, where it tells none."""
    config = json.loads((folder / "config.json").read_text())
    model = Whisper(ModelDimensions(**{own: config[theirs] for own, theirs in SIZES.items()}))
    found: dict[str, Any] = {}
    for path in originals(folder):
        if path.suffix != ".json":
            found |= load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    names = {own: renamed(own) for own in model.state_dict()}
    if missing := sorted(set(names.values()) - found.keys()):
        raise SystemExit(f"{folder}: tensors missing: {', '.join(missing[:5])}")
    model.load_state_dict({own: found[theirs].float() for own, theirs in names.items()})
    told = folder / "generation_config.json"
    heads = json.loads(told.read_text()).get("alignment_heads") if told.exists() else None
    if heads and all(i < len(model.decoder.blocks) and j < model.dims.n_text_head for i, j in heads):
        mask = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
        mask[tuple(zip(*heads, strict=True))] = True
        model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
    elif variant in whisper._ALIGNMENT_HEADS:
        model.set_alignment_heads(whisper._ALIGNMENT_HEADS[variant])
    return model.eval()
