"""Where somebody speaks in a recording, by Silero's detector, captured (docs/voice-activity.md).

The network is silero-vad's `silero_vad_16k_sequence.onnx`, which hears many frames in one call; the rules that make
spans of its probabilities are those of silero_vad/utils_vad.py, of silero-vad 6.2.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.audio.blocks import in_blocks
from pytorch_to_mlx.captured import CapturedModel
from pytorch_to_mlx.errors import FolderError, UsageError
from pytorch_to_mlx.loading import load

RATE = 16000
FRAME = 512
"""Samples that a probability is of: 32 ms."""
CONTEXT = 64
"""Samples before a frame that are heard with it."""
STATE = (1, 1, 128)
"""The shape of the LSTM's h and of its c."""
BLOCK = 128
"""Frames of a call, 4 seconds, of which memory depends: on two cores 64 to 512 take about as long, 128 least."""
CAPTURE = (
    "pytorch-to-mlx capture package:silero-vad/data/silero_vad_16k_sequence.onnx "
    "--inputs pytorch_to_mlx.service.voice_activity:example"
)
"""The command that makes a detector, less `-o DIR`."""

Detector = Callable[[mx.array, mx.array, mx.array], tuple[mx.array, mx.array, mx.array]]
"""Of frames (count, CONTEXT + FRAME) and the LSTM's h and c (STATE): probabilities (count,), the next h and c."""


@dataclass(frozen=True)
class Span:
    """A part of a recording, from `start` to `end` in seconds."""

    start: float
    end: float


@dataclass(frozen=True)
class SpeechRules:
    """What counts as speech; the names and defaults are upstream's.

    Attributes:
        threshold: speech begins with a frame of this probability.
        neg_threshold: it may end with a frame below this; 0.15 less than `threshold` if None, 0.01 at least.
        min_speech_duration_ms: what is as short or shorter is left out.
        max_speech_duration_s: what is longer is cut, at a silence if there is one.
        min_silence_duration_ms: shorter silences end no speech.
        speech_pad_ms: added before and after, or half of the silence where that is less.
        min_silence_at_max_speech: milliseconds; where there is a longer silence, what is too long is cut there.
        use_max_poss_sil_at_max_speech: cut at the longest such silence, not the last.

    Raises:
        UsageError: `neg_threshold` is above `threshold`.
    """

    threshold: float = 0.5
    neg_threshold: float | None = None
    min_speech_duration_ms: float = 250
    max_speech_duration_s: float = math.inf
    min_silence_duration_ms: float = 100
    speech_pad_ms: float = 30
    min_silence_at_max_speech: float = 98
    use_max_poss_sil_at_max_speech: bool = True

    def __post_init__(self) -> None:
        if self.neg_threshold is not None and self.neg_threshold > self.threshold:
            raise UsageError(f"speech that begins at {self.threshold} cannot end below {self.neg_threshold}; give less")


FOR_TRANSCRIPTION = SpeechRules(min_speech_duration_ms=0, min_silence_duration_ms=2000, speech_pad_ms=400)
"""Loses no short word and leaves pauses within sentences; what faster-whisper has (VadOptions of its vad.py)."""


def load_detector(folder: str | Path, *, trust: bool = False) -> Detector:
    """Load a detector that `CAPTURE` made; it needs no torch.

    Args:
        folder: the captured folder.
        trust: run its source though another machine wrote it.

    Raises:
        FolderError: the folder holds no such detector, or is damaged (and what else `load` raises).
    """
    model = load(folder, trust=trust) if (Path(folder) / "config.json").exists() else None
    if isinstance(model, CapturedModel) and _takes_frames([each.shape for each in model.inputs]):
        return model.network
    raise FolderError(f"{folder} holds no detector of speech; make one with: {CAPTURE} -o {folder}")


def _takes_frames(shapes: Sequence[tuple[int | str, ...]]) -> bool:
    """Whether a model's inputs are any number of frames, and two states."""
    if len(shapes) != 3 or len(shapes[0]) != 2 or not shapes[1] == shapes[2] == STATE:
        return False
    count, length = shapes[0]
    return isinstance(count, str) and (isinstance(length, str) or length == CONTEXT + FRAME)


def example() -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What `capture` calls the detector's file with: frames of noise that gets louder, and states."""
    import torch

    draw = torch.Generator().manual_seed(0)
    loud = torch.linspace(0, 0.3, 12)[:, None]
    frames = loud * torch.randn(12, CONTEXT + FRAME, generator=draw)
    h, c = (0.5 * torch.randn(STATE, generator=draw) for _ in range(2))
    return (frames, h, c), {}


