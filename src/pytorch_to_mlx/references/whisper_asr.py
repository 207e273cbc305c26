"""Whisper as openai-whisper 20250625 has it. Cases and taps are told in _whisper.py.

A checkpoint is OpenAI's file, `tiny.pt` and so on, or a folder in transformers' layout.
"""

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import _whisper
import _whisper_folder
import torch
import whisper
from _recording import Case, Recording, arguments
from _whisper_weights import weights
from whisper.model import ModelDimensions, Whisper

PACKAGES = ("openai-whisper", "tiktoken", "torch", "numpy")
SIZES = {"tiny": (384, 4), "base": (512, 6), "small": (768, 12), "medium": (1024, 24), "large": (1280, 32)}
VOCABULARY = {"en": 51864, "": 51865, "3": 51866}
VARIANTS = (
    *(f"{size}{suffix}" for size in ("tiny", "base", "small", "medium") for suffix in ("", ".en")),
    "large-v1",
    "large-v2",
    "large-v3",
    "large-v3-turbo",
)
FOLDERS = ("distil-small.en", "distil-medium.en", "distil-large-v2", "distil-large-v3", "other", "other.en")
"""Variants that OpenAI has no files of."""
SMALL = ModelDimensions(
    n_mels=80, n_audio_ctx=30, n_audio_state=64, n_audio_head=2, n_audio_layer=2,
    n_vocab=51865, n_text_ctx=448, n_text_state=64, n_text_head=2, n_text_layer=2,
)  # fmt: skip


def dimensions(variant: str) -> ModelDimensions:
    """As published."""
    size, _, rest = variant.replace(".", "-").partition("-")
    state, layers = SIZES[size]
    third = rest.startswith("v3")
    vocabulary = VOCABULARY["en" if rest == "en" else "3" if third else ""]
    text_layers = 4 if rest.endswith("turbo") else layers
    heads = state // 64
    return ModelDimensions(128 if third else 80, 1500, state, heads, layers, vocabulary, 448, state, heads, text_layers)


def shapes(dims: ModelDimensions) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in Whisper(dims).state_dict().items()}


def export(variant: str, path: Path, seed: int) -> None:
    """Writes a seeded checkpoint in OpenAI's format, which is half precision."""
    dims = dimensions(variant)
    state = {name: torch.from_numpy(array).half() for name, array in weights(shapes(dims), seed).items()}
    torch.save({"dims": vars(dims), "model_state_dict": state}, path)


def load(variant: str, path: Path) -> Whisper:
    """Upstream's model of a file, with the alignment heads that it would have loaded by its name; or of a folder."""
    if path.is_dir():
        return _whisper_folder.load(path, variant)
    model = whisper.load_model(str(path), device="cpu")
    model.set_alignment_heads(whisper._ALIGNMENT_HEADS[variant])
    return model.float().eval()


def small(seed: int) -> Whisper:
    model = Whisper(SMALL)
    drawn: dict[str, Any] = {name: torch.from_numpy(array) for name, array in weights(shapes(SMALL), seed).items()}
    model.load_state_dict(drawn)
    return model.eval()


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    args = arguments(__doc__, (*VARIANTS, *FOLDERS))
    if args.verb == "export":
        if args.variant in FOLDERS:
            raise SystemExit(f"{args.variant}: seeded files are written of {', '.join(VARIANTS)}")
        return export(args.variant, args.out, args.seed)
    with tempfile.TemporaryDirectory() as room:
        path = args.checkpoint or Path(room) / f"{args.variant}.pt"
        if args.small:
            model, dims = small(args.seed), SMALL
        else:
            if args.checkpoint is None:
                export(args.variant, path, args.seed)
            model = load(args.variant, path)
            dims = model.dims
        files = [] if args.checkpoint is None else _whisper_folder.originals(path) if path.is_dir() else [path]
        recording = Recording("whisper", args.variant, files, PACKAGES, args.seed)
        if args.small:
            recording.describe(shapes(SMALL), {"dims": vars(dims)})
        cases = [Case.read(each, args.seconds) for each in args.audio]
        _whisper.record(recording, model, cases, small=args.small)
    if args.small:
        recording.shrink()
    recording.save(args.out)


if __name__ == "__main__":
    main()
