"""Kokoro as kokoro 0.9.4 has it. Cases and taps are told in _kokoro.py.

A checkpoint is a folder as upstream's repository has it: `config.json`, `kokoro-v1_0.pth` and `voices/*.pt`.
"""

import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import _kokoro
import numpy as np
import torch
from _kokoro_weights import VOICES, voice, weights
from _recording import Recording, arguments
from kokoro import KModel

PACKAGES = ("kokoro", "transformers", "torch", "numpy")
FILES = {"v1.0": "kokoro-v1_0.pth", "v1.1-zh": "kokoro-v1_1-zh.pth"}
PARTS = ("bert", "bert_encoder", "predictor", "text_encoder", "decoder")
SYMBOLS = {
    **{
        1: ";:,.!?",
        9: '—…"()“” \u0303ʣʥʦʨᵝꭧAI',
        31: "O",
        33: "Q",
        35: "ST",
        39: "W",
        41: "Yᵊabcdef",
        50: "hijklmnopqrstuvwxyz",
    },
    **{
        69: "ɑɐɒæ",
        75: "βɔɕç",
        80: "ɖðʤə",
        85: "ɚɛɜ",
        90: "ɟ",
        92: "ɡ",
        99: "ɥ",
        101: "ɨɪʝ",
        110: "ɯɰŋɳɲɴø",
        118: "ɸθœ",
    },
    **{123: "ɹ", 125: "ɾɻ", 128: "ʁɽʂʃʈʧ", 135: "ʊʋ", 138: "ʌɣɤ", 142: "χʎ", 147: "ʒʔ", 156: "ˈˌː", 162: "ʰ", 164: "ʲ"},
    **{169: "↓", 171: "→↗↘", 177: "ᵻ"},
}
CONFIG: dict[str, Any] = {
    "istftnet": {
        "upsample_kernel_sizes": [20, 12],
        "upsample_rates": [10, 6],
        "gen_istft_hop_size": 5,
        "gen_istft_n_fft": 20,
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
        "resblock_kernel_sizes": [3, 7, 11],
        "upsample_initial_channel": 512,
    },
    "dim_in": 64,
    "dropout": 0.2,
    "hidden_dim": 512,
    "max_conv_dim": 512,
    "max_dur": 50,
    "multispeaker": True,
    "n_layer": 3,
    "n_mels": 80,
    "n_token": 178,
    "style_dim": 128,
    "text_encoder_kernel_size": 5,
    "plbert": {
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 2048,
        "max_position_embeddings": 512,
        "num_hidden_layers": 12,
        "dropout": 0.1,
    },
    "vocab": {symbol: first + i for first, symbols in SYMBOLS.items() for i, symbol in enumerate(symbols)},
}
SMALL = CONFIG | {
    "n_layer": 1,
    "plbert": CONFIG["plbert"]
    | {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128, "num_hidden_layers": 2},
}
"""Upstream's code knows no other sizes of the rest."""


def make(config: dict[str, Any], checkpoint: Path) -> KModel:
    """Upstream's model; it insists on a file."""
    return KModel(repo_id="hexgrad/Kokoro-82M", config=config, model=str(checkpoint)).eval()


def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of the published file: without the affine parts of instance norms, which upstream has but never trained."""
    with tempfile.TemporaryDirectory() as room:
        empty = Path(room) / "empty.pth"
        torch.save({}, empty)
        model = make(config, empty)
    affine = {
        f"{name}.{leaf}"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.InstanceNorm1d)
        for leaf in ("weight", "bias")
    }
    return {
        f"{part}.{name}": tuple(tensor.shape)
        for part in PARTS
        for name, tensor in getattr(model, part).state_dict().items()
        if f"{part}.{name}" not in affine
    }


def export(variant: str, folder: Path, seed: int, config: dict[str, Any] = CONFIG) -> None:
    """Writes a seeded checkpoint."""
    (folder / "voices").mkdir(parents=True, exist_ok=True)
    drawn = weights(shapes(config), seed)
    state = {
        part: {
            f"module.{name.removeprefix(f'{part}.')}": torch.from_numpy(array)
            for name, array in drawn.items()
            if name.startswith(f"{part}.")
        }
        for part in PARTS
    }
    torch.save(state, folder / FILES[variant])
    (folder / "config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2), encoding="utf-8")
    for name in VOICES:
        torch.save(torch.from_numpy(voice(name, seed)), folder / "voices" / f"{name}.pt")


def load(variant: str, folder: Path) -> tuple[KModel, dict[str, np.ndarray]]:
    """Upstream's model of a folder, and its voices by name."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    found = sorted((folder / "voices").glob("*.pt"))
    voices = {path.stem: torch.load(path, weights_only=True).numpy() for path in found}
    return make(config, folder / FILES[variant]), voices


def main() -> None:
    args = arguments(__doc__, list(FILES))
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if args.verb == "export":
        return export(args.variant, args.out, args.seed)
    if args.audio:
        raise SystemExit("kokoro hears nothing: leave out --audio")
    with tempfile.TemporaryDirectory() as room:
        folder = args.checkpoint or Path(room)
        if args.checkpoint is None:
            export(args.variant, folder, args.seed, SMALL if args.small else CONFIG)
        model, voices = load(args.variant, folder)
        double = load(args.variant, folder)[0].double()  # weight norm keeps a module from being copied
        originals = [folder / FILES[args.variant], folder / "config.json"] if args.checkpoint else []
        recording = Recording("kokoro", args.variant, originals, PACKAGES, args.seed)
        if args.small:
            recording.describe(shapes(SMALL), {"config.json": SMALL})
        _kokoro.record(recording, model, double, voices, small=args.small)
    if args.small:
        recording.shrink()
    recording.save(args.out)


if __name__ == "__main__":
    main()
