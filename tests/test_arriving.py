"""Sound as it arrives: bytes however they are cut, files, pipes, and microphones that may be missing."""

from __future__ import annotations

import builtins
import io
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from pytorch_to_mlx import Audio
from pytorch_to_mlx.audio.arriving import AHEAD, Microphone, Pipe, Recorded
from pytorch_to_mlx.audio.pcm import decode_stream
from pytorch_to_mlx.errors import AudioError, MissingDependencyError

RATE = 16000
RAMP = np.arange(-3000, 3000, dtype="<i2")
SOUND = RAMP.astype(np.float32) / 2**15


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[first : first + size] for first in range(0, len(data), size))


def decoded(data: bytes, size: int = 1000, raw_rate: int = RATE, rate: int = RATE) -> np.ndarray:
    return np.concatenate([np.empty(0, np.float32), *decode_stream(cut(data, size), raw_rate, rate)])


def wav(samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16", kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype=subtype, format=kind)
    return file.getvalue()


# Bytes


@pytest.mark.parametrize("size", [1, 3, 7, 4096, 1 << 20])
def test_raw_samples_in_chunks_of_any_size(size: int) -> None:
    assert np.array_equal(decoded(RAMP.tobytes(), size), SOUND)


def test_half_a_sample_at_the_end_is_none() -> None:
    assert np.array_equal(decoded(RAMP.tobytes()[:-1], 3), SOUND[:-1])
    assert decoded(b"\x01").size == 0 and decoded(b"").size == 0


@pytest.mark.parametrize("size", [1, 5, 44, 1 << 20])
@pytest.mark.parametrize(
    ("subtype", "kind"),
    [("PCM_U8", "WAV"), ("PCM_16", "WAV"), ("PCM_24", "WAV"), ("PCM_32", "WAV"), ("FLOAT", "WAV"), ("DOUBLE", "WAV"),
     ("PCM_24", "WAVEX")],
)  # fmt: skip
def test_wav_of_every_layout(size: int, subtype: str, kind: str) -> None:
    stereo = np.stack([SOUND, SOUND / 2], axis=1)
    data = wav(stereo, subtype=subtype, kind=kind)
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    assert np.allclose(decoded(data, size), expected.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_wav_whose_writer_did_not_know_its_length(length: int) -> None:
    data = bytearray(wav(SOUND))
    place = data.index(b"data")
    data[place + 4 : place + 8] = struct.pack("<I", length)
    assert np.array_equal(decoded(bytes(data)), SOUND)


def test_what_follows_the_sound_of_a_wav_is_no_sound() -> None:
    data = wav(SOUND)
    assert np.array_equal(decoded(data + b"LIST\x04\0\0\0abcd"), SOUND)
    place = data.index(b"fmt ")
    assert np.array_equal(decoded(data[:place] + b"LIST\x03\0\0\0abc\0" + data[place:]), SOUND)
    assert np.array_equal(decoded(data[:-3]), SOUND[:-2])  # cut off within a sample


def test_other_rates_become_the_one_that_is_asked_for() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100) * 0.5
    expected = Audio(tone.astype(np.float32), 44100).resampled(RATE).samples
    for found in (
        decoded(wav(tone, 44100, "FLOAT")),
        decoded((tone * 2**15).astype("<i2").tobytes(), 777, raw_rate=44100),
    ):
        assert found.size == expected.size and np.abs(found - expected).max() < 1e-3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"fLaC" + bytes(40), "the stream is FLAC, neither raw PCM nor WAV; send 16-bit PCM: ffmpeg"),
        (bytes(4) + b"ftypM4A " + bytes(40), "the stream is MP4"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "its header tells of no sound"),
        (b"RIFF\0\0\0\0WAVEfmt ", "its header tells of no sound"),
        (b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0abcd", "its format takes 4 bytes"),
        (b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\x7f", "its header tells of no sound"),
        (wav(SOUND, subtype="ULAW"), "WAV of format 7 with 8 bits, 1 channels"),
        (wav(np.full(10, np.nan), subtype="FLOAT"), "not finite"),
    ],
)
def test_streams_that_cannot_be_read(data: bytes, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        decoded(data, 7)


def test_a_header_without_end_is_not_waited_for() -> None:
    def endless() -> Iterator[bytes]:
        yield b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\x7f"
        for _ in range(100):
            yield bytes(1 << 20)
        raise AssertionError("all of it was read")

    with pytest.raises(AudioError, match="its header tells of no sound"):
        list(decode_stream(endless(), RATE, RATE))


# Files


def test_a_file_arrives_as_it_is_asked_for(tmp_path: Path) -> None:
    Audio(SOUND, RATE).write(tmp_path / "a.wav")
    source = Recorded(tmp_path / "a.wav", RATE)
    assert source.arrived == 0
    parts = [source.read(2500, 100000) for _ in range(4)]
    assert [part.size for part in parts] == [2500, 2500, 1000, 0] and source.arrived == 6000
    assert np.array_equal(np.concatenate(parts), SOUND)


def test_a_file_that_is_missing_is_told_of_at_once(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        Recorded(tmp_path / "a.wav", RATE)


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
        assert source.read(16000, 10**6).size == 6000 and source.read(16000, 10**6).size == 0


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
    with Pipe(reading, RATE, RATE) as source, pytest.raises(AudioError, match="is Ogg"):
        source.read(16000, 16000)
    with Pipe(10**6, RATE, RATE) as source, pytest.raises(AudioError, match="cannot be read"):
        source.read(16000, 16000)


# Microphones


class FakeError(Exception):
    pass


class FakeStream:
    """Gives three blocks as soon as it starts, in one array, as PortAudio does."""

    def __init__(self, *, samplerate: int, channels: int, dtype: str, callback: Any) -> None:
        assert (channels, dtype) == (1, "float32")
        self.rate, self.callback, self.open = samplerate, callback, True

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
    fake(monkeypatch, query_devices=lambda kind: {"default_samplerate": 48000.0})
    with pytest.warns(UserWarning), Microphone(RATE) as source:
        assert source._stream.rate == 48000 and source.arrived <= 480


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
