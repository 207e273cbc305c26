"""A recording to text, window by window (whisper/transcribe.py)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import mlx.core as mx

from pytorch_to_mlx.models.whisper.alignment import align, merge
from pytorch_to_mlx.models.whisper.decoding import Decoded, Request, WindowDecoder
from pytorch_to_mlx.models.whisper.options import Options
from pytorch_to_mlx.models.whisper.phrases import (
    FRAMES_PER_SECOND,
    Phrase,
    Window,
    place_words,
    shorten_at_sentences,
    split,
    usual_lengths,
)
from pytorch_to_mlx.models.whisper.silences import first_invented, first_with_words, is_doubtful, last_word_end
from pytorch_to_mlx.models.whisper.spectrogram import WINDOW_FRAMES, Spectrogram
from pytorch_to_mlx.noise import Noise
from pytorch_to_mlx.tasks import Heard, Segment, Transcript

HOT = 0.5
"""What was decoded at a higher temperature is not told to the next window."""


class Transcription:
    """One recording on its way to text.

    Args:
        decoder: the model.
        spectrogram: of the recording.
        language: code.
        noise: for temperatures above 0: the stream `whisper`, which goes on from window to window and from one
            temperature to the next.
        heard: told what each window says.
    """

    def __init__(
        self,
        decoder: WindowDecoder,
        spectrogram: Spectrogram,
        language: str,
        options: Options,
        noise: Noise,
        heard: Heard | None = None,
    ) -> None:
        self.decoder, self.spectrogram, self.language, self.options = decoder, spectrogram, language, options
        self._noise, self._heard = noise, heard
        self._draws = 0
        prompt = options.initial_prompt
        self._initial = decoder.vocabulary.encode(f" {prompt.strip()}") if prompt else []
        self._tokens = [*self._initial]  # of everything so far
        self._forgotten = 0  # of which the first are not told any more
        self._segments: list[Segment] = []
        self._spoken_until = 0.0

    def run(self) -> Generator[Request, Decoded, Transcript]:
        """Yields windows to decode and is sent what they say; returns the transcript."""
        total = self.spectrogram.frames
        for first, last in self._clips(total):
            seek = first
            while seek < last:
                window = Window(seek, min(WINDOW_FRAMES, total - seek, last - seek))
                mel = self.spectrogram.window(seek, window.frames)
                states = self.decoder.states(mel[None])[0]
                decoded = yield from self._decoded(states)
                before, following = len(self._segments), seek + window.frames
                if not self._is_silent(decoded):
                    phrases, following = self._phrases(decoded, states, window, total)
                    if phrases is not None:
                        self._keep(phrases, decoded, window)
                if self._heard is not None:
                    done = min(following, total) / FRAMES_PER_SECOND
                    self._heard(self._segments[before:], done, total / FRAMES_PER_SECOND)
                seek = following if following > seek else seek + window.frames
        text = self.decoder.vocabulary.decode(self._tokens[len(self._initial) :])
        return Transcript(text, self.language, tuple(self._segments))

    def _clips(self, total: int) -> list[tuple[int, int]]:
        """From and to which frame is listened."""
        points = [round(second * FRAMES_PER_SECOND) for second in self.options.clip_timestamps] or [0]
        points += [total] if len(points) % 2 else []
        return [(first, min(last, total)) for first, last in zip(points[::2], points[1::2], strict=True)]

    def _decoded(self, states: mx.array) -> Generator[Request, Decoded, Decoded]:
        """At the first temperature at which the text neither repeats itself nor is doubtful, or is silence."""
        options, previous = self.options, self._previous()
        decoded: Decoded | None = None
        for temperature in options.temperature:
            decoded = yield Request(
                states, self.language, previous, temperature, options.decoding(temperature), self._draw(temperature)
            )
            if not self._is_bad(decoded):
                break
        assert decoded is not None  # there is a temperature
        return decoded

    def _is_bad(self, decoded: Decoded) -> bool:
        options = self.options
        ratio, least = options.compression_ratio_threshold, options.logprob_threshold
        repeats = ratio is not None and decoded.compression_ratio > ratio
        doubtful = least is not None and decoded.avg_logprob < least
        silent = options.no_speech_threshold is not None and decoded.no_speech_prob > options.no_speech_threshold
        return (repeats or doubtful) and not (silent and doubtful)

    def _is_silent(self, decoded: Decoded) -> bool:
        options = self.options
        if options.no_speech_threshold is None or decoded.no_speech_prob <= options.no_speech_threshold:
            return False
        return options.logprob_threshold is None or decoded.avg_logprob <= options.logprob_threshold

    def _previous(self) -> list[int]:
        """What the next window is told was said before."""
        if not self.options.carry_initial_prompt:
            return self._tokens[self._forgotten :]
        room = max(0, self.decoder.config.n_text_ctx // 2 - 1 - len(self._initial))
        since = self._tokens[max(len(self._initial), self._forgotten) :]
        return self._initial + since[len(since) - min(room, len(since)) :]

    def _draw(self, temperature: float) -> Callable[[int, int], mx.array]:
        """Noise of a decoding, for each step of so many sequences; it goes on through the recording."""
        most = self.options.sample_len or self.decoder.config.n_text_ctx // 2
        first = self._draws
        self._draws += most if temperature else 0
        size = self.decoder.config.n_vocab
        return lambda step, group: self._noise.exponential("whisper", first + step, 1, (group, size))[0]

    def _phrases(
        self, decoded: Decoded, states: mx.array, window: Window, total: int
    ) -> tuple[list[Phrase] | None, int]:
        """What a window says, None where it is to be heard again without its silence; the frame at which to go on."""
        vocabulary, options = self.decoder.vocabulary, self.options
        pieces, used, alone = split(
            decoded.tokens, window, vocabulary.timestamp_begin, self.decoder.seconds_per_position
        )
        phrases = [
            Phrase(start, end, vocabulary.decode([t for t in tokens if t < vocabulary.eot]), tokens)
            for start, end, tokens in pieces
        ]
        following = window.seek + used
        if not options.word_timestamps:
            return phrases, following
        self._time_words(phrases, states, window)
        spoken = last_word_end(phrases)
        if not alone and spoken is not None and spoken > window.start:
            following = round(spoken * FRAMES_PER_SECOND)
        threshold = options.hallucination_silence_threshold
        if threshold is not None:
            window_end = window.start + WINDOW_FRAMES / FRAMES_PER_SECOND
            if not alone and spoken is not None and spoken > window.start and window_end - spoken <= threshold:
                following = window.seek + window.frames
            first = first_with_words(phrases)
            if first is not None and is_doubtful(first) and first.start - window.start > threshold:
                return None, window.seek + round((first.start - window.start) * FRAMES_PER_SECOND)
            place = first_invented(
                phrases,
                threshold=threshold,
                start=window.start,
                spoken=window.start + window.seconds,
                end=window_end,
                spoken_until=self._spoken_until,
            )
            if place is not None:
                invented = phrases[place]
                following = round(max(window.start + 1, invented.start) * FRAMES_PER_SECOND)
                if total / FRAMES_PER_SECOND - invented.end < threshold:
                    following = total
                del phrases[place:]
        ended = last_word_end(phrases)
        self._spoken_until = self._spoken_until if ended is None else ended
        return phrases, following

    def _time_words(self, phrases: Sequence[Phrase], states: mx.array, window: Window) -> None:
        options, end = self.options, self.decoder.vocabulary.eot
        tokens = [token for phrase in phrases for token in phrase.tokens if token < end]
        timings = align(self.decoder, states, tokens, window.frames, self.language, options.task)
        usual = usual_lengths(timings)
        shorten_at_sentences(timings, usual[1])
        merge(timings, options.prepend_punctuations, options.append_punctuations)
        place_words(phrases, timings, usual, end, window.start, self._spoken_until)

    def _keep(self, phrases: Sequence[Phrase], decoded: Decoded, window: Window) -> None:
        segments = [phrase.segment(decoded, window.seek) for phrase in phrases]
        self._segments += segments
        self._tokens += [token for segment in segments for token in segment.tokens]
        if not self.options.condition_on_previous_text or decoded.temperature > HOT:
            self._forgotten = len(self._tokens)
