"""The codecs of Qwen3-TTS as qwen-tts 0.1.1 has them.

Cases and taps of `encode/...` and `decode/...` are those of _qwen3_codec.py. Of a recording, at its own rate:

    resampled    (samples,)       at 24 kHz, as upstream's Qwen3TTSTokenizer has it
    distances    (16 T, vectors)
    codes        (1, T, 16)
    wav          (1920 T,)        of those codes

Small recordings are of small networks. A checkpoint is a folder as upstream's repository has it.
"""

import functools
import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _qwen3_codec
import _seed
import numpy as np
import torch
from _recording import Case, Recording, Taps, arguments, numpy, observed
from qwen_tts import Qwen3TTSTokenizer
from qwen_tts.core import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model
from safetensors.torch import save_file
from transformers import EncodecFeatureExtractor

PACKAGES = ("qwen-tts", "transformers", "torch", "librosa", "soxr", "numpy")
VARIANTS = ("12hz",)
FRONT_END = {"feature_size": 1, "sampling_rate": 24000}

PUBLISHED = {"decoder_config": {"codebook_dim": 512, "head_dim": 64, "hidden_size": 512, "intermediate_size": 1024}}
SMALL = {
    "encoder_config": {
        "hidden_size": 32,
        "num_filters": 4,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 64,
        "codebook_size": 64,
        "codebook_dim": 16,
        "vector_quantization_hidden_dimension": 16,
        "upsample_groups": 32,
    },
    "decoder_config": {
        "num_hidden_layers": 2,
        "decoder_dim": 64,
        "latent_dim": 32,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "codebook_dim": 32,
        "codebook_size": 64,
        "sliding_window": 4,
    },
}


def make(sizes: dict[str, Any]) -> torch.nn.Module:
    """Upstream's codec; what sizes leave out is its default."""
    return Qwen3TTSTokenizerV2Model(Qwen3TTSTokenizerV2Config(**sizes)).eval()


def draw(network: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Seeded weights by the network's names."""
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return {name: torch.from_numpy(array) for name, array in _seed.qwen3_codec_weights(shapes, seed).items()}


def export(folder: Path, seed: int) -> None:
    """Writes a seeded checkpoint, a folder as the repository is."""
    folder.mkdir(parents=True, exist_ok=True)
    config = Qwen3TTSTokenizerV2Config(**PUBLISHED)
    with torch.device("meta"):
        network = Qwen3TTSTokenizerV2Model(config)
    save_file(draw(network, seed), folder / "model.safetensors", {"format": "pt"})
    config.architectures = ["Qwen3TTSTokenizerV2Model"]
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2))
    EncodecFeatureExtractor(**FRONT_END).save_pretrained(folder)


def record_recordings(recording: Recording, tokenizer: Qwen3TTSTokenizer, cases: Sequence[Case]) -> None:
    """Adds each case: from a recording to codes and back."""
    for case in cases:
        seen: Taps = {}
        with observed(tokenizer.model, "encode", functools.partial(_keep, seen)):
            (codes,) = tokenizer.encode(case.wav, sr=case.rate).audio_codes
        again = _qwen3_codec.encode(tokenizer.model, seen["resampled"], ["downsample"])
        assert np.array_equal(again["codes"][0], codes.numpy())
        wav = _qwen3_codec.decode(tokenizer.model.decoder, codes.numpy(), [])["wav"][0]
        taps = seen | {"distances": again["distances"], "codes": again["codes"], "wav": wav}
        recording.add(case.name, inputs=case.inputs, taps=taps, alive={})


def _keep(seen: Taps, result: Any, samples: torch.Tensor, *rest: Any) -> None:
    seen["resampled"] = numpy(samples[0])


def main() -> None:
    args = arguments(__doc__, list(VARIANTS))
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if args.verb == "export":
        return export(args.out, args.seed)
    if args.small:
        network = make(SMALL)
        drawn = draw(network, args.seed)
        network.load_state_dict(drawn)
        recording = Recording("qwen3_tts_tokenizer", args.variant, [], PACKAGES, args.seed)
        told = {"model_type": network.config.model_type, **SMALL}
        settings = {"config.json": told, "preprocessor_config.json": EncodecFeatureExtractor(**FRONT_END).to_dict()}
        recording.describe({name: tuple(tensor.shape) for name, tensor in drawn.items()}, settings)
        _qwen3_codec.record(recording, network, small=True)
        recording.shrink()
        return recording.save(args.out)
    cases = [Case.read(path, args.seconds) for path in args.audio]
    with tempfile.TemporaryDirectory() as room:
        folder = args.checkpoint
        if folder is None:
            folder = Path(room)
            export(folder, args.seed)
        tokenizer = Qwen3TTSTokenizer.from_pretrained(str(folder))
        originals = [folder / name for name in ("model.safetensors", "config.json")]
        recording = Recording("qwen3_tts_tokenizer", args.variant, originals, PACKAGES, args.seed)
        _qwen3_codec.record(recording, tokenizer.model.eval(), small=False)
        record_recordings(recording, tokenizer, cases)
    recording.save(args.out)


if __name__ == "__main__":
    main()
