"""Tokenizer files in the formats of Chatterbox's repositories, with vocabularies of the right sizes but made up.

Merges are drawn at random with a preference for frequent letters, so that ordinary text meets tokens of one to several
letters. Special tokens, language tags and Cangjie codes are those that upstream's code asks for.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import _seed
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Tokenizer

LETTERS = "etaoinshrdlcumwfgypbvkjxqz"
PUNCTUATION = "!\"'(),-.:;?¿¡،؟。、，！？"
LANGUAGES = ("ar", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "it", "ja")
LANGUAGES += ("ko", "ms", "nl", "no", "pl", "pt", "ru", "sv", "sw", "tr", "zh")
# Greek, Cyrillic, Hebrew with points, Arabic, Devanagari, Jamo, kana: what is left of text after NFKD.
SCRIPTS = ((0x300, 0x345), (0x3B1, 0x3CA), (0x430, 0x450), (0x5B0, 0x5EB), (0x620, 0x653), (0x901, 0x950))
SCRIPTS += ((0x1100, 0x1113), (0x1161, 0x1176), (0x11A8, 0x11C3), (0x3041, 0x3097), (0x3099, 0x309B), (0x30A1, 0x30FB))
CANGJIE = ["日\ta", "曰\ta", "月\tb", "人\to", "你\tonf", "好\tvnd", "世\tpt", "界\twoll", "明\tab", "天\tmk"]
TAGS = ("angry", "fear", "surprised", "whispering", "advertisement", "dramatic", "narration", "crying", "happy")
TAGS += ("sarcastic", "clear throat", "sigh", "shush", "cough", "groan", "sniff", "gasp", "chuckle", "laugh")


def write_english(path: Path) -> None:
    """`tokenizer.json`: 704 tokens."""
    _write_bpe(path, 704, [*LETTERS, *LETTERS.upper(), *PUNCTUATION], ())


def write_multilingual(folder: Path) -> None:
    """`grapheme_mtl_merged_expanded_v1.json`, 2454 tokens, and `Cangjie5_TC.json`, ten characters of it."""
    letters = [*LETTERS, *LETTERS.upper(), *PUNCTUATION, *(chr(c) for first, end in SCRIPTS for c in range(first, end))]
    tags = [f"[{language}]" for language in LANGUAGES] + [f"[cj_{c}]" for c in "abcdefghijklmnopqrstuvwxyz0123456789."]
    _write_bpe(folder / "grapheme_mtl_merged_expanded_v1.json", 2454, letters, tags)
    (folder / "Cangjie5_TC.json").write_text(json.dumps(CANGJIE, ensure_ascii=False), encoding="utf-8")


def write_turbo(folder: Path) -> None:
    """GPT-2's files, 50257 tokens, and 19 added tags: `vocab.json`, `merges.txt` and what `save_pretrained` adds."""
    bytes_as_letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges(["Ġ", *LETTERS], 50000)
    tokens = [*bytes_as_letters, *("".join(pair) for pair in merges), "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as drafts:
        vocabulary, ranks = Path(drafts) / "vocab.json", Path(drafts) / "merges.txt"
        vocabulary.write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
        ranks.write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
        tokenizer = GPT2Tokenizer(str(vocabulary), str(ranks))
        tokenizer.add_tokens([f"[{tag}]" for tag in TAGS])
        tokenizer.save_pretrained(folder)


def _write_bpe(path: Path, size: int, letters: Sequence[str], tags: Sequence[str]) -> None:
    """A file of `tokenizers`: BPE within words and runs of punctuation, special tokens where upstream expects them."""
    special = ["[STOP]", "[UNK]", "[SPACE]"]
    merges = _merges(LETTERS, size - len(special) - len(letters) - len(tags) - 1)
    tokens = [*special, *letters, *tags, *("".join(pair) for pair in merges)]
    tokens.insert(255, "[START]")
    model = models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([*special, "[START]", *tags])
    tokenizer.save(str(path))


def _merges(letters: Sequence[str], count: int) -> list[tuple[str, str]]:
    """`count` pairs, each of which joins two of the letters and earlier pairs into a new token of at most 8 letters."""
    random = _seed.generator(0, "merges")
    tokens, seen, merges = list(letters), set(letters), []
    while len(merges) < count:
        first, second = (tokens[int(len(tokens) * u)] for u in random.random(2) ** 3)
        joined = first + second
        # Only the first letter of a word carries GPT-2's mark of a space.
        if len(joined) <= 8 and joined not in seen and "Ġ" not in second:
            merges.append((first, second))
            tokens.append(joined)
            seen.add(joined)
    return merges
