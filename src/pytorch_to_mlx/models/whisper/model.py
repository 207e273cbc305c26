"""Whisper at work: recordings to text."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.audio.blocks import read_blocks
from pytorch_to_mlx.components.whisper.mel import RATE
from pytorch_to_mlx.errors import AudioError, UsageError
from pytorch_to_mlx.models.whisper.config import WhisperConfig
from pytorch_to_mlx.models.whisper.decoding import Decoded, Request, WindowDecoder
from pytorch_to_mlx.models.whisper.languages import known_code, language_code
from pytorch_to_mlx.models.whisper.network import Whisper
from pytorch_to_mlx.models.whisper.options import Options
from pytorch_to_mlx.models.whisper.spectrogram import Spectrogram
from pytorch_to_mlx.models.whisper.transcription import Transcription
from pytorch_to_mlx.models.whisper.vocabulary import FILE, Vocabulary
from pytorch_to_mlx.noise import Noise, SeededNoise
from pytorch_to_mlx.tasks import Heard, Transcript

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
        options, noise = self._options(settings), noise or SeededNoise(seed)
        ((_, found),) = self._together([lambda: self._transcription(audio, language, options, noise, heard)])
        if isinstance(found, AudioError):
            raise found
        return found

    def transcripts(
        self,
        recordings: Sequence[Recorded],
        *,
        language: str | None = None,
        seed: int = 0,
        heard: Sequence[Heard] | None = None,
        **settings: Any,
    ) -> Iterator[tuple[int, Transcript | AudioError]]:
        """As `transcribe`, of several recordings, `AT_ONCE` of which are decoded together, as they are done.

        Args:
            heard: of each recording.

        Yields:
            the place of a recording, and its transcript, or why it cannot be read.
        """
        options = self._options(settings)

        def start(place: int) -> Transcription:
            told = heard[place] if heard else None
            return self._transcription(recordings[place], language, options, SeededNoise(seed), told)

        return self._together([partial(start, place) for place in range(len(recordings))])

    def transcribe_all(self, recordings: Sequence[Recorded], **settings: Any) -> list[Transcript]:
        """All of `transcripts`, whose arguments it takes.

        Raises:
            AudioError: a recording cannot be read.
        """
        found: dict[int, Transcript] = {}
        for place, transcript in self.transcripts(recordings, **settings):
            if isinstance(transcript, AudioError):
                raise transcript
            found[place] = transcript
        return [found[place] for place in range(len(recordings))]

    def _together(self, starts: Sequence[Callable[[], Transcription]]) -> Iterator[tuple[int, Transcript | AudioError]]:
        """Places and transcripts: of the windows that are waited for, those that fit are decoded together."""
        beginning = iter(enumerate(starts))
        works: dict[int, Generator[Request, Decoded, Transcript]] = {}
        waiting: dict[int, Request] = {}
        while True:
            while len(waiting) < AT_ONCE and (following := next(beginning, None)):
                place, start = following
                try:
                    works[place] = start().run()
                    waiting[place] = next(works[place])
                except StopIteration as end:
                    yield place, end.value
                except AudioError as error:
                    yield place, error
            if not waiting:
                return
            first = next(iter(waiting.values()))
            places = [place for place, request in waiting.items() if request.fits(first)]
            requests = [waiting.pop(place) for place in places]
            for place, decoded in zip(places, self.decoder.decode(requests), strict=True):
                try:
                    waiting[place] = works[place].send(decoded)
                except StopIteration as end:
                    yield place, end.value
            mx.clear_cache()

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
        known = self.config.n_vocab
        if beyond := [token for token in options.suppress_tokens if token >= known]:
            raise UsageError(f"--suppress-tokens {beyond[0]}: this model has {known} tokens, the last is {known - 1}")
        return options


def _blocks(audio: Recorded) -> Iterable[np.ndarray]:
    if isinstance(audio, Audio):
        return [audio.resampled(RATE).samples]
    if isinstance(audio, np.ndarray):
        raise UsageError("an array tells no rate; give Audio(samples, rate), or blocks of samples at 16 kHz in a list")
    return read_blocks(audio, RATE) if isinstance(audio, (str, Path)) else audio
