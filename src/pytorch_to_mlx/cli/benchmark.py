"""`benchmark`: what models cost, beside other implementations of them and beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytorch_to_mlx.cli.inspect import OfflineOption
from pytorch_to_mlx.errors import PytorchToMlxError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytorch_to_mlx.benchmark.measuring import Request
    from pytorch_to_mlx.benchmark.results import Race
    from pytorch_to_mlx.benchmark.subjects import Subject
    from pytorch_to_mlx.benchmark.tables import Table

COMPARE = "compare-tts"


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="Converted folders, or models of `list` (kokoro, chatterbox:turbo), which get seeded weights. After "
            "the word compare-tts: speech models to put side by side.",
        ),
    ] = None,
    models: Annotated[str | None, typer.Option(help="The same, by commas.")] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Contenders by commas, such as pytorch,mlx-audio; all that there are if left out, or none."),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often everything is measured.")] = 5,
    warmup: Annotated[int, typer.Option(min=0, help="How often each works before that.")] = 2,
    cold_starts: Annotated[int, typer.Option(min=0, help="Fresh processes of each, for the cold start.")] = 3,
    threads: Annotated[int | None, typer.Option(min=1, help="For each contender; one a core if left out.")] = None,
    only: Annotated[str | None, typer.Option(help="Some of the workload's texts or recordings, by commas.")] = None,
    workload: Annotated[Path | None, typer.Option(help="A TOML file of your own texts, recordings, settings.")] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="Upstream's files of a folder, DIR or MODEL=DIR, if they are local; may be repeated."),
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="Of models by name: float32, float16 or bfloat16.")] = None,
    recordings: Annotated[
        Path | None, typer.Option(help="A folder with the recordings that the workload names; else they are made up.")
    ] = None,
    ref_audio: Annotated[Path | None, typer.Option(help="The recording whose voice is cloned instead.")] = None,
    ref_text: Annotated[str | None, typer.Option(help="What that recording says.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers as JSON.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one HTML page with plots and audio players.")
    ] = None,
    offline: OfflineOption = False,
) -> None:
    """Measure models: latency, x real time, first audio or token, load, cold start, memory, stages.

    Beside each, other implementations work in turns, each in a process of its own, with the same texts, threads and
    dtype. With compare-tts, speech models are put side by side instead.

    Examples:

      pytorch-to-mlx benchmark kokoro-mlx --html kokoro.html

      pytorch-to-mlx benchmark --models kokoro,qwen-mlx --against pytorch

      pytorch-to-mlx benchmark kokoro-mlx --source Kokoro-82M --only short

      pytorch-to-mlx benchmark compare-tts kokoro-mlx qwen-mlx --html tts.html
    """
    import tempfile

    from pytorch_to_mlx.benchmark.machine import load_average
    from pytorch_to_mlx.cli.output import check_output, count_progress, note

    comparing = (words or [])[:1] == [COMPARE]
    given = [*(words or [])[comparing:], *_listed(models)]
    if not given:
        raise UsageError("name a folder that convert wrote, or a model of `pytorch-to-mlx list`")
    if comparing and against is not None:
        raise UsageError(f"--against {against} is for one model's implementations; {COMPARE} compares models")
    for flag, path in (("--json", json_file), ("--html", html)):
        check_output(flag, path, ref_audio, workload)
    if html is not None:
        from pytorch_to_mlx.presentation.plots import new_figure

        new_figure(1, 1)  # without matplotlib it fails here, not after the work
    request = _request(against, runs, warmup, cold_starts, threads, only, workload, recordings, ref_audio, ref_text)
    with tempfile.TemporaryDirectory(prefix="pytorch-to-mlx-benchmark-") as work, count_progress() as progress:
        subjects = _subjects(given, _sources(source or (), given), dtype, Path(work), offline=offline)
        before = load_average()
        races = _races(comparing, subjects, request, Path(work), progress)
        document = _document(races, f"{before:.1f} before and {load_average():.1f} after")
        for race in races:
            _print(race)
        print("; ".join(f"{name}: {value}" for name, value in document["machine"].items()))
        if json_file is not None:
            import json

            json_file.write_text(json.dumps(document, indent=2, ensure_ascii=False, default=str), encoding="utf-8")
            note(f"wrote {json_file}")
        if html is not None:
            _write_page(html, races, document["machine"], request)
            note(f"wrote {html}")


def _listed(text: str | None) -> list[str]:
    return [each.strip() for each in (text or "").split(",") if each.strip()]


def _request(
    against: str | None,
    runs: int,
    warmup: int,
    cold_starts: int,
    threads: int | None,
    only: str | None,
    workload: Path | None,
    recordings: Path | None,
    ref_audio: Path | None,
    ref_text: str | None,
) -> Request:
    import os

    from pytorch_to_mlx.benchmark.contender import OTHERS
    from pytorch_to_mlx.benchmark.measuring import Request
    from pytorch_to_mlx.benchmark.race import Plan
    from pytorch_to_mlx.benchmark.workload import read

    known = list(dict.fromkeys(name for each in OTHERS.values() for name in each))
    wanted = None if against is None else tuple(name for name in _listed(against) if name != "none")
    if unknown := [name for name in wanted or () if name not in known]:
        raise UsageError(f"--against {unknown[0]}: there are {', '.join(known)}, and none")
    for flag, path in (("--recordings", recordings), ("--ref-audio", ref_audio)):
        if path is not None and not path.exists():
            raise UsageError(f"{flag} {path}: there is no such {'folder' if path is recordings else 'file'}")
    if ref_text is not None and ref_audio is None:
        raise UsageError("--ref-text is what a recording says: give --ref-audio too")
    own = read(workload) if workload else None
    return Request(
        Plan(runs, warmup, cold_starts, threads or os.cpu_count() or 1),
        wanted,
        {own.task: own} if own else {},
        tuple(_listed(only)),
        recordings,
        ref_audio,
        ref_text,
    )


def _sources(told: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """Upstream's files by model."""
    found: dict[str, str] = {}
    for each in told:
        model, equals, path = each.partition("=")
        if not equals and len(given) > 1:
            raise UsageError(f"--source {each}: say of which model, as {given[0]}={each}")
        model, path = (model, path) if equals else (given[0], each)
        if model not in given:
            raise UsageError(f"--source {each}: {model} is not among {', '.join(given)}")
        found[model] = path
    return found


