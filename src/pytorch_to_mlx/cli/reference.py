"""`reference`: the upstream code that judges, in environments of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytorch_to_mlx.errors import UsageError

if TYPE_CHECKING:
    from pytorch_to_mlx.port import Port

EPILOG = """Examples:

  pytorch-to-mlx reference install qwen3_tts

  pytorch-to-mlx reference checkpoint qwen3_tts --variant 0.6b-base-reduced -o qwen-small
"""

app = typer.Typer(
    help="The upstream PyTorch code that models are checked against.", no_args_is_help=True, epilog=EPILOG
)

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A name of `pytorch-to-mlx list`.")]


@app.command("list")
def list_references() -> None:
    """List each model's reference: script, environment, whether it is installed, and the packages that judge.

    Example:

      pytorch-to-mlx reference list
    """
    from pytorch_to_mlx import environments, registry
    from pytorch_to_mlx.cli.output import table

    rows = []
    for name in registry.names():
        reference = registry.get(name).reference
        environment = environments.of_script(reference.script)
        installed = "installed" if environment.installed else "not installed"
        rows.append((name, reference.script, environment.name, installed, reference.upstream))
    print(table(rows, ("MODEL", "SCRIPT", "ENVIRONMENT", "", "UPSTREAM")))


@app.command()
def install(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A name of `pytorch-to-mlx list`, or mlx-audio for `benchmark`.")
    ],
) -> None:
    """Build the environment of a model's reference now, instead of when `validate` first needs it.

    Examples:

      pytorch-to-mlx reference install crepe

      pytorch-to-mlx reference install mlx-audio
    """
    from pytorch_to_mlx import environments, registry
    from pytorch_to_mlx.cli.output import note

    own = next((e for e in environments.list_environments() if e.name == model and not e.scripts), None)
    environment = own or environments.of_script(registry.get(model).reference.script)
    print(environments.install(environment, note))


@app.command()
def run(
    model: ModelArgument,
    variant: Annotated[str, typer.Option(help="Which weights.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The recording to write (.safetensors).")],
    checkpoint: Annotated[Path | None, typer.Option(help="Upstream's checkpoint file, or its folder.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seeded weights instead of a checkpoint.")] = None,
    audio: Annotated[list[Path] | None, typer.Option(help="A recording to run on too; may be repeated.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Use at most this much of each recording.")] = None,
    small: Annotated[bool, typer.Option("--small", help="Short built-in cases only, as the tests' goldens.")] = False,
    parts: Annotated[str | None, typer.Option(help="Some of the parts of a large model, such as `t3,flow`.")] = None,
) -> None:
    """Run upstream and record its inputs, noise and taps.

    Example:

      pytorch-to-mlx reference run crepe --variant tiny --seed 0 -o taps.safetensors
    """
    if (checkpoint is None) == (seed is None):
        raise UsageError("give either --checkpoint FILE or --seed N")
    arguments = ["--checkpoint", str(checkpoint)] if checkpoint else ["--seed", str(seed)]
    arguments += ["--audio", *map(str, audio)] if audio else []
    arguments += ["--seconds", str(seconds)] if seconds is not None else []
    arguments += ["--small"] if small else []
    arguments += ["--parts", parts] if parts else []
    _run(model, "run", variant, output, arguments)


@app.command()
def checkpoint(
    model: ModelArgument,
    variant: Annotated[str, typer.Option(help="Which weights.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write; a folder for models of several files.")
    ],
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
) -> None:
    """Write a checkpoint of seeded weights in upstream's own file format; what they say is noise.

    Examples:

      pytorch-to-mlx reference checkpoint crepe --variant tiny -o tiny.pth

      pytorch-to-mlx reference checkpoint qwen3_tts --variant 0.6b-base-reduced -o qwen-small
    """
    _run(model, "export", variant, output, ["--seed", str(seed)])


@app.command()
def export(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder; each variant gets its own in it.")],
    variant: Annotated[str | None, typer.Option(help="Which weights; all variants if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
) -> None:
    """Write fixtures for a port to another language: seeded weights, inputs, noise and every tap, with a manifest.

    Example:

      pytorch-to-mlx reference export chatterbox --variant turbo -o fixtures
    """
    from pytorch_to_mlx import registry
    from pytorch_to_mlx.cli.output import note
    from pytorch_to_mlx.validation.fixtures import export_fixtures

    port = registry.get(model)
    for name in [variant] if variant else port.variants:
        _check_variant(port, name)
        export_fixtures(port, name, output / name, seed=seed, note=note)
        print(output / name)


def _run(model: str, verb: str, variant: str, output: Path, arguments: list[str]) -> None:
    from pytorch_to_mlx import environments, registry
    from pytorch_to_mlx.cli.output import note

    port = registry.get(model)
    _check_variant(port, variant, [f"{name}-reduced" for name in port.variants] if port.reference.reduced else [])
    arguments = [verb, "--variant", variant, *arguments, "--out", str(output)]
    environments.run_script(port.reference.script, arguments, note)
    print(output)


def _check_variant(port: Port, variant: str, others: Sequence[str] = ()) -> None:
    known = [*port.variants, *others]
    if variant not in known:
        raise UsageError(f"--variant {variant}: {port.name} has {', '.join(known)}")
