"""Where somebody speaks: silero-vad's rules (goldens from `tests/record_speech_goldens.py`), and how frames are fed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from speech_curves import drawn

from pytorch_to_mlx import Audio
from pytorch_to_mlx.captured import CapturedConfig, CapturedModel, Input
from pytorch_to_mlx.errors import FolderError, UsageError
from pytorch_to_mlx.service import voice_activity
from pytorch_to_mlx.service.voice_activity import (
    BLOCK,
    CAPTURE,
    CONTEXT,
    FRAME,
    RATE,
    STATE,
    Span,
    SpeechRules,
    find_speech,
    load_detector,
    speech_probabilities,
    speech_spans,
)

GOLDEN = json.loads((Path(__file__).parent / "goldens" / "speech.json").read_text(encoding="utf-8"))


def in_samples(spans: list[Span]) -> list[list[int]]:
    return [[round(time * RATE) for time in (span.start, span.end)] for span in spans]


def test_spans_are_upstreams() -> None:
    wrong = []
    for seed, expected in enumerate(GOLDEN):
        probabilities, samples, rules = drawn(seed)
        spans = speech_spans(np.array(probabilities), SpeechRules(**rules), samples=samples)
        if in_samples(spans) != expected:
            wrong.append(seed)
    assert not wrong and len(GOLDEN) == 300


def test_spans_are_exact_in_seconds() -> None:
    probabilities = np.repeat([0.0, 0.9, 0.0], [50, 100, 50])
    assert speech_spans(probabilities) == [Span(50 * 0.032 - 0.03, 150 * 0.032 + 0.03)]
    assert speech_spans(probabilities[:150], samples=150 * FRAME - 100)[0].end == (150 * FRAME - 100) / RATE


def test_of_silences_as_long_the_first_is_cut_at() -> None:
    probabilities = np.repeat([0.9, 0.0, 0.9, 0.0, 0.9], [20, 5, 20, 5, 20])
    rules = SpeechRules(max_speech_duration_s=2, min_silence_duration_ms=500, speech_pad_ms=0)
    assert in_samples(speech_spans(probabilities, rules)) == [[0, 20 * FRAME], [25 * FRAME, 70 * FRAME]]


def test_speech_that_would_end_as_it_begins() -> None:
    with pytest.raises(UsageError, match=r"begins at 0\.5 cannot end below 0\.6"):
        SpeechRules(neg_threshold=0.6)


def listening(frames: mx.array, h: mx.array, c: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """In a detector's place: h sums the frames' first samples, c the first of what is heard before them."""
    assert frames.shape[0] <= BLOCK and frames.shape[1] == CONTEXT + FRAME and h.shape == c.shape == STATE
    first, before = mx.cumsum(frames[:, CONTEXT]) + h[0, 0, 0], mx.cumsum(frames[:, 0]) + c[0, 0, 1]
    return first + 1000 * before + frames[:, -1], h + frames[:, CONTEXT].sum(), c + frames[:, 0].sum()


@pytest.mark.parametrize("size", [1, FRAME, FRAME + 1, BLOCK * FRAME, BLOCK * FRAME + 1, 2 * BLOCK * FRAME + 700])
def test_frames_follow_one_another(size: int) -> None:
    """Through the ends of blocks: context, states, and silence after the end."""
    samples = np.random.default_rng(size).integers(-8, 8, size).astype(np.float32) / 1024
    count = -(-size // FRAME)
    whole = np.zeros(CONTEXT + count * FRAME)
    whole[CONTEXT : CONTEXT + size] = samples
    first, before, last = (whole[at::FRAME][:count] for at in (CONTEXT, 0, CONTEXT + FRAME - 1))
    expected = np.cumsum(first) + 1000 * np.cumsum(before) + last
    found = speech_probabilities(listening, Audio(samples, RATE))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)
    some = [samples[first : first + 700] for first in range(0, size, 700)]
    np.testing.assert_array_equal(speech_probabilities(listening, iter(some)), found)


def test_other_rates_are_resampled() -> None:
    spoken = np.concatenate([np.zeros(48000), np.full(96000, 0.9), np.zeros(48000)]).astype(np.float32)

    def loud(frames: mx.array, h: mx.array, c: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        return mx.abs(frames).mean(axis=1), h, c

    (span,) = find_speech(loud, Audio(spoken, 48000))
    assert abs(span.start - 1.0) < 0.07 and abs(span.end - 3.0) < 0.07
    assert find_speech(loud, Audio(0.1 * spoken, 48000)) == []


def test_some_at_a_time_the_same_is_found() -> None:
    def loud(frames: mx.array, h: mx.array, c: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        return mx.abs(frames).mean(axis=1), h, c

    spoken = np.concatenate([np.zeros(RATE), np.full(2 * RATE + 100, 0.9)]).astype(np.float32)
    (span,) = find_speech(loud, np.array_split(spoken, 7))
    assert [span] == find_speech(loud, Audio(spoken, RATE)) and span.end == spoken.size / RATE
    assert find_speech(loud, []) == []


def captured(*shapes: tuple[int | str, ...]) -> CapturedModel:
    """A captured model of inputs of these shapes."""
    inputs = tuple(Input(f"x{place}", shape, "float32") for place, shape in enumerate(shapes))
    return CapturedModel(nn.Identity(), CapturedConfig("Silero", inputs))


@pytest.mark.parametrize("length", ["length", CONTEXT + FRAME])
def test_a_detector_is_told_by_its_inputs(length: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = captured(("frames", length), STATE, STATE)
    (tmp_path / "config.json").touch()
    monkeypatch.setattr(voice_activity, "load", lambda folder, trust: model)
    assert load_detector(tmp_path) is model.network


@pytest.mark.parametrize(
    "model",
    [
        object(),
        captured(),
        captured(("batch", 64)),
        captured((1, CONTEXT + FRAME), STATE, STATE),
        captured(("frames", CONTEXT + FRAME), STATE, (2, 1, 128)),
        captured(("frames", FRAME), STATE, STATE),
        captured(("frames", "length"), STATE),
    ],
    ids=["converted", "nothing", "other", "one frame", "another state", "no context", "one state"],
)
def test_what_is_no_detector_is_told_with_the_way_to_one(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").touch()
    monkeypatch.setattr(voice_activity, "load", lambda folder, trust: model)
    with pytest.raises(FolderError) as told:
        load_detector(tmp_path)
    assert str(told.value) == f"{tmp_path} holds no detector of speech; make one with: {CAPTURE} -o {tmp_path}"


def test_folders_that_are_none(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(FolderError, match=f"{folder.name} holds no detector of speech; make one with"):
            load_detector(folder)
