"""`tokenize`: recordings as speech tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A converted speech tokenizer, or a Chatterbox model.")],
    recordings: Annotated[
        list[Path], typer.Argument(metavar="AUDIO...", help="Recordings of any format, rate and length.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here what would be printed.")] = None,
) -> None:
    """Turn recordings into speech tokens: one line of numbers for each.

    Examples:

      pytorch-to-mlx tokenize s3-tokenizer-mlx speech.wav

      pytorch-to-mlx tokenize chatterbox-mlx take1.flac take2.flac --json -o tokens.json
    """
    import json

    from pytorch_to_mlx.audio import Audio, naming
    from pytorch_to_mlx.cli.output import check_output, load_model
    from pytorch_to_mlx.tasks import SpeechTokenizer

    check_output("--output", output)
    audio = [Audio.read(path) for path in recordings]
    model = load_model(folder, SpeechTokenizer, "speech tokenizer", "speech_tokenizer_v2_25hz.pt")
    found: dict[str, list[int]] = {}
    for path, each in zip(recordings, audio, strict=True):
        with naming(path):
            found[str(path)] = model.tokenize(each).tolist()
    text = json.dumps(found) if as_json else "\n".join(" ".join(map(str, tokens)) for tokens in found.values())
    if output is None:
        print(text)
    else:
        output.write_text(f"{text}\n", encoding="utf-8")
