"""Record tests/goldens/whisper_words.json from openai-whisper: `python tests/record_whisper_goldens.py`.

Upstream's own whisper.transcribe and whisper.timing work on what drawn_whisper.py draws instead of a network: whole
transcripts, words placed in phrases, punctuation merged. A few are recorded as they are, of the others a hash. It runs
itself by path in the environment of Whisper's reference.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from drawn_whisper import CONTEXT, Case, Words, alignment, case, digests, said, timed

GOLDEN = Path(__file__).parent / "goldens" / "whisper_words.json"
SHOWN = {"transcripts": 6, "words": 12, "merged": 12}
COUNTS = {"transcripts": 2000, "words": 2000, "merged": 500}
Made = Callable[[int], list[Any]]


class Upstream:
    """Its modules, of which two functions are replaced: what makes a spectrum, and what aligns."""

    def __init__(self) -> None:
        import torch

        self._torch = torch
        # The package's attribute is the function.
        self._loop: Any = importlib.import_module("whisper.transcribe")
        self._timing: Any = importlib.import_module("whisper.timing")
        self._loop.get_tokenizer = lambda *_, **__: Words()

    def _aligned(self, seed: int, tokens: Sequence[int], frames: int) -> list[Any]:
        return [self._timing.WordTiming(*each) for each in alignment(seed, tokens, frames)]

    def _align_by(self, seed: int) -> None:
        self._timing.find_alignment = lambda model, words, tokens, mel, frames: self._aligned(seed, tokens, frames)

    def transcripts(self, seed: int) -> list[Any]:
        """What is asked of the model, and the transcript."""
        drawn: Case = case(seed)
        asked: list[Any] = []

        def decode(mel: Any, options: Any) -> Any:
            asked.append([options.temperature, options.beam_size, options.patience, options.best_of, options.prompt])
            return SimpleNamespace(**vars(said(seed, len(asked), options.temperature)))

        torch = self._torch
        dims = SimpleNamespace(n_mels=1, n_audio_ctx=1500, n_text_ctx=CONTEXT)
        model = SimpleNamespace(
            device=torch.device("cpu"), dims=dims, is_multilingual=True, num_languages=99, decode=decode
        )
        self._loop.log_mel_spectrogram = lambda *_, **__: torch.zeros(1, drawn.frames + 3000)
        self._align_by(seed)
        options = drawn.options | {"clip_timestamps": list(drawn.options.get("clip_timestamps", (0,)))}
        result = self._loop.transcribe(model, "", language="en", fp16=False, **options)
        return [asked, result["text"], [_row(segment) for segment in result["segments"]]]

    def words(self, seed: int) -> list[Any]:
        """Phrases after words were placed in them."""
        drawn = timed(seed)
        segments = [
            {"seek": drawn.seek, "start": start, "end": end, "tokens": tokens} for start, end, tokens in drawn.phrases
        ]
        self._align_by(seed)
        self._timing.add_word_timestamps(
            segments=segments,
            model=None,
            tokenizer=Words(),
            mel=None,
            num_frames=drawn.frames,
            last_speech_timestamp=drawn.spoken_until,
        )
        return [[float(each["start"]), float(each["end"]), _words(each)] for each in segments]

    def merged(self, seed: int) -> list[Any]:
        """Words and tokens after punctuation was merged."""
        found = [self._timing.WordTiming(*each) for each in timed(seed).alignment]
        self._timing.merge_punctuations(found, "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、")
        return [[each.word, each.tokens] for each in found]


def _row(segment: dict[str, Any]) -> list[Any]:
    names = ("text", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob")
    times = [segment["seek"], float(segment["start"]), float(segment["end"])]  # upstream's 0 is an int now and then
    return [*times, *(segment[name] for name in names), _words(segment)]


def _words(segment: dict[str, Any]) -> list[Any] | None:
    words = segment.get("words")
    if words is None:
        return None
    return [[each["word"], float(each["start"]), float(each["end"]), each["probability"]] for each in words]


def main() -> None:
    """In this interpreter with `--here`, else in the environment's."""
    if "--here" not in sys.argv:
        from pytorch_to_mlx import environments, registry

        environment = environments.of_script(registry.get("whisper").reference.script)
        environments.install(environment)
        environments.run(environment, Path(__file__), ["--here"])
        return
    upstream, parts = Upstream(), []
    for name, count in COUNTS.items():
        made: Made = getattr(upstream, name)
        rows = [f"   {json.dumps(made(seed), ensure_ascii=False)}" for seed in range(SHOWN[name])]
        shown, drawn = ",\n".join(rows), json.dumps(digests(made, count))
        parts.append(f' "{name}": {{\n  "shown": [\n{shown}\n  ],\n  "drawn": {drawn}\n }}')
    GOLDEN.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
