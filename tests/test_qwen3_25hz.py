"""The 25 Hz tokenizer of Qwen3-TTS without torch: conversion from upstream's files, its networks, what is refused."""

from __future__ import annotations

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
from pytorch_to_mlx.components.qwen3_25hz import WEIGHTS, Tokenizer25, from_json
from pytorch_to_mlx.components.qwen3_25hz import encoder as encoder_module
from pytorch_to_mlx.components.qwen3_25hz import vocoder as vocoder_module
from pytorch_to_mlx.components.qwen3_25hz.config import VocoderConfig
from pytorch_to_mlx.components.qwen3_25hz.dit import block_attention, sway
from pytorch_to_mlx.components.qwen3_25hz.model import Qwen3Tokenizer25Model
from pytorch_to_mlx.components.qwen3_25hz.voice import normed
from pytorch_to_mlx.errors import AudioError, SourceError, UnrecognisedSourceError, UsageError, WeightMapError
from pytorch_to_mlx.layers.antialiasing import AntialiasedSnake
from pytorch_to_mlx.noise import ReplayedNoise
from pytorch_to_mlx.port import parameter_shapes
from pytorch_to_mlx.tasks import SpeechCodec, Voice, VoicedTokenizer

GOLDEN = "qwen3_tts_tokenizer_25hz-25hz"
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(GOLDEN, tmp_path_factory.mktemp("tokenizer") / "source")


@pytest.fixture(scope="module")
def model(source: Path) -> Qwen3Tokenizer25Model:
    convert(source, source.parent / "mlx")
    return load(source.parent / "mlx")


@pytest.fixture(scope="module")
def voice(model: Qwen3Tokenizer25Model) -> Voice:
    return model.prepare_voice(Audio(SEED.speechlike(4, 0.5, 24000), 24000), RNG.normal(size=192))


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """What float32 leaves of equal sums in another order."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_every_tensor_is_used_or_dropped_with_a_reason() -> None:
    config = from_json(described(GOLDEN)["settings"]["config.json"])
    held = Held(tensors(GOLDEN))
    plan = WEIGHTS.plan(held, parameter_shapes(Tokenizer25(config)))
    assert {row.source for row in plan.table()} == set(held)
    held["encoder.tokenizer.blocks.6.attn.key.bias"] = np.zeros(64, np.float32)
    with pytest.raises(WeightMapError, match="16 tensors match"):
        WEIGHTS.plan(held, parameter_shapes(Tokenizer25(config)))


def test_there_and_back(model: Qwen3Tokenizer25Model, voice: Voice) -> None:
    assert isinstance(model, VoicedTokenizer) and not isinstance(model, SpeechCodec)
    assert (model.sample_rate, model.tokens_per_second) == (24000, 25)
    codes = model.tokenize(Audio(SEED.speechlike(1, 1.03, 44100), 44100))
    assert (codes.shape, codes.dtype) == ((26,), np.int32)
    assert len(set(codes)) > 5
    first, again, other = (model.decode(codes, voice, seed=seed).samples for seed in (1, 1, 2))
    assert first.shape == (26 * 960,)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_noise_is_an_argument(model: Qwen3Tokenizer25Model, voice: Voice) -> None:
    drawn = RNG.normal(size=(12, 80)).astype("f4")
    once, again, other = (
        model.decode(np.arange(3), voice, noise=ReplayedNoise({"flow": flow})).samples
        for flow in (drawn, drawn, -drawn)
    )
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - other).max() > 0.01


def test_a_window_hears_nothing_of_others(model: Qwen3Tokenizer25Model) -> None:
    """Windows of 0.2 s, 5 codes each; only how loud the loudest is counts for all."""
    wav = SEED.speechlike(2, 1.2, 16000)
    whole = np.array(model.network.encoder(wav))
    changed = wav.copy()
    changed[9600:] = changed[9600:][::-1]
    again = np.array(model.network.encoder(changed))
    np.testing.assert_array_equal(whole[:10], again[:10])
    assert (whole[15:] != again[15:]).any()


def test_a_voice_is_saved_and_loaded(model: Qwen3Tokenizer25Model, voice: Voice, tmp_path: Path) -> None:
    voice.save(tmp_path / "voice.safetensors")
    again = Voice.load(tmp_path / "voice.safetensors")
    np.testing.assert_array_equal(model.decode(np.arange(4), again).samples, model.decode(np.arange(4), voice).samples)
    assert np.linalg.norm(voice.arrays["xvector"]) == pytest.approx(1)
    assert voice.arrays["ref_mel"].shape == (50, 80)
    assert model.voice_features(Audio(SEED.speechlike(4, 0.5, 24000), 24000)).shape == (48, 80)


@pytest.mark.parametrize(
    ("frames", "ahead", "behind"), [(5, 1, 1), (8, 1, 0), (29, 0, 0), (29, 1, 0), (32, 0, 1), (29, 1, 1)]
)
def test_attention_of_blocks_is_masked_attention(frames: int, ahead: int, behind: int) -> None:
    q, k, v = (mx.array(RNG.normal(size=(2, 3, frames, 4)).astype("f4")) for _ in range(3))
    block = np.arange(frames) // 8
    apart = block[None] - block[:, None]
    mask = mx.array(np.logical_and(apart >= -behind, apart <= ahead))
    expected = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.5, mask=mask)
    assert_close(np.array(block_attention(q, k, v, 8, ahead, behind)), np.array(expected))


def test_times_are_dense_at_first() -> None:
    times = np.array(sway(9))
    np.testing.assert_allclose(times, 1 - np.cos(np.pi / 2 * np.linspace(0, 1, 10)), atol=2e-7)


def test_antialiased_snake_is_snake_between_resamplings() -> None:
    """BigVGAN's alias-free activation written out: zeros put in, a filter, snake, the filter, every other sample."""
    layer = AntialiasedSnake(3)
    layer.act.alpha, layer.act.beta = mx.array([0.1, -0.3, 0.5]), mx.array([0.2, 0.0, -0.4])
    x = RNG.normal(size=(1, 17, 3))
    beta = 0.1102 * (2.285 * 5 * np.pi * 1.2 + 7.95 - 8.7)
    taps = np.kaiser(12, beta) * np.sinc((np.arange(12) - 5.5) / 2)
    taps /= taps.sum()
    out = np.empty_like(x)
    for c in range(3):
        padded = np.pad(x[0, :, c], 5, mode="edge")
        stuffed = np.zeros(2 * padded.size)
        stuffed[::2] = padded
        up = 2 * np.convolve(stuffed, taps)[15:][: 2 * 17]
        alpha, scale = np.exp(np.array(layer.act.alpha)[c]), np.exp(-np.array(layer.act.beta)[c])
        up = np.pad(up + np.sin(alpha * up) ** 2 * scale, (5, 6), mode="edge")
        out[0, :, c] = np.convolve(up, taps[::-1], mode="valid")[::2][:17]
    assert_close(np.array(layer(mx.array(x.astype("f4")))), out)


