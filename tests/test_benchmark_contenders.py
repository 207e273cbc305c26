"""What a race notices of its contenders: options that one does not heed, lengths, devices, voices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_contenders import fake
from test_benchmark_verb import raced

from pytorch_to_mlx.benchmark import measuring, workload
from pytorch_to_mlx.benchmark.contender import OTHERS, SCRIPTS, Contender
from pytorch_to_mlx.benchmark.page import benchmark_html
from pytorch_to_mlx.benchmark.process import Child, _on_cores
from pytorch_to_mlx.benchmark.race import Plan
from pytorch_to_mlx.benchmark.results import AUDIO, COLD, FIRST, IMPORT, LATENCY, VOICE, Measured, Race
from pytorch_to_mlx.benchmark.subjects import Subject
from pytorch_to_mlx.benchmark.tables import contender_rows, devices, remarks
from pytorch_to_mlx.environments import why_ended
from pytorch_to_mlx.models.chatterbox.port import CONFIGS
from pytorch_to_mlx.models.chatterbox.t3.generation import SamplingSettings
from pytorch_to_mlx.validation import Originals

ONCE = Plan(1, warmup=0, cold_starts=1)


def changed(contender: Contender, *edits: tuple[str, str]) -> Contender:
    """A fake whose script says something else."""
    script = Path(contender.script)
    text = script.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    script.write_text(text)
    return contender


def test_imports_count_as_imports_and_may_print(tmp_path: Path) -> None:
    noisy = changed(fake(tmp_path, "noisy", pause=0.3), ("import sys, time", "import sys, time\nprint('a banner')"))
    (found,) = raced(tmp_path, noisy, plan=ONCE).entrants
    assert found.of(IMPORT)[0] >= 0.3
    lazy = [path.name for path in SCRIPTS.glob("*_upstream.py") if "\n        from " in path.read_text()]
    assert not lazy, "a library that is imported while it loads would count as loading"


def test_options_that_one_does_not_heed_leave_it_out(tmp_path: Path) -> None:
    heeds = changed(fake(tmp_path, "heeds"), ("    pause =", "    options = ('speaker',)\n    pause ="))
    race = raced(tmp_path, fake(tmp_path, "ours"), heeds, plan=ONCE, options={"speaker": "a", "speed": 2.0})
    assert race.left_out == {"heeds": "heeds.py failed: it cannot be told speed"}
    race = raced(tmp_path, fake(tmp_path, "ours"), heeds, plan=ONCE, options={"speaker": "a"})
    assert not race.left_out


def test_who_speaks_longer_than_told_is_left_out(tmp_path: Path) -> None:
    long = changed(fake(tmp_path, "long"), ("np.full(24000", "np.full(30000"))
    race = raced(tmp_path, fake(tmp_path, "ours"), long, plan=ONCE, exact=True)
    assert race.left_out == {"long": "of short it said 1.25 s, ours 1.00 s"}
    race = raced(tmp_path, fake(tmp_path, "ours"), long, plan=ONCE)
    assert [each.of(AUDIO, "long") for each in race.entrants] == [[1.0], [1.25]], "real weights end where they like"


def test_every_request_begins_with_the_same_random_numbers(tmp_path: Path) -> None:
    draw = ("return self.heard(np.full(24000, 0.1, np.float32), 24000)",
            "import random; return self.heard(np.zeros(random.randint(24000, 48000), np.float32), 24000)")  # fmt: skip
    (found,) = raced(tmp_path, changed(fake(tmp_path, "draws"), draw), plan=Plan(3, 0, 0)).entrants
    assert len(set(found.of(AUDIO, "long"))) == 1


def test_a_voice_that_is_not_prepared_has_no_time(tmp_path: Path) -> None:
    none = changed(fake(tmp_path, "none"), ('self.log("voice")', 'self.log("voice")\n        return False'))
    ours, other = (race := raced(tmp_path, fake(tmp_path, "ours"), none, plan=ONCE)).entrants
    assert ours.of(VOICE) and not other.of(VOICE)
    nobody = raced(tmp_path, none, plan=ONCE)
    for each, times in ((race, 2), (nobody, 0)):  # a column, and what it means
        assert benchmark_html("Said", [each], {}, {}).count(VOICE) == times
        assert (f"{VOICE}, s" in contender_rows(each)[0]) is bool(times)


def test_a_first_token_that_nobody_tells_is_no_latency(tmp_path: Path) -> None:
    mute = changed(fake(tmp_path, "mute", hears=True), ("self.watch.begin_tokens()", "pass"), ("range(5)", "()"))
    (found,) = (race := raced(tmp_path, mute, plan=ONCE, hears=True)).entrants
    assert not found.of(FIRST, "long") and not found.of(COLD) and found.of(LATENCY, "long")
    assert "x real time" in benchmark_html("Heard", [race], {}, {})


def test_devices_that_differ_are_told(tmp_path: Path) -> None:
    race = raced(tmp_path, fake(tmp_path, "ours", device="gpu"), fake(tmp_path, "upstream"), plan=ONCE)
    said = "Not on the same device: ours computed on the gpu, upstream computed on the cpu."
    assert devices(race) == said and said in remarks(race)
    assert benchmark_html("Raced", [race], {}, {}).count(said) == 2, "beside the ratios and beside the probes"
    head, rows = contender_rows(race)
    assert [row[head.index("device memory, GB")] for row in rows] == ["3.00", ""]
    race = raced(tmp_path, fake(tmp_path, "ours"), fake(tmp_path, "upstream"), plan=ONCE)
    assert devices(race) == "" and "device memory, GB" not in contender_rows(race)[0]


@pytest.mark.parametrize(
    ("status", "said", "why"),
    [
        (-9, "Traceback\nValueError: no", "was ended by SIGKILL; memory did not suffice, most likely"),
        (1, "Traceback\nmlx.Error: no\nresource_tracker: 1 leaked", "failed: mlx.Error: no"),
        (1, "it cannot be told speed", "failed: it cannot be told speed"),
        (3, "", "failed: exit 3"),
    ],
)
def test_why_a_program_ended(status: int, said: str, why: str) -> None:
    assert why_ended(status, said) == why


def test_a_contender_that_is_killed_says_so(tmp_path: Path) -> None:
    killed = fake(tmp_path, "killed", loading="__import__('os').kill(__import__('os').getpid(), 9)")
    race = raced(tmp_path, fake(tmp_path, "ours"), killed, plan=ONCE)
    assert race.left_out == {"killed": "killed.py was ended by SIGKILL; memory did not suffice, most likely"}


@pytest.mark.parametrize("variant", CONFIGS)
def test_chatterboxs_settings_are_upstreams_defaults(variant: str) -> None:
    config = CONFIGS[variant].t3
    told = workload.default("text to speech").choice("chatterbox", variant).options
    defaults = {name: value for name, value in vars(SamplingSettings.default(config)).items() if value}
    assert {name: told[name] for name in told if name not in ("language", "exaggeration")} == defaults


def test_what_is_known_to_differ_is_said() -> None:
    assert "watermark" in OTHERS["chatterbox"]["mlx-audio"].remarks[0]
    assert "prepares no voice" in OTHERS["qwen3_tts"]["mlx-audio"].remarks[0]


STUB = """
import json
from types import SimpleNamespace
import numpy as np

