"""`synthesize`, `voice` and `convert-voice`: speech from text, and with another voice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytorch_to_mlx.errors import AudioError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from pytorch_to_mlx.audio import Audio
    from pytorch_to_mlx.tasks import SpeechModel, Voice

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A converted speech model.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Audio file to write; the suffix says the format.")]
VoiceOption = Annotated[Path | None, typer.Option("--voice", help="A voice that the verb voice prepared.")]
SeedOption = Annotated[int, typer.Option(help="Another seed speaks otherwise.")]
WatermarkOption = Annotated[
    bool | None, typer.Option("--watermark/--no-watermark", help="Mark the audio as synthetic, if upstream does.")
]
RefSecondsOption = Annotated[
    float | None, typer.Option(help="Hear the best passage of this length alone; 3 to 6 s are enough.")
]
RefTextOption = Annotated[
    str | None, typer.Option(help="What the recording says, for Qwen3-TTS: speech then goes on from it.")
]


def command(
    folder: FolderArgument,
    output: OutputOption,
    text: Annotated[str | None, typer.Option("--text", "-t", help="What to say.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A text file to say; - reads the input.")] = None,
    ref_audio: Annotated[
        Path | None, typer.Option(help="A recording of the voice, of any format and rate; 6 to 10 s serve best.")
    ] = None,
    ref_text: RefTextOption = None,
    ref_seconds: RefSecondsOption = None,
    voice: VoiceOption = None,
    speaker: Annotated[str | None, typer.Option(help="A voice by name, or a:0.6+b:0.4, if it has some.")] = None,
    instruct: Annotated[str | None, typer.Option(help="The voice, or how to speak; for Qwen3-TTS.")] = None,
    language: Annotated[str | None, typer.Option("--language", "-l", help="Code such as fr, if multilingual.")] = None,
    speed: Annotated[float | None, typer.Option(help="1 is the model's own; for Kokoro.")] = None,
    phonemes: Annotated[bool, typer.Option("--phonemes", help="The text is phonemes; for Kokoro.")] = False,
    exaggeration: Annotated[float | None, typer.Option(help="Emotion, 0.5 is neutral; for Chatterbox.")] = None,
    cfg_weight: Annotated[float | None, typer.Option(help="Guidance; 0 halves the time. For Chatterbox.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest token each time.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample from the likeliest tokens of this probability.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Drop tokens below this share of the likeliest.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample from this many; for Turbo, Qwen3-TTS.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1 discourages repetition.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Most speech tokens (25 or 12.5 a second) in one pass.")
    ] = None,
    seed: SeedOption = 0,
    watermark: WatermarkOption = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Write audio while it is being made; -o - writes 16-bit PCM to the output.")
    ] = False,
) -> None:
    """Speak a text. Long texts are split at sentences; nothing is cut off.

    Examples:

      pytorch-to-mlx synthesize chatterbox-mlx -t "Hello there." --ref-audio anna.wav -o hello.wav

      pytorch-to-mlx synthesize turbo-mlx -t "Well, [laugh] I did not know." --ref-audio anna.wav -o well.flac

      pytorch-to-mlx synthesize multilingual-mlx -f conte.txt -l fr --voice anna.safetensors -o conte.wav

      pytorch-to-mlx synthesize qwen-mlx -t "Hello." --ref-audio anna.wav --ref-text "What Anna says." -o hello.wav

      pytorch-to-mlx synthesize design-mlx -t "Hello." --instruct "An old man, calm and slow" -o hello.wav

      pytorch-to-mlx synthesize kokoro-mlx -t "Hello." --speaker af_heart:0.6+am_adam:0.4 --speed 1.1 -o hello.wav

      pytorch-to-mlx synthesize chatterbox-mlx -f book.txt --ref-audio anna.wav --stream -o - | aplay -f S16_LE -r 24000
    """
    from pytorch_to_mlx.audio import Audio
    from pytorch_to_mlx.cli.output import check_audio_output, load_model
    from pytorch_to_mlx.tasks import SpeechModel

    said = _text(text, file)
    settings = {
        "ref_text": ref_text,
        "speaker": speaker,
        "speed": speed,
        "phonemes": phonemes or None,
        "instruct": instruct,
        "watermark": watermark,
        "exaggeration": exaggeration,
        "cfg_weight": cfg_weight,
        "temperature": temperature,
        "top_p": top_p,
        "min_p": min_p,
        "top_k": top_k,
        "repetition_penalty": repetition_penalty,
        "max_tokens": max_tokens,
    }
    to_pipe = str(output) == "-"
    if to_pipe and not stream:
        raise UsageError("--output - is for --stream; name a file")
    if not to_pipe:
        check_audio_output("--output", output, file, ref_audio, voice)
    held = _voice(ref_audio, voice, "--ref-audio")
    if isinstance(held, Audio):
        held = _shortened(held, ref_seconds, ref_text)
    elif ref_seconds is not None:
        raise UsageError("--ref-seconds is of a recording: give --ref-audio too")
    model = load_model(folder, SpeechModel, "speech model", "ResembleAI/chatterbox --variant english")
    given = {name: value for name, value in settings.items() if value is not None}
    common: dict[str, Any] = {"voice": held, "language": language, "seed": seed, **given}
    if stream:
        pieces = model.stream(said, **common)
        _write_pcm(pieces) if to_pipe else _write_pieces(pieces, output, model.sample_rate)
        return
    with _token_progress(model.tokens_per_second) as progress:
        audio = model.synthesize(said, progress=progress, **common)
    _write(audio, output)
    print(f"{output}: {audio.seconds:.1f} s")


def prepare(
    folder: FolderArgument,
    recordings: Annotated[
        list[Path], typer.Argument(metavar="AUDIO...", help="A recording of any format and rate; of several, the best.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Voice file to write, such as anna.safetensors.")],
    ref_text: RefTextOption = None,
    ref_seconds: RefSecondsOption = None,
    trial: Annotated[
        str | None,
        typer.Option("--try", help="Say this with each, to files beside OUTPUT; the one that sounds most like itself."),
    ] = None,
    xvector: Annotated[
        Path | None, typer.Option(help="For Qwen3-TTS's 25 Hz tokenizer: what CAM++ makes of the recording, .npy.")
    ] = None,
) -> None:
    """Analyse a reference recording once, for many syntheses.

    Of several recordings of one speaker, a table tells how alike their voices are; the one that is most like the others
    is taken. With --try it is the one with which a text sounds most like the recording.

    Examples:

      pytorch-to-mlx voice chatterbox-mlx anna.wav -o anna.safetensors

      pytorch-to-mlx voice qwen-mlx anna.wav --ref-text "What Anna says." -o anna.safetensors

      pytorch-to-mlx voice qwen-mlx take1.wav take2.wav take3.wav --ref-seconds 5 -o anna.safetensors

      pytorch-to-mlx voice qwen-mlx take1.wav take2.wav --try "How do I sound?" -o anna.safetensors
    """
    from pytorch_to_mlx.audio import Audio, naming
    from pytorch_to_mlx.cli.output import check_output, load_model
    from pytorch_to_mlx.tasks import SpeechModel, VoicedTokenizer

    check_output("--output", output, *recordings, xvector)
    if output.suffix != ".safetensors":
        raise UsageError(f"--output {output}: a voice is a .safetensors file")
    trials = [output.with_name(f"{output.stem}-try-{place}.wav") for place in range(1, len(recordings) + 1)]
    if trial is not None and (lost := {path.resolve() for path in recordings} & {path.resolve() for path in trials}):
        raise UsageError(f"--try would write over {min(lost)}, which it is to hear: choose another --output")
    if len(recordings) > 1 and ref_text is not None:
        raise UsageError("--ref-text is what one recording says: give one, or leave it out")
    heard = [_shortened(Audio.read(path), ref_seconds, ref_text) for path in recordings]
    if xvector is not None:
        if len(recordings) > 1 or ref_text is not None:
            raise UsageError("--xvector is of one recording, whose text is not asked for")
        if trial is not None:
            raise UsageError("--try is for models that speak; leave it out with --xvector")
        tokenizer = load_model(folder, VoicedTokenizer, "tokenizer that takes --xvector", "Qwen3-TTS's 25 Hz tokenizer")
        with naming(recordings[0]):
            tokenizer.prepare_voice(heard[0], _vector(xvector)).save(output)
        print(f"{output}: a voice for detokenize")
        return
    model = load_model(folder, SpeechModel, "speech model", "ResembleAI/chatterbox --variant english")
    prepared = []
    for path, audio in zip(recordings, heard, strict=True):
        with naming(path):
            prepared.append(model.prepare_voice(audio, ref_text))
    alike = _alike(model, recordings, prepared) if len(prepared) > 1 else [0.0]
    tried = alike if trial is None else _tried(model, trial, recordings, heard, prepared, trials)
    best = max(range(len(prepared)), key=tried.__getitem__)
    prepared[best].save(output)
    print(f"{output}: a voice for {prepared[best].kind}" + (f", of {recordings[best]}" if len(prepared) > 1 else ""))


def convert_voice(
    folder: FolderArgument,
    source: Annotated[Path, typer.Option("--source", help="The recording that says it.")],
    output: OutputOption,
    target: Annotated[Path | None, typer.Option("--target", help="A recording of the voice that is to say it.")] = None,
    voice: VoiceOption = None,
    seed: SeedOption = 0,
    watermark: WatermarkOption = None,
) -> None:
    """Say what a recording says with another voice.

    Example:

      pytorch-to-mlx convert-voice chatterbox-mlx --source anna.wav --target ben.wav -o anna-as-ben.wav
    """
    from pytorch_to_mlx.audio import Audio, naming
    from pytorch_to_mlx.cli.output import check_audio_output, load_model
    from pytorch_to_mlx.tasks import VoiceConverter

    check_audio_output("--output", output, source, target, voice)
    audio = Audio.read(source)
    speaker = _voice(target, voice, "--target")
    model = load_model(folder, VoiceConverter, "voice converter", "ResembleAI/chatterbox --variant english")
    with naming(source):
        converted = model.convert_voice(audio, voice=speaker, seed=seed, watermark=watermark is not False)
    _write(converted, output)
    print(f"{output}: {converted.seconds:.1f} s")


def _text(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise UsageError("give what to say with --text or --file, one of them")
    if text is not None:
        return text
    if str(file) == "-":
        import sys

        return sys.stdin.read()
    assert file is not None
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"--file {file}: is no text in UTF-8") from error
    except OSError as error:
        raise UsageError(f"--file {file}: cannot be read ({error.strerror})") from error


def _vector(path: Path) -> np.ndarray:
    import numpy as np

    if not path.is_file():
        raise UsageError(f"--xvector {path}: no such file")
    try:
        vector = np.lib.format.open_memmap(path, mode="r")  # which reads no more than there is, and runs nothing
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise UsageError(f"--xvector {path}: is no array as numpy.save writes it ({error})") from error
    if vector.dtype.kind not in "fiu":
        raise UsageError(f"--xvector {path}: holds no numbers")
    return vector


def _voice(recording: Path | None, prepared: Path | None, flag: str) -> Audio | Voice | None:
    from pytorch_to_mlx.audio import Audio
    from pytorch_to_mlx.tasks import Voice

    if recording is not None and prepared is not None:
        raise UsageError(f"give {flag} or --voice, not both")
    if recording is not None:
        return Audio.read(recording)
    return Voice.load(prepared) if prepared is not None else None


def _alike(model: SpeechModel, names: list[Path], voices: list[Voice]) -> list[float]:
    """How like the others each voice is, all of which is told."""
    from pytorch_to_mlx.cli.output import table

    likeness = [[model.likeness(first, second) for second in voices] for first in voices]
    rows = [(name.name, *(f"{value:.3f}" for value in row)) for name, row in zip(names, likeness, strict=True)]
    print(table(rows, ("", *(name.name for name in names))))
    return [sum(row) for row in likeness]


def _tried(
    model: SpeechModel, text: str, names: list[Path], heard: list[Audio], voices: list[Voice], outputs: list[Path]
) -> list[float]:
    """How like its recording each voice says the text, which is told, with the file it is written to."""
    from pytorch_to_mlx.cli.output import table

    likeness, rows = [], []
    for name, audio, voice, output in zip(names, heard, voices, outputs, strict=True):
        with _token_progress(model.tokens_per_second) as progress:
            said = model.synthesize(text, voice=voice, progress=progress)
        _write(said, output)
        try:
            likeness.append(model.likeness(said, audio))
            rows.append((name.name, f"{likeness[-1]:.3f}", output.name))
        except AudioError:  # what is heard or said is too short to tell
            likeness.append(-1.0)
            rows.append((name.name, "too short", output.name))
    print(table(rows, ("", "speech like it", "listen to")))
    return likeness


def _shortened(audio: Audio, seconds: float | None, text: str | None) -> Audio:
    """The best passage of a reference, which is told; all of it if no length is asked for."""
    import sys

    if seconds is None:
        return audio
    if not 0.5 <= seconds <= 60:
        raise UsageError(f"--ref-seconds {seconds:g} is not within 0.5 to 60")
    if text is not None:
        raise UsageError("nobody knows what a passage says: leave out --ref-text, or cut the recording and its text")
    start, passage = audio.passage(seconds)
    print(f"the reference is {start:.2f} to {start + passage.seconds:.2f} s of the recording", file=sys.stderr)
    return passage


def _write(audio: Audio, output: Path) -> None:
    from pytorch_to_mlx.files import drafted

    with drafted(output) as draft:
        audio.write(draft)


def _write_pieces(pieces: Iterable[Audio], output: Path, rate: int) -> None:
    """Write pieces as they come. A player may read along; a failure leaves what was said so far."""
    import soundfile

    from pytorch_to_mlx.audio import file_format

    with soundfile.SoundFile(output, "w", rate, 1, format=file_format(output)) as file:
        for piece in pieces:
            file.write(piece.samples)
            file.flush()


def _write_pcm(pieces: Iterable[Audio]) -> None:
    import sys

    import numpy as np

    for piece in pieces:
        sys.stdout.buffer.write(np.rint(np.clip(piece.samples, -1, 1) * 32767).astype("<i2").tobytes())
        sys.stdout.buffer.flush()


@contextmanager
def _token_progress(tokens_per_second: float) -> Iterator[Any]:
    """Seconds of speech so far, on standard error, once the work takes over two seconds."""
    import sys

    from tqdm import tqdm

    with tqdm(unit=" s of speech", delay=2, disable=not sys.stderr.isatty(), bar_format="{desc}{n:.1f}{unit}") as bar:
        done = [0.0]

        def advance(part: int, parts: int, tokens: int) -> None:
            if tokens == 1:
                done.append(bar.n)
                bar.set_description(f"part {part + 1} of {parts}: ", refresh=False)
            bar.update(done[-1] + tokens / tokens_per_second - bar.n)

        yield advance
