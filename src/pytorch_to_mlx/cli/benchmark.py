"""`benchmark`: what models cost, beside other implementations of them and beside each other."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytorch_to_mlx.cli.inspect import OfflineOption
from pytorch_to_mlx.errors import PytorchToMlxError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytorch_to_mlx.benchmark.measuring import Request
    from pytorch_to_mlx.benchmark.results import Race
    from pytorch_to_mlx.benchmark.subjects import Named
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
    work: Annotated[
        Path | None, typer.Option(help="Where seeded and converted models lie meanwhile; else the system's folder.")
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
    from pytorch_to_mlx.cli.output import check_output, count_progress

    comparing = (words or [])[:1] == [COMPARE]
    given = [*(words or [])[comparing:], *_listed(models)] or _all(comparing)
    if comparing and against is not None:
        raise UsageError(f"--against {against} is for one model's implementations; {COMPARE} compares models")
    for flag, path in (("--json", json_file), ("--html", html)):
        check_output(flag, path, ref_audio, workload)
    if html is not None:
        from pytorch_to_mlx.presentation.plots import new_figure

        new_figure(1, 1)  # without matplotlib it fails here, not after the work
    request = _request(against, runs, warmup, cold_starts, threads, only, workload, recordings, ref_audio, ref_text)
    named = _named(given, _sources(source or (), given), dtype, request, comparing, offline=offline)
    with _room(work) as room, count_progress() as progress:
        report = _Report(request, json_file, html)
        try:
            failed = len(given) - len(named) + _measure(named, request, room, report, progress, comparing)
        finally:  # hours of work are kept, whatever ends it
            report.finish()
    if failed:
        raise typer.Exit(1)


def _all(comparing: bool) -> list[str]:
    """The models of `list` that have a benchmark, of which those are left out whose reference is not installed."""
    from pytorch_to_mlx import registry
    from pytorch_to_mlx.benchmark.workload import FILES, SPEECH
    from pytorch_to_mlx.cli.output import note

    tasks = (SPEECH,) if comparing else FILES
    found = [entry.name for entry in registry.ENTRIES if entry.task in tasks]
    note(f"no model is named: {', '.join(found)}, with seeded weights")
    return found


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
    from pytorch_to_mlx.benchmark.contender import OTHERS
    from pytorch_to_mlx.benchmark.machine import cores
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
        Plan(runs, warmup, cold_starts, threads or cores()),
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


def _named(
    given: Sequence[str],
    sources: dict[str, str],
    dtype: str | None,
    request: Request,
    comparing: bool,
    *,
    offline: bool,
) -> list[Named]:
    """The models that have a benchmark; a line on each other, unless there is no other.

    Raises:
        UsageError: none has, one is named twice, or nothing of what --only names is in any workload.
    """
    from pytorch_to_mlx.benchmark.subjects import check_speaks, find, told_apart
    from pytorch_to_mlx.cli.output import note

    paths = [Path(name).resolve() for name in given]
    if twice := [name for i, name in enumerate(given) if paths[i] in paths[:i]]:
        raise UsageError(f"{twice[0]} is named twice")
    found: list[Named] = []
    for name in given:
        try:
            found.append(find(name, sources.get(name), dtype, offline=offline))
        except PytorchToMlxError as error:
            if len(given) == 1:
                raise
            note(f"left out: {error}")
    if not found:
        raise UsageError("none of the models can be measured; the lines above tell why")
    if comparing:
        check_speaks(found)
    request.check(each.task for each in found)
    return told_apart(found)


def _measure(
    named: Sequence[Named], request: Request, room: Path, report: _Report, progress: Any, comparing: bool
) -> int:
    """All models side by side, or one after another; returns how many failed.

    Raises:
        PytorchToMlxError: the only one failed.
    """
    from pytorch_to_mlx.benchmark.measuring import benchmark, compare
    from pytorch_to_mlx.cli.output import note

    def own(name: str) -> Path:
        folder = room / name
        folder.mkdir()
        return folder

    said = room / "said"
    if comparing:
        subjects = []
        for number, each in enumerate(named):
            try:
                subjects.append(each.subject(own(str(number)), note))
            except PytorchToMlxError as error:
                if number == len(named) - 1 and not subjects:
                    raise
                note(f"{each.name} failed: {error}")
        report.add(compare(subjects, request, own("shared"), said, note, progress))
        return len(named) - len(subjects)
    failed = 0
    for number, each in enumerate(named):
        if not request.asks(each.task):
            note(f"{each.name}: --only names nothing that it does")
            continue
        work = own(str(number))
        try:
            subject = each.subject(work, note)
            report.add(benchmark(subject, request, work, said / str(number), note, progress))
        except PytorchToMlxError as error:
            if len(named) == 1:
                raise
            note(f"{each.name} failed: {error}")
            failed += 1
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return failed


class _Report:
    """What was measured so far: each race is printed and written as soon as it is over."""

    def __init__(self, request: Request, json_file: Path | None, html: Path | None) -> None:
        from pytorch_to_mlx.benchmark.machine import load_average

        self.request, self.json_file, self.html = request, json_file, html
        self.races: list[Race] = []
        self.before = load_average()

    def add(self, race: Race) -> None:
        """One more.

        Raises:
            KeyboardInterrupt: somebody ended it.
        """
        self.races.append(race)
        _print(race)
        self._write_json()
        if race.interrupted:
            raise KeyboardInterrupt

    def finish(self) -> None:
        """Write the page, and tell the machine."""
        from pytorch_to_mlx.cli.output import note

        if not self.races:
            return
        self._write_json()
        print("; ".join(f"{name}: {value}" for name, value in self._machine().items()))
        if self.html is not None:
            _write_page(self.html, self.races, self._machine(), self.request)
        for path in filter(None, (self.json_file, self.html)):
            note(f"wrote {path}")

    def _machine(self) -> dict[str, str]:
        from pytorch_to_mlx.benchmark.machine import describe, load_average

        return {**describe(), "load average": f"{self.before:.1f} before and {load_average():.1f} after"}

    def _write_json(self) -> None:
        from pytorch_to_mlx.benchmark.results import DEFINITIONS

        if self.json_file is None:
            return
        document = {
            "command": shlex.join(["pytorch-to-mlx", *sys.argv[1:]]),
            "machine": self._machine(),
            "definitions": DEFINITIONS,
            "races": [race.as_json() for race in self.races],
        }
        self.json_file.write_text(json.dumps(document, indent=2, ensure_ascii=False), encoding="utf-8")


@contextmanager
def _room(work: Path | None) -> Iterator[Path]:
    """A folder, in that of --work, that is there as long as the block, however somebody ends it."""
    if work is not None and not work.is_dir():
        raise UsageError(f"--work {work}: there is no such folder")
    with _interruptible(), tempfile.TemporaryDirectory(prefix="pytorch-to-mlx-benchmark-", dir=work) as room:
        yield Path(room)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Within the block a closed terminal and SIGTERM end what is done as Ctrl-C does: folders go, results stay."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    taken = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}  # not nohup's
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)


def _print(race: Race) -> None:
    from pytorch_to_mlx.benchmark.tables import contender_rows, item_rows, probe_rows, remarks, stage_rows

    print(f"{race.title}: {race.about}")
    for shown in (item_rows(race), contender_rows(race), stage_rows(race), probe_rows(race)):
        _print_table(shown)
    for told in remarks(race):
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
