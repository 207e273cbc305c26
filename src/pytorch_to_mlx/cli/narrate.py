"""`narrate`: a script of many segments, said, joined and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytorch_to_mlx.cli.cache import CacheOption, LimitOption
from pytorch_to_mlx.errors import UsageError

if TYPE_CHECKING:
    from pytorch_to_mlx.service.job import Job, Result, SpeakerCheck, WordsCheck
    from pytorch_to_mlx.service.script import Segment

FAILED = 1
SECONDS_BETWEEN_LINES = 10.0
"""Of progress, where a log or another program reads it."""


class Check(StrEnum):
    """What `--check` asks of each segment."""

    speaker = "speaker"
    words = "words"


def command(
    script: Annotated[
        str, typer.Argument(metavar="SCRIPT", help="JSON, JSONL, CSV, SRT or text; - is JSON from stdin.")
    ],
    model: Annotated[Path, typer.Option("--model", "-m", help="A converted speech model.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for a file of each segment.")] = None,
    track: Annotated[Path | None, typer.Option(help="Join all into this file, with chapters and an .srt.")] = None,
    pause: Annotated[float, typer.Option(min=0, max=3600, help="Seconds between segments of the track.")] = 0.5,
    form: Annotated[str, typer.Option("--format", help="Of the segments' files: wav, flac, ogg or mp3.")] = "wav",
    voice: Annotated[
        str | None, typer.Option(help="A recording, a prepared voice (.safetensors), or the name of a voice.")
    ] = None,
    ref_text: Annotated[str | None, typer.Option(help="What that recording says, for Qwen3-TTS.")] = None,
    language: Annotated[str | None, typer.Option("--language", "-l", help="Where a segment names none.")] = None,
    speed: Annotated[float, typer.Option(help="0.5 to 2, where a segment names none.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Another seed speaks otherwise.")] = 0,
    setting: Annotated[
        list[str] | None, typer.Option(help="Of the verb synthesize, such as temperature=0.7; may be repeated.")
    ] = None,
    normalize: Annotated[bool, typer.Option(help="Put numbers, units and formulae into words.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be said, and say nothing.")] = False,
    check: Annotated[
        list[str] | None,
        typer.Option(help="By commas: speaker, whether a segment sounds like its voice; words, whether it says them."),
    ] = None,
    retries: Annotated[int, typer.Option(help="For --check: tries with other seeds.")] = 2,
    threshold: Annotated[
        float | None, typer.Option(help="For --check speaker: the least cosine; 0.7 if not given.")
    ] = None,
    speaker_encoder: Annotated[
        Path | None, typer.Option(help="For --check speaker: a converted encoder; the model's own if not given.")
    ] = None,
    asr: Annotated[Path | None, typer.Option(help="For --check words: a converted Whisper.")] = None,
    max_wer: Annotated[
        float | None, typer.Option(help="For --check words: the largest word error rate; 0.1 if not given.")
    ] = None,
    audit: Annotated[str | None, typer.Option(help="Say this share again at full precision, such as 5%.")] = None,
    audit_model: Annotated[Path | None, typer.Option(help="For --audit: the model of full precision.")] = None,
    fallback_model: Annotated[
        Path | None, typer.Option(help="A smaller model, where memory does not suffice for a segment.")
    ] = None,
    dask: Annotated[str | None, typer.Option(help="A Dask scheduler, such as tcp://host:8786.")] = None,
    cache: CacheOption = None,
    cache_limit: LimitOption = "10GB",
) -> None:
    """Say every segment of a script; prints JSON. What was said before comes from the cache.

    A job that was cut off goes on where it stopped. Segments that fail are reported, the others delivered (exit 1).

    Examples:

      pytorch-to-mlx narrate book.txt -m chatterbox-mlx --voice anna.wav -o book --track book.mp3

      pytorch-to-mlx narrate lesson.json -m qwen-mlx --voice anna.safetensors -o lesson --check speaker --audit 5%

      pytorch-to-mlx narrate lesson.json -m kokoro-mlx -o lesson --check words --asr whisper-mlx --max-wer 0.05

      pytorch-to-mlx narrate lesson.srt -m qwen-mlx --dry-run

      echo '["Hello.", {"id": "bye", "text": "Goodbye.", "speed": 1.2}]' | pytorch-to-mlx narrate - -m qwen-mlx -o out
    """
    import json
    import sys

    from pytorch_to_mlx.cli.cache import open_cache
    from pytorch_to_mlx.service.job import Job
    from pytorch_to_mlx.service.narration import by_text, narrate
    from pytorch_to_mlx.service.script import read_script, read_stream

    segments = read_stream(sys.stdin.buffer, "json", name="stdin") if script == "-" else read_script(Path(script))
    job = Job(
        model,
        voice=voice,
        ref_text=ref_text,
        language=language,
        speed=speed,
        seed=seed,
        settings=dict(map(_setting, setting or ())),
        normalize=normalize,
        suffix=f".{form}",
        checks=_checks(check or (), threshold, speaker_encoder, asr, max_wer),
        retries=retries,
        fallback=fallback_model,
    )
    if dry_run:
        _show(segments, job)
        return
    if output is None:
        raise UsageError("--output names the folder to write; or give --dry-run")
    share = None if audit is None else _share(audit)
    with _progress(segments) as progress:
        narration = narrate(
            segments if script == "-" else Path(script),
            output,
            job,
            track=track,
            pause=pause,
            audit_share=share,
            audit_model=audit_model,
            cache=open_cache(cache, cache_limit),
            dask=dask,
            progress=progress,
        )
    print(json.dumps(narration.as_json(), ensure_ascii=False, indent=2))
    for line in by_text((each.id, each.error or "; ".join(each.about["faults"])) for each in narration.failed):
        print(f"pytorch-to-mlx: {line}", file=sys.stderr)
    if track is not None and narration.track is None:
        print(f"pytorch-to-mlx: --track {track} was not written: no segment could be said", file=sys.stderr)
    for line in by_text((each.id, each.about["unchecked"]) for each in narration.results if "unchecked" in each.about):
        print(f"pytorch-to-mlx: {line}", file=sys.stderr)
    for line in by_text((each.id, each.error) for each in narration.audited if each.error):
        print(f"pytorch-to-mlx: audit of {line}", file=sys.stderr)
    if narration.failed or any(each.error for each in narration.audited):
        raise typer.Exit(FAILED)


def _show(segments: Sequence[Segment], job: Job) -> None:
    from pytorch_to_mlx.cli.output import table
    from pytorch_to_mlx.service.speaking import said

    print(table([(segment.id, said(segment, job)) for segment in segments]))


def _checks(
    given: Sequence[str], threshold: float | None, encoder: Path | None, asr: Path | None, max_wer: float | None
) -> list[SpeakerCheck | WordsCheck]:
    """What `--check` names, in its order."""
    from pytorch_to_mlx.service.job import SpeakerCheck, WordsCheck

    names = dict.fromkeys(name.strip() for each in given for name in each.split(","))
    if unknown := [name for name in names if name not in list(Check)]:
        raise UsageError(f"--check {unknown[0]}: there are {' and '.join(Check)}")
    options = {"--threshold": threshold, "--speaker-encoder": encoder, "--asr": asr, "--max-wer": max_wer}
    for flag, value in options.items():
        check = Check.speaker if flag in ("--threshold", "--speaker-encoder") else Check.words
        if value is not None and check not in names:
            raise UsageError(f"{flag} {value} is for --check {check}: add it, or leave out {flag}")
    checks = []
    for name in names:
        if name == Check.speaker:
            checks.append(SpeakerCheck(SpeakerCheck.threshold if threshold is None else threshold, encoder))
        elif asr is None:
            raise UsageError("--check words needs a recogniser: give a converted Whisper with --asr")
        else:
            checks.append(WordsCheck(asr, WordsCheck.most if max_wer is None else max_wer))
    return checks


def _setting(given: str) -> tuple[str, Any]:
    """`name=value`, the value as JSON has it, or a text."""
    import json

    name, equals, value = given.partition("=")
    name = name.replace("-", "_")  # as an option of `synthesize` is written
    if not equals or not name.isidentifier():
        raise UsageError(f"--setting {given}: write name=value, such as temperature=0.7")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _share(given: str) -> float:
    try:
        value = float(given.removesuffix("%")) / (100 if given.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise UsageError(f"--audit {given}: write a share such as 5%, of more than 0 and at most 100%")
    return value


@contextmanager
def _progress(segments: Sequence[Segment]) -> Iterator[Any]:
    """What is said, and the time that the rest will take, on standard error: a bar after two seconds, or lines."""
    import sys

    from tqdm import tqdm

    if not sys.stderr.isatty():
        yield _Lines(segments).advance
        return
    letters = sum(len(segment.text) for segment in segments)
    shape = "{percentage:3.0f}% of {total} letters [{elapsed}, {remaining} left{postfix}]"
    with tqdm(total=letters, delay=2, bar_format=shape) as bar:
        failed = [0]

        def advance(result: Any, segment: Segment) -> None:
            failed[0] += not result.passed
            if failed[0]:
                bar.set_postfix_str(f"{failed[0]} failed", refresh=False)
            bar.update(len(segment.text))

        yield advance


class _Lines:
    """Progress for a log: a line now and then, and a last one."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._rest = sum(len(segment.text) for segment in segments)
        self._count, self._done, self._failed = len(segments), 0, 0
        self._computed, self._work = 0, 0.0
        self._started = self._told = monotonic()

    def advance(self, result: Result, segment: Segment) -> None:
        """Take a segment's result."""
        self._done += 1
        self._rest -= len(segment.text)
        self._failed += not result.passed
        if not result.from_cache and not result.error:
            self._computed += len(segment.text)
            self._work += result.seconds
        if self._done == self._count or monotonic() - self._told >= SECONDS_BETWEEN_LINES:
            self._told = monotonic()
            self._tell(self._told - self._started)

    def _tell(self, seconds: float) -> None:
        import sys

        from tqdm import tqdm

        told = f"{self._done} of {self._count} segments in {tqdm.format_interval(seconds)}"
        if self._rest and self._computed:
            spent = min(self._work, seconds)  # several workers do more than one second's work in a second
            told += f", {tqdm.format_interval(spent * self._rest / self._computed)} left"
        if self._failed:
            told += f", {self._failed} failed"
        print(f"pytorch-to-mlx: {told}", file=sys.stderr, flush=True)
