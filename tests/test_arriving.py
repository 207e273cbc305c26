"""Sound as it arrives: files, pipes, and microphones that may be missing."""

from __future__ import annotations

import builtins
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from pytorch_to_mlx import Audio
from pytorch_to_mlx.audio.arriving import AHEAD, Live, Microphone, Pipe, RecordedFile
from pytorch_to_mlx.errors import AudioError, MissingDependencyError

RATE = 16000
RAMP = np.arange(-3000, 3000, dtype="<i2")
SOUND = RAMP.astype(np.float32) / 2**15


# Files


def test_a_file_arrives_as_it_is_asked_for(tmp_path: Path) -> None:
    Audio(SOUND, RATE).write(tmp_path / "a.wav")
    source = RecordedFile(tmp_path / "a.wav", RATE)
    assert source.arrived == 0
    parts = [source.read(2500, 100000) for _ in range(4)]
    assert [part.size for part in parts] == [2500, 2500, 1000, 0] and source.arrived == 6000
    assert np.array_equal(np.concatenate(parts), SOUND)


def test_a_file_that_breaks_off_gives_what_came_before(tmp_path: Path) -> None:
    samples = np.concatenate([np.full(30 * RATE, 0.5), np.full(10, np.nan)]).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    source = RecordedFile(tmp_path / "a.wav", RATE)
    assert [source.read(20 * RATE, 20 * RATE).size for _ in range(2)] == [20 * RATE, 10 * RATE]
    with pytest.raises(AudioError, match="not finite"):
        source.read(1, 1)


