"""The 12 Hz codec of Qwen3-TTS without torch: conversion from upstream's files, streams, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from cli_room import run
from described import described, tensors, write_source
from held import Held
from small_ports import SEED

from pytorch_to_mlx import Audio, convert, load
from pytorch_to_mlx.components.qwen3_codec import Codec
from pytorch_to_mlx.components.qwen3_codec.config import from_json
from pytorch_to_mlx.components.qwen3_codec.model import Qwen3CodecModel
from pytorch_to_mlx.errors import ConfigError, SourceError, UnrecognisedSourceError, UsageError
from pytorch_to_mlx.models.qwen3_tts_tokenizer.port import PORT
from pytorch_to_mlx.port import parameter_shapes

GOLDEN = "qwen3_tts_tokenizer-12hz"
RATE, SAMPLES = 24000, 1920


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(GOLDEN, tmp_path_factory.mktemp("codec") / "source")


@pytest.fixture(scope="module")
def model(source: Path) -> Qwen3CodecModel:
    convert(source, source.parent / "mlx")
    return load(source.parent / "mlx")


def codes(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 64, (frames, 16))


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """What float32 leaves of equal sums in another order."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_every_tensor_is_used_or_dropped_with_a_reason() -> None:
    told = described(GOLDEN)
    config = from_json(told["settings"]["config.json"])
    held = Held(tensors(GOLDEN))
    plan = PORT.variants["12hz"].parts[0].weights.plan(held, parameter_shapes(Codec(config)))
    assert len(held) == 358  # 496 with all layers
    assert {row.source for row in plan.table()} == set(held)


def test_the_folder_has_the_sizes_that_the_source_tells(model: Qwen3CodecModel) -> None:
    config = model.network.config
    assert (config.decoder.channels, config.decoder.transformer.sliding_window) == (64, 4)
    assert (model.sample_rate, model.tokens_per_second) == (24000, 12.5)


def test_there_and_back(model: Qwen3CodecModel) -> None:
    audio = Audio(SEED.speechlike(1, 1.03, 44100), 44100)
    found = model.tokenize(audio)
    assert (found.shape, found.dtype) == ((13, 16), np.int32)
    again = model.decode(found)
    assert (again.samples.size, again.rate) == (13 * SAMPLES, RATE)


@pytest.mark.parametrize("pieces", [[1] * 30, [7, 1, 20, 2], [30]])
def test_a_stream_is_the_whole(model: Qwen3CodecModel, pieces: list[int]) -> None:
    whole = np.array(model.network.decoder(mx.array(codes(30)[None].astype(np.int32)))[0])
    ends = np.cumsum(pieces)
    parts = model.stream(codes(30)[end - size : end] for size, end in zip(pieces, ends, strict=True))
    assert_close(np.concatenate([part.samples for part in parts]), whole)
    assert_close(model.decode(codes(30)).samples, whole)


def test_two_streams_do_not_mix(model: Qwen3CodecModel) -> None:
    first, second = model.session(), model.session()
    mixed = [
        session.push(codes(8, seed)[i : i + 2]) for i in range(0, 8, 2) for seed, session in ((1, first), (2, second))
    ]
    for seed, parts in ((1, mixed[::2]), (2, mixed[1::2])):
        assert_close(np.concatenate([part.samples for part in parts]), model.decode(codes(8, seed)).samples)


def test_a_session_branches(model: Qwen3CodecModel) -> None:
    whole = model.decode(codes(20)).samples
    session = model.session()
    session.push(codes(20)[:8])
    twin = copy.copy(session)
    for _ in range(2):  # what one was given since does not reach the other
        assert_close(copy.copy(twin).push(codes(20)[8:]).samples, whole[8 * SAMPLES :])
        session.push(codes(5, 3))


def test_a_stream_holds_what_it_needs_and_no_more(model: Qwen3CodecModel) -> None:
    session = model.session()
    session.push(codes(1))
    mx.clear_cache()
    before = mx.get_active_memory()
    session.push(codes(200))
    held = sum(array.nbytes for array in session._past.arrays)
    assert mx.get_active_memory() - before < held


def test_sound_to_come_changes_nothing(model: Qwen3CodecModel) -> None:
    early = model.decode(codes(20)).samples[: 10 * SAMPLES]
    assert_close(model.decode(codes(20)[:10]).samples, early)


