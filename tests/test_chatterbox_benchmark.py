"""benchmarks/chatterbox.py without a model: its contenders' protocol, what it makes of their times, its arguments."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import chatterbox
import pytest
from chatterbox import KNOWN, REPORT, grow, measure, repeat, speak
from speech_report import Findings

from pytorch_to_mlx.benchmark.contender import MLX_AUDIO, OURS, SCRIPTS, UPSTREAM, Contender
from pytorch_to_mlx.benchmark.process import Child
from pytorch_to_mlx.errors import BenchmarkError

FAKE = f"""
import sys, time
sys.path.insert(0, {str(SCRIPTS)!r})
from chatterbox_serving import ChatterboxContender
from serving import serve

class Fake(ChatterboxContender):
    def __init__(self, setting, watch):
        super().__init__(setting, watch)
        self.pause = 0.02
        watch.watch(self, "flow", "flow", lambda out: time.sleep(out))
    def voice(self):
        print("libraries print")
    def synthesize(self, tokens):
        self.t3(tokens)
        self.flow(tokens)
        return 960 * tokens
    def t3(self, tokens):
        self.watch.begin_tokens()
        time.sleep(self.pause)
        for _ in range(tokens - (self.setting.text == "ends early")):
            self.watch.tick()
    def flow(self, tokens):
        return self.pause
    def vocoder(self, tokens):
        raise ValueError("no such mel")
    def probe(self):
        pass
    def facts(self):
        return {{"about": "a fake"}}

serve(Fake)
"""


@pytest.fixture
def child(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Child]:
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    text = getattr(request, "param", "hello")
    setting = {"model": "", "text": text}
    with tempfile.TemporaryFile("w+") as errors:
        made = Child([sys.executable, script, json.dumps(setting)], {}, errors)
        yield made
        made.close()


def test_a_contender_tells_its_stages(child: Child) -> None:
    assert child.loaded["facts"] == {"about": "a fake"} and child.loaded["load"] >= 0
    assert child.ask("voice")["spans"] == {}
    times = measure(child, Contender("fake", "", None), "whole", 4)
    assert set(times) == {"T3 prefill", "T3, each token", "flow", "whole synthesis", "first audio"}
    assert 0.02 <= times["T3 prefill"] < times["whole synthesis"] == times["first audio"]
    assert 0.02 <= times["flow"] < times["whole synthesis"], "lazy work counts to the stage that it is of"
    assert "first audio" not in measure(child, KNOWN["ours"], "whole", 4), "which streams: it is measured by itself"
    assert child.replies[-1]["gflops"] > 0 and child.replies[-1]["peak"] > 1e6


@pytest.mark.parametrize("child", ["ends early"], indirect=True)
def test_speech_of_another_length_is_no_measurement(child: Child) -> None:
    with pytest.raises(RuntimeError, match="gave 3 tokens"):
        speak(child, 4)


def test_a_contender_that_fails_says_why(child: Child) -> None:
    with pytest.raises(BenchmarkError, match=r"fake.py failed: ValueError: no such mel"):
        child.ask("vocoder", 4)


def test_threads_are_everyones_and_openblas_mlxs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "blas.so")
    variables = {name: contender.variables(3) for name, contender in KNOWN.items()}
    assert {name: v.get("LD_PRELOAD") for name, v in variables.items()} == {
        "ours": "blas.so",
        "pytorch": None,
        "mlx-audio": "blas.so",
    }
    assert all(v["OMP_NUM_THREADS"] == v["OPENBLAS_NUM_THREADS"] == "3" for v in variables.values())


def test_the_report() -> None:
    told = {"about": "here", "preload": "", "import": 1, "load": 2, "peak": 3e9, "held": None, "device_peak": None}
    findings = Findings(
        "On a machine.",
        REPORT,
        {
            "flow": {OURS: [10.0, 20.0, 10.0], UPSTREAM: [9.0, 22.0, 12.0], MLX_AUDIO: [40.0, 50.0, 45.0]},
            "T3, each token": {OURS: [0.2] * 3, UPSTREAM: [0.4] * 3, MLX_AUDIO: [0.21] * 3},
            "watermark": {OURS: [0.5] * 3, UPSTREAM: [0.5] * 3},
        },
        {name: {**told, "gflops": [100.0]} for name in (OURS, UPSTREAM, MLX_AUDIO)},
        weights_per_token=2_000_000_000,
        bandwidth=[10e9, 20e9],
        growth={"5 s in one pass": [2.0, 2.2], "40 s in one pass": [2.31]},
        memory=[5, 10, *[20] * 8],
    )
    lines = findings.markdown().splitlines()
    assert "| flow | 10 | 12 | 45 | 1.10 (0.90 to 1.20) | 4.00 (2.50 to 4.50) | 3 x mlx-audio: met |" in lines
    assert (
        "| T3, each token | 0.2 | 0.4 | 0.21 | 2.00 (2.00 to 2.00) | 1.05 (1.05 to 1.05) | 1.1 x mlx-audio: missed |"
        in lines
    )
    assert "| watermark | 0.5 | 0.5 |  | 1.00 (1.00 to 1.00) |  |  |" in lines
    assert "takes 100 ms: the floor. Share of it that was reached: pytorch-to-mlx 50%" in findings.markdown()
    assert "| 40 s in one pass | 2.31 | 1.10 |" in lines
    assert findings.memory_growth() == 1 and "growing" not in lines[-1]
    findings.memory[-2:] = [21, 21]
    assert findings.markdown().endswith("growing.")


def test_growth_and_memory_are_read_off_many_syntheses() -> None:
    class Steady:
        """A model that takes 2 s for each second of audio, and 0.1 s more for each part."""

        said: ClassVar[list[int]] = []

        def ask(self, method: str, tokens: int = 0, parts: int = 1) -> dict[str, Any]:
            self.said.append(tokens)
            seconds = 2 * tokens * parts / 25 + 0.1 * parts
            return {"tokens": tokens * parts, "result": 960 * tokens * parts, "seconds": seconds, "held": 1000}

    steady: Any = Steady()
    findings = Findings("", REPORT)
    grow(findings, steady)
    assert {what: round(found[0], 4) for what, found in findings.growth.items()} == {
        "5 s in one pass": 2.02,
        "40 s in one pass": 2.0025,
        "40 s in 8 parts": 2.02,
    }
    assert len(findings.growth["5 s in one pass"]) == 2, "before and after"
    steady.said.clear()
    repeat(findings, steady)
    assert len(findings.memory) == 50 and len(set(steady.said[1:22])) == 21, "no length comes again soon"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--contenders", "ours,theirs"], "theirs: there are ours, pytorch, mlx-audio"),
        (["--contenders", "pytorch", "--growth"], "add it to --contenders"),
        (["--tokens", "2"], "--tokens must be 3 or more"),
        (["--checkpoint", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        chatterbox.parse(arguments)
    assert said in capsys.readouterr().err
