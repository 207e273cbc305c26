"""Small Qwen3-TTS models of seeded weights, as small recordings describe them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.nn as nn
from described import described, tensors, write_source
from held import loaded
from small_ports import safetensors_file
from text_files import write_qwen2

from pytorch_to_mlx.components.ecapa import SpeakerEncoder
from pytorch_to_mlx.models.qwen3_tts.config import from_json
from pytorch_to_mlx.models.qwen3_tts.talker import Talker
from pytorch_to_mlx.models.qwen3_tts.weights import WITH_VOICES, WITHOUT_VOICES

CODEC = "qwen3_tts_tokenizer-12hz"


def small_networks(golden: str) -> Any:
    """What a small recording is of: the talker and, of base models, the speaker encoder."""
    sizes = {"encoder_config": {"codebook_size": 64}, "decoder_config": {"codebook_size": 64}}
    config = from_json(described(golden)["settings"]["config.json"], {}, sizes, {})
    network = nn.Module()
    network.talker = Talker(config.talker)
    if config.speaker_encoder is not None:
        network.speaker_encoder = SpeakerEncoder(config.speaker_encoder)
    weights = WITHOUT_VOICES if config.speaker_encoder is None else WITH_VOICES
    return SimpleNamespace(network=loaded(network, weights, tensors(golden)))


def write_model(golden: str, folder: Path, **changes: Any) -> Path:
    """The folder that upstream would load, codec and tokenizer within; `changes` are of config.json."""
    write_source(CODEC, folder / "speech_tokenizer")
    told = described(golden)["settings"]["config.json"] | changes
    (folder / "config.json").write_text(json.dumps(told))
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": True, "temperature": 0.8}))
    safetensors_file(folder / "model.safetensors", tensors(golden))
    write_qwen2(folder)
    return folder
