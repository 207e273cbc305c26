"""benchmarks/qwen3_tts.py and qwen3_25hz.py without a model: questions, what is made of answers, arguments."""

from __future__ import annotations

from typing import Any

import pytest
import qwen3_25hz
import qwen3_tts
from qwen3_tts import BATCH, DECODE, FIRST, FOUR, FRAME, KNOWN, ROWS, VOICE, WHOLE, at_once, measure
from speech_report import Findings

from pytorch_to_mlx.benchmark.contender import OURS


class Child:
    """Answers as a contender that says so many frames."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.asked: list[tuple[Any, ...]] = []

    def ask(self, method: str, *arguments: Any) -> dict[str, Any]:
        self.asked.append((method, *arguments))
        return {"seconds": 3.0, "spans": {"token": 0.2}, "result": 1920 * self.frames}


def test_stages() -> None:
    child: Any = Child(25)
    ours, upstream = KNOWN["ours"], KNOWN["pytorch"]
    found = {stage: measure(child, ours, stage, 25) for stage in qwen3_tts.STAGES}
    assert found == {
        "voice": {VOICE: 3.0},
        "whole": {FRAME: 0.2, WHOLE: 3.0},
        "first": {FIRST: 3.0},
        "batch": {BATCH: 0.2, FOUR: 3.0},
        "decode": {DECODE: 3.0},
    }
    assert child.asked == [("voice",), ("synthesize", 25), ("first_audio", 25), ("batch", 25, ROWS), ("decode", 25)]
    assert measure(child, upstream, "whole", 25)[FIRST] == 3.0, "which does not stream: all is first"
    assert measure(child, upstream, "first", 25) == {}


@pytest.mark.parametrize("stage", ["whole", "batch", "decode"])
def test_speech_of_another_length_is_no_measurement(stage: str) -> None:
    child: Any = Child(20)
    with pytest.raises(RuntimeError, match="gave 20 frames for 25"):
        measure(child, KNOWN["ours"], stage, 25)


def test_four_at_once() -> None:
    stages = {FRAME: {OURS: [1.0, 2.0]}, BATCH: {OURS: [1.5, 2.0]}, WHOLE: {OURS: [2.0]}, FOUR: {OURS: [3.5]}}
    assert list(at_once(Findings("", qwen3_tts.REPORT, stages=stages))) == [
        "Talker and code predictor of four texts at once: 1.25 (1.00 to 1.50) of the time of one (target: 1.6).",
        "The whole of four texts at once: 1.75 (1.75 to 1.75) of the time of one (target: 1.6).",
    ]
    assert not list(at_once(Findings("", qwen3_tts.REPORT)))


class Tokenizer:
    """Answers as a contender that makes so many codes of a second, and samples of a code."""

    def __init__(self, codes: int, samples: int) -> None:
        self.codes, self.samples = codes, samples

    def ask(self, method: str, *arguments: Any) -> dict[str, Any]:
        if method == "encode":
            return {"seconds": 2.0, "result": 8 * self.codes}
        return {"seconds": 3.0, "spans": {"spectrum": 1.5, "vocoder": 1.4}, "result": arguments[0] * self.samples}


def test_stages_of_the_25_hz_tokenizer() -> None:
    child: Any = Tokenizer(25, 960)
    assert list(qwen3_25hz.measure(child, 50, 8.0).values()) == [2.0, 1.5, 1.4, 3.0]
    slow: Any = Tokenizer(24, 960)
    with pytest.raises(RuntimeError, match="8 s of sound gave 192 codes"):
        qwen3_25hz.measure(slow, 50, 8.0)
    short: Any = Tokenizer(25, 480)
    with pytest.raises(RuntimeError, match="50 codes gave 24000 samples"):
        qwen3_25hz.measure(short, 50, 8.0)
    with pytest.raises(SystemExit):
        qwen3_25hz.parse(["--codes", "0"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--contenders", "ours,theirs"], "theirs: there are ours, pytorch, mlx-audio"),
        (["--only", "flow"], "flow: there are voice"),
        (["--frames", "2"], "--frames must be 6 or more"),
        (["--rounds", "0"], "--rounds must be 1 or more"),
    ],
)
def test_arguments_that_make_no_sense(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        qwen3_tts.parse(arguments)
    assert said in capsys.readouterr().err
