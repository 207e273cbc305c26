"""Speech tokens one by one (`T3.inference` and `T3.inference_turbo` of chatterbox/models/t3/t3.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import mlx.core as mx
import numpy as np

from pytorch_to_mlx import decoding
from pytorch_to_mlx.decoding import KVCache, MinP, Processor, RepetitionPenalty, Sampler, Temperature, TopK, TopP
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.models.chatterbox.t3.alignment import HEADS, VERDICTS, AlignmentAnalyser, Verdict, heed
from pytorch_to_mlx.models.chatterbox.t3.config import MAX_SPEECH_TOKENS, START_SPEECH, STOP_SPEECH, T3Config
from pytorch_to_mlx.models.chatterbox.t3.network import T3
from pytorch_to_mlx.noise import Noise
from pytorch_to_mlx.parity import tap

NOISE = "t3"
"""Name of the noise stream, a frame (speech_vocabulary,) for each token."""


@dataclass(frozen=True)
class SamplingSettings:
    """How tokens are chosen.

    Attributes:
        temperature: what logits are divided by; 0 takes the most likely token.
        top_p: the most likely tokens that together reach this probability stay.
        repetition_penalty: makes tokens that were said less likely.
        min_p: tokens stay that have at least this part of the largest probability.
        top_k: this many of the most likely tokens stay; 0 for all.
        cfg_weight: how far guidance moves away from what would be said without the text; 0 for no guidance.
    """

    temperature: float = 0.8
    top_p: float = 1.0
    repetition_penalty: float = 1.2
    min_p: float = 0.0
    top_k: int = 0
    cfg_weight: float = 0.0

    @classmethod
    def default(cls, config: T3Config) -> SamplingSettings:
        """Upstream's defaults for a variant."""
        if config.turbo:
            return cls(top_p=0.95, top_k=1000)
        return cls(min_p=0.05, cfg_weight=0.5, repetition_penalty=2.0 if config.multilingual else 1.2)

    @classmethod
    def given(cls, config: T3Config, settings: Mapping[str, float]) -> SamplingSettings:
        """The defaults with some settings changed.

        Raises:
            UsageError: a setting that the variant does not have, or a value that it cannot have.
        """
        lacking = {"min_p", "cfg_weight"} if config.turbo else {"top_k"}
        known = {field.name for field in fields(cls)} - lacking
        if unknown := settings.keys() - known:
            raise UsageError(f"{min(unknown)} is not a setting of this model; it has {', '.join(sorted(known))}")
        changed = {name: int(value) if name == "top_k" else float(value) for name, value in settings.items()}
        made = cls(**{**vars(cls.default(config)), **changed})
        made.processors(config)
        return made

    def __post_init__(self) -> None:
        for name in ("temperature", "top_k", "cfg_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{name} {getattr(self, name):g} must be 0 or more")

    def processors(self, config: T3Config) -> list[Processor]:
        """What changes logits, in upstream's order, which differs between the variants.

        Raises:
            UsageError: a value out of range.
        """
        penalty = RepetitionPenalty(self.repetition_penalty)
        temperature = Temperature(self.temperature) if self.temperature else None
        top_p = TopP(self.top_p)
        if config.turbo:
            order = [temperature, TopK(self.top_k) if self.top_k else None, top_p, penalty]
        else:
            order = [penalty, temperature, MinP(self.min_p), top_p]
        neutral = (None, Temperature(1.0), MinP(0.0), TopP(1.0), RepetitionPenalty(1.0))
        return [each for each in order if each not in neutral]


