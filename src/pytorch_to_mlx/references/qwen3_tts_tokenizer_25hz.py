"""The 25 Hz tokenizer of Qwen3-TTS as qwen-tts 0.1.1 has it.

Cases and taps of single networks are those of _qwen3_25hz.py. Of a recording, at its own rate:

    resampled    (samples,)       at 16 kHz, as upstream's Qwen3TTSTokenizer has it
    distances    (T, vectors)
    codes        (T,)
    ref_mel      (frames, 80)
    wav          (1, samples)     of those codes, with a drawn vector in place of CAM++'s

Upstream's package has no settings of a published checkpoint: sizes are its defaults. `25hz-reduced` has narrower and
fewer layers, small recordings are of smaller ones. A checkpoint is a folder as upstream's repository has it, but for
`campplus.onnx`.
"""

import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _qwen3_25hz
import _seed
import numpy as np
import torch
from _qwen3_25hz_weights import weights
from _recording import Case, Recording, arguments, numpy, observed
from qwen_tts import Qwen3TTSTokenizer
from qwen_tts.core import Qwen3TTSTokenizerV1Config, Qwen3TTSTokenizerV1Model
from safetensors.torch import load_file, save_file
from transformers import EncodecFeatureExtractor

PACKAGES = ("qwen-tts", "transformers", "torch", "torchaudio", "librosa", "soxr", "numpy")
VARIANTS = ("25hz",)
REDUCED = ("25hz-reduced",)
FRONT_END = {"feature_size": 1, "sampling_rate": 16000}
RATES = {"input_sample_rate": 16000, "encode_downsample_rate": 640, "decode_upsample_rate": 960}
"""What upstream's defaults, which are the 12 Hz tokenizer's, contradict: it encodes 640 samples at 16 kHz as one code,
and vocodes a code as 960 at 24 kHz if it stands for four frames. The decoder's default knows a quarter of the codes."""
FULL = {**RATES, "decoder_config": {"dit_config": {"repeats": 4, "num_embeds": 32769}}}
SIZES = {
    "25hz": FULL,
    "25hz-reduced": {
        **RATES,
        "encoder_config": {
            "n_state": 256,
            "n_head": 4,
            "n_layer": 7,
            "output_dim": 64,
            "audio_vq_codebook_size": 4096,
            "audio_vq_codebook_dim": 256,
        },
        "decoder_config": {
            "dit_config": {
                "hidden_size": 256,
                "num_hidden_layers": 5,
                "num_attention_heads": 4,
                "emb_dim": 128,
                "look_ahead_layers": [2],
                "look_backward_layers": [0, 3],
                "repeats": 4,
                "num_embeds": 4097,
                "enc_channels": [64, 64, 64, 64, 192],
            },
            "bigvgan_config": {"upsample_initial_channel": 192},
        },
    },
}
SMALL = {
    **RATES,
    "encoder_config": {
        "n_state": 64,
        "n_head": 2,
        "n_layer": 7,
        "n_window": 10,
        "output_dim": 16,
        "audio_vq_codebook_size": 128,
        "audio_vq_codebook_dim": 64,
    },
    "decoder_config": {
        "dit_config": {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "head_dim": 16,
            "emb_dim": 16,
            "block_size": 8,
            "look_ahead_layers": [1],
            "look_backward_layers": [0],
            "repeats": 4,
            "num_embeds": 129,
            "enc_dim": 16,
            "enc_channels": [16, 16, 16, 16, 48],
            "enc_attention_channels": 8,
            "enc_se_channels": 8,
        },
        "bigvgan_config": {
            "upsample_initial_channel": 32,
            "upsample_rates": [15, 4, 4],
            "upsample_kernel_sizes": [31, 8, 8],
            "resblock_kernel_sizes": [3, 7],
            "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]],
        },
    },
}


def make(sizes: dict[str, Any]) -> torch.nn.Module:
    """Upstream's tokenizer; what sizes leave out is its default."""
    return Qwen3TTSTokenizerV1Model(Qwen3TTSTokenizerV1Config(**sizes)).eval()


