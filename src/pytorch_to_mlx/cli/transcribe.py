"""`transcribe`: recordings to text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np

    from pytorch_to_mlx.errors import AudioError
    from pytorch_to_mlx.tasks import Segment, Transcript

    Heard = Callable[[Sequence[Segment], float, float], None]

FORMATS = ("txt", "srt", "vtt", "tsv", "json")
FAILED = 1
SAMPLES = 5
"""At temperatures above 0, as upstream's command line has it."""


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A converted Whisper.")],
    recordings: Annotated[
        list[Path],
        typer.Argument(
            metavar="AUDIO...",
            help="Recordings of any format, rate and length. With --stream one, - (standard input) or mic.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the transcripts, one or more files a recording.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", "-f", help="Of files, by commas: txt, srt, vtt, tsv, json, or all.")
    ] = "txt",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, by recording; a stream's by line.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print words as soon as they are certain, and how late they are.")
    ] = False,
    step: Annotated[
        float | None,
        typer.Option("--step", help="Of a stream: seconds from one look at it to the next; 1 if not given."),
    ] = None,
    rate: Annotated[
        int | None, typer.Option("--rate", min=1, help="Of raw samples on standard input; 16000 if not given.")
    ] = None,
    language: Annotated[str | None, typer.Option("--language", help="Name or code; heard if not given.")] = None,
    task: Annotated[str, typer.Option("--task", help="transcribe, or translate into English.")] = "transcribe",
    beam_size: Annotated[int | None, typer.Option("--beam-size", help="Of a beam search; greedy without.")] = None,
    patience: Annotated[float | None, typer.Option("--patience", help="Of the beam search; 1 if not given.")] = None,
    length_penalty: Annotated[float | None, typer.Option("--length-penalty", help="Alpha, 0 to 1.")] = None,
    best_of: Annotated[int, typer.Option("--best-of", help="Samples at temperatures above 0.")] = SAMPLES,
    temperature: Annotated[float, typer.Option("--temperature", help="The first that is tried.")] = 0.0,
    increment: Annotated[
        float, typer.Option("--temperature-increment-on-fallback", help="Added where a text fails; 0 for no other try.")
    ] = 0.2,
    compression: Annotated[
        float, typer.Option("--compression-ratio-threshold", help="A text packed tighter fails.")
    ] = 2.4,
    logprob: Annotated[float, typer.Option("--logprob-threshold", help="A text less likely fails.")] = -1.0,
    no_speech: Annotated[float, typer.Option("--no-speech-threshold", help="Likelier silence is left out.")] = 0.6,
    prompt: Annotated[
        str | None, typer.Option("--initial-prompt", help="What was said before, such as names to know.")
    ] = None,
    carry: Annotated[bool, typer.Option("--carry-initial-prompt", help="Tell it to every window.")] = False,
    condition: Annotated[
        bool,
        typer.Option("--condition-on-previous-text/--no-condition-on-previous-text", help="Tell each window the last."),
    ] = True,
    suppress: Annotated[
        str, typer.Option("--suppress-tokens", help="Never written, by commas; -1: what is not said.")
    ] = "-1",
    words: Annotated[bool, typer.Option("--word-timestamps", help="When each word is said, too.")] = False,
    prepend: Annotated[
        str | None, typer.Option("--prepend-punctuations", help="With words: what belongs to the word after it.")
    ] = None,
    append: Annotated[
        str | None, typer.Option("--append-punctuations", help="With words: what belongs to the word before it.")
    ] = None,
    clips: Annotated[str, typer.Option("--clip-timestamps", help="Seconds: start,end,start,end,...")] = "",
    silence: Annotated[
        float | None,
        typer.Option(
            "--hallucination-silence-threshold", help="With words: doubtful ones in such silences are left out."
        ),
    ] = None,
    vad: Annotated[
        Path | None, typer.Option("--vad", metavar="DIR", help="Listen where somebody speaks: a captured detector.")
    ] = None,
    highlight: Annotated[bool, typer.Option("--highlight-words", help="Underline words in subtitles.")] = False,
    width: Annotated[int | None, typer.Option("--max-line-width", help="Letters of a subtitle's line.")] = None,
    count: Annotated[int | None, typer.Option("--max-line-count", help="Lines of a subtitle.")] = None,
    per_line: Annotated[int | None, typer.Option("--max-words-per-line", help="Words of a subtitle.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of what is drawn at temperatures above 0.")] = 0,
) -> None:
    """Write down what recordings say, phrase by phrase as they are heard; of several, four are heard at once.

    Examples:

      pytorch-to-mlx transcribe whisper-mlx speech.wav

      pytorch-to-mlx transcribe whisper-mlx talk.mp3 -o transcripts -f srt,json --word-timestamps

      pytorch-to-mlx transcribe whisper-mlx rede.flac --language german --task translate --beam-size 5

      pytorch-to-mlx transcribe whisper-mlx hours.flac --vad silero-mlx   # docs/voice-activity.md makes the detector

      pytorch-to-mlx transcribe whisper-mlx --stream mic --language en

      ffmpeg -i URL -f s16le -ar 16000 -ac 1 - | pytorch-to-mlx transcribe whisper-mlx --stream -
    """
    import json

    from pytorch_to_mlx.audio.blocks import seconds_of
    from pytorch_to_mlx.cli.output import load_model, note
    from pytorch_to_mlx.cli.streaming import check_stream, listen, open_source, spoken_name
    from pytorch_to_mlx.errors import AudioError, UsageError
    from pytorch_to_mlx.presentation.transcripts import Layout, as_result, write
    from pytorch_to_mlx.service.streaming import Recogniser
    from pytorch_to_mlx.service.voice_activity import load_detector
    from pytorch_to_mlx.tasks import Transcriber

    layout = Layout(highlight, width, count, per_line)
    if layout != Layout() and not (words or stream):
        raise UsageError("subtitles are laid out by words; add --word-timestamps")
    chosen = FORMATS if formats == "all" else tuple(formats.split(","))
    if unknown := [each for each in chosen if each not in FORMATS]:
        raise UsageError(f"--format {unknown[0]}: there are {', '.join(FORMATS)} and all")
    if vad is not None and clips:
        raise UsageError("--clip-timestamps count seconds that --vad would leave out; give one of the two")
    check_stream(recordings, step=step, rate=rate, clips=clips, asked=stream)
    targets = _targets([spoken_name(path) if stream else path for path in recordings], output, chosen)
    settings: dict[str, Any] = {
        "task": task,
        "beam_size": beam_size,
        "patience": patience,
        "length_penalty": length_penalty,
        "best_of": best_of,
        "temperature": _temperatures(temperature, increment),
        "compression_ratio_threshold": compression,
        "logprob_threshold": logprob,
        "no_speech_threshold": no_speech,
        "initial_prompt": prompt,
        "carry_initial_prompt": carry,
        "condition_on_previous_text": condition,
        "suppress_tokens": _numbers("--suppress-tokens", suppress, int),
        "word_timestamps": words or stream,
        "clip_timestamps": _numbers("--clip-timestamps", clips, float),
        "hallucination_silence_threshold": silence,
        **({} if prepend is None else {"prepend_punctuations": prepend}),
        **({} if append is None else {"append_punctuations": append}),
    }
    source = open_source(recordings[0], rate) if stream else None
    lengths = [] if stream else [seconds_of(path) for path in recordings]  # before anything is computed
    model = load_model(folder, Transcriber, "recogniser of speech", "openai/whisper-tiny")
    detector = None if vad is None else load_detector(vad)
    if source is not None:
        recogniser = Recogniser(model, detector=detector, language=language, seed=seed, **settings)
        listen(recogniser, source, recordings[0], step, [*targets[0]], layout, as_json=as_json)
        return
    found: dict[str, Any] = {}
    alone, failed = len(recordings) == 1, False
    try:
        for place, transcript in _heard(
            model, recordings, lengths, detector, language, seed, settings, live=alone and not as_json
        ):
            if isinstance(transcript, AudioError):
                failed = True
                note(f"pytorch-to-mlx: {transcript}")
                continue
            if not (alone or as_json):
                print(f"{recordings[place]}:")
                _print(transcript.segments)
            for file in targets[place]:
                write(transcript, file, layout)
            found[str(recordings[place])] = as_result(transcript)
    finally:
        if as_json:
            print(json.dumps(found, ensure_ascii=False))
    if failed:
        raise typer.Exit(FAILED)