class Model:
    talker, sample_rate = None, 24000
    def generate(self, text, **told):
        print(json.dumps(told), file=open({log!r}, "a"))
        yield SimpleNamespace(audio=np.zeros(2400, np.float32))

def load_model(folder):
    return Model()
"""


def test_mlx_audio_speaks_as_long_as_it_takes_where_nobody_tells(tmp_path: Path) -> None:
    (package := tmp_path / "mlx_audio" / "tts").mkdir(parents=True)
    (package / "utils.py").write_text(STUB.format(log=str(tmp_path / "log")))
    (tmp_path / "mlx_audio-0.dist-info").mkdir()
    (tmp_path / "mlx_audio-0.dist-info" / "METADATA").write_text("Name: mlx-audio\nVersion: 0\n")
    setting = {"model": "", "prompt": "a.wav", "options": {"language": "english"}}
    command = [sys.executable, SCRIPTS / "qwen3_tts_mlx_audio.py", json.dumps(setting)]
    with tempfile.TemporaryFile("w+") as errors:
        child = Child(command, {**os.environ, "PYTHONPATH": str(tmp_path)}, errors)
        try:
            assert child.ask("voice")["result"] is False
            assert child.ask("synthesize", 7)["audio"] == child.ask("synthesize", 0)["audio"] == 0.1
        finally:
            child.close()
    told = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [each["max_tokens"] for each in told] == [7, None] and told[0]["lang_code"] == "english"


def test_what_is_not_the_same_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ran(race: Race, entrants: dict[Contender, Any], *_: Any) -> None:
        race.entrants = [Measured(each.name) for each in entrants]

    monkeypatch.setattr(measuring, "run", ran)
    monkeypatch.setattr(Contender, "missing", None)
    monkeypatch.setattr(Contender, "files", lambda *_: tmp_path)
    subject = Subject("quantized", tmp_path, False, lambda: Originals(tmp_path, ()))
    told = {"model_type": "chatterbox", "variant": "english", "dtype": "float32", "task": "text to speech"}
    subject.__dict__["config"] = SimpleNamespace(**told, quantization={"bits": 4})

    def race(**more: Any) -> Race:
        request = measuring.Request(ONCE, **more)
        return measuring.benchmark(subject, request, tmp_path, tmp_path, lambda _: None, lambda *_: None)

    every = race()
    assert every.about.endswith("; the recording whose voice is cloned is made up, like speech")
    assert every.remarks == [
        "pytorch-to-mlx computes with quantized weights (4-bit), the others in float32.",
        "mlx-audio: it applies no watermark, which the others do.",
    ]
    alone = race(against=(), ref_audio=tmp_path / "anna.wav")
    assert alone.remarks == [] and "made up" not in alone.about


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system gives processes no cores of their own")
def test_a_contender_has_as_many_cores_as_threads() -> None:
    before = os.sched_getaffinity(0)
    with _on_cores(1):
        told = subprocess.run(
            [sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert told.stdout.strip() == "1" and os.sched_getaffinity(0) == before