def test_a_vocoder_in_pieces_is_the_whole(model: Qwen3Tokenizer25Model, monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder = model.network.decoder.bigvgan
    mel = mx.array(RNG.normal(size=(1, 130, 80)).astype("f4"))
    whole = np.array(vocoder(mel))
    monkeypatch.setattr(vocoder_module, "PIECE", 20)
    assert_close(np.array(vocoder.in_pieces(mel)), whole)


def test_pieces_overlap_by_what_is_heard() -> None:
    """How far a change of one frame is heard in a vocoder with upstream's kernels and few channels."""
    vocoder = vocoder_module.Vocoder(VocoderConfig(mels=2, channels=64))
    mel = np.zeros((1, 240, 2), np.float32)
    before = np.array(vocoder(mx.array(mel)))[0]
    mel[:, 120] = -3
    after = np.array(vocoder(mx.array(mel)))[0]
    (heard,) = np.nonzero(before != after)
    before_it, after_it = 120 - heard.min() // 240, heard.max() // 240 - 120
    assert 0 < before_it < after_it <= vocoder.reach <= 2 * after_it


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((3, 2), int), "shape"),
        (np.zeros(0, int), "shape"),
        (np.zeros(3), "integers from 0 to 127"),
        (np.array([128]), "integers from 0 to 127"),
        (np.array([-1]), "integers from 0 to 127"),
    ],
)
def test_codes_that_there_are_not(model: Qwen3Tokenizer25Model, voice: Voice, wrong: np.ndarray, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        model.decode(wrong, voice)


def test_voices_that_are_none(model: Qwen3Tokenizer25Model, voice: Voice) -> None:
    audio = Audio(SEED.speechlike(4, 0.5, 16000), 16000)
    for xvector in (np.zeros(192), np.ones(191), np.full(192, np.nan), np.ones((2, 192))):
        with pytest.raises(UsageError, match="must be 192 finite numbers"):
            model.prepare_voice(audio, xvector)
    with pytest.raises(AudioError, match="a voice needs more"):
        model.prepare_voice(Audio(audio.samples[:1000], 16000), np.ones(192))
    with pytest.raises(AudioError, match="more than 60 s; cut it"):
        model.prepare_voice(Audio(np.ones(61 * 16000, np.float32), 16000), np.ones(192))
    with pytest.raises(AudioError, match="is empty"):
        model.network.encoder(np.zeros(0, np.float32))
    with pytest.raises(UsageError, match="no finite numbers"):
        model.decode(np.arange(3), Voice(voice.kind, dict(voice.arrays) | {"xvector": np.full(192, np.nan)}))
    with pytest.raises(UsageError, match="for chatterbox"):
        model.decode(np.arange(3), Voice("chatterbox", voice.arrays))
    with pytest.raises(UsageError, match="prepare it again"):
        model.decode(np.arange(3), Voice(voice.kind, dict(voice.arrays) | {"ref_mel": np.zeros((4, 80), np.float32)}))


def test_commands(
    model: Qwen3Tokenizer25Model,
    voice: Voice,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = source.parent / "mlx"
    Audio(SEED.speechlike(2, 0.7, 16000), 16000).write(tmp_path / "one.wav")
    assert not run(monkeypatch, "tokenize", folder, tmp_path / "one.wav", "--json", "-o", tmp_path / "tokens.json")
    (codes,) = json.loads((tmp_path / "tokens.json").read_text()).values()
    assert codes == model.tokenize(Audio.read(tmp_path / "one.wav")).tolist()
    sound = ("detokenize", folder, tmp_path / "tokens.json", "-o", tmp_path / "again.wav")
    assert run(monkeypatch, *sound) == 2
    assert "holds no speech codec that does without --voice" in capsys.readouterr().err
    voice.save(tmp_path / "voice.safetensors")
    assert not run(monkeypatch, *sound, "--voice", tmp_path / "voice.safetensors", "--seed", "3")
    expected = model.decode(np.array(codes), voice, seed=3).samples
    assert np.abs(Audio.read(tmp_path / "again.wav").samples - expected).max() < 2**-15
    Voice("chatterbox", voice.arrays).save(tmp_path / "other.safetensors")
    assert run(monkeypatch, *sound, "--voice", tmp_path / "other.safetensors") == 2
    assert "other.safetensors: the voice is for chatterbox" in capsys.readouterr().err


def test_a_voice_is_prepared_on_the_command_line(
    model: Qwen3Tokenizer25Model,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, recording, vector = source.parent / "mlx", tmp_path / "one.wav", tmp_path / "vector.npy"
    Audio(SEED.speechlike(2, 0.7, 16000), 16000).write(recording)
    xvector = np.linspace(-1, 1, model.network.config.dit.xvector, dtype=np.float32)
    np.save(vector, xvector)
    made = ("voice", folder, recording, "-o", tmp_path / "made.safetensors")
    assert not run(monkeypatch, *made, "--xvector", vector)
    assert np.array_equal(
        model.prepare_voice(Audio.read(recording), xvector[None]).arrays["xvector"],
        Voice.load(made[-1]).arrays["xvector"],
    )
    expected = model.prepare_voice(Audio.read(recording), xvector)
    saved = Voice.load(tmp_path / "made.safetensors")
    assert saved.kind == expected.kind
    assert saved.arrays.keys() == expected.arrays.keys()
    assert all(np.array_equal(saved.arrays[name], expected.arrays[name]) for name in expected.arrays)
    for said, extra in {
        "is no array as numpy.save writes it": ("--xvector", recording),
        "no such file": ("--xvector", tmp_path / "none.npy"),
        "is of one recording": ("--xvector", vector, "--ref-text", "words"),
        "holds no speech model": (),
    }.items():
        assert run(monkeypatch, *made, *extra) == 2
        assert said in capsys.readouterr().err.lower()
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,), }"
    for broken in (b"PK\x03\x04 no archive", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header):
        vector.write_bytes(broken)
        assert run(monkeypatch, *made, "--xvector", vector) == 2
        assert "is no array as numpy.save writes it" in capsys.readouterr().err
    for wrong, said in ((xvector[1:], "finite numbers"), (np.array(["a"]), "holds no numbers")):
        np.save(vector, wrong)
        assert run(monkeypatch, *made, "--xvector", vector) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"model_type": "other"}, UnrecognisedSourceError, "none of the models"),
        ({"encoder_config": {"n_mels": 80}}, SourceError, "n_mels 80 is not implemented, only 128"),
        ({"encoder_config": {"audio_vq_layers": 5}}, SourceError, "audio_vq_layers 5 is not implemented"),
        ({"encoder_config": {"n_layer": 10**9}}, SourceError, "n_layer 1000000000 is not between"),
        ({"encoder_config": {"n_state": 64, "audio_vq_codebook_dim": 32}}, SourceError, "codebook_dim 32 is not"),
        ({"encoder_config": {"n_window": 15}}, SourceError, "cannot be cut into codes"),
        ({"encoder_config": {"n_head": 0}}, SourceError, "not as qwen3_tts_tokenizer_25hz has it"),
        ({"decoder_config": {"dit_config": {"num_hidden_layers": 10**9}}}, SourceError, "less than or equal to 256"),
        ({"decoder_config": {"dit_config": {"hidden_size": "wide"}}}, SourceError, "setting dit.hidden"),
        ({"decoder_config": {"dit_config": {"mel_dim": 100}}}, SourceError, "mel_dim 100 is not implemented"),
        ({"decoder_config": {"bigvgan_config": {"mel_dim": 100}}}, SourceError, "80 bands for a vocoder of 100"),
        ({"decoder_config": {"bigvgan_config": {"upsample_rates": [2] * 6}}}, SourceError, "does not fit its rate"),
        ({"decoder_config": {"bigvgan_config": {"upsample_rates": [2] * 5}}}, SourceError, "must be as many"),
        (
            {"decoder_config": {"bigvgan_config": {"upsample_rates": [256] * 3, "upsample_kernel_sizes": [256] * 3}}},
            SourceError,
            "more than 4096 samples of a frame",
        ),
        ({"encoder_config": {"audio_vq_codebook_dim": None}}, SourceError, "codebook_dim None is not"),
        ({"decoder_config": {"dit_config": {"enc_res2net_scale": 3}}}, SourceError, "enc_res2net_scale 3 does not"),
        ({"decoder_config": {"dit_config": {"enc_channels": [64] * 5}}}, SourceError, "last must be the sum"),
        ({"decoder_config": "large"}, SourceError, "not as qwen3_tts_tokenizer_25hz has it"),
    ],
)
def test_configurations_that_make_no_sense(
    source: Path, tmp_path: Path, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    room = tmp_path / "source"
    room.mkdir()
    for name in ("model.safetensors", "preprocessor_config.json"):
        (room / name).symlink_to(source / name)
    told = described(GOLDEN)["settings"]["config.json"] | change
    (room / "config.json").write_text(json.dumps(told))
    with pytest.raises(error, match=said):
        convert(room, tmp_path / "mlx")
    assert not (tmp_path / "mlx").exists()


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        ({"sampling_rate": 24000}, "sampling_rate 24000 is not implemented, only 16000"),
        ({}, "sampling_rate 24000 is not"),  # which is the default
        ({"sampling_rate": 16000, "feature_size": 2}, "feature_size 2 is not"),
        ({"sampling_rate": 16000, "feature_extractor_type": "WhisperFeatureExtractor"}, "feature_extractor_type 'Whi"),
    ],
)
def test_another_front_end_is_refused(heard: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        from_json({}, heard)


def test_peaks_are_as_sox_leaves_them() -> None:
    """tests/record_sox_norm.py recorded them."""
    for case in json.loads((Path(__file__).parent / "goldens" / "sox_norm.json").read_text()):
        given, left = (np.array(case[name], np.float32) for name in ("given", "left"))
        np.testing.assert_allclose(normed(given), left, atol=1e-6)


def test_long_recordings_are_encoded_in_parts(model: Qwen3Tokenizer25Model, monkeypatch: pytest.MonkeyPatch) -> None:
    audio = Audio(SEED.speechlike(5, 9.3, 16000), 16000)
    whole = model.tokenize(audio)
    for windows, codes in ((1, 7), (2, 64), (4, 1)):
        monkeypatch.setattr(encoder_module, "WINDOWS_AT_ONCE", windows)
        monkeypatch.setattr(encoder_module, "CODES_AT_ONCE", codes)
        np.testing.assert_array_equal(model.tokenize(audio), whole)
