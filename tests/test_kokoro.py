"""Kokoro without torch's judge: conversion from upstream's files, voices, phonemes, long texts, what is refused."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from cli_room import succeed
from held import Held
from safetensors.numpy import load_file, save_file
from small_kokoro import SETTINGS, seeded, write_source
from small_ports import WEIGHTS_KOKORO, torch_file

from pytorch_to_mlx import convert, load
from pytorch_to_mlx.errors import CheckpointError, SourceError, UnrecognisedSourceError, UsageError
from pytorch_to_mlx.models.kokoro import phonemes as front_end
from pytorch_to_mlx.models.kokoro import voices
from pytorch_to_mlx.models.kokoro.config import from_json
from pytorch_to_mlx.models.kokoro.model import KokoroModel
from pytorch_to_mlx.models.kokoro.network import Kokoro
from pytorch_to_mlx.models.kokoro.phonemes import letter, passes, phonemes
from pytorch_to_mlx.models.kokoro.weights import weights
from pytorch_to_mlx.noise import SeededNoise
from pytorch_to_mlx.port import parameter_shapes
from pytorch_to_mlx.service.script import is_file
from pytorch_to_mlx.tasks import SpeechModel

SAID = "həlˈO wˈɜɹld."


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("kokoro") / "source")


@pytest.fixture(scope="module")
def folder(source: Path) -> Path:
    convert(source, source.parent / "mlx")
    return source.parent / "mlx"


@pytest.fixture(scope="module")
def model(folder: Path) -> KokoroModel:
    return load(folder)


# Conversion


def test_every_tensor_is_used_or_dropped_with_a_reason() -> None:
    plan = weights("").plan(Held(seeded()), parameter_shapes(Kokoro(from_json(SETTINGS))))
    rows = plan.table()
    dropped = [row for row in rows if row.action.startswith("drop")]
    assert {row.source for row in rows} == set(seeded())
    assert {row.source.split(".")[-1] for row in dropped} == {"bias", "weight"}
    assert len(dropped) == 2 + 1 + 11 + 24  # the pooler; keys; convolutions before norms


def test_names_without_module_are_taken_too(tmp_path: Path, folder: Path) -> None:
    convert(write_source(tmp_path / "source", within=""), tmp_path / "mlx")
    first, second = (load_file(each / "model.safetensors") for each in (folder, tmp_path / "mlx"))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_the_chinese_model_is_told_by_its_file(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    (source / "kokoro-v1_0.pth").rename(source / "kokoro-v1_1-zh.pth")
    convert(source, tmp_path / "mlx")
    assert load(tmp_path / "mlx").config.chinese == "1.1"


def test_two_voices_of_one_name_are_an_error(tmp_path: Path) -> None:
    paths = [torch_file(tmp_path / name / "af_one.pt", WEIGHTS_KOKORO.voice("a")) for name in ("a", "b")]
    with pytest.raises(CheckpointError, match="another voice is called af_one too"):
        voices.packed({str(path): path for path in paths})


def test_the_folder_has_voices_and_vocabulary(model: KokoroModel) -> None:
    assert isinstance(model, SpeechModel)
    assert model.speakers == sorted(WEIGHTS_KOKORO.VOICES)
    assert model.config.vocab == SETTINGS["vocab"]
    heart = WEIGHTS_KOKORO.voice("af_heart")[:, 0]
    np.testing.assert_array_equal(model.voices["af_heart"], heart)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_dim": 256}, "not 128 and 512"),
        ({"vocab": {"a": 500}}, "'a' has a number that is not between"),
        ({"plbert": SETTINGS["plbert"] | {"hidden_act": "relu"}}, "hidden_act"),
        ({"istftnet": SETTINGS["istftnet"] | {"gen_istft_hop_size": 4}}, "4 times gen_istft_hop_size"),
        ({"istftnet": SETTINGS["istftnet"] | {"upsample_rates": [10]}}, "must be as many"),
        ({"max_dur": "many"}, "max_dur"),
        ({"plbert": SETTINGS["plbert"] | {"max_position_embeddings": 2}}, "no room for a phoneme"),
        ({"istftnet": SETTINGS["istftnet"] | {"upsample_rates": [], "upsample_kernel_sizes": []}}, "no upsampling"),
        (
            {"istftnet": SETTINGS["istftnet"] | {"upsample_rates": [5, 3], "upsample_kernel_sizes": [9, 5]}},
            "an odd number",
        ),
        ({"istftnet": SETTINGS["istftnet"] | {"resblock_kernel_sizes": [3, 6, 11]}}, "must be odd"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "voices").mkdir()
    for name in ("kokoro-v1_0.pth", "voices/af_heart.pt"):
        (tmp_path / name).touch()
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS | changes))
    with pytest.raises(SourceError, match=message):
        convert(tmp_path, tmp_path / "mlx")


@pytest.mark.parametrize("lost", ["voices", "config.json"])
def test_a_source_that_lacks_something_is_told_what(tmp_path: Path, lost: str) -> None:
    source = write_source(tmp_path / "source")
    (source / lost).rename(tmp_path / "elsewhere")
    wanted = "voices/*.pt" if lost == "voices" else lost
    with pytest.raises(UnrecognisedSourceError, match=rf"weights of v1\.0 \(kokoro\), .* needs {re.escape(wanted)};"):
        convert(source, tmp_path / "mlx")
    with pytest.raises(
        UnrecognisedSourceError, match=r"v1\.0 \(kokoro\), which also needs config\.json, voices/\*\.pt;"
    ):
        convert(source / "kokoro-v1_0.pth", tmp_path / "mlx")
    assert not (tmp_path / "mlx").exists()


def test_a_source_without_voices_is_not_recognised(tmp_path: Path) -> None:
    (tmp_path / "kokoro-v1_0.pth").touch()
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
    with pytest.raises(UnrecognisedSourceError):
        convert(tmp_path, tmp_path / "mlx")


@pytest.mark.parametrize("wrong", [np.zeros((510, 256), np.float32), np.full((2, 1, 256), np.nan, np.float32)])
def test_what_is_no_voice_is_refused(tmp_path: Path, wrong: np.ndarray) -> None:
    path = torch_file(tmp_path / "af_odd.pt", wrong)
    with pytest.raises(CheckpointError, match=r"af_odd\.pt: (is no voice|has numbers that are not finite)"):
        voices.packed({path.name: path})


def test_a_damaged_file_of_voices_is_told(tmp_path: Path) -> None:
    save_file({"af_heart": np.zeros((3, 5), np.float32)}, tmp_path / voices.FILE)
    with pytest.raises(CheckpointError, match="af_heart is no voice"):
        voices.read(tmp_path / voices.FILE)


# Voices


def test_voices_are_blended_by_their_weights(model: KokoroModel) -> None:
    heart, adam = model.voices["af_heart"], model.voices["am_adam"]
    np.testing.assert_allclose(
        voices.blended(model.voices, "af_heart:0.6+am_adam:0.4"), 0.6 * heart + 0.4 * adam, atol=1e-6
    )
    np.testing.assert_allclose(voices.blended(model.voices, "af_heart,am_adam"), (heart + adam) / 2, atol=1e-6)
    np.testing.assert_allclose(voices.blended(model.voices, "af_heart:3 + am_adam"), (3 * heart + adam) / 4, atol=1e-6)
    np.testing.assert_array_equal(voices.blended(model.voices, "AF_Heart"), heart)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("bob", "no voice is called 'bob'"),
        ("af_heart:0.6+bob:0.4", "no voice is called 'bob'"),
        ("af_heart:x", "the weight of af_heart is 'x'"),
        ("af_heart:-1+am_adam:2", "the weight of af_heart is '-1'"),
        ("af_heart:", "the weight of af_heart is ''"),
        ("af_heart:0", "add up to nothing"),
        ("af_heart++am_adam", "no voice is called ''"),
        ("", "no voice is called ''"),
    ],
)
def test_blends_that_cannot_be(model: KokoroModel, wanted: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        voices.blended(model.voices, wanted)


def test_blends_are_no_files() -> None:
    assert not any(map(is_file, ("af_heart", "af_heart:0.6 + am_adam:0.4", "af_heart,am_adam")))
    assert all(map(is_file, ("anna.wav", "voices/anna.wav", "0.6.wav")))


# Phonemes


def test_phonemes_of_each_language_that_espeak_says() -> None:
    said = {
        "a": ("Hello, world!", "həlˈO, wˈɜɹld!"),
        "b": ("Hello, world!", "həlˈQ, wˈɜːld!"),
        "e": ("¿Qué tal?", "¿kˈe tˈal?"),
        "f": ("Ça va?", "sa vˈa?"),
        "h": ("नमस्ते", "nəmˈʌsteː"),
        "i": ("Ciao.", "ʧˈao."),
        "p": ("Olá.", "olˈa."),
    }
    if front_end.best_english():
        said = {language: both for language, both in said.items() if language not in "ab"}
    assert {language: phonemes(text, language) for language, (text, _) in said.items()} == {
        language: expected for language, (_, expected) in said.items()
    }


def test_words_of_other_scripts_bring_no_flags() -> None:
    assert "(" not in phonemes("नमस्ते hello", "a")


def test_languages_by_name_code_and_voice() -> None:
    found = [letter(name, "") for name in ("en", "en-GB", "fr", "pt_BR", "Japanese", "z")]
    assert found == ["a", "b", "f", "p", "j", "z"]
    assert (letter(None, "bf_emma"), letter(None, "my_own")) == ("b", "a")
    with pytest.raises(UsageError, match="--language xx"):
        letter("xx", "")


@pytest.mark.parametrize("said", ["a" * 1200, "ab cd, ef. " * 200, "a. " + "b" * 700, ("word " * 90 + "! ") * 4])
def test_passes_lose_nothing(said: str) -> None:
    cut = list(passes(said, 510))
    assert "".join("".join(cut).split()) == "".join(said.split())
    assert all(0 < len(each) <= 510 for each in cut)


def test_passes_end_where_sentences_do() -> None:
    assert [each[-1] for each in passes("one two, three. " * 100, 510)] == ["."] * 4


# Speech


def test_durations_make_the_length_and_speed_divides_it(model: KokoroModel) -> None:
    slow, fast = (
        model.synthesize(SAID, phonemes=True, speaker="af_heart", speed=speed).samples for speed in (1.0, 2.0)
    )
    assert len(slow) % model.frame == len(fast) % model.frame == 0
    assert len(fast) < len(slow)


def test_seeds_draw_noise_and_voices_differ(model: KokoroModel) -> None:
    def say(**settings: Any) -> np.ndarray:
        return model.synthesize(SAID, phonemes=True, **settings).samples

    one = say(speaker="af_heart", seed=1)
    np.testing.assert_array_equal(one, say(speaker="af_heart", seed=1))
    assert not np.array_equal(one, say(speaker="af_heart", seed=2))
    assert not np.array_equal(one[:600], say(speaker="am_adam", seed=1)[:600])
    assert np.isfinite(one).all()


def test_the_style_is_that_of_the_number_of_phonemes(model: KokoroModel) -> None:
    styles = np.zeros((510, 256), np.float32)
    styles[2] = model.voices["af_heart"][2]
    same = np.broadcast_to(styles[2], styles.shape)
    first, second, third = (
        model.say(said, table, 1.0, SeededNoise(0)) for said, table in (("abc", styles), ("abc", same), ("ab", styles))
    )
    np.testing.assert_array_equal(first, second)
    assert first.shape != third.shape or not np.allclose(first, third)


def test_a_stream_gives_the_first_sentence_before_the_rest_is_computed(
    model: KokoroModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Here is one. " + "This is a rather long sentence that goes on for quite a while. " * 6
    said: list[str] = []
    monkeypatch.setattr(model, "say", lambda phonemes, *rest: (said.append(phonemes), np.ones((1, 600), np.float32))[1])
    pieces = model.stream(text)
    next(pieces)
    assert said == [phonemes("Here is one.", "a")]
    rest = list(pieces)
    assert len(rest) + 1 == len(said) >= 3
    assert " ".join(said) == phonemes(text, "a")
    count = len(said)
    assert len(model.synthesize(text).samples) == 600 * count


def test_text_of_any_length_is_said_whole(model: KokoroModel, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(model, "say", lambda phonemes, *rest: (said.append(phonemes), np.ones((1, 600), np.float32))[1])
    model.synthesize("a" * 3000, phonemes=True)
    assert "".join(said) == "a" * 3000
    assert max(map(len, said)) <= 510


@pytest.mark.parametrize(
    ("speaker", "language", "told"),
    [
        ("af_heart", "es", ["af_heart is a voice of en-us, and will speak es as one"]),
        ("zm_yunxi:0.6+af_heart:0.4", "es", ["zm_yunxi is a voice of zh, and", "af_heart is a voice of en-us, and"]),
        ("af_heart:0.6+zm_yunxi:0.4", None, ["zm_yunxi is a voice of zh, and will speak en-us as one"]),
        ("af_heart,bf_emma", None, []),
        ("bf_emma", "american", []),
    ],
)
def test_voices_of_another_language_are_told(
    model: KokoroModel, speaker: str, language: str | None, told: list[str]
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.synthesize("Hola.", speaker=speaker, language=language)
    messages = [str(each.message) for each in caught if "is a voice of" in str(each.message)]
    assert len(messages) == len(told)
    assert all(message.startswith(beginning) for message, beginning in zip(messages, told, strict=True))


def test_unknown_phonemes_are_told(model: KokoroModel) -> None:
    with pytest.warns(UserWarning, match="left out: ☃"):
        model.synthesize("a☃b", phonemes=True)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (" ", {}, "no text to say"),
        ("...", {}, "only marks"),
        ("☃", {"phonemes": True}, "only marks"),
        ("...", {"phonemes": True}, "only marks"),
        ("Hi", {"speed": "fast"}, "--speed fast is not within"),
        ("Hi", {"speaker": 3}, "--speaker 3 is no name"),
        ("Hi", {"speaker": "bob"}, "no voice is called 'bob'"),
        ("Hi", {"speed": 3}, "--speed 3 is not within"),
        ("Hi", {"speed": float("nan")}, "--speed nan is not within"),
        ("Hi", {"temperature": 0.5}, "has no --temperature"),
        ("Hi", {"watermark": True}, "marks no audio"),
        ("Hi", {"language": "klingon"}, "--language klingon"),
    ],
)
@pytest.mark.filterwarnings("ignore:phonemes that the model does not know")
def test_what_cannot_be_said(model: KokoroModel, text: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model.synthesize(text, **settings)


def test_in_half_precision_it_sounds_alike(folder: Path) -> None:
    wavs = []
    for dtype in (mx.float32, mx.float16):
        model = load(folder)
        model.network.set_dtype(dtype)
        wavs.append(model.synthesize("ɑbˈɑ.", phonemes=True, speaker="af_heart").samples)
    assert wavs[0].shape == wavs[1].shape
    levels = [10 * np.log10(np.mean(np.square(wav))) for wav in wavs]
    assert abs(levels[0] - levels[1]) < 1


# The command line

BLEND = "af_heart:0.6+am_adam:0.4"


def test_synthesize_by_the_command_line(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.wav"
    assert f"{out}: " in succeed("synthesize", folder, "-t", SAID, "--phonemes", "--speaker", BLEND, "-o", out)
    assert out.stat().st_size > 1000


def test_narrate_with_a_blend(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(["Hi.", {"text": "Hi again.", "voice": "am_adam"}]))
    options = ("--voice", BLEND, "-o", tmp_path / "out", "--cache", tmp_path / "cache", "--no-normalize")
    succeed("narrate", tmp_path / "s.json", "-m", folder, *options)
    assert len(list((tmp_path / "out").glob("*.wav"))) == 2
