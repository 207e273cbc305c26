"""`pytorch-to-mlx benchmark`: contenders in turns, what is made of their replies, tables, JSON, the page, refusals."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_room import run as run_verb
from fake_contenders import asked, fake
from small_kokoro import write_source
from small_narration import write_narrator
from small_ports import crepe_tensors, safetensors_file
from test_presentation import Document, assert_self_contained

from pytorch_to_mlx import convert, environments
from pytorch_to_mlx.benchmark import measuring
from pytorch_to_mlx.benchmark.contender import Contender
from pytorch_to_mlx.benchmark.contenders.serving import Setting, Stopwatch
from pytorch_to_mlx.benchmark.page import benchmark_html
from pytorch_to_mlx.benchmark.race import Entrant, Plan, run
from pytorch_to_mlx.benchmark.results import (
    AUDIO,
    COLD,
    FIRST,
    IMPORT,
    LATENCY,
    LOAD,
    PEAK,
    SPEED,
    TOKEN,
    VOICE,
    Race,
    number,
    spread,
)
from pytorch_to_mlx.benchmark.steps import Asked, Hearing, Speaking
from pytorch_to_mlx.benchmark.subjects import files_of
from pytorch_to_mlx.benchmark.tables import contender_rows, disturbance, item_rows, probe_rows, stage_rows
from pytorch_to_mlx.benchmark.workload import Choice, Item
from pytorch_to_mlx.errors import BenchmarkError

ITEMS = (Item("short", text="One.", seconds=2.0), Item("long", text="One and two.", seconds=4.0))
CLONING = Choice({}, tokens_per_second=25, clones=True)


def raced(
    folder: Path,
    *entrants: Contender,
    plan: Plan | None = None,
    hears: bool = False,
    side_by_side: bool = False,
    options: dict[str, Any] | None = None,
    exact: bool = False,
    **more: Any,
) -> Race:
    """What a race of contenders finds."""
    model = folder / "model"
    model.mkdir(exist_ok=True)
    (model / "weights").write_bytes(bytes(1000))
    recordings = {item.name: write_wav(folder / f"{item.name}.wav", item.seconds) for item in ITEMS}
    race = Race("a model", "fakes", "transcription" if hears else "text to speech", "first audio", ["short", "long"])
    race.side_by_side = side_by_side

    def how(each: Contender) -> Asked:
        return Hearing(each, Choice(), recordings) if hears else Speaking(each, CLONING)

    setting = Setting(str(model), "" if hears else "prompt.wav", options=options or {}, exact=exact)
    told = {each: Entrant(how(each), setting, files_of(model)) for each in entrants}
    heard = {"note": lambda line: None, "progress": lambda what, done, total: None, **more}
    run(race, told, ITEMS, plan or Plan(runs=3, warmup=1, cold_starts=2), folder, **heard)
    return race


def write_wav(path: Path, seconds: float) -> Path:
    import numpy as np
    import soundfile

    soundfile.write(path, np.full(round(8000 * seconds), 0.1), 8000)
    return path


# In turns


def test_everybody_does_a_step_before_anybody_does_the_next(tmp_path: Path) -> None:
    raced(tmp_path, fake(tmp_path, "a"), fake(tmp_path, "b", streams=False), plan=Plan(2, warmup=1, cold_starts=1))
    cold = [line for each in "ab" for line in (f"{each} load", f"{each} voice", f"{each} first One. 50")]
    texts = [f"{what} {text}" for text in ("One. 50", "One and two. 100") for what in ("whole", "first")]
    begins = ["load", "voice"]
    warm = [f"a {each}" for each in begins + texts] + [f"b {each}" for each in begins + texts[::2]]
    assert asked(tmp_path)[:22] == cold + cold + warm, "one start unmeasured; all steps warm up"
    first = ["a voice", "b voice", "a whole One. 50", "b whole One. 50", "a first One. 50"]
    first += ["a whole One and two. 100", "b whole One and two. 100", "a first One and two. 100"]
    second = ["b voice", "a voice", "b whole One. 50", "a whole One. 50", "a first One. 50"]
    second += ["b whole One and two. 100", "a whole One and two. 100", "a first One and two. 100"]
    assert asked(tmp_path)[22:] == first + second, "each run begins with another contender"


def test_what_replies_tell(tmp_path: Path) -> None:
    whole, late = raced(tmp_path, fake(tmp_path, "a"), fake(tmp_path, "late", streams=False)).entrants
    for each in (whole, late):
        assert {measure: sorted(items) for measure, items in each.measures.items()} == {
            **{measure: [""] for measure in (IMPORT, LOAD, COLD, VOICE, PEAK)},
            **{measure: ["long", "short"] for measure in (LATENCY, SPEED, FIRST, TOKEN, AUDIO)},
        }
        assert {len(each.of(measure, "long")) for measure in (LATENCY, SPEED, FIRST)} == {3}
        assert len(each.of(COLD)) == 2 and len(each.of(LOAD)) == 2, "of the cold starts alone"
        assert each.size == 1000 and len(each.facts["gflops"]) > 3
        assert min(each.stages["flow"]["long"]) >= 0.02 and min(each.stages["prefill"]["long"]) >= 0.02
        for speed, latency in zip(each.of(SPEED, "long"), each.of(LATENCY, "long"), strict=True):
            assert speed == pytest.approx(1.0 / latency), "the fake says one second"
        stages = sum(found["long"][0] for found in each.stages.values())
        assert stages == pytest.approx(each.of(LATENCY, "long")[0])
    assert late.of(FIRST, "long") == late.of(LATENCY, "long"), "which does not stream: all is first"
    assert whole.of(FIRST, "long") != whole.of(LATENCY, "long")


def test_cold_start_counts_from_the_process(tmp_path: Path) -> None:
    slow = fake(tmp_path, "slow", pause=0.3, loading="time.sleep(0.2)")
    (found,) = raced(tmp_path, slow, plan=Plan(1, warmup=0, cold_starts=1)).entrants
    assert found.of(IMPORT)[0] >= 0.3 and found.of(LOAD)[0] >= 0.2
    assert found.of(COLD)[0] >= found.of(IMPORT)[0] + found.of(LOAD)[0]


def test_memory_is_each_processs_own(tmp_path: Path) -> None:
    lean, fat = fake(tmp_path, "lean"), fake(tmp_path, "fat", loading="self.held = b'x' * 200_000_000")
    race = raced(tmp_path, lean, fat, plan=Plan(1, warmup=0, cold_starts=0))
    held = {each.name: each.of(PEAK)[0] for each in race.entrants}
    assert 0.19 < held["fat"] - held["lean"] < 0.3
    assert all(each.of(COLD) == [] for each in race.entrants)


def test_transcription(tmp_path: Path) -> None:
    race = raced(tmp_path, fake(tmp_path, "a", hears=True), fake(tmp_path, "b", hears=True), hears=True)
    for each in race.entrants:
        assert each.of(SPEED, "long")[0] == pytest.approx(4.0 / each.of(LATENCY, "long")[0]), "of 4 s"
        assert 0.02 <= each.of(FIRST, "long")[0] < each.of(LATENCY, "long")[0], "after the encoder"
        assert each.of(COLD)[0] >= each.of(IMPORT)[0] + each.of(LOAD)[0] + 0.02
        assert len(each.of(TOKEN, "short")) == 3 and not each.audio
        assert set(each.stages) == {"flow", "prefill", "tokens", "rest"}
    assert asked(tmp_path)[0:2] == ["a load", "a whole short.wav"]


def test_who_fails_is_left_out_with_the_reason(tmp_path: Path) -> None:
    noted: list[str] = []
    ours, broken = fake(tmp_path, "ours"), fake(tmp_path, "broken", loading="raise ValueError('no such weights')")
    race = raced(tmp_path, ours, broken, note=noted.append)
    assert [each.name for each in race.entrants] == ["ours"]
    assert race.left_out == {"broken": "broken.py failed: ValueError: no such weights"}
    assert "broken is left out: broken.py failed: ValueError: no such weights" in noted
    with pytest.raises(BenchmarkError, match=r"broken: broken\.py failed: ValueError: no such weights"):
        raced(tmp_path, broken, ours)


def test_side_by_side_any_may_fail_but_not_all(tmp_path: Path) -> None:
    works, broken = fake(tmp_path, "works"), fake(tmp_path, "broken", loading="raise ValueError('no such weights')")
    race = raced(tmp_path, broken, works, side_by_side=True)
    assert [each.name for each in race.entrants] == ["works"] and list(race.left_out) == ["broken"]
    with pytest.raises(BenchmarkError, match="no such weights"):
        raced(tmp_path, broken, replace(broken, name="broken too"), side_by_side=True)


def test_who_fails_in_the_middle_is_left_out_too(tmp_path: Path) -> None:
    breaks = fake(tmp_path, "breaks")
    script, broken = Path(breaks.script), "1 / (len(self.text) < 9)"
    script.write_text(script.read_text().replace("self.flow()\n        return", f"{broken}\n        return"))
    race = raced(tmp_path, fake(tmp_path, "ours"), breaks)
    assert [each.name for each in race.entrants] == ["ours"]
    assert "ZeroDivisionError" in race.left_out["breaks"]


def test_a_stopwatch_adds_up_passes() -> None:
    watch = Stopwatch()
    assert watch.read() == {}
    for _ in range(2):
        watch.begin_tokens()
        for _ in range(3):
            watch.tick()
    spans = watch.read()
    assert watch.tokens == 6 and set(spans) == {"first", "prefill", "decode", "token"}
    assert spans["token"] == pytest.approx(spans["decode"] / 4), "of the four that follow a first one"
    watch.clear()
    assert watch.read() == {}


# Reports


NUMBERS = {0.00005417: "0.0000542", 0.815: "0.815", 1.5: "1.50", 42.04: "42.0", 1234.6: "1230", 0: "0.00"}


def test_numbers() -> None:
    assert {value: number(value) for value in NUMBERS} == NUMBERS


def test_spread() -> None:
    assert spread([]) == "" and spread([2.0]) == "2.00" and spread([3.0, 1.0, 2.0]) == "2.00 (1.00 to 3.00)"


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> Race:
    folder = tmp_path_factory.mktemp("race")
    ours, other = fake(folder, "pytorch-to-mlx"), fake(folder, "upstream PyTorch", pause=0.05, preloads=False)
    found = raced(folder, ours, other)
    found.left_out["mlx-audio"] = "it is not installed <b>"
    return found


def test_tables(race: Race) -> None:
    head, rows = item_rows(race)
    assert [row[:2] for row in rows] == [[each.name, item] for item in ("short", "long") for each in race.entrants]
    assert head[-1] == "times as fast: pytorch-to-mlx"
    assert [row[-1] for row in rows[:2]] == ["", spread(race.ratios(race.entrants[1], "short"))]
    assert [row[0] for row in stage_rows(race)[1]] == ["prefill", "tokens", "flow", "rest", "each token"]
    assert probe_rows(race)[1][1][2:] == ["none", "a fake"]
    for head, rows in (item_rows(race), contender_rows(race), stage_rows(race), probe_rows(race)):
        assert rows and {len(row) for row in rows} == {len(head)}
    disturbed = replace(race.entrants[0], facts={"gflops": [90.0, 200.0, 350.0]})
    assert "between 90.0 and 350 GFLOP/s" in disturbance(replace(race, entrants=[disturbed]))
    disturbed.facts["gflops"] = [180.0, 350.0]
    assert disturbance(replace(race, entrants=[disturbed])) == ""
    alone = replace(race, side_by_side=True)
    assert item_rows(alone)[0] == ["contender", "text", "latency, s", SPEED, "first audio, s", "audio, s"]
    assert item_rows(alone)[1][0][5] == "1.00 (1.00 to 1.00)"


def test_json(race: Race) -> None:
    found = json.loads(json.dumps(race.as_json()))
    first, second = found["entrants"]
    latency = first["measures"][LATENCY]["long"]
    assert latency["lowest"] <= latency["median"] <= latency["highest"] and len(latency["values"]) == 3
    assert first["times as fast"]["long"] is None
    assert "first audio" in first["measures"] and FIRST not in first["measures"], "the name that tables give it"
    pairs = zip(first["measures"][SPEED]["long"]["values"], second["measures"][SPEED]["long"]["values"], strict=True)
    assert second["times as fast"]["long"]["values"] == [ours / other for ours, other in pairs]
    assert found["left_out"] == {"mlx-audio": "it is not installed <b>"}


@pytest.mark.parametrize("side_by_side", [False, True])
def test_the_page(race: Race, side_by_side: bool) -> None:
    shown = replace(race, side_by_side=side_by_side)
    text = benchmark_html("A benchmark", [shown], {"processor": "of a kind"}, {"short": "One <i>."})
    assert_self_contained(text)
    document = Document(text)
    assert len(document.all("img")) == 4 and len(document.all("audio")) == 4
    for each in (
        "of a kind",
        "One <i>.",
        "it is not installed <b>",
        "upstream PyTorch",
        "Larger is faster",
        "cold start",
    ):
        assert each in document.text
    assert ("times as fast" in document.text) != side_by_side
    assert "RTF" not in document.text


# The verb


@pytest.fixture(scope="module")
def kokoro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kokoro")
    convert(write_source(folder / "source"), folder / "kokoro-mlx")
    return folder / "kokoro-mlx"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text("""
