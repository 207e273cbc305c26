"""Windows of 30 s to texts (whisper/decoding.py)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.components.decoder import Memory
from pytorch_to_mlx.layers.elementwise import softmax
from pytorch_to_mlx.models.whisper.config import WhisperConfig
from pytorch_to_mlx.models.whisper.network import Whisper
from pytorch_to_mlx.models.whisper.options import DecodingOptions
from pytorch_to_mlx.models.whisper.rules import Rules
from pytorch_to_mlx.models.whisper.search import Draw, Reader, best_of, followed, sampled, searched
from pytorch_to_mlx.models.whisper.vocabulary import Vocabulary
from pytorch_to_mlx.parity import tap

WINDOW_SECONDS = 30


@dataclass(frozen=True)
class Decoded:
    """What one window says.

    Attributes:
        tokens: times included.
        avg_logprob: the mean of the tokens', and of the end's.
        no_speech_prob: that nobody speaks.
        compression_ratio: bytes of the text over what zlib makes of them.
    """

    tokens: list[int]
    text: str
    avg_logprob: float
    no_speech_prob: float
    temperature: float
    compression_ratio: float


@dataclass(frozen=True)
class Request:
    """A window to decode.

    Attributes:
        states: of the encoder, (n_audio_ctx, n_audio_state).
        language: code.
        previous: tokens of what was said before.
        draw: noise for temperatures above 0: of step i, (sequences, vocabulary).
    """

    states: mx.array
    language: str
    previous: Sequence[int]
    temperature: float
    options: DecodingOptions
    draw: Callable[[int, int], mx.array]

    def fits(self, other: Request) -> bool:
        """Whether both can be decoded at once."""
        return (self.temperature, self.options) == (other.temperature, other.options)


class WindowDecoder:
    """A network with its vocabulary."""

    def __init__(self, network: Whisper, config: WhisperConfig, vocabulary: Vocabulary) -> None:
        self.network, self.config, self.vocabulary = network, config, vocabulary

    @property
    def seconds_per_position(self) -> float:
        """Of the encoder's, and so of times: 0.02."""
        return WINDOW_SECONDS / self.config.n_audio_ctx

    @property
    def positions_per_second(self) -> float:
        """50."""
        return self.config.n_audio_ctx / WINDOW_SECONDS

    def states(self, mel: mx.array) -> mx.array:
        """Spectra of windows, (B, 3000, n_mels), to (B, n_audio_ctx, n_audio_state)."""
        return tap("states", self.network.encoder.states(mel))

    def languages(self, states: mx.array) -> list[dict[str, float]]:
        """How likely each language is, by code, of windows (B, n_audio_ctx, n_audio_state); English models know one."""
        tokens = self.vocabulary.language_tokens
        if len(tokens) == 1:
            return [dict.fromkeys(tokens, 1.0) for _ in range(len(states))]
        decoder = self.network.decoder
        start = mx.array([[self.vocabulary.sot]] * len(states))
        logits = decoder.logits(decoder.read(start, None, decoder.remember(states))[:, 0])
        shares = tap("languages", softmax(logits[:, mx.array(list(tokens.values()))]))
        return [dict(zip(tokens, row, strict=True)) for row in np.array(shares).tolist()]

    def decode(self, requests: Sequence[Request]) -> list[Decoded]:
        """What windows say, which `fit` one another."""
        first = requests[0]
        options, vocabulary = first.options, self.vocabulary
        prompts = [self._prompt(request) for request in requests]
        reader = Reader(self.network.decoder, self._memory(requests), prompts)
        start = len(self._start(first))
        nobody = softmax(reader.logits_at(-start))[:, vocabulary.no_speech]
        rules = self._rules(options)
        most = options.sample_len or self.config.n_text_ctx // 2
        ends = (vocabulary.eot, vocabulary.timestamp_begin, most)
        group = options.best_of or 1
        candidates = None
        if options.beam_size is not None and not first.temperature:
            candidates = searched(reader, rules, *ends, options.beam_size, options.patience or 1.0)
        elif group == 1 and not first.temperature:
            candidates = followed(reader, rules, *ends)
        if candidates is None:
            candidates = sampled(reader, rules, *ends, group, first.temperature, _together(requests, group))
        results = []
        for found, silence in zip(candidates, np.array(nobody).tolist(), strict=True):
            best = best_of(found, options.length_penalty)
            text = vocabulary.decode(best.tokens).strip()
            mean = best.logprob / (len(best.tokens) + 1)
            results.append(Decoded(best.tokens, text, mean, silence, first.temperature, compression_ratio(text)))
        return results

    def _memory(self, requests: Sequence[Request]) -> Memory:
        return self.network.decoder.remember(mx.stack([request.states for request in requests]))

    def _start(self, request: Request) -> list[int]:
        """What every answer begins with."""
        told = self.vocabulary.start(request.language, request.options.task)
        return [*told, self.vocabulary.no_timestamps] if request.options.without_timestamps else told

    def _prompt(self, request: Request) -> list[int]:
        start = self._start(request)
        if not request.previous:
            return start
        return [self.vocabulary.sot_prev, *request.previous[-(self.config.n_text_ctx // 2 - 1) :], *start]

    def _rules(self, options: DecodingOptions) -> Rules:
        vocabulary = self.vocabulary
        never = [token for token in options.suppress_tokens if token >= 0] + vocabulary.instructions
        if -1 in options.suppress_tokens:
            never += vocabulary.not_speech
        latest = None
        if options.max_initial_timestamp:
            steps = round(options.max_initial_timestamp / self.seconds_per_position)
            latest = vocabulary.timestamp_begin + steps
        return Rules(
            vocabulary,
            self.config.n_vocab,
            sorted(set(never)),
            vocabulary.blank if options.suppress_blank else (),
            timestamps=not options.without_timestamps,
            latest_start=latest,
        )


def compression_ratio(text: str) -> float:
    """Bytes of a text over those that zlib packs it in."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def _together(requests: Sequence[Request], group: int) -> Draw:
    """The noise of all windows' sequences."""
    return lambda step: mx.concatenate([request.draw(step, group) for request in requests])
