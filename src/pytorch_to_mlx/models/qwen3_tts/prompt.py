"""What the talker is told before and while it speaks: `generate` and `generate_icl_prompt` of modeling_qwen3_tts.py.

Text and codes are added position by position. Of a text that is given as a stream, each frame is told one more token;
else all of it is told before the first frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.models.qwen3_tts.config import TalkerConfig
from pytorch_to_mlx.models.qwen3_tts.talker import Talker

ROLE, ENDING, REFERENCE_ENDING = 3, 5, 2
"""Tokens before a text ("<|im_start|>assistant\\n"), after it, and after a reference's."""


@dataclass(frozen=True)
class Prompt:
    """Embeddings of one utterance.

    Attributes:
        prefix: before the first frame, (T, hidden_size).
        trailing: one for each frame from the first on, (n, hidden_size); later frames get `pad`.
        pad: (hidden_size,).
    """

    prefix: mx.array
    trailing: mx.array
    pad: mx.array


@dataclass(frozen=True)
class Request:
    """What is to be said, and how.

    Attributes:
        text: tokens, those of the role and the ending included.
        language: token of the language; None leaves it to the model.
        speaker: token of a speaker, or an embedding (hidden_size,).
        instruction: tokens.
        reference: tokens of what a recording says, role and ending included, and its codes (frames, codes).
        streamed: whether the text is given as a stream.
    """

    text: Sequence[int]
    language: int | None = None
    speaker: int | mx.array | None = None
    instruction: Sequence[int] = ()
    reference: tuple[Sequence[int], np.ndarray] | None = None
    streamed: bool = False


def language_token(config: TalkerConfig, language: str | None, speaker: str | None) -> int | None:
    """The token of a language by its name; Chinese, and what is left open, is a speaker's own dialect.

    Raises:
        UsageError: no such language.
    """
    name = (language or "auto").lower()
    if name in ("chinese", "auto") and (dialect := config.dialects.get(speaker or "")):
        name = dialect
    if name == "auto":
        return None
    if name not in config.languages:
        known = ", ".join(sorted(each for each in config.languages if "dialect" not in each))
        raise UsageError(f"--language {language} is none of the model's; known: {known}, or auto")
    return config.languages[name]


def prompt(talker: Talker, request: Request) -> Prompt:
    """The embeddings of a request."""
    tokens = talker.config.tokens
    bos, eos, pad = mx.split(_text(talker, [tokens.tts_bos, tokens.tts_eos, tokens.tts_pad]), 3)
    codec = _tags(talker, request)
    told = [pad] * (len(codec) - 2) + [bos]
    parts = [_text(talker, request.instruction)] if request.instruction else []
    parts += [_text(talker, request.text[:ROLE]), mx.concatenate(told) + codec[:-1]]
    words = list(request.text[ROLE:-ENDING])
    if request.reference is not None:
        reference, codes = request.reference
        words = [*reference[ROLE:-REFERENCE_ENDING], *words]
        heard = talker.embed_frames(mx.array(codes.astype(np.int32))[None])[0]
        codec = mx.concatenate([codec[-1:], heard])
    else:
        codec = codec[-1:]
    text = mx.concatenate([_text(talker, words), eos])
    if not request.streamed:
        silent = talker.embed_first(mx.array([[tokens.pad]]))[0]
        parts += [text + silent, codec + pad]
        text = pad
    else:
        beside = min(len(text), len(codec))
        parts.append(mx.concatenate([text[:beside], *[pad] * (len(codec) - beside)]) + codec)
        text = text[beside:] if len(text) > beside else pad
    return Prompt(mx.concatenate(parts), text, pad[0])


def _tags(talker: Talker, request: Request) -> mx.array:
    """Language, speaker, and where speech begins: (4 to 7, hidden_size)."""
    tokens = talker.config.tokens
    if request.language is None:
        language = [tokens.nothink, tokens.think_bos, tokens.think_eos]
    else:
        language = [tokens.think, tokens.think_bos, request.language, tokens.think_eos]
    speaker = request.speaker
    if isinstance(speaker, mx.array):
        begin = talker.embed_first(mx.array([[*language, tokens.pad, tokens.bos]]))[0]
        own = speaker[None].astype(begin.dtype)
        return mx.concatenate([begin[: len(language)], own, begin[len(language) :]])
    named = [] if speaker is None else [speaker]
    return talker.embed_first(mx.array([[*language, *named, tokens.pad, tokens.bos]]))[0]


def _text(talker: Talker, tokens: Sequence[int]) -> mx.array:
    return talker.embed_text(mx.array([list(tokens)]))[0]
