"""Whisper's tokens: words of a byte-level vocabulary, and what it is told by special ones (whisper/tokenizer.py)."""

from __future__ import annotations

import base64
import string
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_to_mlx.errors import FolderError, MissingDependencyError
from pytorch_to_mlx.models.whisper.config import WhisperConfig
from pytorch_to_mlx.models.whisper.languages import LANGUAGES, UNSPACED, language_code

if TYPE_CHECKING:
    import tiktoken

FILE = "vocabulary.tiktoken"
WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
"""What is encoded by itself: GPT-2's pattern."""
TIMESTAMPS = 1501
"""Every 20 ms of 30 s."""
UNFINISHED = "\ufffd"
"""What a token stands for that is part of a character."""
BRACKETS = '"#()*+/:;<=>@[\\]^_`{|}~「」『』'
RUNS = "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪"
NOTES = "♩♪♫♬♭♮♯"


class Vocabulary:
    """Tokens of one model, for whatever language.

    Attributes:
        eot, sot, translate, transcribe, sot_lm, sot_prev, no_speech, no_timestamps, timestamp_begin: special tokens;
            those from `timestamp_begin` on are times, 20 ms apart.
    """

    def __init__(self, path: Path, config: WhisperConfig) -> None:
        """
        Raises:
            FolderError: the file is missing or damaged, or another model's.
            MissingDependencyError: tiktoken is missing.
        """
        ranks = _ranks(path)
        languages = max(config.languages, 99)  # English models have their tokens too
        self.languages = tuple(LANGUAGES)[: config.languages]
        self.multilingual = config.multilingual
        names = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in tuple(LANGUAGES)[:languages])]
        names += [f"<|{name}|>" for name in ("translate", "transcribe", "startoflm", "startofprev", "nospeech")]
        names += ["<|notimestamps|>", *(f"<|{i * 0.02:.2f}|>" for i in range(TIMESTAMPS))]
        specials = {name: len(ranks) + place for place, name in enumerate(names)}
        if len(ranks) + len(names) != config.n_vocab:
            raise FolderError(
                f"{path} has {len(ranks) + len(names)} tokens, the model {config.n_vocab}; convert the model again"
            )
        self._encoding = _encoding(ranks, specials)
        self.eot, self.sot = specials["<|endoftext|>"], specials["<|startoftranscript|>"]
        self.translate, self.transcribe = specials["<|translate|>"], specials["<|transcribe|>"]
        self.sot_lm, self.sot_prev = specials["<|startoflm|>"], specials["<|startofprev|>"]
        self.no_speech, self.no_timestamps = specials["<|nospeech|>"], specials["<|notimestamps|>"]
        self.timestamp_begin = specials["<|0.00|>"]

    def encode(self, text: str) -> list[int]:
        """Tokens of a text; what looks like a special token is text."""
        return self._encoding.encode(text, disallowed_special=())

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, times left out."""
        return self._encoding.decode([token for token in tokens if token < self.timestamp_begin])

    @property
    def language_tokens(self) -> dict[str, int]:
        """By code."""
        return {code: self.sot + 1 + place for place, code in enumerate(self.languages)}

    def start(self, language: str, task: str) -> list[int]:
        """What tells the model what to do, before what it writes; an English model needs not be told.

        Raises:
            UsageError: it does not know the language.
        """
        code = language_code(language, len(self.languages))
        if not self.multilingual:
            return [self.sot]
        return [self.sot, self.language_tokens[code], self.translate if task == "translate" else self.transcribe]

    @cached_property
    def not_speech(self) -> list[int]:
        """Tokens of what is written but not said, such as brackets and notes; dashes and quotes that begin a word."""
        found = {self.encode(" -")[0], self.encode(" '")[0]}
        for symbol in (*BRACKETS, *RUNS.split(), *NOTES):
            for tokens in (self.encode(symbol), self.encode(f" {symbol}")):
                if len(tokens) == 1 or symbol in NOTES:
                    found.add(tokens[0])
        return sorted(found)

    @cached_property
    def instructions(self) -> list[int]:
        """Special tokens that are for the model to read, never to write."""
        return [self.transcribe, self.translate, self.sot, self.sot_prev, self.sot_lm, self.no_speech]

    @cached_property
    def blank(self) -> list[int]:
        """What would begin an empty text."""
        return [*self.encode(" "), self.eot]

    def words(self, tokens: Sequence[int], language: str) -> list[tuple[str, list[int]]]:
        """Words and their tokens; in languages without spaces, characters."""
        characters = self._characters(tokens)
        if language in UNSPACED:
            return characters
        words: list[tuple[str, list[int]]] = []
        for text, part in characters:
            alone = part[0] >= self.eot or text.startswith(" ") or text.strip() in string.punctuation
            if alone or not words:
                words.append((text, part))
            else:
                words[-1] = (words[-1][0] + text, words[-1][1] + part)
        return words

    def _characters(self, tokens: Sequence[int]) -> list[tuple[str, list[int]]]:
        """The shortest runs of tokens that stand for whole characters."""
        whole = self._encoding.decode(list(tokens))
        found: list[tuple[str, list[int]]] = []
        run: list[int] = []
        written = 0
        for token in tokens:
            run.append(token)
            text = self._encoding.decode(run)
            place = written + text.find(UNFINISHED)
            if UNFINISHED not in text or (place < len(whole) and whole[place] == UNFINISHED):
                found.append((text, run))
                run = []
                written += len(text)
        return found


def _ranks(path: Path) -> dict[bytes, int]:
    try:
        lines = path.read_bytes().split(b"\n")
        pairs = [line.split() for line in lines if line]
        return {base64.b64decode(token): int(rank) for token, rank in pairs}
    except OSError as error:
        raise FolderError(f"{path} cannot be read ({error.strerror}); convert the model again") from error
    except ValueError as error:
        raise FolderError(f"{path} is no vocabulary ({error}); convert the model again") from error


def _encoding(ranks: dict[bytes, int], specials: dict[str, int]) -> tiktoken.Encoding:
    try:
        import tiktoken
    except ImportError as error:
        raise MissingDependencyError(
            "Whisper's vocabulary needs tiktoken; install it with: pip install 'pytorch-to-mlx[whisper]'"
        ) from error
    return tiktoken.Encoding("whisper", pat_str=WORDS, mergeable_ranks=ranks, special_tokens=specials)
