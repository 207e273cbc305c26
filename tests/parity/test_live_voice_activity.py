"""Silero's detector, captured with the documented command, beside the silero_vad package itself on real recordings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten
from record_speech_goldens import spans_of, upstream
from small_ports import SEED
from speech_curves import drawn

from pytorch_to_mlx import Audio, load, trust
from pytorch_to_mlx.service.voice_activity import (
    CAPTURE,
    FOR_TRANSCRIPTION,
    RATE,
    Span,
    SpeechRules,
    find_speech,
    load_detector,
    speech_probabilities,
    speech_spans,
)

pytestmark = pytest.mark.parity

SHARED = Path(__file__).parents[3] / "shared" / "audio"
RECORDINGS = sorted([*SHARED.glob("*.flac"), *SHARED.glob("*.wav")])
LIMIT = 2e-5
"""Three times what upstream's own two files differ by, which is printed: rounding goes on from frame to frame."""
RULES = [
    SpeechRules(),
    FOR_TRANSCRIPTION,
    SpeechRules(max_speech_duration_s=1.5, speech_pad_ms=0),
    SpeechRules(threshold=0.8, neg_threshold=0.2, max_speech_duration_s=2, use_max_poss_sil_at_max_speech=False),
]
COUNT = 3000
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from pytorch_to_mlx import Audio
from pytorch_to_mlx.service.voice_activity import find_speech, load_detector
print(find_speech(load_detector(sys.argv[1]), Audio.read(sys.argv[2])))
"""


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(trust.STORE, str(tmp_path_factory.mktemp("store") / "trusted"))
        yield


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """What silero_vad sets when it is imported, and needs to be quick; other tests get theirs back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The captured model, by the command that the documents and messages tell."""
    upstream()
    made = tmp_path_factory.mktemp("made") / "silero-mlx"
    program, *arguments = CAPTURE.split()
    assert program == "pytorch-to-mlx"
    line = [sys.executable, "-m", "pytorch_to_mlx", *arguments, "-o", str(made)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    print(done.stdout)
    return made


@cache
def recordings() -> dict[str, np.ndarray]:
    """At 16 kHz: each, and all of them with pauses of other lengths between; synthetic speech where there are none."""
    found = {path.stem: Audio.read(path).resampled(RATE).samples for path in RECORDINGS}
    if not found:
        print(f"\nno recordings in {SHARED}: synthetic speech in their place")
        found = {f"synthetic {seed}": SEED.speechlike(seed, 8.0, RATE) for seed in range(3)}
    pauses = [np.zeros(round(RATE * seconds), np.float32) for seconds in (0.2, 0.7, 1.9, 2.6, 5.0)]
    joined = [part for n, samples in enumerate(found.values()) for part in (samples, pauses[n % len(pauses)])]
    return found | {"all": np.concatenate(joined)}


@cache
def theirs(name: str) -> np.ndarray:
    """Upstream's probabilities, frame by frame as it streams them."""
    model = upstream().load_silero_vad()
    return model.audio_forward(torch.from_numpy(recordings()[name]), sr=RATE)[0].numpy()


def errors(detector: Any) -> dict[str, float]:
    """Of each recording, the largest difference of a probability from upstream's."""
    return {
        name: float(np.abs(speech_probabilities(detector, Audio(samples, RATE)) - theirs(name)).max())
        for name, samples in recordings().items()
    }


def test_probabilities_are_upstreams(folder: Path) -> None:
    found, other = errors(load_detector(folder)), upstream().load_silero_vad(sequence=True)
    for name, error in found.items():
        floor = np.abs(other.audio_forward(recordings()[name]) - theirs(name)).max()
        print(f"\n{name}: {error:.1e}, upstream's own {floor:.1e}", end="")
    assert max(found.values()) <= LIMIT
    if RECORDINGS:  # both speech and silence are heard
        assert theirs("all").min() < 0.1 and theirs("all").max() > 0.9


def test_spans_are_upstreams(folder: Path) -> None:
    package, detector = upstream(), load_detector(folder)
    model, counts = package.load_silero_vad(), []
    for samples in recordings().values():
        for rules in RULES:
            expected = package.get_speech_timestamps(torch.from_numpy(samples), model, **vars(rules))
            found = find_speech(detector, Audio(samples, RATE), rules)
            assert [Span(each["start"] / RATE, each["end"] / RATE) for each in expected] == found
            counts.append(len(found))
    assert not RECORDINGS or max(counts) > 20


def test_rules_are_upstreams() -> None:
    """On probabilities that nobody chose."""
    expected = spans_of(upstream())
    for seed in range(1000, 1000 + COUNT):
        probabilities, samples, rules = drawn(seed)
        found = speech_spans(np.array(probabilities), SpeechRules(**rules), samples=samples)
        assert [[round(span.start * RATE), round(span.end * RATE)] for span in found] == expected(seed), seed


def test_a_changed_weight_is_noticed(folder: Path) -> None:
    """The control: of each weight of 1 % noise, the probabilities differ."""
    model = load(folder)
    weights: list[tuple[str, mx.array]] = tree_flatten(model.network.parameters())  # type: ignore[assignment]
    smallest = np.inf
    for name, weight in weights:
        changed = weight * (1 + 0.01 * mx.random.normal(weight.shape, key=mx.random.key(0)))
        model.network.load_weights([(name, changed)], strict=False)
        moved = max(errors(model.network).values())
        assert moved > LIMIT, name
        smallest = min(smallest, moved)
        model.network.load_weights([(name, weight)], strict=False)
    print(f"\n{len(weights)} controls; the least moved by {smallest:.1e}")
    assert max(errors(model.network).values()) <= LIMIT


def test_the_folder_needs_no_torch(folder: Path, tmp_path: Path) -> None:
    Audio(recordings()["all"], RATE).write(tmp_path / "all.wav")
    line = [sys.executable, "-c", WITHOUT_TORCH, str(folder), str(tmp_path / "all.wav")]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0 and done.stdout.startswith("["), done.stderr
    assert not RECORDINGS or "Span(start=" in done.stdout
