"""Small tokenizer files in the formats of Chatterbox's and Qwen3-TTS's repositories, made with `tokenizers` alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,!?'\"-()"
GROUPS = ["th", "the", "in", "ing", "er", "an", "and", "re", "on", "ou", "ell", "He", "wor", "ld", "es", "en", "le"]
LANGUAGES = ["ar", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "it", "ja"]
LANGUAGES += ["ko", "ms", "nl", "no", "pl", "pt", "ru", "sv", "sw", "tr", "zh"]
TAGS = ["[laugh]", "[sigh]", "[clear throat]"]
# Accents, Greek, Cyrillic, Hebrew, Arabic, Devanagari, Jamo and kana, of which much is missing, as in the real files.
SCRIPTS = [(0x300, 0x330), (0x3B1, 0x3CA), (0x430, 0x450), (0x5B0, 0x5EB), (0x620, 0x64B), (0x904, 0x94E)]
SCRIPTS += [(0x1100, 0x1113), (0x1161, 0x1176), (0x11A8, 0x11C3), (0x3041, 0x3097), (0x30A1, 0x30FB)]
CANGJIE = ["日\ta", "曰\ta", "人\to", "你\tonf", "好\tvnd", "世\tpt", "界\twoll", "人\to"]


def write_english(folder: Path) -> Path:
    """`tokenizer.json`."""
    return _write(folder, list(LETTERS), [])


def write_multilingual(folder: Path) -> Path:
    """`tokenizer.json` and `Cangjie5_TC.json`."""
    lines = json.dumps(CANGJIE, ensure_ascii=False)
    (folder / "Cangjie5_TC.json").write_text(lines, encoding="utf-8")
    letters = [*LETTERS, *(chr(c) for first, end in SCRIPTS for c in range(first, end)), "。", "、", "¿"]
    tags = [f"[{language}]" for language in LANGUAGES] + [f"[cj_{c}]" for c in "abcdefghijklmnopqrstuvwxyz0123456789."]
    return _write(folder, letters, tags)


def _write(folder: Path, letters: list[str], tags: list[str]) -> Path:
    special = ["[STOP]", "[UNK]", "[SPACE]", "[START]"]
    tokens = [*special, *letters, *tags, *GROUPS]
    merges = [(group[:-1], group[-1]) for group in GROUPS if group[:-1] in tokens]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer.add_special_tokens([*special, *tags])
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def write_gpt2(folder: Path, form: str) -> dict[str, Path]:
    """Turbo's files in one of the forms that transformers has written: "legacy", "config" or "start"."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    groups = [*(f"Ġ{c}" for c in "athswio"), *GROUPS, "Ġth", "Ġthe", "ĠHe", "Ġan"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*letters, *groups, "<|endoftext|>"]))}
    merges = [(g[:-1], g[-1]) for g in groups if g[:-1] in vocabulary]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    added = {tag: len(vocabulary) + i for i, tag in enumerate(TAGS)}
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>")
    contents: dict[str, Any] = {"vocab.json": vocabulary}
    config: dict[str, Any] = {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024, **special}
    if form == "legacy":
        contents |= {"added_tokens.json": added, "special_tokens_map.json": special}
        config = {"tokenizer_class": "GPT2Tokenizer"}
    else:
        flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False, "special": False}
        end = {"<|endoftext|>": vocabulary["<|endoftext|>"]}
        decoder = {str(i): {"content": tag, **flags} for tag, i in (end | added).items()}
        decoder[str(added["[sigh]"])]["lstrip"] = True
        config["added_tokens_decoder"] = decoder
    if form == "start":
        config |= {"add_prefix_space": True, "add_bos_token": True, "pad_token": "[PAD]"}
    contents["tokenizer_config.json"] = config
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return {path.name: path for path in folder.iterdir()}


def write_qwen2(folder: Path) -> None:
    """Qwen3-TTS's files: 269 tokens and 31 special ones, the last three around what is said."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [(word[:end], word[end]) for word in ("assistant", "user", "th", "er") for end in range(1, len(word))]
    written = [*letters, *("".join(pair) for pair in merges)]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|special_{n}|>" for n in range(25))]
    special += ["<tts_pad>", "<tts_text_bos>", "<tts_text_eod>"]
    added = {str(len(written) + i): {"content": token, "special": True} for i, token in enumerate(special)}
    config = {"added_tokens_decoder": added, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(written)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
