"""Tokenizer files of GPT-2 and Qwen2, a vocabulary and merges, turned into the one file that `tokenizers` loads.

The result gives the ids of transformers' GPT2TokenizerFast and Qwen2TokenizerFast made from the same files
(convert_slow_tokenizer.py, tokenization_utils_base.py); transformers itself is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_to_mlx.errors import CheckpointError
from pytorch_to_mlx.text.library import tokenizers_library

if TYPE_CHECKING:
    from tokenizers import AddedToken

END = "<|endoftext|>"
GPT2_DEFAULTS = {"bos_token": END, "eos_token": END, "unk_token": END}
QWEN2_DEFAULTS = {"eos_token": END, "unk_token": END, "pad_token": END}
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""What is a word to Qwen2's tokenizer: digits stand alone, and a mark goes with the letters after it."""
SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def gpt2_tokenizer_json(files: Mapping[str, Path]) -> bytes:
    """`tokenizer.json` from `vocab.json`, `merges.txt` and the tags in `added_tokens.json` or `tokenizer_config.json`.

    Args:
        files: paths by name; `special_tokens_map.json` is the fifth that counts.

    Raises:
        CheckpointError: a file is damaged, or an added token would get another id than the files say.
        MissingDependencyError: `tokenizers` is not installed.
    """
    return _tokenizer_json(files, GPT2_DEFAULTS)


def qwen2_tokenizer_json(files: Mapping[str, Path]) -> bytes:
    """The same of Qwen2's files, whose text is put into Unicode's normal form C."""
    return _tokenizer_json(files, QWEN2_DEFAULTS, QWEN2_WORDS)


def _tokenizer_json(files: Mapping[str, Path], defaults: Mapping[str, str], words: str | None = None) -> bytes:
    library = tokenizers_library()
    vocabulary, settings = _json(files["vocab.json"]), _json(files.get("tokenizer_config.json"))
    lines = _text(files["merges.txt"]).split("\n")
    if words is None:  # as GPT-2's reads it: a line with the version, the merges, and what follows the last line's end
        lines = lines[1:-1]
    else:
        lines = [line for line in lines[lines[0].startswith("#version:") :] if line.strip()]
    try:
        model = library.models.BPE(vocab=vocabulary, merges=[tuple(line.split()) for line in lines])
    except Exception as error:  # of the library's own, undeclared types
        raise CheckpointError(
            f"{files['merges.txt']}: does not fit {files['vocab.json'].name} ({error}); fetch both again"
        ) from error
    tokenizer = library.Tokenizer(model)
    spaced = bool(settings.get("add_prefix_space", False))
    if words is None:
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    else:
        tokenizer.normalizer = library.normalizers.NFC()
        split = library.pre_tokenizers.Split(library.Regex(words), behavior="isolated")
        plain = library.pre_tokenizers.ByteLevel(add_prefix_space=spaced, use_regex=False)
        tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence([split, plain])
    tokenizer.decoder = library.decoders.ByteLevel()
    tokenizer.post_processor = library.processors.ByteLevel(trim_offsets=False)
    special = _special_tokens(files, settings, defaults)
    added = _added_tokens(files, settings, set(special.values()))
    known = {token.content for token in added.values()}
    tokenizer.add_tokens([token for _, token in sorted(added.items())])
    tokenizer.add_special_tokens([content for content in dict.fromkeys(special.values()) if content not in known])
    for number, token in added.items():
        if tokenizer.token_to_id(token.content) != number:
            found = tokenizer.token_to_id(token.content)
            raise CheckpointError(f"the token {token.content!r} would be {found}, not {number}; fetch the files again")
    if settings.get("add_bos_token"):
        start = special["bos_token"]
        pair = (start, tokenizer.token_to_id(start))
        tokenizer.post_processor = library.processors.TemplateProcessing(f"{start}:0 $A:0", special_tokens=[pair])
    return tokenizer.to_str().encode()


def _special_tokens(
    files: Mapping[str, Path], settings: Mapping[str, Any], defaults: Mapping[str, str]
) -> dict[str, str]:
    """The content of each special token, by what it is for; further ones by their number."""
    given = dict(defaults) | dict(settings)
    if "added_tokens_decoder" not in settings:
        given |= _json(files.get("special_tokens_map.json"))
    further = given.get("additional_special_tokens") or []
    named = {name: given[name] for name in SPECIAL if given.get(name)} | {str(i): t for i, t in enumerate(further)}
    return {name: token["content"] if isinstance(token, dict) else str(token) for name, token in named.items()}


def _added_tokens(files: Mapping[str, Path], settings: Mapping[str, Any], special: set[str]) -> dict[int, AddedToken]:
    """What is looked for in the text before anything else, by id."""
    make = tokenizers_library().AddedToken
    tokens: dict[int, AddedToken] = {}
    if "added_tokens_decoder" in settings:
        for number, token in settings["added_tokens_decoder"].items():
            flags = {name: bool(token.get(name, False)) for name in ("single_word", "lstrip", "rstrip", "normalized")}
            is_special = bool(token.get("special")) or token["content"] in special
            tokens[int(number)] = make(token["content"], special=is_special, **flags)
    else:
        for content, number in _json(files.get("added_tokens.json")).items():
            tokens[number] = make(content, normalized=content not in special, special=content in special)
    return tokens


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read as text ({error}); fetch it again") from error


def _json(path: Path | None) -> dict[str, Any]:
    """A file's object; empty if there is no file."""
    if path is None:
        return {}
    try:
        content = json.loads(_text(path))
    except ValueError as error:
        raise CheckpointError(f"{path}: is not JSON ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds no JSON object; fetch it again")
    return content