def speech_probabilities(detector: Detector, audio: Audio | Iterable[np.ndarray]) -> np.ndarray:
    """How likely somebody speaks in each 512 samples at 16 kHz, the last filled with silence: (frames,), float32.

    As upstream streams: each frame is heard with the 64 samples before it, and states go on from frame to frame.

    Args:
        audio: a recording, or its samples at 16 kHz, some at a time.
    """
    context, h, c = np.zeros(CONTEXT, np.float32), mx.zeros(STATE), mx.zeros(STATE)
    found = []
    for block in in_blocks(_samples(audio), BLOCK * FRAME):
        heard = np.concatenate([context, block, np.zeros(-block.size % FRAME, np.float32)])
        context = heard[-CONTEXT:]
        frames = np.lib.stride_tricks.sliding_window_view(heard, CONTEXT + FRAME)[::FRAME]
        probabilities, h, c = detector(mx.array(frames), h, c)
        mx.eval(probabilities, h, c)
        found.append(np.array(probabilities))
    return np.concatenate(found) if found else np.empty(0, np.float32)


def _samples(audio: Audio | Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    return [audio.resampled(RATE).samples] if isinstance(audio, Audio) else audio


def speech_spans(
    probabilities: np.ndarray, rules: SpeechRules | None = None, *, samples: int | None = None
) -> list[Span]:
    """Where somebody speaks: `get_speech_timestamps_from_probs` of silero_vad/utils_vad.py.

    Args:
        probabilities: of `speech_probabilities`.
        samples: of the recording at 16 kHz, where its last frame is not full.
    """
    rules = rules or SpeechRules()
    samples = FRAME * len(probabilities) if samples is None else samples
    runs = _padded(_runs(probabilities.tolist(), samples, rules), samples, rules.speech_pad_ms * RATE / 1000)
    return [Span(start / RATE, end / RATE) for start, end in runs]


def find_speech(
    detector: Detector, audio: Audio | Iterable[np.ndarray], rules: SpeechRules | None = None
) -> list[Span]:
    """Where somebody speaks in a recording, or in its samples at 16 kHz, some at a time; empty if nobody does."""
    samples = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal samples
        for block in _samples(audio):
            samples += block.size
            yield block

    probabilities = speech_probabilities(detector, counted())
    return speech_spans(probabilities, rules, samples=samples)


def _runs(probabilities: Sequence[float], samples: int, rules: SpeechRules) -> list[tuple[int, int]]:
    """Speech from and to which sample, without padding."""
    quiet = max(rules.threshold - 0.15, 0.01) if rules.neg_threshold is None else rules.neg_threshold
    shortest = rules.min_speech_duration_ms * RATE / 1000
    longest = rules.max_speech_duration_s * RATE - FRAME - 2 * rules.speech_pad_ms * RATE / 1000
    ending, cutting = (ms * RATE / 1000 for ms in (rules.min_silence_duration_ms, rules.min_silence_at_max_speech))
    at_last = not rules.use_max_poss_sil_at_max_speech
    runs: list[tuple[int, int]] = []
    start: int | None = None  # of the speech that goes on
    silence: int | None = None  # where it fell silent, until it is loud again
    cut: tuple[int, int | None] | None = None  # the silence to cut at if it gets too long: where it began and ended
    for now, probability in zip(range(0, FRAME * len(probabilities), FRAME), probabilities, strict=True):
        loud = probability >= rules.threshold
        if start is None:
            start = now if loud else None
            continue
        if loud and silence is not None:
            if not at_last:
                cut = max(cut, (silence, now), key=_length) if now - silence > cutting else cut
            elif cut is not None and cut[1] is None:
                cut = (cut[0], now)
            silence = None
        if now - start > longest:
            end, resumed = cut or (now, None)
            runs.append((start, end))
            start, silence, cut = resumed, None, None
            if start is None:
                continue
        if probability < quiet:
            silence = now if silence is None else silence
            if at_last and now - silence > cutting:
                cut = (silence, None)
            if now - silence >= ending:
                if silence - start > shortest:
                    runs.append((start, silence))
                start = silence = cut = None
    if start is not None and samples - start > shortest:
        runs.append((start, samples))
    return runs


def _length(silence: tuple[int, int | None] | None) -> int:
    """Of a silence that has ended."""
    return 0 if silence is None or silence[1] is None else silence[1] - silence[0]


def _padded(runs: Sequence[tuple[int, int]], samples: int, pad: float) -> list[tuple[int, int]]:
    """Runs with so many samples more on each side, or half of the silence between two where that is less."""
    if not runs:
        return []
    starts, ends = [int(max(0, runs[0][0] - pad))], []
    for (_, end), (start, _) in pairwise(runs):
        more = min(pad, (start - end) / 2)
        ends.append(int(end + more))
        starts.append(int(start - more))
    ends.append(int(min(samples, runs[-1][1] + pad)))
    return list(zip(starts, ends, strict=True))
