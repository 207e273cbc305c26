"""`transcribe`: recordings to text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

FAILED = 1
SAMPLES = 5
"""At temperatures above 0, as upstream's command line has it."""
NUMBER = "<float|none>"
TRIES = 100
"""The most temperatures: a window that fails is decoded at each."""


def _optional(given: object) -> float | None:
    """A number, or none in any case, as upstream has it; a default is a number already."""
    text = str(given)
    try:
        return None if text.lower() == "none" else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number nor none.") from None


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A converted Whisper.")],
    recordings: Annotated[
        list[Path],
        typer.Argument(
            metavar="AUDIO...",
            help="WAV, FLAC, MP3, OGG, of any rate and length. With --stream one, - (standard input) or mic.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the transcripts, one or more files a recording; the current one if only -f is given.",
        ),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option("--format", "-f", help="Of files, by commas: txt, srt, vtt, tsv, json, or all; txt if not given."),
    ] = None,
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
        float | None,
        typer.Option(
            "--temperature-increment-on-fallback",
            parser=_optional,
            metavar=NUMBER,
            help="Added where a text fails; none, or 0, for no other try.",
        ),
    ] = 0.2,
    compression: Annotated[
        float | None,
        typer.Option(
            "--compression-ratio-threshold", parser=_optional, metavar=NUMBER, help="A text packed tighter fails."
        ),
    ] = 2.4,
    logprob: Annotated[
        float | None,
        typer.Option("--logprob-threshold", parser=_optional, metavar=NUMBER, help="A text less likely fails."),
    ] = -1.0,
    no_speech: Annotated[
        float | None,
        typer.Option("--no-speech-threshold", parser=_optional, metavar=NUMBER, help="Likelier silence is left out."),
    ] = 0.6,
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
            "--hallucination-silence-threshold",
            parser=_optional,
            metavar=NUMBER,
            help="With words: doubtful ones in such silences are left out.",
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

    from pytorch_to_mlx.cli.hearing import hear, lengths_of, print_segments, tell, tell_language, write_all
    from pytorch_to_mlx.cli.output import load_model, note
    from pytorch_to_mlx.cli.streaming import check_stream, listen, open_source, spoken_name
    from pytorch_to_mlx.errors import AudioError, PytorchToMlxError, UsageError
    from pytorch_to_mlx.presentation.transcripts import Layout, as_result
    from pytorch_to_mlx.service.streaming import Recogniser
    from pytorch_to_mlx.service.voice_activity import load_detector
    from pytorch_to_mlx.tasks import BatchTranscriber, Transcriber

    _refuse_values(recordings)
    layout = Layout(highlight, width, count, per_line)
    if layout != Layout() and not (words or stream):
        raise UsageError("subtitles are laid out by words; add --word-timestamps")
    if vad is not None and clips:
        raise UsageError("--clip-timestamps count seconds that --vad would leave out; give one of the two")
    check_stream(recordings, step=step, rate=rate, clips=clips, asked=stream)
    folder_of_files = Path() if output is None and formats is not None else output
    named = [spoken_name(path) if stream else path for path in recordings]
    targets = _targets(named, folder_of_files, _formats("txt" if formats is None else formats))
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
    if words and task == "translate":
        note("--word-timestamps: times of a translation's words may not be reliable")
    source = open_source(recordings[0], rate) if stream else None
    lengths = {} if stream else lengths_of(recordings)  # before anything is computed
    what, known = "recogniser of speech", "openai/whisper-tiny"
    if source is not None:
        model = load_model(folder, Transcriber, what, known)
        detector = None if vad is None else load_detector(vad)
        recogniser = Recogniser(model, detector=detector, language=language, seed=seed, **settings)
        listen(recogniser, source, recordings[0], step, [*targets[0]], layout, as_json=as_json)
        return
    model = load_model(folder, BatchTranscriber, what, known)
    detector = None if vad is None else load_detector(vad)
    found: dict[str, Any] = {}
    alone, failed = len(recordings) == 1, len(lengths) < len(recordings)
    live = alone and not as_json
    try:
        for place, transcript in hear(model, recordings, lengths, detector, language, seed, settings, live=live):
            if isinstance(transcript, AudioError):
                problems: Sequence[PytorchToMlxError] = [transcript]
            else:
                tell_language(recordings[place], transcript, model, language)
                if as_json:
                    found[str(recordings[place])] = as_result(transcript)
                elif not alone:
                    print(f"{recordings[place]}:")
                    print_segments(transcript.segments)
                problems = write_all(transcript, targets[place], layout)
            if alone and problems:
                raise problems[0]
            for problem in problems:
                failed = True
                tell(problem)
    finally:
        if as_json:
            print(json.dumps(found, ensure_ascii=False))
    if failed:
        raise typer.Exit(FAILED)


def _formats(given: str) -> tuple[str, ...]:
    from pytorch_to_mlx.errors import UsageError
    from pytorch_to_mlx.presentation.transcripts import FORMATS

    chosen = tuple(part.strip().lower() for part in given.split(","))
    if unknown := [each for each in chosen if each not in (*FORMATS, "all")]:
        raise UsageError(f"--format {unknown[0]}: there are {', '.join(FORMATS)} and all")
    return FORMATS if "all" in chosen else tuple(dict.fromkeys(chosen))


def _refuse_values(recordings: Sequence[Path]) -> None:
    """Of switches, as upstream's have them: they would be taken for recordings."""
    from pytorch_to_mlx.errors import UsageError

    for value in map(str, recordings):
        if value in ("True", "False") and not Path(value).exists():
            raise UsageError(
                f"{value}: no such file, and no switch takes a value; for no: --no-condition-on-previous-text"
            )


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


def _temperatures(first: float, increment: float | None) -> tuple[float, ...]:
    """From the first to 1."""
    from pytorch_to_mlx.errors import UsageError

    if not 0 <= first < math.inf:
        raise UsageError(f"--temperature {first:g} must be 0 or more")
    if increment is None or increment == 0:
        return (first,)
    flag = f"--temperature-increment-on-fallback {increment:g}"
    if not increment > 0:
        raise UsageError(f"{flag} must be above 0; none for no other try")
    steps = max(0.0, (1 - first) / increment + 1e-6)
    if steps >= TRIES:
        raise UsageError(f"{flag} would try more than {TRIES} temperatures; give a larger one")
    return tuple(first + increment * step for step in range(int(steps) + 1))


def _numbers(flag: str, text: str, kind: type[int] | type[float]) -> tuple[Any, ...]:
    """Refused before a model is loaded."""
    from pytorch_to_mlx.errors import UsageError

    try:
        return tuple(kind(part) for part in text.split(",")) if text.strip() else ()
    except ValueError as error:
        raise UsageError(f"{flag} {text}: numbers, by commas") from error