def test_a_batch_is_its_recordings_alone(model: Qwen3CodecModel) -> None:
    both = np.stack([codes(9, 1), codes(9, 2)]).astype(np.int32)
    for row, seed in zip(np.array(model.network.decoder(mx.array(both))), (1, 2), strict=True):
        assert_close(row, model.decode(codes(9, seed)).samples)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((3, 15), int), "shape"),
        (np.zeros((0, 16), int), "shape"),
        (np.zeros((3, 16)), "integers from 0 to 63"),
        (np.full((3, 16), 64), "integers from 0 to 63"),
        (np.full((3, 16), -1), "integers from 0 to 63"),
    ],
)
def test_codes_that_there_are_not(model: Qwen3CodecModel, wrong: np.ndarray, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        model.decode(wrong)


def test_commands(model: Qwen3CodecModel, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tokenize --json`, then `detokenize`: what the model itself gives, but for 16-bit files."""
    folder, audio = source.parent / "mlx", Audio(SEED.speechlike(2, 0.7, 16000), 16000)
    audio.write(tmp_path / "one.wav")
    Audio(SEED.speechlike(3, 0.5, 16000), 16000).write(tmp_path / "two.wav")
    monkeypatch.chdir(tmp_path)
    assert not run(monkeypatch, "tokenize", folder, "one.wav", "two.wav", "--json", "-o", "tokens.json")
    held = json.loads((tmp_path / "tokens.json").read_text())
    assert held == {name: model.tokenize(Audio.read(name)).tolist() for name in ("one.wav", "two.wav")}
    assert held["one.wav"][:5] != held["two.wav"][:5]
    (tmp_path / "again").mkdir()
    assert not run(monkeypatch, "detokenize", folder, "tokens.json", "-o", "again")
    for name, codes in held.items():
        expected = model.decode(np.array(codes)).samples
        assert np.abs(Audio.read(tmp_path / "again" / name).samples - expected).max() < 2**-15
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.wav")}
    assert run(monkeypatch, "detokenize", folder, "tokens.json", "-o", ".") == 2
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.wav")} == before
    assert not run(monkeypatch, "tokenize", folder, "one.wav", "-o", "tokens.txt")
    frames = (tmp_path / "tokens.txt").read_text().split()
    assert [[int(code) for code in frame.split(",")] for frame in frames] == held["one.wav"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON"),
        ("[1, 2]", "does not hold tokens by the names of recordings"),
        ('{"a": [[1, 2], [3]]}', "frames of tokens differ in length"),
        ('{"a": [[1, 2]]}', "codes have shape"),
        ('{"a": [[1]], "b": [[1]]}', "--output must be a folder"),
    ],
)
def test_tokens_that_make_no_sense(
    model: Qwen3CodecModel,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: str,
    said: str,
) -> None:
    (tmp_path / "tokens.json").write_text(content)
    out = tmp_path / "out.wav"
    assert run(monkeypatch, "detokenize", source.parent / "mlx", tmp_path / "tokens.json", "-o", out) == 2
    assert said in capsys.readouterr().err and not out.exists()


def with_config(source: Path, room: Path, change: Any) -> Path:
    room.mkdir()
    for name in ("model.safetensors", "preprocessor_config.json"):
        (room / name).symlink_to(source / name)
    (room / "config.json").write_text(change if isinstance(change, str) else json.dumps(change))
    return room


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ("{", SourceError, "config.json is no JSON"),
        ({}, UnrecognisedSourceError, "none of the models"),
        ([], UnrecognisedSourceError, "none of the models"),
        ({"model_type": "other"}, UnrecognisedSourceError, "none of the models"),
        (
            {"decoder_config": {"num_quantizers": "many"}},
            SourceError,
            "num_quantizers 'many' is not implemented, only 16",
        ),
        ({"decoder_config": {"num_hidden_layers": 10**9}}, SourceError, "less than or equal to 1000"),
        ({"decoder_config": {"latent_dim": "wide"}}, SourceError, "setting decoder.latent_dim"),
        ({"decoder_config": {"upsample_rates": [8] * 100}}, SourceError, "cannot be halved 100 times"),
        ({"decoder_config": {"sliding_window": None}}, SourceError, "no sliding window"),
        ({"decoder_config": {"rms_norm_eps": float("nan")}}, SourceError, "norm_eps nan"),
        ({"decoder_config": {"rope_theta": 10**400}}, SourceError, "not as qwen3_tts_tokenizer has it"),
        ({"decoder_config": {"num_attention_heads": 0}}, SourceError, "not as qwen3_tts_tokenizer has it"),
        ({"decoder_config": "large"}, SourceError, "not as qwen3_tts_tokenizer has it"),
        ({"encoder_config": {"use_causal_conv": False}}, SourceError, "use_causal_conv False is not implemented"),
        ({"encoder_config": {"pad_mode": "replicate"}}, SourceError, "pad_mode 'replicate' is not implemented"),
        ({"encoder_config": {"compress": 0}}, ConfigError, "no qwen3_tts_tokenizer has these settings"),
        ({"output_sample_rate": 48000}, SourceError, "input_sample_rate 24000 does not agree"),
        ({"decode_upsample_rate": 960}, SourceError, "decode_upsample_rate 960 does not agree"),
    ],
)
def test_configurations_that_make_no_sense(
    source: Path, tmp_path: Path, change: Any, error: type[Exception], said: str
) -> None:
    if isinstance(change, dict) and change and "model_type" not in change:
        change = described(GOLDEN)["settings"]["config.json"] | change
    with pytest.raises(error, match=said):
        convert(with_config(source, tmp_path / "source", change), tmp_path / "mlx")
    assert not (tmp_path / "mlx").exists()
