"""Frames of codes one by one (`generate` of modeling_qwen3_tts.py), for one utterance or several at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.decoding import KVCache, Processor, Sampler, choose
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.models.qwen3_tts.config import SPECIAL, TalkerConfig
from pytorch_to_mlx.models.qwen3_tts.prompt import Prompt
from pytorch_to_mlx.models.qwen3_tts.sampling import SamplingSettings
from pytorch_to_mlx.models.qwen3_tts.talker import Talker
from pytorch_to_mlx.noise import Noise

FIRST_NOISE, OTHER_NOISE = "talker", "subtalker"
"""Names of noise streams: frames (vocabulary,) and (codes - 1, codebook_size) for each frame of codes."""
LEAST_FRAMES = 2
"""Before these, speech does not end."""
ENDED = -1
"""The codes of an utterance that has ended, while others go on."""


class Silence:
    """Takes what is never said out of the logits of first codes; `stop` ends speech."""

    def __init__(self, config: TalkerConfig, stop: int) -> None:
        hidden = np.zeros(config.vocabulary, bool)
        hidden[config.vocabulary - SPECIAL :] = True
        hidden[config.tokens.eos] = False
        self._hidden, self._at_first = (
            mx.array(hidden),
            mx.array(hidden | (np.arange(len(hidden)) == stop)),
        )

    def __call__(self, logits: mx.array, frame: int | mx.array) -> mx.array:
        """Logits (..., vocabulary) of the first code of `frame`, or of those numbers, one for each row before."""
        hidden = mx.where(mx.expand_dims(mx.array(frame) < LEAST_FRAMES, -1), self._at_first, self._hidden)
        return mx.where(hidden, mx.array(-mx.inf, logits.dtype), logits)


def generate(
    talker: Talker,
    prompts: Sequence[Prompt],
    settings: SamplingSettings,
    noises: Sequence[Noise],
    max_frames: int,
    *,
    stop: int | None = None,
) -> Iterator[np.ndarray]:
    """Yield frames (B, codes) int32 as they come, until every utterance has ended or there are `max_frames`.

    Each utterance is what it would be alone, but for rounding; after its end its codes are -1. Closing the iterator
    ends the work.

    Args:
        talker: the network.
        prompts: one for each utterance.
        settings: how codes are chosen.
        noises: for each utterance; drawn from by the names "talker" and "subtalker".
        max_frames: the most to yield.
        stop: the first code that ends speech; the model's own if None.

    Raises:
        UsageError: no utterance, or another number of noises.
    """
    if not prompts or len(noises) != len(prompts):
        raise UsageError(f"{len(prompts)} utterances need as many noises, and one at least; there are {len(noises)}")
    if max_frames < 1:
        return
    config, stop = talker.config, talker.config.tokens.eos if stop is None else stop
    silence, sampler = Silence(config, stop), _first_sampler(config, settings, noises)
    cache, hidden, logits = _begun(talker, prompts)
    inner = KVCache(config.predictor.num_layers)
    processors = settings.subtalker_processors
    ended = np.zeros(len(prompts), bool)
    first = sampler(silence(logits, 0))
    for frame in range(max_frames):
        mx.async_eval(first, hidden)
        others = _other_noise(config, settings, noises, frame)
        codes = talker.others(hidden, first, inner, partial(_chosen, processors, others))
        if frame + 1 < max_frames:
            told = mx.stack([each.trailing[frame] if frame < len(each.trailing) else each.pad for each in prompts])
            hidden, logits = talker.first(talker.embed_frames(codes[:, None]) + told[:, None], cache)
            hidden = hidden[:, -1:]
            following = sampler(silence(logits[:, -1], frame + 1))
            mx.async_eval(codes, following)
        else:
            following = first
        ended |= np.array(first) == stop
        if ended.all():
            return
        yield np.where(ended[:, None], ENDED, np.array(codes)).astype(np.int32)
        first = following


def _begun(talker: Talker, prompts: Sequence[Prompt]) -> tuple[KVCache, mx.array, mx.array]:
    """The cache after the prompts, hidden states (B, 1, hidden_size) and logits (B, vocabulary)."""
    lengths = [len(each.prefix) for each in prompts]
    padding = [max(lengths) - length for length in lengths]
    cache = KVCache(talker.config.backbone.num_layers, padding)
    prefixes = [mx.pad(each.prefix, [(before, 0), (0, 0)]) for each, before in zip(prompts, padding, strict=True)]
    hidden = talker.model(mx.stack(prefixes), cache)[:, -1:]
    return cache, hidden, talker.codec_head(hidden)[:, -1]


def _first_sampler(config: TalkerConfig, settings: SamplingSettings, noises: Sequence[Noise]) -> Sampler:
    def noise(frame: int) -> mx.array:
        return mx.concatenate([each.exponential(FIRST_NOISE, frame, 1, (config.vocabulary,)) for each in noises])

    return Sampler(
        config.vocabulary,
        settings.talker_processors,
        noise if settings.temperature else None,
        batch=len(noises),
    )


def _other_noise(
    config: TalkerConfig, settings: SamplingSettings, noises: Sequence[Noise], frame: int
) -> mx.array | None:
    """(B, codes - 1, codebook_size), or None where the most likely codes are taken."""
    if not settings.subtalker_temperature:
        return None
    shape = (config.codes - 1, config.codebook_size)
    return mx.concatenate([each.exponential(OTHER_NOISE, frame, 1, shape) for each in noises])


def _chosen(processors: Sequence[Processor], noise: mx.array | None, place: int, logits: mx.array) -> mx.array:
    return choose(logits, processors, exponential=None if noise is None else noise[:, place - 1])
