"""`transcribe --stream`: words as soon as they are certain, of a file, standard input or the microphone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytorch_to_mlx.audio.arriving import Live, RecordedFile
    from pytorch_to_mlx.presentation.transcripts import Layout
    from pytorch_to_mlx.service.agreement import Said
    from pytorch_to_mlx.service.streaming import Latencies, Piece, Recogniser

STANDARD_INPUT, MICROPHONE = "-", "mic"
NAMES = {STANDARD_INPUT: "stdin", MICROPHONE: "microphone"}
RATE = 16000


def check_stream(recordings: Sequence[Path], *, step: float | None, rate: int | None, clips: str, asked: bool) -> None:
    """Refuse options that do not fit together."""
    from pytorch_to_mlx.audio.pcm import RATES
    from pytorch_to_mlx.errors import UsageError
    from pytorch_to_mlx.service.streaming import check_step

    if not asked:
        if step is not None or rate is not None:
            raise UsageError(f"{'--rate' if step is None else '--step'} is for streams; add --stream")
        return
    if step is not None:
        check_step(step)
    if len(recordings) > 1:
        raise UsageError(f"--stream hears one recording, not {len(recordings)}; leave it out, or start it for each")
    if clips:
        raise UsageError("--clip-timestamps is for recordings; leave out --stream")
    if rate is not None and str(recordings[0]) != STANDARD_INPUT:
        raise UsageError(f"--rate is for raw samples on standard input; {recordings[0]} tells its own")
    if rate is not None and rate not in RATES:
        raise UsageError(f"--rate {rate}: give {RATES[0]} to {RATES[-1]} Hz")


def spoken_name(recording: Path) -> Path:
    """What the files of a stream's transcript are called after."""
    return Path(NAMES.get(str(recording), recording))


def open_source(recording: Path, rate: int | None) -> RecordedFile | Live:
    """The sound, of which only a file's begins before it is entered.

    Raises:
        UsageError: standard input is a keyboard.
        AudioError: the file cannot be read, or there is no microphone.
    """
    import sys

    from pytorch_to_mlx.audio.arriving import Microphone, Pipe, RecordedFile
    from pytorch_to_mlx.errors import UsageError

    if str(recording) == MICROPHONE:
        return Microphone(RATE)
    if str(recording) != STANDARD_INPUT:
        return RecordedFile(recording, RATE)
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("nothing is piped in; try: ffmpeg -i AUDIO -f s16le -ar 16000 -ac 1 - | pytorch-to-mlx ...")
    return Pipe(sys.stdin.fileno(), rate, RATE)


def listen(
    recogniser: Recogniser,
    source: RecordedFile | Live,
    recording: Path,
    step: float | None,
    files: Sequence[Path],
    layout: Layout,
    *,
    as_json: bool,
) -> None:
    """Print what a source says until it ends, however it ends; then write files, and tell how late words were."""
    from pytorch_to_mlx.audio import naming
    from pytorch_to_mlx.audio.arriving import Live
    from pytorch_to_mlx.cli.output import note
    from pytorch_to_mlx.service.streaming import STEP, Latencies, stream

    latencies, said, asked = Latencies(), [], recogniser.language

    def conclude() -> None:
        _write(said, recogniser.spoken, files, layout)
        note(summary_line(latencies))
        if asked is None and recogniser.spoken:
            note(f"language: {recogniser.spoken}")
        if as_json:  # last, since nobody may read it any more
            print(_summary(latencies, recogniser.spoken))

    try:
        with naming(spoken_name(recording)), ending(source) if isinstance(source, Live) else nullcontext():
            if str(recording) == MICROPHONE:
                note("listening; Ctrl-C ends it")
            for piece in stream(recogniser, source, step=STEP if step is None else step):
                latencies.add(piece.latencies)
                if files:  # hours of speech need not be kept for nothing
                    said += piece.said
                print(_described(piece) if as_json else _line(piece), flush=True)
    except BaseException:
        if latencies.words:  # before the first, what is wrong is all there is to tell
            conclude()
        raise
    conclude()


@contextmanager
def ending(source: Live) -> Iterator[None]:
    """Within the block sound arrives, and Ctrl-C ends it: what has arrived is still heard. A second one interrupts."""
    import signal

    def stop(*_: object) -> None:
        source.stop()
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT)
    with source:
        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def summary_line(latencies: Latencies) -> str:
    """How late words were, for people."""
    if not latencies.words:
        return "nothing was said"
    figures = {
        part: f"{figure['mean']:.2f} s on average, 90 % within {figure['p90']:.2f} s"
        for part, figure in latencies.figures().items()
        if part != "waiting" or figure["p90"]
    }
    total = figures.pop("total")
    parts = "; ".join(f"{part} {figure}" for part, figure in figures.items())
    return f"latency of {latencies.words} words: {total} ({parts})"


def _write(said: Sequence[Said], language: str, files: Sequence[Path], layout: Layout) -> None:
    from pytorch_to_mlx.presentation.transcripts import write
    from pytorch_to_mlx.service.streaming import as_transcript

    transcript = as_transcript(said, language)
    for file in files:
        write(transcript, file, layout)


def _summary(latencies: Latencies, language: str) -> str:
    """As JSON."""
    import json

    found = {"words": latencies.words, "language": language, "latency": latencies.figures()}
    return json.dumps({"summary": found}, ensure_ascii=False)


def _line(piece: Piece) -> str:
    from pytorch_to_mlx.errors import printable
    from pytorch_to_mlx.text.subtitles import clock

    times = " --> ".join(clock(time, ".", hours=False) for time in (piece.start, piece.end))
    return f"[{times}] {printable(piece.text.strip())}"


def _described(piece: Piece) -> str:
    """As JSON; its latency is the mean of its words'."""
    import json

    latencies = piece.latencies
    words = [
        {"word": said.word.word, "start": said.word.start, "end": said.word.end, "delay": round(latency.delay, 3)}
        for said, latency in zip(piece.said, latencies, strict=True)
    ]
    found = {
        "start": piece.start,
        "end": piece.end,
        "text": piece.text,
        "latency": round(sum(latency.total for latency in latencies) / len(latencies), 3),
        "waiting": round(piece.waiting, 3),
        "computation": round(piece.computation, 3),
        "words": words,
    }
    return json.dumps(found, ensure_ascii=False)