def draw(network: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Seeded weights by the network's names."""
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return {name: torch.from_numpy(array) for name, array in weights(shapes, seed).items()}


def export(variant: str, folder: Path, seed: int) -> None:
    """Writes a seeded checkpoint, a folder as the repository is but for CAM++."""
    folder.mkdir(parents=True, exist_ok=True)
    config = Qwen3TTSTokenizerV1Config(**SIZES[variant])
    with torch.device("meta"):
        network = Qwen3TTSTokenizerV1Model(config)
    save_file(draw(network, seed), folder / "model.safetensors", {"format": "pt"})
    config.architectures = ["Qwen3TTSTokenizerV1Model"]
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2))
    EncodecFeatureExtractor(**FRONT_END).save_pretrained(folder)


def load(folder: Path) -> Qwen3TTSTokenizer:
    """Upstream's tokenizer of a folder. Its own loader insists on `campplus.onnx`."""
    tokenizer = Qwen3TTSTokenizer()
    config = Qwen3TTSTokenizerV1Config(**json.loads((folder / "config.json").read_text()))
    tokenizer.model = Qwen3TTSTokenizerV1Model(config).eval()
    tokenizer.model.load_state_dict(load_file(folder / "model.safetensors"))
    tokenizer.feature_extractor = EncodecFeatureExtractor.from_pretrained(folder)
    tokenizer.device = torch.device("cpu")
    return tokenizer


def record_recordings(recording: Recording, tokenizer: Qwen3TTSTokenizer, cases: Sequence[Case]) -> None:
    """Adds each case: from a recording to codes and back."""
    model = tokenizer.model
    for case in cases:
        seen: list[np.ndarray] = []
        model.encoder_xvector_extractor = _Extractor()
        with observed(model, "encode", lambda result, samples, *rest: seen.append(numpy(samples[0]))):  # noqa: B023
            encoded = tokenizer.encode(case.wav, sr=case.rate)
        again = _qwen3_25hz.encode(model.encoder, seen[0], blocks=False)
        codes = numpy(encoded.audio_codes[0])
        assert np.array_equal(again["codes"], codes)
        inputs = {"codes": codes, "xvector": numpy(encoded.xvectors[0]), "ref_mel": numpy(encoded.ref_mels[0])}
        z = _qwen3_25hz.noise(model.decoder.dit, case.name, len(codes))
        taps = {"resampled": seen[0], "distances": again["distances"], "codes": codes, "ref_mel": inputs["ref_mel"]}
        taps["wav"] = _qwen3_25hz.decode(model, inputs, z)
        exact = {"ref_mel": _qwen3_25hz.heard_exactly(seen[0])["ref_mel"]}
        given = case.inputs | {"xvector": inputs["xvector"]}
        recording.add(case.name, inputs=given, noise={"flow": z[0]}, taps=taps, exact=exact, alive={})


class _Extractor:
    """In place of upstream's: its own spectrum, and a drawn vector."""

    def extract_code(self, wav: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        vector = _seed.generator(0, "25hz.voice").standard_normal(_qwen3_25hz.XVECTOR)
        return np.float32(vector / np.linalg.norm(vector)), _qwen3_25hz.hear(wav)["ref_mel"]


def main() -> None:
    args = arguments(__doc__, [*VARIANTS, *REDUCED])
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if args.verb == "export":
        return export(args.variant, args.out, args.seed)
    if args.small:
        network = make(SMALL)
        drawn = draw(network, args.seed)
        network.load_state_dict(drawn)
        recording = Recording("qwen3_tts_tokenizer_25hz", args.variant, [], PACKAGES, args.seed)
        told = {"model_type": network.config.model_type, **SMALL}
        settings = {"config.json": told, "preprocessor_config.json": EncodecFeatureExtractor(**FRONT_END).to_dict()}
        recording.describe({name: tuple(tensor.shape) for name, tensor in drawn.items()}, settings)
        _qwen3_25hz.record(recording, network, small=True)
        recording.shrink()
        return recording.save(args.out)
    cases = [Case.read(path, args.seconds) for path in args.audio]
    with tempfile.TemporaryDirectory() as room:
        folder = args.checkpoint
        if folder is None:
            folder = Path(room)
            export(args.variant, folder, args.seed)
        tokenizer = load(folder)
        originals = [folder / name for name in ("model.safetensors", "config.json")]
        recording = Recording("qwen3_tts_tokenizer_25hz", args.variant, originals, PACKAGES, args.seed)
        _qwen3_25hz.record(recording, tokenizer.model, small=False)
        record_recordings(recording, tokenizer, cases)
    recording.save(args.out)


if __name__ == "__main__":
    main()
