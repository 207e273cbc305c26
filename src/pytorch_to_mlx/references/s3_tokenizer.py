"""S3 speech tokenizers as s3tokenizer 0.3.0 has them: V1 at 50 and 25 Hz and V2.

Cases and taps are those of _s3_tokenizer.py. For recordings, `resampled` (samples,) comes before them: at 16 kHz by
torchaudio's kernel, as s3tokenizer.load_audio has it. Several channels are averaged, where that takes the first. Small
recordings are of a small network. Checkpoints are state dicts, published ONNX models or Chatterbox's S3Gen.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import _s3_onnx
import _s3_tokenizer
import _seed
import numpy as np
import onnx
import torch
import torchaudio
from _recording import Case, Recording, Taps, arguments
from _s3_tokenizer import RATE, Input
from s3tokenizer import model, model_v2
from s3tokenizer.model import S3Tokenizer
from s3tokenizer.model_v2 import S3TokenizerV2
from safetensors.torch import load_file

PACKAGES = ("s3tokenizer", "torch", "torchaudio", "numpy")

NAMES = {  # upstream tells rates by them
    "v1-50hz": "speech_tokenizer_v1",
    "v1-25hz": "speech_tokenizer_v1_25hz",
    "v2-25hz": "speech_tokenizer_v2_25hz",
}
PREFIX = "tokenizer."  # in Chatterbox's S3Gen
CONSTANTS = ("_mel_filters", "window")  # of Chatterbox's front end
SMALL = {"n_audio_state": 128, "n_audio_head": 2, "n_audio_layer": 2}
SMALL_CODEBOOK = 512


def make(variant: str, *, small: bool) -> torch.nn.Module:
    """Upstream's network, full or small. Its default configuration is one object that V2 changes: each gets its own."""
    name, sizes = NAMES[variant], SMALL if small else {}
    if variant.startswith("v2"):
        return S3TokenizerV2(name, model_v2.ModelConfig(**sizes)).eval()
    codebook = {"n_codebook_size": SMALL_CODEBOOK} if small else {}
    return S3Tokenizer(name, model.ModelConfig(**sizes, **codebook)).eval()


def load(variant: str, checkpoint: Path) -> torch.nn.Module:
    """Upstream's network from its .onnx or .pt file, or from Chatterbox's S3Gen, which holds it under a prefix."""
    network = make(variant, small=False)
    if checkpoint.suffix == ".onnx":
        network.init_from_onnx(str(checkpoint))
        return network
    tensors = (
        load_file(checkpoint)
        if checkpoint.suffix == ".safetensors"
        else torch.load(checkpoint, mmap=True, weights_only=True)
    )
    held = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
    network.load_state_dict({n: tensor for n, tensor in (held or tensors).items() if n not in CONSTANTS})
    return network


def draw(network: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Seeded weights by the network's names."""
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return {name: torch.from_numpy(array) for name, array in _seed.s3_tokenizer_weights(shapes, seed).items()}


def export(variant: str, seed: int, path: Path) -> None:
    """Writes a seeded checkpoint, as published (.onnx) or as the package saves what it makes of that."""
    with torch.device("meta"):
        network = make(variant, small=False)
    tensors = draw(network, seed)
    if variant.startswith("v1"):
        _enliven(tensors)
    if path.suffix == ".onnx":
        onnx.save(_s3_onnx.model({name: tensor.numpy() for name, tensor in tensors.items()}, variant), path)
    else:
        torch.save(tensors, path)


def _enliven(tensors: dict[str, torch.Tensor]) -> None:
    """Makes tokens of a full-size V1 vary with what is said, in place.

    What all frames have in common would choose the vectors: the mean of a rectified signal, equal in all channels once
    the second kernels add up to zero, which vectors that do so too cannot see. Sound and position outweigh the layers,
    in which small biases of queries would be lost.
    """
    conv2, embed = tensors["encoder.conv2.weight"], tensors["quantizer._codebook.embed"]
    conv2 -= conv2.mean(dim=(1, 2), keepdim=True)
    embed -= embed.mean(dim=1, keepdim=True)
    embed /= embed.norm(dim=1, keepdim=True)
    for name, tensor in tensors.items():
        if name.endswith(("attn.out.weight", "mlp.2.weight")):
            tensor *= 0.5
        elif name.endswith("query.bias"):
            tensor *= 10
    for name, gain in {"conv1.weight": 3, "conv2.weight": 2, "positional_embedding": 2}.items():
        tensors[f"encoder.{name}"] *= gain


def record(recording: Recording, network: torch.nn.Module, audio: Sequence[Case], *, small: bool) -> None:
    """Adds every case, in float32 with its floor against float64."""

    def first(case: Input, dtype: torch.dtype) -> Taps:
        return {"resampled": _resampled(case.given, dtype)} if case.given else {}

    recorded = [Input(case.name, [_resampled(case.inputs, torch.float32)], given=case.inputs) for case in audio]
    _s3_tokenizer.record_cases(recording, network, [*_s3_tokenizer.own_cases(small=small), *recorded], first=first)


def _resampled(inputs: Taps, dtype: torch.dtype) -> np.ndarray:
    samples = torch.from_numpy(inputs["wav"]).to(dtype)
    # Without a dtype its kernel is computed in float64 and rounded.
    wide = dtype if dtype == torch.float64 else None
    return torchaudio.transforms.Resample(int(inputs["rate"]), RATE, dtype=wide)(samples).numpy()


def main() -> None:
    args = arguments(__doc__, list(NAMES))
    logging.disable(logging.WARNING)
    if args.verb == "export":
        return export(args.variant, args.seed, args.out)
    if args.small:
        network = make(args.variant, small=True)
        network.load_state_dict(draw(network, args.seed))
        recording = Recording("s3_tokenizer", args.variant, [], PACKAGES, args.seed)
        record(recording, network, [], small=True)
        recording.shrink()
        return recording.save(args.out)
    audio = [Case.read(path, args.seconds) for path in args.audio]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = args.checkpoint
        if checkpoint is None:
            checkpoint = Path(folder) / f"{NAMES[args.variant]}.pt"
            export(args.variant, args.seed, checkpoint)
        recording = Recording("s3_tokenizer", args.variant, checkpoint, PACKAGES, args.seed)
        record(recording, load(args.variant, checkpoint), audio, small=False)
    recording.save(args.out)


if __name__ == "__main__":
    main()