def _subjects(given: Sequence[str], sources: dict[str, str], dtype: Any, work: Path, *, offline: bool) -> list[Subject]:
    """The models that have a benchmark; a line on each other, unless there is no other."""
    from pytorch_to_mlx.benchmark.subjects import find
    from pytorch_to_mlx.cli.output import note

    found: list[Subject] = []
    for name in given:
        try:
            found.append(find(name, sources.get(name), dtype, work, note, offline=offline))
        except PytorchToMlxError as error:
            if len(given) == 1:
                raise
            note(f"left out: {error}")
    if not found:
        raise UsageError("none of the models can be measured; the lines above tell why")
    return found


def _races(comparing: bool, subjects: list[Subject], request: Request, work: Path, progress: Any) -> list[Race]:
    from pytorch_to_mlx.benchmark.measuring import benchmark, compare
    from pytorch_to_mlx.cli.output import note

    if comparing:
        return [compare(subjects, request, work, note, progress)]
    return [benchmark(subject, request, work, note, progress) for subject in subjects]


def _document(races: Sequence[Race], load: str) -> dict[str, Any]:
    """All that was measured, as JSON has it."""
    from pytorch_to_mlx.benchmark.machine import describe
    from pytorch_to_mlx.benchmark.results import DEFINITIONS

    machine = {**describe(), "load average": load}
    return {"machine": machine, "definitions": DEFINITIONS, "races": [race.as_json() for race in races]}


def _print(race: Race) -> None:
    from pytorch_to_mlx.benchmark.tables import contender_rows, disturbance, item_rows, probe_rows, stage_rows

    print(f"{race.title}: {race.about}")
    for shown in (item_rows(race), contender_rows(race), stage_rows(race), probe_rows(race)):
        _print_table(shown)
    if told := disturbance(race):
        print(f"\n{told}")
    for name, reason in race.left_out.items():
        print(f"\n{name} is left out: {reason}")
    print()


def _print_table(shown: Table) -> None:
    from pytorch_to_mlx.cli.output import table

    head, rows = shown
    if rows:
        print(f"\n{table(rows, [cell.upper() for cell in head])}")


def _write_page(path: Path, races: Sequence[Race], machine: dict[str, str], request: Request) -> None:
    from pytorch_to_mlx.benchmark.page import benchmark_html

    texts = {item.name: item.text for race in races for item in request.workload(race.task).items}
    title = races[0].title if len(races) == 1 else "Benchmark"
    path.write_text(benchmark_html(title, races, machine, texts), encoding="utf-8")
