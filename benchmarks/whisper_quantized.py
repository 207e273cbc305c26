"""How many tokens of a quantized Whisper are those of the same model in float32, and how small it is.

    python benchmarks/whisper_quantized.py [--checkpoint FILE] [--variants tiny,base] [--tokens 200] [--update-docs]

Each model hears a recording and reads the text that the float32 model writes of it, token by token: counted is at how
many places both find the same token likeliest.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import numpy as np
from race import HERE, listed, note, refuse_unknown
from table import line, update

from pytorch_to_mlx import environments, registry
from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.benchmark.recordings import write_speechlike
from pytorch_to_mlx.components.whisper.mel import RATE
from pytorch_to_mlx.conversion import convert
from pytorch_to_mlx.loading import load
from pytorch_to_mlx.models.whisper.decoding import Request
from pytorch_to_mlx.models.whisper.model import WhisperModel
from pytorch_to_mlx.models.whisper.options import DecodingOptions
from pytorch_to_mlx.models.whisper.spectrogram import WINDOW_FRAMES, Spectrogram

PORT = registry.get("whisper")
PRECISIONS = {"float32": None, "8 bits": 8, "4 bits": 4}
MOST = 224
"""Tokens of a text: half of the context."""
HEAD = ("variant", "precision", "the same likeliest token", "largest error of logits", "folder, MB")


def heard(model: WhisperModel, samples: np.ndarray) -> mx.array:
    """States of the first 30 s, (1, 1500, state)."""
    spectrogram = Spectrogram([samples], model.config.n_mels)
    return model.decoder.states(spectrogram.window(0, min(WINDOW_FRAMES, spectrogram.frames))[None])


def written(model: WhisperModel, states: mx.array, tokens: int) -> list[int]:
    """A greedy text of so many tokens, which no end cuts off."""
    options = DecodingOptions(sample_len=tokens, suppress_tokens=(-1, model.decoder.vocabulary.eot))
    (found,) = model.decoder.decode([Request(states[0], "en", (), 0.0, options, lambda *_: mx.zeros((1, 1)))])
    return found.tokens


def logits(model: WhisperModel, states: mx.array, tokens: Sequence[int]) -> np.ndarray:
    """Before each token of a text, (tokens, V)."""
    decoder, start = model.network.decoder, model.decoder.vocabulary.start("en", "transcribe")
    hidden = decoder.read(mx.array([[*start, *tokens[:-1]]]), None, decoder.remember(states))
    return np.array(decoder.logits(hidden)[0, len(start) - 1 :])


def measure(source: Path, variant: str, recordings: Sequence[Path], tokens: int, room: Path) -> list[list[str]]:
    """A row for each precision."""
    rows: list[list[str]] = []
    sounds = [Audio.read(path).resampled(RATE).samples for path in recordings]
    texts: list[list[int]] = []
    exact: list[np.ndarray] = []
    for name, bits in PRECISIONS.items():
        note(f"{variant}: {name}")
        folder = room / f"{variant}-{bits}"
        convert(source, folder, port="whisper", dtype="float32", quantize=bits is not None, q_bits=bits)
        model: WhisperModel = load(folder)
        states = [heard(model, samples) for samples in sounds]
        if not exact:
            texts = [written(model, each, tokens) for each in states]
            exact = [logits(model, *pair) for pair in zip(states, texts, strict=True)]
        found = [logits(model, *pair) for pair in zip(states, texts, strict=True)]
        same = [a.argmax(-1) == b.argmax(-1) for a, b in zip(found, exact, strict=True)]
        error = max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(found, exact, strict=True))
        size = sum(path.stat().st_size for path in folder.iterdir())
        rows.append([variant, name, f"{np.concatenate(same).mean():.1%}", f"{error:.2%}", f"{size / 1e6:.1f}"])
    return rows


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="as upstream's repository has it; else seeded ones")
    parser.add_argument("--variants", type=listed, default=["tiny", "base"], help="seeded ones: tiny,base,small,...")
    parser.add_argument("--audio", type=Path, action="append", help="a recording, may be repeated; else a made-up one")
    parser.add_argument("--tokens", type=int, default=200, help=f"of a text, at most {MOST}")
    parser.add_argument("--update-docs", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args(given)
    refuse_unknown(parser, "--variants", options.variants, PORT.variants)
    if not 1 <= options.tokens <= MOST:
        parser.error(f"--tokens must be 1 to {MOST}")
    with tempfile.TemporaryDirectory() as drafts:
        room = Path(drafts)
        recordings = options.audio or [room / "speechlike.wav"]
        if not options.audio:
            write_speechlike(recordings[0], 10.0, RATE)
        rows: list[list[str]] = []
        for variant in [options.checkpoint.stem] if options.checkpoint else options.variants:
            source = options.checkpoint or room / f"{variant}.pt"
            if not options.checkpoint:
                note(f"{variant}: writes a seeded checkpoint")
                environments.run_script(PORT.reference.script, ["export", "--variant", variant, "--out", str(source)])
            rows += measure(source, variant, recordings, options.tokens, room)
    told = "one made-up recording" if not options.audio else ", ".join(path.name for path in recordings)
    weights = options.checkpoint.name if options.checkpoint else "seeded weights"
    table = [line(each) for each in (HEAD, ["---", *["---:"] * (len(HEAD) - 1)], *rows)]
    markdown = "\n".join([f"{weights}; {options.tokens} tokens of {told}.", "", *table])
    print(markdown)
    if options.update_docs:
        update(HERE.parent / "docs/benchmarks.md", Path(__file__).name, markdown)


if __name__ == "__main__":
    main()