task = "text to speech"
[[texts]]
name = "hello"
text = "Hello."
phonemes = "həlˈO."
seconds = 0.4
[settings."kokoro *"]
speaker = "af_heart"
phonemes = true
[settings."qwen3_tts *"]
clones = true
continues = true
tokens_per_second = 12.5
language = "english"
""")
    return path


def test_speech_models_side_by_side(
    kokoro: Path, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    qwen = write_narrator(tmp_path) / "model"
    files = {"json": tmp_path / "all.json", "html": tmp_path / "all.html"}
    once = ["--runs", "1", "--warmup", "0", "--cold-starts", "1", "--threads", "1", "--workload", own]
    once += ["--json", files["json"], "--html", files["html"], "--ref-audio", tmp_path / "anna.wav"]
    assert run_verb(monkeypatch, "benchmark", "compare-tts", kokoro, qwen, *once, "--ref-text", "What Anna says.") == 0
    told = capsys.readouterr()
    assert "kokoro-mlx  hello" in told.out and "model       hello" in told.out and "wrote" in told.err
    found = json.loads(files["json"].read_text())
    assert set(found["machine"]) == {"system", "processor", "versions", "load average"}
    assert SPEED in found["definitions"]
    (race,) = found["races"]
    first, second = race["entrants"]
    assert {"frames", "sound"} <= set(first["stages"]) and {"prefill", "tokens"} <= set(second["stages"])
    assert VOICE not in first["measures"] and VOICE in second["measures"], "which clones"
    for each in race["entrants"]:
        assert each["device"] == "cpu" or sys.platform == "darwin"
        assert 0 < min(each["gflops"]) <= max(each["gflops"]) < 1e5, "a product that nobody computed would be faster"
        latency, speed = (each["measures"][name]["hello"]["median"] for name in (LATENCY, SPEED))
        assert each["measures"][COLD][""]["median"] > 0 and 0.1 < latency * speed < 3, "seconds of audio"
    assert len(Document(files["html"].read_text()).all("audio")) == 2


def test_contenders_that_are_not_there_are_a_line_each(
    kokoro: Path, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTORCH_TO_MLX_CACHE", str(tmp_path))
    monkeypatch.setattr(measuring, "run", lambda *_: None)
    assert run_verb(monkeypatch, "benchmark", kokoro, "--workload", own) == 0
    told = capsys.readouterr().out.splitlines()
    hint = "is left out: it is not installed; install it with: pytorch-to-mlx reference install"
    assert f"upstream PyTorch {hint} kokoro" in told and f"mlx-audio {hint} mlx-audio" in told


Handler = signal.Handlers | Callable[[int, object], object]


@pytest.fixture
def handle() -> Iterator[Callable[[int, Handler], object]]:
    """Sets what this process does at a signal; afterwards all is as it was (this run may be nohup's itself)."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    yield signal.signal
    for each, handler in before.items():
        signal.signal(each, handler)


def unseen(number: int, _: object) -> None:
    """In place of the default, which would end this run: what nobody handled is an error."""
    raise AssertionError(f"nobody took signal {number}")


@pytest.mark.parametrize(
    ("number", "handler", "status"),
    [
        (signal.SIGTERM, unseen, 130),
        (signal.SIGHUP, unseen, 130),
        pytest.param(signal.SIGHUP, signal.SIG_IGN, 0, id="nohup"),
    ],
)
def test_nothing_stays_of_what_somebody_ends(
    number: signal.Signals,
    handler: Handler,
    status: int,
    handle: Callable[[int, Handler], object],
    kokoro: Path,
    own: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work, seen = tmp_path / "work", []
    work.mkdir()
    handle(number, handler)

    def run(*_: object) -> None:
        seen.extend(work.iterdir())
        os.kill(os.getpid(), number)

    monkeypatch.setattr(measuring, "run", run)
    given = ["--workload", own, "--against", "none", "--work", work]
    assert run_verb(monkeypatch, "benchmark", kokoro, *given) == status
    assert seen and not list(work.iterdir())
    assert signal.getsignal(number) is handler, "as before"


def test_contenders_are_installed_by_their_environments_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environments, "install", lambda environment, note: environment.name)
    for given, built in (("mlx-audio", "mlx-audio"), ("kokoro", "kokoro"), ("chatterbox", "synthesis")):
        assert run_verb(monkeypatch, "reference", "install", given) == 0
        assert capsys.readouterr().out == f"{built}\n"
    assert run_verb(monkeypatch, "reference", "install", "synthesis") == 2, "which references name by their models"


def test_upstreams_files_are_asked_for(
    kokoro: Path, own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Contender, "missing", None)
    monkeypatch.setattr(measuring, "run", lambda *_: None)
    arguments = ["benchmark", kokoro, "--workload", own, "--against", "pytorch"]
    assert run_verb(monkeypatch, *arguments) == 0
    assert "comes from the local folder source; say where it is with --source" in capsys.readouterr().out
    assert run_verb(monkeypatch, *arguments, "--source", kokoro.parent / "source") == 0
    assert "left out" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "none of the models can be measured"),
        (["nowhere"], "nowhere: neither a folder that convert wrote nor a model"),
        (["{crepe}"], "a pitch tracker has no benchmark; there are some for text to speech and transcription"),
        (["voice_encoder"], "a speaker encoder has no benchmark"),
        (["{crepe}", "nowhere"], "none of the models can be measured"),
        (["kokoro", "kokoro"], "kokoro is named twice"),
        (["kokoro", "--dtype", "float12"], "--dtype float12: there are float32"),
        (["{kokoro}", "--work", "nowhere"], "--work nowhere: there is no such folder"),
        (["kokoro:v9"], "kokoro:v9: kokoro has v1.0, v1.1-zh"),
        (["kokoro"], "install it with: pytorch-to-mlx reference install kokoro"),
        (["{kokoro}", "--against", "nobody"], "--against nobody: there are pytorch, mlx-audio"),
        (["{kokoro}", "--only", "epic"], "--only epic: the workload text-to-speech has short, medium, long"),
        (["{kokoro}", "--dtype", "float16"], "--dtype float16 is for models by name"),
        (["{kokoro}", "--runs", "0"], "--runs"),
        (["{kokoro}", "--html", "nowhere/a.html"], "there is no folder nowhere"),
        (["{kokoro}", "--recordings", "nowhere"], "--recordings nowhere: there is no such folder"),
        (["{kokoro}", "--ref-text", "Hello."], "give --ref-audio too"),
        (["{kokoro}", "--source", "x=y"], "--source x=y: x is not among"),
        (["{kokoro}", "{crepe}", "--source", "y"], "--source y: say of which model"),
        (["compare-tts", "{kokoro}", "--against", "pytorch"], "compare-tts compares models"),
        (["compare-tts", "{kokoro}", "{kokoro}"], "kokoro-mlx is named twice"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    arguments: list[str],
    said: str,
    kokoro: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PYTORCH_TO_MLX_CACHE", str(tmp_path))
    convert(str(safetensors_file(tmp_path / "tiny.safetensors", crepe_tensors())), tmp_path / "crepe")
    given = [word.format(kokoro=kokoro, crepe=tmp_path / "crepe") for word in arguments]
    assert run_verb(monkeypatch, "benchmark", *given) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_all_models_are_measured_that_have_a_benchmark_and_a_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTORCH_TO_MLX_CACHE", str(tmp_path))
    for words, names in ((), ["chatterbox", "kokoro", "qwen3_tts", "whisper"]), (("compare-tts",), ["qwen3_tts"]):
        assert run_verb(monkeypatch, "benchmark", *words) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[0].startswith("no model is named: ") and ("whisper" in lines[0]) == (not words)
        left_out = [line for line in lines if line.startswith("left out: ")]
        assert all(any(line.startswith(f"left out: {name}:") for line in left_out) for name in names)
