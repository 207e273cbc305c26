"""Chatterbox's text: normalised and tokenized as upstream does it (goldens from `tests/record_text_goldens.py`)."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from text_files import LANGUAGES as LISTED
from text_files import write_english, write_gpt2, write_multilingual

from pytorch_to_mlx.errors import CheckpointError, FolderError, MissingDependencyError, UsageError
from pytorch_to_mlx.models.chatterbox.text import (
    LANGUAGES,
    TextKind,
    TextTokenizer,
    languages,
    load_tokenizer,
    normalise,
)
from pytorch_to_mlx.text import gpt2_tokenizer_json

GOLDENS = json.loads((Path(__file__).parent / "goldens" / "text.json").read_text(encoding="utf-8"))
KINDS: dict[str, TextKind] = {"english": "english", "multilingual": "multilingual"}


def made(folder: Path, name: str) -> TextTokenizer:
    """The tokenizer that a golden was recorded with."""
    if name == "english":
        write_english(folder)
    elif name == "multilingual":
        write_multilingual(folder)
    else:
        files = write_gpt2(folder, name.removeprefix("gpt2-"))
        (folder / "tokenizer.json").write_bytes(gpt2_tokenizer_json(files))
    return load_tokenizer(folder, KINDS.get(name, "gpt2"))


@pytest.fixture
def multilingual(tmp_path: Path) -> TextTokenizer:
    return made(tmp_path, "multilingual")


@pytest.fixture
def english(tmp_path: Path) -> TextTokenizer:
    return made(tmp_path, "english")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", GOLDENS)
def test_text_becomes_upstreams_ids(name: str, tmp_path: Path) -> None:
    tokenizer, different, skipped = made(tmp_path, name), [], 0
    for text, normalised, ids, *language in GOLDENS[name]:
        try:
            found = tokenizer.encode(normalise(text, KINDS.get(name, "gpt2")), *language)
        except MissingDependencyError:
            assert language == ["ja"]
            skipped += 1
            continue
        assert found.dtype == np.int32
        if normalise(text, KINDS.get(name, "gpt2")) != normalised or found.tolist() != ids:
            different.append((text, found.tolist(), ids))
    assert not different
    assert skipped <= 1 and len(GOLDENS[name]) > 5


def test_goldens_reach_what_differs() -> None:
    """Unknown characters, tags, Cangjie, and every language are among them."""
    ids = {name: {i for row in rows for i in row[2]} for name, rows in GOLDENS.items()}
    assert 1 in ids["english"] and 1 in ids["multilingual"]
    assert {row[3] for row in GOLDENS["multilingual"]} == set(LISTED) == set(LANGUAGES)
    assert max(ids["gpt2-legacy"]) - min(ids["gpt2-legacy"]) > 256
    differing = [a[2] != b[2] for a, b in zip(GOLDENS["gpt2-legacy"], GOLDENS["gpt2-config"], strict=True)]
    assert any(differing) and not all(differing)


@pytest.mark.parametrize("kind", ["english", "multilingual", "gpt2"])
@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_nothing_to_say_is_an_error(text: str, kind: TextKind) -> None:
    with pytest.raises(UsageError, match="no text to say; give some with --text"):
        normalise(text, kind)


def test_an_unknown_language_lists_those_that_there_are(multilingual: TextTokenizer) -> None:
    with pytest.raises(UsageError, match="--language xx is not one") as told:
        multilingual.encode("Hello.", "xx")
    assert all(f"{code} ({name})" in str(told.value) for code, name in LANGUAGES.items()) and len(LANGUAGES) == 23


def test_a_multilingual_model_must_know_the_language(multilingual: TextTokenizer) -> None:
    with pytest.raises(UsageError, match="--language is missing, one of ar, da"):
        multilingual.encode("Hello.")
    assert multilingual.encode("Hello.", "EN").tolist() == multilingual.encode("Hello.", "en").tolist()


@pytest.mark.parametrize("name", ["english", "gpt2-config"])
def test_an_english_model_speaks_english_only(name: str, tmp_path: Path) -> None:
    tokenizer = made(tmp_path, name)
    with pytest.raises(UsageError, match=r"--language fr: this model speaks English only; .*--variant multilingual"):
        tokenizer.encode("Bonjour.", "fr")
    assert tokenizer.encode("Hello.", "en").tolist() == tokenizer.encode("Hello.").tolist()


def test_unknown_characters_are_named(english: TextTokenizer) -> None:
    with pytest.warns(UserWarning, match="does not know '5', 'ñ', which may be left out"):
        english.encode("5 ñ and 5.")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        english.encode("Nothing odd.")


def test_japanese_without_its_package(multilingual: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pykakasi", None)
    languages._kakasi.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"pip install 'pytorch-to-mlx\[chatterbox-ja\]'"):
        multilingual.encode("日本。", "ja")
    assert multilingual.encode("かな.", "ja").tolist() == next(r[2] for r in GOLDENS["multilingual"] if r[0] == "かな")


@pytest.mark.parametrize(
    ("language", "text", "said"),
    [
        ("ru", "привет", "Russian stress is guessed"),
        ("he", "שלום", "write the points"),
        ("zh", "你好", "pip install 'pytorch-to-mlx[chatterbox-zh]'"),
    ],
)
def test_what_is_guessed_is_said_once(
    multilingual: TextTokenizer, language: str, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("spacy_pkuseg", "russian_text_stresser", "russian_text_stresser.text_stresser"):
        monkeypatch.setitem(sys.modules, module, None)
    for cached in (languages._chinese_segmenter, languages._russian_stresser):
        cached.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        languages.__dict__.pop("__warningregistry__", None)
        multilingual.encode(text, language)
        multilingual.encode(text, language)
    assert [said in str(each.message) for each in caught] == [True]


def test_hebrew_with_points_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert languages.hebrew("שָׁלוֹם") == "שָׁלוֹם"


def test_installed_packages_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Stand:
        def cut(self, text: str) -> list[str]:
            return [text[:1], text[1:]]

        def stress_text(self, text: str) -> str:
            return f"{text}!"

    monkeypatch.setattr(languages, "_chinese_segmenter", lambda: Stand())
    monkeypatch.setattr(languages, "_russian_stresser", lambda: Stand())
    made(tmp_path, "multilingual")
    assert (
        languages.Cangjie(tmp_path / "Cangjie5_TC.json")("你好x")
        == "[cj_o][cj_n][cj_f][cj_.] [cj_v][cj_n][cj_d][cj_.]x"
    )
    assert languages.russian("да") == "да!"


# Files


def test_a_missing_or_foreign_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"tokenizer.json: cannot be read as a tokenizer .*convert the model again"):
        load_tokenizer(tmp_path, "english")
    made(tmp_path, "gpt2-config")
    with pytest.raises(FolderError, match=r"has no token \[START\]: not Chatterbox's tokenizer"):
        load_tokenizer(tmp_path, "english")


def test_chinese_needs_its_table(multilingual: TextTokenizer, tmp_path: Path) -> None:
    (tmp_path / "Cangjie5_TC.json").unlink()
    assert multilingual.encode("hello", "en").size
    with pytest.raises(FolderError, match=r"Cangjie5_TC.json: Chinese needs this table"):
        multilingual.encode("你好", "zh")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("vocab.json", "{", "vocab.json: is not JSON"),
        ("vocab.json", "[]", "vocab.json: holds no JSON object"),
        ("merges.txt", "#version: 0.2\nqq zz\n", "merges.txt: does not fit vocab.json"),
        ("added_tokens.json", '{"[laugh]": 9999}', r"'\[laugh\]' would be [0-9]+, not 9999"),
    ],
)
def test_damaged_gpt2_files_are_named(name: str, content: str, said: str, tmp_path: Path) -> None:
    files = write_gpt2(tmp_path, "legacy")
    files[name].write_text(content)
    with pytest.raises(CheckpointError, match=said):
        gpt2_tokenizer_json(files)


def test_without_the_library_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .tokenizers>=0\.22\.0."):
        load_tokenizer(tmp_path, "english")


def test_the_front_end_imports_no_library() -> None:
    loaded = "bool({'tokenizers', 'transformers', 'pykakasi'} & set(sys.modules))"
    code = f"import sys, pytorch_to_mlx.models.chatterbox.text; sys.exit({loaded})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