def test_a_file_that_is_missing_is_told_of_at_once(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        RecordedFile(tmp_path / "a.wav", RATE)


# Pipes


def soon(holds: Any) -> None:
    """Wait until something holds, which a thread makes true."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_pipe_gives_all_that_has_arrived_and_waits_for_what_has_not() -> None:
    reading, writing = os.pipe()
    with Pipe(reading, RATE, RATE) as source:
        os.write(writing, RAMP[:1500].tobytes()[:-1])  # the last sample's second byte comes later
        soon(lambda: source.arrived == 1499)
        first = source.read(100, 1000)
        assert first.size == 1000  # no more than wanted
        threading.Timer(0.2, lambda: (os.write(writing, RAMP.tobytes()[2999:]), os.close(writing))).start()
        rest = source.read(5000, 10**6)
        assert np.array_equal(np.concatenate([first, rest]), SOUND)
        assert source.read(1, 10).size == 0 and source.arrived == 6000


def test_all_that_has_arrived_is_read_at_once() -> None:
    reading, writing = os.pipe()
    with Pipe(reading, RATE, RATE) as source:
        for count in (700, 1400, 2100):
            os.write(writing, bytes(1400))
            soon(lambda count=count: source.arrived == count)
        assert source.read(100, 2000).size == 2000 and source.read(100, 2000).size == 100
    os.close(writing)


def test_a_pipe_that_is_stopped_gives_what_had_arrived() -> None:
    reading, _writing = os.pipe()
    with Pipe(reading, RATE, RATE) as source:
        os.write(_writing, RAMP.tobytes())
        soon(lambda: source.arrived == 6000)
        source.stop()
        os.write(_writing, RAMP.tobytes())
        assert source.read(16000, 10**6).size == 6000 and source.read(16000, 10**6).size == 0
        source._arrive(SOUND)
        time.sleep(0.1)
        assert source.arrived == 6000, "what nobody will hear does not wait"


def test_an_empty_pipe_ends() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with Pipe(reading, RATE, RATE) as source:
        assert source.read(16000, 16000).size == 0


def test_a_pipe_is_not_read_without_end(tmp_path: Path) -> None:
    seconds = 3 * AHEAD
    (tmp_path / "raw").write_bytes(bytes(2 * RATE * seconds))
    file = os.open(tmp_path / "raw", os.O_RDONLY)
    with Pipe(file, RATE, RATE) as source:
        soon(lambda: source.arrived > AHEAD * RATE)
        time.sleep(0.1)
        assert source.arrived < (AHEAD + 5) * RATE
        total = 0
        while size := source.read(RATE, 30 * RATE).size:
            total += size
            assert source.arrived - total < (AHEAD + 5) * RATE
        assert total == seconds * RATE
    os.close(file)


def test_what_is_wrong_with_a_pipe_is_told_where_it_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"OggS" + bytes(100))
    for file, message in ((reading, "is Ogg"), (10**6, "cannot be read")):
        with Pipe(file, RATE, RATE) as source:
            assert source.read(16000, 16000).size == 0
            with pytest.raises(AudioError, match=message):
                source.read(16000, 16000)


@pytest.mark.parametrize(("least", "sizes"), [(1000, [3000, 0]), (4000, [3000])])
def test_what_came_before_an_error_is_heard(least: int, sizes: list[int]) -> None:
    def breaking() -> Iterator[np.ndarray]:
        yield SOUND[:1500]
        yield SOUND[1500:3000]
        raise AudioError("broken")

    source = Live()
    source._feed(breaking(), AHEAD * RATE)
    assert [source.read(least, 10**6).size for _ in sizes] == sizes, "the last are fewer than were asked for"
    with pytest.raises(AudioError, match="broken"):
        source.read(least, 10**6)


# Microphones


class FakeError(Exception):
    pass


class FakeStream:
    """Gives three blocks as soon as it starts, in one array, as PortAudio does."""

    def __init__(
        self, *, samplerate: int, channels: int, dtype: str, callback: Any, finished_callback: Callable[[], None]
    ) -> None:
        assert (channels, dtype) == (1, "float32")
        self.rate, self.callback, self.open = samplerate, callback, True
        self.finish = finished_callback

    def start(self) -> None:
        array = np.empty((480, 1), np.float32)
        for number in range(3):
            array[:] = number
            self.callback(array, 480, None, SimpleNamespace(input_overflow=number == 1))

    def stop(self) -> None: ...

    def close(self) -> None:
        self.open = False


def fake(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    found = {
        "PortAudioError": FakeError,
        "query_devices": lambda kind: {"default_samplerate": 16000.0},
        "InputStream": FakeStream,
    }
    monkeypatch.setitem(sys.modules, "sounddevice", SimpleNamespace(**(found | changes)))  # type: ignore[arg-type]


def test_a_microphone_is_heard_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch)
    with pytest.warns(UserWarning, match="sound was lost 1 times"), Microphone(RATE) as source:
        assert source.read(480, 480).tolist() == [0.0] * 480
        source.stop()
        assert source.read(16000, 16000).tolist() == [1.0] * 480 + [2.0] * 480
    assert not source._stream.open


def test_a_microphone_of_another_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(48000) / 48000)).astype(np.float32)

    class Speaking(FakeStream):
        def start(self) -> None:
            assert self.rate == 48000
            for first in range(0, tone.size, 480):
                self.callback(tone[first : first + 480, None], 480, None, SimpleNamespace(input_overflow=False))

    fake(monkeypatch, query_devices=lambda kind: {"default_samplerate": 48000.0}, InputStream=Speaking)
    with Microphone(RATE) as source:
        arrived = source.arrived
        source.stop()
        found = source.read(2 * RATE, 2 * RATE)
    assert RATE - 800 < found.size == arrived <= RATE, "all but what the filter waits for"
    expected = Audio(tone, 48000).resampled(RATE).samples
    np.testing.assert_allclose(found, expected[: found.size], atol=1e-3)


def test_a_microphone_that_is_unplugged_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unplugged(FakeStream):
        def start(self) -> None:
            super().start()
            self.finish()

    fake(monkeypatch, InputStream=Unplugged)
    with pytest.warns(UserWarning, match="sound was lost"), Microphone(RATE) as source:
        assert source._stopped, "or it would be waited for"
        assert source.read(RATE, RATE).size == 3 * 480


def test_a_microphone_that_does_not_start_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    class Broken(FakeStream):
        def start(self) -> None:
            opened.append(self)
            raise FakeError("Device unavailable")

    fake(monkeypatch, InputStream=Broken)
    with pytest.raises(AudioError, match="Device unavailable"), Microphone(RATE):
        pass
    assert len(opened) == 1 and not opened[0].open


def refusing(error: Exception) -> Any:
    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    return refuse


def test_no_microphone(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, query_devices=refusing(FakeError("Error querying device -1")))
    with pytest.raises(
        AudioError, match=r"no microphone .* pipe sound in with --stream - \(Error querying device -1\)"
    ):
        Microphone(RATE)
    fake(monkeypatch, InputStream=refusing(FakeError("Device unavailable")))
    with pytest.raises(AudioError, match="Device unavailable"), Microphone(RATE):
        pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("No module named 'sounddevice'"), r"pip install 'pytorch-to-mlx\[microphone\]'"),
        (OSError("PortAudio library not found"), "apt-get install libportaudio2"),
    ],
)
def test_a_missing_library_is_told_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    real = builtins.__import__

    def importing(name: str, *rest: Any, **named: Any) -> Any:
        if name == "sounddevice":
            raise error
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(MissingDependencyError, match=message):
        Microphone(RATE)


def test_the_real_library_has_what_is_called() -> None:
    try:
        with Microphone(RATE) as source:
            source.stop()
            source.read(RATE, RATE)
    except (MissingDependencyError, AudioError) as error:  # a machine without PortAudio or microphone says so
        assert "libportaudio2" in str(error) or "no microphone" in str(error) or "pip install" in str(error)