class Utterance:
    """What was said so far: the transformer's past and, for the multilingual model, the analyser's findings.

    Attributes:
        logits: of the tokens after the start token and after each of `said`, (1 + said, speech_vocabulary) float32,
            guided and judged.
    """

    def __init__(
        self,
        t3: T3,
        condition: mx.array,
        text: Sequence[int] | np.ndarray,
        cfg_weight: float,
        said: Sequence[int] = (),
    ) -> None:
        self._t3 = t3
        self._guidance = cfg_weight
        self._cache = KVCache(t3.config.backbone.num_layers)
        self._length = len(said)
        prefix = t3.prefix(condition, map(int, text), guided=cfg_weight > 0)
        self._batch = prefix.shape[0]
        # The analyser's text, with its start and stop tokens, stands behind the condition.
        self._text = slice(condition.shape[1], condition.shape[1] + len(text) + 2)
        self._analyser = AlignmentAnalyser(len(text) + 2) if t3.config.multilingual else None
        if said:
            spoken = t3.embed_speech(mx.array([list(said)], mx.int32), 1)
            prefix = mx.concatenate([prefix, self._everywhere(spoken)], axis=1)
        self.logits = self._judged(prefix, [START_SPEECH, *said])

    def step(self, token: mx.array) -> mx.array:
        """Say one more token (1,): the logits of the next, (1, speech_vocabulary) float32."""
        self._length += 1
        return self._judged(self._everywhere(self._t3.embed_speech(token[None], self._length)), token)

    def _judged(self, embeddings: mx.array, tokens: Sequence[int] | mx.array) -> mx.array:
        """Go on by `embeddings` (B, T, size): logits after each of `tokens`, which are the last of them."""
        count = len(tokens)
        if self._analyser is None:
            return self._guided(self._t3.tfmr(embeddings, self._cache)[:, -count:])
        hidden, weights = self._t3.tfmr.attending(embeddings, self._cache, HEADS)
        logits = self._guided(hidden[:, -count:])
        attention = np.array(tap("attention", weights[0, :, -count:, self._text].mean(axis=0)))
        judged = zip(attention, map(int, np.array(tokens)), strict=True)
        verdicts: list[Verdict] = [self._analyser.step(*frame) for frame in judged]
        tap("verdicts", [VERDICTS.index(verdict) for verdict in verdicts])
        return mx.stack([heed(row, verdict, STOP_SPEECH) for row, verdict in zip(logits, verdicts, strict=True)])

    def _everywhere(self, embeddings: mx.array) -> mx.array:
        """(1, T, size) for each sequence of the batch."""
        return mx.broadcast_to(embeddings, (self._batch, *embeddings.shape[1:]))

    def _guided(self, hidden: mx.array) -> mx.array:
        """Hidden states (B, n, size) to logits (n, vocabulary)."""
        logits = self._t3.speech_head(hidden).astype(mx.float32)
        if self._guidance == 0:
            return logits[0]
        return logits[0] + self._guidance * (logits[0] - logits[1])


def generate(
    t3: T3,
    condition: mx.array,
    text: Sequence[int] | np.ndarray,
    settings: SamplingSettings,
    noise: Noise,
    max_tokens: int,
    *,
    said: Sequence[int] = (),
) -> Iterator[int]:
    """Yield speech tokens as they come, until the stop token, which is not yielded, or until there are `max_tokens`.

    Closing the iterator ends the work. Other special tokens can come, and are the caller's to leave out.

    Args:
        t3: the network.
        condition: from `T3.condition`.
        text: tokens (N,) of the tokenizer, without start and stop tokens.
        settings: how tokens are chosen.
        noise: drawn from by the name "t3", a frame for each token.
        max_tokens: the most to yield. Upstream's limit for Turbo does not count the first.
        said: tokens to go on from, as if they had been yielded before.

    Raises:
        UsageError: a setting, the text or `max_tokens` exceeds what the model has.
    """
    config = t3.config
    if len(said) + max_tokens > MAX_SPEECH_TOKENS:
        raise UsageError(f"max_tokens {max_tokens} is more than the {MAX_SPEECH_TOKENS} that the model has room for")
    shape = (config.speech_vocabulary,)
    sampler = Sampler(
        config.speech_vocabulary,
        settings.processors(config),
        (lambda draw: noise.exponential(NOISE, len(said) + draw, 1, shape)[0]) if settings.temperature else None,
        # Turbo counts the start token as seen for its first token only.
        said if config.turbo and said else (START_SPEECH, *said),
        keep_prompt=not config.turbo or bool(said),
    )
    utterance = Utterance(t3, condition, text, settings.cfg_weight, said)
    logits = utterance.logits[-1:]
    if config.turbo and not said and max_tokens:
        # Turbo does not stop at its first token, whatever it is.
        token = sampler(logits)
        yield int(token)
        logits, max_tokens = utterance.step(token), max_tokens - 1
    yield from decoding.generate(utterance.step, logits, sampler, stop=STOP_SPEECH, max_tokens=max_tokens)
