"""`pytorch-to-mlx benchmark` of several models: what is kept when one fails or somebody ends it, and their names."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_room import run as run_verb
from fake_contenders import fake
from small_kokoro import write_source
from small_whisper import write_source as write_whisper

from pytorch_to_mlx import convert
from pytorch_to_mlx.benchmark import measuring
from pytorch_to_mlx.benchmark.contender import Contender
from pytorch_to_mlx.benchmark.race import Plan, Run
from pytorch_to_mlx.benchmark.subjects import Subject, find
from pytorch_to_mlx.environments import Environment
from pytorch_to_mlx.errors import BenchmarkError, UpstreamError

ONCE = ["--runs", "1", "--warmup", "0", "--cold-starts", "0", "--threads", "1", "--only", "short", "--against", "none"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models whose folders have the same name."""
    folder = tmp_path_factory.mktemp("models")
    source, first, second = folder / "source", folder / "a" / "model", folder / "b" / "model"
    write_source(source)
    for each in (first, second):
        each.parent.mkdir()
        convert(source, each)
    return [first, second]


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Have fakes stand for ours, one for each model in turn, and the word for what happens to it."""

    def fakes(*fates: str) -> None:
        coming = iter(fates)

        def stands(*_: Any, **__: Any) -> Contender:
            fate = next(coming)
            if fate == "interrupt":
                raise KeyboardInterrupt
            return fake(tmp_path, fate, loading="raise ValueError('no such weights')" if fate == "fails" else "pass")

        monkeypatch.setattr(measuring, "ours", stands)

    return fakes


def subject_of(folder: Path) -> Subject:
    return find(str(folder), None, None, offline=True).subject(folder, lambda line: None)


def test_models_of_one_name_are_measured_each_and_told_apart(
    models: list[Path], faked: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faked("works", "works")
    page, found, work = tmp_path / "all.html", tmp_path / "all.json", tmp_path / "work"
    work.mkdir()
    written = ["--json", found, "--html", page, "--work", work]
    assert run_verb(monkeypatch, "benchmark", *models, *ONCE, *written) == 0
    document = json.loads(found.read_text())
    assert [race["title"] for race in document["races"]] == list(map(str, models))
    assert document["command"].startswith("pytorch-to-mlx benchmark ") and "--only short" in document["command"]
    asked = document["races"][0]["asked"]
    assert asked["plan"] == {"runs": 1, "warmup": 0, "cold_starts": 0, "threads": 1}
    assert [item["name"] for item in asked["workload"]["items"]] == ["short"]
    assert asked["settings"]["works"]["options"]["speaker"] == "af_heart"
    assert page.read_text().count("<audio") == 2 and not list(work.iterdir())


@pytest.mark.parametrize(("fates", "status"), [(("works", "fails"), 1), (("fails", "works"), 1)])
def test_what_one_failure_leaves(
    fates: tuple[str, ...],
    status: int,
    models: list[Path],
    faked: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    faked(*fates)
    written = ["--json", tmp_path / "all.json", "--html", tmp_path / "all.html"]
    assert run_verb(monkeypatch, "benchmark", *models, *ONCE, *written) == status
    told = capsys.readouterr()
    assert "failed: fails: fails.py failed: ValueError: no such weights" in told.err and "wrote" in told.err
    (race,) = json.loads((tmp_path / "all.json").read_text())["races"]
    assert race["title"] == str(models[fates.index("works")]) and (tmp_path / "all.html").exists()


def test_what_an_interrupt_leaves(
    models: list[Path],
    faked: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    faked("works", "interrupt")
    written = ["--json", tmp_path / "all.json", "--html", tmp_path / "all.html"]
    assert run_verb(monkeypatch, "benchmark", *models, *ONCE, *written) == 130
    assert len(json.loads((tmp_path / "all.json").read_text())["races"]) == 1
    assert (tmp_path / "all.html").exists() and "interrupted" in capsys.readouterr().err


def test_an_interrupt_loses_the_unfinished_run_alone(
    models: list[Path],
    faked: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    faked("works", "works")
    round_of = Run._round

    def interrupted(self: Run, number: int, readings: Any) -> None:
        round_of(self, number, readings)
        if number == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "_round", interrupted)
    several = ["--runs", "5", "--warmup", "0", "--cold-starts", "0", "--only", "short", "--against", "none"]
    assert run_verb(monkeypatch, "benchmark", *models, *several, "--json", tmp_path / "all.json") == 130
    assert "It was interrupted after 2 of 5 runs." in capsys.readouterr().out
    (race,) = json.loads((tmp_path / "all.json").read_text())["races"]
    assert len(race["entrants"][0]["measures"]["latency"]["short"]["values"]) == 2


def test_only_may_name_what_one_of_the_models_does(
    models: list[Path],
    faked: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hears = tmp_path / "hears"
    convert(write_whisper(tmp_path / "source"), hears)
    faked("works")
    assert run_verb(monkeypatch, "benchmark", hears, models[0], *ONCE) == 0
    assert "hears: --only names nothing that it does" in capsys.readouterr().err
    assert run_verb(monkeypatch, "benchmark", "compare-tts", hears, models[0]) == 2
    assert f"{hears} does not speak; compare-tts compares speech models" in capsys.readouterr().err
    assert run_verb(monkeypatch, "benchmark", hears, models[0], *ONCE, "--only", "short,epic") == 2
    said = "--only epic: the workload transcription has letters, address, department; the workload text-to-speech has"
    assert said in capsys.readouterr().err


def test_each_model_has_a_progress_bar(
    models: list[Path], faked: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faked("works", "works")
    seen: list[tuple[str, int, int]] = []
    request = measuring.Request(Plan(1, 2, 0, 1), against=(), only=("short",))
    for number, each in enumerate(models):
        subject = replace(subject_of(each), name=str(number))
        measuring.benchmark(subject, request, tmp_path, tmp_path, lambda line: None, lambda *told: seen.append(told))
    own = ("0: works warms up", "0: runs", "1: works warms up", "1: runs")
    assert list(dict.fromkeys(what for what, _, _ in seen)) == list(own)
    assert [told[1:] for told in seen if told[0] == own[0]] == [(done, 6) for done in range(1, 7)]  # three steps, twice


def test_who_says_nothing_fails_with_a_reason(
    models: list[Path], faked: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = fake(tmp_path, "silent")
    script = Path(silent.script)
    script.write_text(script.read_text().replace("np.full(24000", "np.full(0"))
    monkeypatch.setattr(measuring, "ours", lambda *_: silent)
    subject = subject_of(models[0])
    request = measuring.Request(Plan(1, 0, 0, 1), against=(), only=("short",))
    with pytest.raises(BenchmarkError, match="silent: it said nothing"):
        measuring.benchmark(subject, request, tmp_path, tmp_path, lambda line: None, lambda *_: None)


def test_a_whisper_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hears = tmp_path / "hears"
    convert(write_whisper(tmp_path / "source"), hears)
    once = ["--runs", "1", "--warmup", "0", "--cold-starts", "1", "--threads", "1", "--against", "none"]
    written = ["--only", "letters", "--json", tmp_path / "a.json"]
    assert run_verb(monkeypatch, "benchmark", hears, *once, *written) == 0
    assert "the recordings are made up" in capsys.readouterr().out
    (race,) = json.loads((tmp_path / "a.json").read_text())["races"]
    (found,) = race["entrants"]
    measures = {name: items["letters"]["median"] for name, items in found["measures"].items() if "letters" in items}
    assert measures["x real time"] == pytest.approx(7.0 / measures["latency"])
    assert 0 < measures["first token"] < measures["latency"] and measures["each token"] > 0
    assert set(found["stages"]) == {"encoder", "prefill", "tokens", "rest"}
    start = {name: found["measures"][name][""]["median"] for name in ("cold start", "import", "load")}
    assert start["cold start"] > start["import"] + start["load"]


def test_a_model_that_cannot_be_had_leaves_the_others_side_by_side(
    models: list[Path], faked: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faked("works")
    monkeypatch.setattr(Environment, "installed", property(lambda _: True))

    def broken(*_: Any) -> None:
        raise UpstreamError("no disk is left")

    monkeypatch.setattr("pytorch_to_mlx.environments.run", broken)
    assert run_verb(monkeypatch, "benchmark", "compare-tts", "kokoro", models[0], *ONCE[:-2]) == 1
    told = capsys.readouterr()
    assert "kokoro failed: no disk is left" in told.err and models[0].name in told.out
    assert run_verb(monkeypatch, "benchmark", "compare-tts", "kokoro", *ONCE[:-2]) == 2
