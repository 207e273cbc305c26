"""Chatterbox as people use it: texts of any length, settings, voices, and audio while tokens are still coming."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from small_chatterbox import drawn_voice, small_chatterbox

from pytorch_to_mlx import Audio
from pytorch_to_mlx.components.flow.mel import mel_spectrogram
from pytorch_to_mlx.errors import AudioError, UsageError
from pytorch_to_mlx.models.chatterbox import voice as voices
from pytorch_to_mlx.models.chatterbox.model import ChatterboxModel
from pytorch_to_mlx.models.chatterbox.streaming import FIRST_CHUNK, LOOK_AHEAD, Streamer, VocoderStream
from pytorch_to_mlx.models.chatterbox.t3.config import TURBO
from pytorch_to_mlx.models.chatterbox.voice import Speaker
from pytorch_to_mlx.noise import Noise, SeededNoise
from pytorch_to_mlx.tasks import Voice

RATE, TOKEN = 24000, 960
VOICE = drawn_voice()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ChatterboxModel:
    return small_chatterbox(tmp_path_factory.mktemp("model"))


@pytest.fixture
def spoken(model: ChatterboxModel, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[int]]]:
    """Each text that goes through T3, with its tokens as they come."""
    seen: list[tuple[str, list[int]]] = []

    def tokens(self: ChatterboxModel, text: str, *args: Any, **settings: Any) -> Any:
        seen.append((text, []))
        for token in original(self, text, *args, **settings):
            seen[-1][1].append(token)
            yield token

    original = ChatterboxModel.tokens
    monkeypatch.setattr(ChatterboxModel, "tokens", tokens)
    return seen


# Synthesis


def test_a_long_text_is_said_to_its_last_word(model: ChatterboxModel, spoken: list[tuple[str, list[int]]]) -> None:
    names = ("one", "two", "three", "four", "five", "six", "seven", "eight")
    sentences = [f"This is sentence number {name}, which has as many words as others." for name in names]
    audio = model.synthesize(" ".join(sentences), voice=VOICE, max_tokens=3)
    assert len(spoken) > 1
    assert " ".join(text for text, _ in spoken).split() == " ".join(sentences).split()
    said = TOKEN * sum(len(tokens) for _, tokens in spoken)
    assert audio.rate == RATE and said < len(audio.samples) < said + RATE * len(spoken)


def test_the_seed_decides(model: ChatterboxModel) -> None:
    first, again, other = (model.synthesize("Hello.", voice=VOICE, seed=s, max_tokens=4).samples for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or np.abs(first - other).max() > 1e-3


def test_the_watermark_is_on_unless_it_is_left_out(model: ChatterboxModel) -> None:
    marked, plain = (model.synthesize("Hello.", voice=VOICE, max_tokens=8, watermark=w).samples for w in (True, False))
    assert np.abs(marked - plain).max() > 1e-5
    np.testing.assert_array_equal(marked, model.apply(Audio(plain, RATE)).samples)


def test_progress_is_told_for_each_token(model: ChatterboxModel) -> None:
    told: list[tuple[int, int, int]] = []
    model.synthesize("Hello.", voice=VOICE, max_tokens=3, progress=lambda *where: told.append(where))
    assert told == [(0, 1, 1), (0, 1, 2), (0, 1, 3)]


def test_what_is_allocated_does_not_grow(model: ChatterboxModel) -> None:
    held = []
    for seed in range(4):
        model.synthesize("Hello.", voice=VOICE, seed=seed, max_tokens=6)
        mx.clear_cache()
        held.append(mx.get_active_memory())
    assert held[-1] <= held[1] + 2**20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text": " "}, "no text"),
        ({"max_tokens": 0}, "--max-tokens 0"),
        ({"max_tokens": 1001}, "--max-tokens 1001"),
        ({"temperature": -1}, "temperature"),
        ({"top_k": 5}, "top_k is not a setting"),
        ({"ref_text": "x"}, "leave out --ref-text"),
        ({"speaker": "x"}, "leave out --speaker"),
        ({"instruct": "x"}, "leave out --instruct"),
        ({"language": "fr"}, "language"),
        ({"voice": None}, "no default voice"),
        ({"voice": replace(VOICE, kind="chatterbox-turbo")}, "prepare it again"),
        ({"voice": Voice(VOICE.kind, {})}, "lacks"),
    ],
)
def test_what_cannot_be_said_is_refused(model: ChatterboxModel, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model.synthesize(**{"text": "Hello.", "voice": VOICE, **settings})


def test_turbo_has_no_exaggeration(model: ChatterboxModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "config", replace(model.config, t3=TURBO))
    with pytest.raises(UsageError, match="does not support --exaggeration"):
        model.synthesize("Hello.", voice=VOICE, exaggeration=0.7)


def test_turbo_needs_more_than_five_seconds_of_a_voice(model: ChatterboxModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "config", replace(model.config, least_prompt_seconds=5.0))
    with pytest.raises(AudioError, match=r"lasts 5\.0 s; this model needs more than 5 s"):
        model.prepare_voice(Audio(np.ones(5 * RATE, np.float32), RATE))


@pytest.mark.parametrize("loudness", [-40.0, -12.0])
def test_turbos_references_have_one_loudness(loudness: float) -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm", reason="comes with the extra chatterbox")
    noise = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32)
    given = Audio(noise * np.float32(10 ** (loudness / 20)), RATE)
    measured = pyloudnorm.Meter(RATE).integrated_loudness(voices._at_loudness(given, -27))
    assert measured == pytest.approx(-27, abs=0.1)


# Streaming


def test_streamed_tokens_are_those_of_synthesis(model: ChatterboxModel, spoken: list[tuple[str, list[int]]]) -> None:
    text = "Hello there, how are you? " * 12
    whole = model.synthesize(text, voice=VOICE, seed=3, max_tokens=50)
    offline, _ = list(spoken), spoken.clear()
    pieces = list(model.stream(text, voice=VOICE, seed=3, max_tokens=50))
    assert len(offline) > 1 and spoken == offline
    assert len(pieces) > len(offline), "a part comes in several pieces"
    assert sum(len(piece.samples) for piece in pieces) == len(whole.samples)


def streamed(model: ChatterboxModel, tokens: list[int], speaker: Speaker, noise: Noise) -> list[np.ndarray]:
    streamer = Streamer(model.vocaliser, speaker, noise)
    pieces = [piece for token in tokens if (piece := streamer.push(token)) is not None]
    return [*pieces, streamer.flush()]


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker.of(drawn_voice(prompt_tokens=10), VOICE.kind)


@pytest.fixture(scope="module")
def tokens() -> list[int]:
    return np.random.default_rng(1).integers(6561, size=64).tolist()


def log_mel(samples: np.ndarray) -> np.ndarray:
    return np.array(mel_spectrogram(mx.array(samples)[None]))


def test_the_vocoder_gives_in_pieces_what_it_gives_at_once(model: ChatterboxModel) -> None:
    mel = 1.5 * mx.random.normal((1, 150, 80), key=mx.random.key(0)) - 4
    stream = VocoderStream(model.vocaliser, SeededNoise(5))
    pieces = [stream.push(mel[:, start : start + size]) for start, size in ((0, 10), (10, 60), (70, 50))]
    pieces.append(stream.flush(mel[:, 120:]))
    whole = np.array(model.vocaliser.waveform(mel, SeededNoise(5)))
    joined = np.concatenate(list(map(np.array, pieces)))
    opening = RATE // 25
    np.testing.assert_allclose(joined[opening:], whole[opening:], atol=2e-5 * np.abs(whole).max())
    assert [len(piece) for piece in pieces[:2]] == [0, 480 * 50], "20 frames are held back"


def test_a_short_utterance_streams_as_it_is(model: ChatterboxModel, speaker: Speaker, tokens: list[int]) -> None:
    short = tokens[: FIRST_CHUNK + LOOK_AHEAD - 1]
    (piece,) = streamed(model, short, speaker, SeededNoise(1))
    offline = np.array(model.vocaliser.speech(short, speaker, SeededNoise(1)))
    np.testing.assert_allclose(piece, offline, atol=2e-5 * np.abs(offline).max())


def test_streamed_speech_is_near_what_is_said_at_once(
    model: ChatterboxModel, speaker: Speaker, tokens: list[int]
) -> None:
    """Mean distance in nats. Seeded weights attend to everything alike, so that they miss most what is out of sight.

    The control: noise that does not belong to places in the utterance, as it would be without care.
    """
    offline = log_mel(np.array(model.vocaliser.speech(tokens, speaker, SeededNoise(1))))
    pieces = streamed(model, tokens, speaker, SeededNoise(1))
    assert len(pieces) == 2
    distance = np.abs(log_mel(np.concatenate(pieces)) - offline).mean()
    careless = np.abs(log_mel(np.concatenate(streamed(model, tokens, speaker, SeededNoise(2)))) - offline).mean()
    assert distance < 0.3 < careless
