"""Bytes as samples: raw or WAV, however they are cut, and what is neither."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from pytorch_to_mlx import Audio
from pytorch_to_mlx.audio import pcm
from pytorch_to_mlx.audio.pcm import decode_stream
from pytorch_to_mlx.errors import AudioError

RATE = 16000
RAMP = np.arange(-3000, 3000, dtype="<i2")
SOUND = RAMP.astype(np.float32) / 2**15


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[first : first + size] for first in range(0, len(data), size))


def decoded(data: bytes, size: int = 1000, raw_rate: int | None = RATE, rate: int = RATE) -> np.ndarray:
    return np.concatenate([np.empty(0, np.float32), *decode_stream(cut(data, size), raw_rate, rate)])


def wav(samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16", kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype=subtype, format=kind)
    return file.getvalue()


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


@pytest.mark.parametrize("length", [0, 0x7FFFF000 - 1000, 0x7FFFF000, 0xFFFFFFFF])
def test_wav_whose_writer_did_not_know_its_length(length: int) -> None:
    data = bytearray(wav(SOUND))
    place = data.index(b"data")
    data[place + 4 : place + 8] = struct.pack("<I", length)
    layout, size = pcm._header(pcm._Bytes([bytes(data)]), None, RATE)
    assert (layout.rate, size) == (RATE, None)
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


@pytest.mark.parametrize("rate", [0, 1, 999, 768_001, 4_000_000_000])
def test_rates_that_no_sound_has(rate: int) -> None:
    data = bytearray(wav(SOUND))
    data[24:28] = struct.pack("<I", rate)
    for stream, raw_rate in ((bytes(data), None), (RAMP.tobytes(), rate)):
        with pytest.raises(AudioError, match=f"a rate of {rate} Hz is not within 1000 to 768000; send 16-bit PCM"):
            decoded(stream, raw_rate=raw_rate)


@pytest.mark.parametrize(("begin", "name"), [(b"\xff\xfb\x90\x64", "MP3"), (b"\xff\xf1\x50\x80", "AAC")])
def test_coded_sound_without_a_header_is_noise_only_if_it_is_asked_for(begin: bytes, name: str) -> None:
    data = begin + bytes(100)
    with pytest.raises(AudioError, match=f"looks like {name}; if it is raw PCM, say so with --rate, else send"):
        decoded(data, raw_rate=None)
    assert decoded(data, raw_rate=RATE).size == 52
    quiet = np.array([-1, 0, 1], "<i2").tobytes()  # whose first bytes could be a sync word
    assert decoded(quiet, raw_rate=None).size == 3


def test_a_header_without_end_is_not_waited_for() -> None:
    def endless() -> Iterator[bytes]:
        yield b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\x7f"
        for _ in range(100):
            yield bytes(1 << 20)
        raise AssertionError("all of it was read")

    with pytest.raises(AudioError, match="its header tells of no sound"):
        list(decode_stream(endless(), RATE, RATE))
