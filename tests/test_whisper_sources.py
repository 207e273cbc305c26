"""Whisper's sources in transformers' layout: other sizes and vocabularies, heads that files do not tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_ports import safetensors_file
from small_whisper import transformers_tensors, write_package, write_source, write_vocabulary

from pytorch_to_mlx import convert, load
from pytorch_to_mlx.errors import PytorchToMlxError
from pytorch_to_mlx.folder import read_config
from pytorch_to_mlx.models.whisper.config import PUBLISHED, WhisperConfig
from pytorch_to_mlx.models.whisper.port import PORT
from pytorch_to_mlx.models.whisper.vocabulary import FILE
from pytorch_to_mlx.validation import find_originals


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed openai-whisper with English words too."""
    made = tmp_path / "package"
    made.mkdir()
    write_package(made)
    (write_vocabulary(tmp_path, english=True) / FILE).rename(made / "whisper" / "assets" / "gpt2.tiktoken")
    monkeypatch.syspath_prepend(str(made))
    return made


def test_another_size_that_knows_english_only(package: Path, tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", vocab_size=51864)
    tensors = transformers_tensors()
    table = "model.decoder.embed_tokens.weight"
    safetensors_file(source / "model.safetensors", tensors | {table: tensors[table][:51864]})
    convert(source, tmp_path / "mlx")
    assert read_config(tmp_path / "mlx").variant == "other.en"
    assert load(tmp_path / "mlx").languages == ("en",)


@pytest.mark.parametrize("size", [51863, 51867, 52000])
def test_added_tokens_are_refused_before_anything_is_written(package: Path, tmp_path: Path, size: int) -> None:
    source = write_source(tmp_path / "source", vocab_size=size)
    with pytest.raises(PytorchToMlxError, match=f"n_vocab {size} is none of Whisper's vocabularies"):
        convert(source, tmp_path / "mlx")
    assert not (tmp_path / "mlx").exists()


def transformers_settings(config: WhisperConfig, heads: list[list[int]] | None) -> dict[str, Any]:
    """Files of a published size, with heads or without."""
    told = {
        "model_type": "whisper", "num_mel_bins": config.n_mels, "max_source_positions": 1500,
        "max_target_positions": 448, "d_model": config.n_audio_state, "encoder_layers": config.n_audio_layer,
        "decoder_layers": config.n_text_layer, "encoder_attention_heads": config.n_audio_head,
        "decoder_attention_heads": config.n_text_head, "vocab_size": config.n_vocab,
    }  # fmt: skip
    return {"config.json": told} | ({} if heads is None else {"generation_config.json": {"alignment_heads": heads}})


@pytest.mark.parametrize("name", PUBLISHED)
def test_heads_that_nothing_tells_are_the_variants(name: str) -> None:
    published, settings = PUBLISHED[name], PORT.variants[name].settings
    assert settings is not None
    assert settings.config(transformers_settings(published, None)) == published
    assert settings.config(transformers_settings(published, [[0, 1]])).alignment_heads == ((0, 1),)


def test_what_is_recorded_depends_on_told_heads(package: Path, tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    heads = source / "generation_config.json"
    heads.write_text(json.dumps({"alignment_heads": [[1, 0]]}))
    convert(source, tmp_path / "mlx")
    assert heads in find_originals(read_config(tmp_path / "mlx"), str(source), offline=True).files
