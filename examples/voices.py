"""The demo's voices: recordings of people where there are some, else voices that espeak-ng makes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from espeak_voices import EspeakVoice, synthesize

from pytorch_to_mlx import Audio

# Chosen to sound unlike each other to a speaker encoder, which is trained on people.
MADE = {
    "espeak low": EspeakVoice("en-us+m7", pitch=5, range=30, rate=140),
    "espeak high": EspeakVoice("en-us+f5", pitch=95, range=70, rate=175),
    "espeak anika": EspeakVoice("en-us+anika", pitch=60, range=50, rate=160),
    "espeak klatt": EspeakVoice("en-us+klatt2", pitch=45, range=20, rate=155),
}
TEXTS = (
    "the story of the first scientific observation of the corona is thrillingly interesting, and in fact dramatic.",
    "beat three eggs with a pinch of salt; add one pint of milk and two thirds of a cup of flour.",
)


@dataclass(frozen=True)
class Voice:
    """A recording: whose it is, what is said, and under which licence. `name` is unique."""

    name: str
    speaker: str
    text: str
    licence: str
    audio: Audio


def find(folder: Path) -> list[Voice]:
    """The recordings of a folder with a manifest.json, or made voices if there is none."""
    manifest = folder / "manifest.json"
    return _recorded(manifest) if manifest.is_file() else _made()


def _recorded(manifest: Path) -> list[Voice]:
    voices, seen = [], Counter[str]()
    for entry in json.loads(manifest.read_text(encoding="utf-8")):
        speaker = entry["speaker"]
        seen[speaker] += 1
        audio = Audio.read(manifest.parent / entry["file"])
        licence = f"{entry['source']}, {entry['licence']}"
        voices.append(Voice(f"{speaker} {seen[speaker]}", speaker, entry["text"], licence, audio))
    return voices


def _made() -> list[Voice]:
    return [
        Voice(f"{speaker} {i}", speaker, text, "made by espeak-ng", synthesize(voice, text))
        for speaker, voice in MADE.items()
        for i, text in enumerate(TEXTS, start=1)
    ]
