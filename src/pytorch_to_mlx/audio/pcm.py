"""Samples of a stream of bytes that cannot be gone back in: raw PCM, or WAV, however long and however cut."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pytorch_to_mlx.errors import AudioError

WAY_OUT = "send 16-bit PCM: ffmpeg -i AUDIO -f s16le -ar 16000 -ac 1 - | pytorch-to-mlx ..."
OTHER_FORMATS = {
    b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"\x1aE\xdf\xa3": "Matroska", b"FORM": "AIFF", b"RF64": "RF64",
    b"caff": "CAF", b"riff": "Wave64",
}  # fmt: skip
"""By their first bytes, which would be noise as raw samples."""
SYNC_WORDS = {
    **dict.fromkeys((b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3", b"\xff\xe2"), "MP3"),
    **dict.fromkeys((b"\xff\xf1", b"\xff\xf0", b"\xff\xf9", b"\xff\xf8"), "AAC"),
}
"""Of formats without a header. Few raw samples begin so; layer I (FF FF) is left out, since quiet ones do."""
RATES = range(1_000, 768_001)
"""Hz: of others a few bytes would be gigabytes, or gigabytes nothing."""
LONGEST_CHUNK = 1 << 20
"""Bytes of what stands before a WAV's sound; more is no WAV."""
UNKNOWN = 0x7FFFF000 - (1 << 16)
"""What writers that cannot go back say of a length, at least: sox this and up to 64 KiB, ffmpeg more, others 0."""
EXTENSIBLE = 0xFFFE


@dataclass(frozen=True)
class Layout:
    """How bytes are samples.

    Attributes:
        width: bytes of a sample.
        decode: bytes to samples in [-1, 1].
    """

    rate: int
    channels: int
    width: int
    decode: Callable[[bytes], np.ndarray]


def decode_stream(chunks: Iterable[bytes], raw_rate: int | None, rate: int) -> Iterator[np.ndarray]:
    """Mono samples at a rate, float32, as bytes come; of a sample that is cut off at the end, nothing.

    Args:
        chunks: of any sizes: WAV, which tells its layout, else raw 16-bit samples, little-endian, of one channel.
        raw_rate: of raw samples; None for `rate`, where nobody said that they are raw.
        rate: of what is returned.

    Raises:
        AudioError: the stream is of another format, or damaged.
    """
    import soxr

    source = _Bytes(chunks)
    layout, size = _header(source, raw_rate, rate)
    if layout.rate not in RATES:
        raise AudioError(f"a rate of {layout.rate} Hz is not within {RATES[0]} to {RATES[-1]}; {WAY_OUT}")
    resampler = soxr.ResampleStream(layout.rate, rate, 1) if layout.rate != rate else None
    for data in source.whole(layout.channels * layout.width, size):
        block = layout.decode(data).reshape(-1, layout.channels).mean(axis=1, dtype=np.float32)
        if not np.isfinite(block).all():
            raise AudioError("the stream has samples that are not finite numbers")
        yield block if resampler is None else resampler.resample_chunk(block)
    if resampler is not None:
        yield resampler.resample_chunk(np.empty(0, np.float32), last=True)


class _Bytes:
    """Chunks, of which any number of bytes can be asked."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._held = iter(chunks), b""

    def peek(self, count: int) -> bytes:
        """The next bytes, which stay; fewer at the end."""
        while len(self._held) < count and (chunk := next(self._chunks, None)) is not None:
            self._held += chunk
        return self._held[:count]

    def take(self, count: int) -> bytes:
        """The next bytes; fewer at the end."""
        found = self.peek(count)
        self._held = self._held[len(found) :]
        return found

    def whole(self, unit: int, size: int | None) -> Iterator[bytes]:
        """The rest as it comes, or so many bytes of it, in multiples of a unit."""
        left = size
        while len(self.peek(unit)) == unit and (left is None or left >= unit):
            count = len(self._held) if left is None else min(len(self._held), left)
            data = self.take(count - count % unit)
            left = None if left is None else left - len(data)
            yield data


def _header(source: _Bytes, raw_rate: int | None, rate: int) -> tuple[Layout, int | None]:
    """The layout, and how many bytes are sound, None for all."""
    begin = source.peek(12)
    if begin[:4] == b"RIFF" and begin[8:] == b"WAVE":
        source.take(12)
        return _wav_header(source)
    other = next((name for magic, name in OTHER_FORMATS.items() if begin.startswith(magic)), None)
    if other or begin[4:8] == b"ftyp":
        raise AudioError(f"the stream is {other or 'MP4'}, neither raw PCM nor WAV; {WAY_OUT}")
    if raw_rate is None and (coded := SYNC_WORDS.get(begin[:2])):
        raise AudioError(f"the stream looks like {coded}; if it is raw PCM, say so with --rate, else {WAY_OUT}")
    return Layout(rate if raw_rate is None else raw_rate, 1, 2, _sixteen), None


def _wav_header(source: _Bytes) -> tuple[Layout, int | None]:
    layout: Layout | None = None
    while len(head := source.take(8)) == 8:
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data" and layout is not None:
            return layout, size if 0 < size < UNKNOWN else None
        if name == b"data" or size > LONGEST_CHUNK:
            break
        body = source.take(size + size % 2)
        if name == b"fmt ":
            layout = _wav_layout(body)
    raise AudioError(f"the WAV stream is damaged: its header tells of no sound; {WAY_OUT}")


def _wav_layout(body: bytes) -> Layout:
    if len(body) < 16:
        raise AudioError(f"the WAV stream is damaged: its format takes {len(body)} bytes; {WAY_OUT}")
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
    if kind == EXTENSIBLE and len(body) >= 26:
        (kind,) = struct.unpack("<H", body[24:26])
    decode = DECODERS.get((kind, bits))
    if decode is None or not channels:
        raise AudioError(
            f"WAV of format {kind} with {bits} bits, {channels} channels and {rate} Hz is not read; {WAY_OUT}"
        )
    return Layout(rate, channels, bits // 8, decode)


def _sixteen(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<i2").astype(np.float32) / 2**15


def _twenty_four(data: bytes) -> np.ndarray:
    padded = np.zeros((len(data) // 3, 4), np.uint8)
    padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return padded.view("<i4")[:, 0].astype(np.float32) / 2**31


DECODERS: dict[tuple[int, int], Callable[[bytes], np.ndarray]] = {
    (1, 8): lambda data: (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128,
    (1, 16): _sixteen,
    (1, 24): _twenty_four,
    (1, 32): lambda data: np.frombuffer(data, "<i4").astype(np.float32) / 2**31,
    (3, 32): lambda data: np.frombuffer(data, "<f4").astype(np.float32),
    (3, 64): lambda data: np.frombuffer(data, "<f8").astype(np.float32),
}
"""By WAV's number of a format (1 integers, 3 floats) and bits."""
