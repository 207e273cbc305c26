"""Whisper at work: recordings to text."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.audio.blocks import read_blocks
from pytorch_to_mlx.components.whisper.mel import RATE
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.models.whisper.config import WhisperConfig
from pytorch_to_mlx.models.whisper.decoding import Decoded, Request, WindowDecoder
from pytorch_to_mlx.models.whisper.languages import known_code, language_code
from pytorch_to_mlx.models.whisper.network import Whisper
from pytorch_to_mlx.models.whisper.options import Options
from pytorch_to_mlx.models.whisper.spectrogram import Spectrogram
from pytorch_to_mlx.models.whisper.transcription import Heard, Transcription
from pytorch_to_mlx.models.whisper.vocabulary import FILE, Vocabulary
from pytorch_to_mlx.noise import Noise, SeededNoise
from pytorch_to_mlx.tasks import Transcript

AT_ONCE = 4
"""Recordings whose windows are decoded together: more gain little."""
Recorded = Audio | str | Path | Iterable[np.ndarray]
SETTINGS = tuple(field.name for field in fields(Options))


class WhisperModel:
    """A `Transcriber`."""

    def __init__(self, network: Whisper, config: WhisperConfig, folder: Path) -> None:
        self.network, self.config = network, config
        self.decoder = WindowDecoder(network, config, Vocabulary(folder / FILE, config))

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of those that it knows."""
        return self.decoder.vocabulary.languages

    def known_language(self, language: str) -> str | None:
        """Its code of a language given by name or code, perhaps with a region (`en_US`); None if it knows none such."""
        return known_code(language, len(self.languages))

    def transcribe(
        self,
        audio: Recorded,
        *,
        language: str | None = None,
        seed: int = 0,
        noise: Noise | None = None,
        heard: Heard | None = None,
        **settings: Any,
    ) -> Transcript:
        """Write down what a recording says.

        Args:
            audio: a recording; a file of any length, of which memory holds 30 s; or samples (n,) at 16 kHz, some at a
                time.
            language: name or code; None to hear it from the first 30 s.
            seed: of what is drawn at temperatures above 0.
            noise: instead of the seed's.
            heard: told what each window says.
            settings: `Options`.

        Raises:
            UsageError: a setting or language that the model has not.
            AudioError: the file cannot be read.
        """
        options = self._options(settings)
        work = self._transcription(audio, language, options, noise or SeededNoise(seed), heard)
        return _finished([work.run()], self.decoder)[0]

    def transcribe_all(
        self,
        recordings: Sequence[Recorded],
        *,
        language: str | None = None,
        seed: int = 0,
        heard: Sequence[Heard] | None = None,
        **settings: Any,
    ) -> list[Transcript]:
        """As `transcribe`, of several recordings, `AT_ONCE` of which are decoded together.

        Args:
            heard: of each recording.
        """
        options = self._options(settings)
        found: list[Transcript] = []
        for first in range(0, len(recordings), AT_ONCE):
            works = [
                self._transcription(each, language, options, SeededNoise(seed), heard[first + place] if heard else None)
                for place, each in enumerate(recordings[first : first + AT_ONCE])
            ]
            found += _finished([work.run() for work in works], self.decoder)
        return found

    def detect_language(self, audio: Recorded) -> dict[str, float]:
        """How likely each language is that is spoken in the first 30 s, by code, the likeliest first."""
        return self._detected(Spectrogram(_blocks(audio), self.config.n_mels))

    def _detected(self, spectrogram: Spectrogram) -> dict[str, float]:
        (found,) = self.decoder.languages(self.decoder.states(spectrogram.beginning()[None]))
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))

    def _transcription(
        self, audio: Recorded, language: str | None, options: Options, noise: Noise, heard: Heard | None
    ) -> Transcription:
        if language is not None:
            language = language_code(language, len(self.languages))
        spectrogram = Spectrogram(_blocks(audio), self.config.n_mels)
        if language is None:
            language = next(iter(self._detected(spectrogram))) if self.config.multilingual else "en"
        return Transcription(self.decoder, spectrogram, language, options, noise, heard)

    def _options(self, settings: dict[str, Any]) -> Options:
        if unknown := sorted(settings.keys() - set(SETTINGS)):
            raise UsageError(f"Whisper has no setting {unknown[0]!r}; it has {', '.join(SETTINGS)}")
        options = Options(**settings)
        if options.task == "translate" and not self.config.multilingual:
            raise UsageError("--task translate: this model knows English only")
        return options


def _blocks(audio: Recorded) -> Iterable[np.ndarray]:
    if isinstance(audio, Audio):
        return [audio.resampled(RATE).samples]
    return read_blocks(audio, RATE) if isinstance(audio, (str, Path)) else audio


def _finished(works: Sequence[Generator[Request, Decoded, Transcript]], decoder: WindowDecoder) -> list[Transcript]:
    """What works return: of the windows that they wait for, those that fit are decoded together."""
    found: dict[int, Transcript] = {}
    waiting: dict[int, Request] = {}

    def go_on(place: int, decoded: Decoded | None) -> None:
        try:
            waiting[place] = next(works[place]) if decoded is None else works[place].send(decoded)
        except StopIteration as end:
            found[place] = end.value

    for place in range(len(works)):
        go_on(place, None)
    while waiting:
        first = next(iter(waiting.values()))
        places = [place for place, request in waiting.items() if request.fits(first)]
        requests = [waiting.pop(place) for place in places]
        for place, decoded in zip(places, decoder.decode(requests), strict=True):
            go_on(place, decoded)
        mx.clear_cache()
    return [found[place] for place in range(len(works))]
