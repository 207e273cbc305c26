"""Files of other people on real speech: Silero's detectors and openWakeWord's graphs, against onnxruntime and torch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import onnxruntime
import pytest
import torch

from pytorch_to_mlx import Audio, environments, load, trust
from pytorch_to_mlx.capture.package import capture
from pytorch_to_mlx.capture.subject import from_file
from pytorch_to_mlx.parity import relative_error

pytestmark = pytest.mark.parity

SPEECH = Path(__file__).parents[3] / "shared" / "audio" / "jfk.flac"
RATE = 16000
LIMIT = 1e-5
WORDS = ("alexa_v0.1", "hey_jarvis_v0.1", "hey_marvin_v0.1", "hey_mycroft_v0.1", "timer_v0.1", "weather_v0.1")


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(trust.STORE, str(tmp_path_factory.mktemp("store") / "trusted"))
        yield


@cache
def file(name: str) -> Path:
    """A file of the packages."""
    environment = environments.get("capture-files")
    environments.install(environment)
    return next(path / name for path in environment.site_packages if (path / name).exists())


def word(name: str) -> Path:
    return file(f"openwakeword/resources/models/{name}.onnx")


@cache
def speech() -> np.ndarray:
    """Ten seconds of real speech where this checkout lies beside the shared recordings, else a speech-like signal."""
    if SPEECH.exists():
        return Audio.read(SPEECH).resampled(RATE).samples[: 10 * RATE].astype(np.float32)
    from small_ports import SEED

    return SEED.speechlike(1, 10.0, RATE)


def run(path: Path, **inputs: np.ndarray) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, inputs)  # type: ignore[return-value]


@cache
def mel() -> np.ndarray:
    """What openWakeWord makes of the speech, as 16-bit numbers: (frames, 32)."""
    (frames,) = run(word("melspectrogram"), input=np.round(speech() * 32767)[None].astype(np.float32))
    return frames.reshape(-1, 32) / 10 + 2


@cache
def features() -> np.ndarray:
    """(windows, 96): the embeddings of windows of 76 frames, 8 apart."""
    windows = np.stack([mel()[i : i + 76] for i in range(0, len(mel()) - 76, 8)])[..., None]
    (embedded,) = run(word("embedding_model"), input_1=windows.astype(np.float32))
    return embedded.reshape(-1, 96)


def heard_word(path: Path, name: str, start: np.ndarray) -> np.ndarray:
    """Features that a model nearly takes for its word, found by trial: it is neither sure nor asleep then."""
    rng, session = np.random.default_rng(0), onnxruntime.InferenceSession(str(path))
    found, best = start, 1.0
    for _ in range(2000):
        tried = found + (start.std() * rng.choice([0.05, 0.2, 0.5]) * rng.standard_normal(start.shape)).astype(
            np.float32
        )
        (score,) = session.run(None, {name: tried})
        if (doubt := abs(float(np.max(score)) - 0.75)) < best:  # type: ignore[arg-type]
            found, best = tried, doubt
        if best < 0.24:
            break
    return found


def differences(path: Path, room: Path, feeds: list[dict[str, np.ndarray]]) -> float:
    """Capture with the first feed as the example, and the largest relative error of any feed against onnxruntime."""
    np.savez(room / "example.npz", **feeds[0])  # type: ignore[arg-type]
    made = capture(from_file(path, str(room / "example.npz")), room / "made")
    assert made.report.passed, made.report.summary()
    model = load(made.folder)
    worst = 0.0
    for feed in feeds:
        got = model(*(mx.array(value) for value in feed.values() if value.ndim))
        theirs = run(path, **feed)
        for ours, expected in zip(got if isinstance(got, tuple | list) else [got], theirs, strict=True):
            # Probabilities may be very small: their scale is one.
            worst = max(worst, relative_error(np.array(ours), expected) * min(1.0, float(np.abs(expected).max())))
    print(f"\n{path.name}: {worst:.1e} over {len(feeds)} inputs")
    return worst


def test_melspectrogram(tmp_path: Path) -> None:
    samples = np.round(speech() * 32767).astype(np.float32)
    feeds = [{"input": samples[None, :size]} for size in (2 * RATE, 12400, 5 * RATE)]
    assert differences(word("melspectrogram"), tmp_path, feeds) <= LIMIT


def test_embedding(tmp_path: Path) -> None:
    windows = np.stack([mel()[i : i + 76] for i in range(0, len(mel()) - 76, 8)])[..., None].astype(np.float32)
    assert (
        differences(word("embedding_model"), tmp_path, [{"input_1": windows[:3]}, {"input_1": windows[5:6]}]) <= LIMIT
    )


@pytest.mark.parametrize("name", WORDS)
def test_wake_word(name: str, tmp_path: Path) -> None:
    (described,) = onnxruntime.InferenceSession(str(word(name))).get_inputs()
    length = described.shape[1]
    heard = [features()[at : at + length][None] for at in (0, 7, 30)]
    feeds = [{described.name: each} for each in (heard_word(word(name), described.name, heard[0]), *heard)]
    assert differences(word(name), tmp_path, feeds) <= LIMIT


def test_detector_of_openwakeword(tmp_path: Path) -> None:
    """The states are inputs and outputs; the rate is a number, by which the graph branches."""
    state = np.zeros((2, 1, 64), np.float32)
    feeds: list[dict[str, np.ndarray]] = []
    h = c = state
    for place in range(30):
        chunk = speech()[None, 640 * place + 8000 : 640 * place + 8640]
        feeds.append({"input": chunk, "sr": np.array(RATE), "h": h, "c": c})
        _, h, c = run(word("silero_vad"), **feeds[-1])
    assert differences(word("silero_vad"), tmp_path, feeds[1:]) <= LIMIT


def test_silero_onnx(tmp_path: Path) -> None:
    path = file("silero_vad/data/silero_vad.onnx")
    state, context, feeds = np.zeros((2, 1, 128), np.float32), np.zeros((1, 64), np.float32), []
    for place in range(30):
        chunk = np.concatenate([context, speech()[None, 512 * place + 8000 : 512 * place + 8512]], axis=1)
        feeds.append({"input": chunk, "state": state, "sr": np.array(RATE)})
        context = chunk[:, -64:]
        _, state = run(path, **feeds[-1])
    assert differences(path, tmp_path, feeds[1:]) <= LIMIT


def test_silero_torchscript(tmp_path: Path) -> None:
    """Its states are its own: both sides hear the same speech from the start."""
    path = file("silero_vad/data/silero_vad.jit")
    script: Any = torch.jit.load(str(path)).eval()
    chunks = [speech()[None, 512 * place + 8000 : 512 * place + 8512] for place in range(30)]
    (tmp_path / "example_of_silero.py").write_text(
        "import numpy as np, torch\n\ndef inputs():\n"
        f"    return (torch.from_numpy(np.load({str(tmp_path / 'chunk.npy')!r})), {RATE}), {{}}\n"
    )
    np.save(tmp_path / "chunk.npy", chunks[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        subject = from_file(path, "example_of_silero:inputs")
    made = capture(subject, tmp_path / "made")
    assert made.report.passed, made.report.summary()
    model = load(made.folder)
    with torch.no_grad():
        worst = max(
            float(np.abs(np.array(model(mx.array(chunk))) - script(torch.from_numpy(chunk), RATE).numpy()).max())
            for chunk in chunks
        )
    assert worst <= LIMIT