def _heard(
    model: Any,
    paths: Sequence[Path],
    lengths: Sequence[float],
    detector: Any,
    language: str | None,
    seed: int,
    settings: dict[str, Any],
    *,
    live: bool,
) -> Iterator[tuple[int, Transcript | AudioError]]:
    """Transcripts of files by place, as they are done, with a block of each in memory at a time; where `live`, of one
    file, printed as it is heard, or with a detector, when all of it is."""
    from pytorch_to_mlx.audio.blocks import read_blocks
    from pytorch_to_mlx.cli.output import count_progress
    from pytorch_to_mlx.service.kept import Kept
    from pytorch_to_mlx.service.voice_activity import FOR_TRANSCRIPTION, RATE, find_speech
    from pytorch_to_mlx.tasks import Transcript

    shares = [0.0] * len(paths)
    kept: dict[int, Kept] = {}
    with count_progress() as progress:

        def tell(place: int, share: float) -> None:
            shares[place] = share
            done = sum(share * length for share, length in zip(shares, lengths, strict=True))
            name = paths[0].name if len(paths) == 1 else f"{len(paths)} files"
            progress(f"{name} (s)", round(done), round(sum(lengths)))

        def hearing(place: int) -> Heard:
            def heard(segments: Sequence[Segment], done: float, total: float) -> None:
                tell(place, done / total if total else 1.0)
                if live and detector is None:
                    _print(segments)

            return heard

        def looked_through(path: Path) -> Iterator[np.ndarray]:
            samples = 0
            for block in read_blocks(path, RATE):
                yield block
                samples += block.size
                progress(f"speech in {path.name} (s)", samples // RATE, round(lengths[paths.index(path)]))

        def spoken(place: int) -> Iterator[np.ndarray]:
            path = paths[place]
            kept[place] = Kept(find_speech(detector, looked_through(path), FOR_TRANSCRIPTION))
            yield from kept[place].join_blocks(read_blocks(path, RATE), RATE)

        places = range(len(paths))
        given = paths if detector is None else [spoken(place) for place in places]
        heard = [hearing(place) for place in places]
        for place, found in model.transcripts(given, language=language, seed=seed, heard=heard, **settings):
            tell(place, 1.0)
            if detector is not None and isinstance(found, Transcript):
                silent = Transcript("", language or "", ())
                found = kept[place].restore(found) if kept[place].spans else silent
                if live:
                    _print(found.segments)
            yield place, found


def _print(segments: Sequence[Segment]) -> None:
    from pytorch_to_mlx.errors import printable
    from pytorch_to_mlx.text.subtitles import clock

    for segment in segments:
        if segment.text:
            times = " --> ".join(clock(time, ".", hours=False) for time in (segment.start, segment.end))
            print(f"[{times}] {printable(segment.text.strip())}", flush=True)


def _targets(recordings: Sequence[Path], output: Path | None, formats: Sequence[str]) -> list[list[Path]]:
    """The files of each recording; the folder is made."""
    from pytorch_to_mlx.errors import UsageError

    if output is None:
        return [[] for _ in recordings]
    stems = [path.stem for path in recordings]
    if twice := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise UsageError(f"--output {output}: two recordings are called {twice}; transcribe them one by one")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {output}: cannot be made ({error.strerror})") from error
    return [[output / f"{stem}.{each}" for each in formats] for stem in stems]


def _temperatures(first: float, increment: float) -> tuple[float, ...]:
    """From the first to 1."""
    if increment <= 0:
        return (first,)
    steps = max(0, int((1 - first) / increment + 1e-6))
    return tuple(first + increment * step for step in range(steps + 1))


def _numbers(flag: str, text: str, kind: type) -> tuple[Any, ...]:
    from pytorch_to_mlx.errors import UsageError

    try:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise UsageError(f"{flag} {text}: numbers, by commas") from error
