"""`tokenize` and `detokenize`: recordings as speech tokens, and back."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np

WAY_OUT = "make one with: pytorch-to-mlx tokenize DIR AUDIO --json -o FILE"


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A converted speech tokenizer, or a Chatterbox model.")],
    recordings: Annotated[
        list[Path], typer.Argument(metavar="AUDIO...", help="Recordings of any format, rate and length.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here what would be printed.")] = None,
) -> None:
    """Turn recordings into speech tokens: one line for each, of numbers, or of a codec's frames as 12,5,7.

    Examples:

      pytorch-to-mlx tokenize s3-tokenizer-mlx speech.wav

      pytorch-to-mlx tokenize chatterbox-mlx take1.flac take2.flac --json -o tokens.json
    """
    import json

    from pytorch_to_mlx.audio import Audio, naming
    from pytorch_to_mlx.cli.output import check_output, load_model
    from pytorch_to_mlx.tasks import SpeechTokenizer

    check_output("--output", output, *recordings)
    audio = [Audio.read(path) for path in recordings]
    model = load_model(folder, SpeechTokenizer, "speech tokenizer", "speech_tokenizer_v2_25hz.pt")
    found: dict[str, list[Any]] = {}
    for path, each in zip(recordings, audio, strict=True):
        with naming(path):
            found[str(path)] = model.tokenize(each).tolist()
    text = json.dumps(found) if as_json else "\n".join(" ".join(map(_token, tokens)) for tokens in found.values())
    if output is None:
        print(text)
    else:
        output.write_text(f"{text}\n", encoding="utf-8")


def detokenize(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A converted speech codec.")],
    tokens: Annotated[Path, typer.Argument(metavar="FILE", help="JSON, as `tokenize --json` writes it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Sound of the file's one recording, or a folder.")],
    voice: Annotated[
        Path | None, typer.Option("--voice", help="Who says it, where tokens do not tell; of: voice --xvector.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of the noise that speech with --voice is made from.")
    ] = None,
) -> None:
    """Make sound of a codec's tokens.

    Examples:

      pytorch-to-mlx detokenize codec-mlx tokens.json -o again.wav   # of: tokenize codec-mlx speech.wav --json

      pytorch-to-mlx detokenize codec-mlx tokens-of-many.json -o folder

      pytorch-to-mlx detokenize tokenizer-25hz-mlx tokens.json --voice anna.safetensors -o again.wav
    """
    from pytorch_to_mlx.cli.output import check_audio_output, load_model
    from pytorch_to_mlx.errors import UsageError
    from pytorch_to_mlx.tasks import SpeechCodec, Voice, VoicedTokenizer

    found = _read(tokens)
    if output.is_dir():
        paths = [output / f"{Path(name).stem}.wav" for name in found]
        if len(set(paths)) < len(paths):
            raise UsageError(f"{tokens} has recordings of one name; decode them one by one")
        if held := next((path for path in paths if path.exists()), None):
            raise UsageError(f"--output {output}: {held.name} is there already; name another folder")
    elif len(found) == 1:
        check_audio_output("--output", output, tokens, voice)
        paths = [output]
    else:
        raise UsageError(f"{tokens} holds {len(found)} recordings: --output must be a folder that there is")
    if voice is None:
        if seed is not None:
            raise UsageError("--seed is of speech with --voice; leave it out")
        told = "speech codec that does without --voice"
        decode = load_model(folder, SpeechCodec, told, "Qwen/Qwen3-TTS-Tokenizer-12Hz").decode
    else:
        speaker = Voice.load(voice)
        model = load_model(folder, VoicedTokenizer, "tokenizer that takes --voice", "Qwen3-TTS's 25 Hz tokenizer")
        try:
            model.checked_voice(speaker)
        except UsageError as error:
            raise UsageError(f"--voice {voice}: {error}") from error
        decode = partial(model.decode, voice=speaker, seed=seed or 0)
    decoded = []
    for name, codes in found.items():
        try:
            decoded.append(decode(codes))
        except UsageError as error:
            raise UsageError(f"{tokens}: {name}: {error}; {WAY_OUT}") from error
    for path, audio in zip(paths, decoded, strict=True):
        audio.write(path)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Tokens by the name of what was recorded."""
    import json

    import numpy as np

    from pytorch_to_mlx.errors import UsageError

    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON ({error}); {WAY_OUT}") from error
    if not isinstance(held, dict) or not held:
        raise UsageError(f"{path} does not hold tokens by the names of recordings; {WAY_OUT}")
    try:
        return {name: np.array(codes) for name, codes in held.items()}
    except ValueError as error:
        raise UsageError(f"{path}: frames of tokens differ in length; {WAY_OUT}") from error


def _token(token: Any) -> str:
    return ",".join(map(str, token)) if isinstance(token, list) else str(token)
