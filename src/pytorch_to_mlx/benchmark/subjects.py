"""What is measured: converted folders, or ports by name, with seeded weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pytorch_to_mlx import environments, registry
from pytorch_to_mlx.benchmark.race import Note
from pytorch_to_mlx.benchmark.workload import FILES
from pytorch_to_mlx.conversion import DType, convert
from pytorch_to_mlx.errors import UpstreamError, UsageError
from pytorch_to_mlx.folder import FolderConfig, is_model_folder, read_config
from pytorch_to_mlx.validation import find_originals, precision

REDUCED = "-reduced"
"""Behind a variant's name: a small size of it that the reference knows."""


@dataclass
class Subject:
    """A converted model.

    Attributes:
        name: as the user gave it.
        folder: the converted model.
        seeded: whether its weights are made up, so that it speaks until it is stopped.
        find: where upstream's files are. Raises `PytorchToMlxError` where they cannot be found.
    """

    name: str
    folder: Path
    seeded: bool
    find: Callable[[], Path]

    @cached_property
    def config(self) -> FolderConfig:
        """Its config.json."""
        return read_config(self.folder)

    @cached_property
    def originals(self) -> Path:
        """What upstream loads."""
        return self.find()

    @property
    def about(self) -> str:
        """Port, variant and precision."""
        weights = "seeded weights" if self.seeded else "weights as converted"
        return f"{self.config.model_type} {self.config.variant}, {precision(self.config)}, {weights}"


def of_folder(given: str, source: str | None, *, offline: bool) -> Subject:
    """The model of a folder.

    Args:
        given: the folder.
        source: where upstream's files are, if they came from a local file or folder.
        offline: take Hub repositories from the cache only.
    """
    folder = Path(given)
    return Subject(
        folder.resolve().name, folder, False, lambda: find_originals(read_config(folder), source, offline).path
    )


def of_port(given: str, dtype: DType | None, work: Path, note: Note) -> Subject:
    """A port (`kokoro`, or `chatterbox:turbo`) with seeded weights, exported by its reference and converted, in `work`.

    Raises:
        UsageError: there is no such port or variant, or its task has no benchmark.
        UpstreamError: the reference is not installed, or failed.
    """
    name, _, variant = given.partition(":")
    port = registry.get(name)
    check_task(given, port.task)
    variant = variant or next(iter(port.variants))
    full = variant.removesuffix(REDUCED) if port.reference.reduced else variant
    if full not in port.variants:
        raise UsageError(f"{given}: {name} has {', '.join(port.variants)}")
    environment = environments.of_script(port.reference.script)
    if not environment.installed:
        raise UpstreamError(
            f"{given}: upstream writes its seeded weights; install it with: pytorch-to-mlx reference install {name}"
        )
    drafts = work / given.replace(":", "-")
    drafts.mkdir(parents=True)
    checkpoint, folder = drafts / "checkpoint", drafts / "ours"
    note(f"{given}: writes a seeded checkpoint")
    arguments = ["export", "--variant", variant, "--seed", "0", "--out", str(checkpoint)]
    environments.run(environment, port.reference.script, arguments)
    note(f"{given}: converts it")
    convert(checkpoint, folder, port=name, variant=full, dtype=dtype)
    return Subject(given, folder, True, lambda: checkpoint)


def find(given: str, source: str | None, dtype: DType | None, work: Path, note: Note, *, offline: bool) -> Subject:
    """What the user named: a folder, or else a port.

    Raises:
        UsageError: neither, or one whose task has no benchmark; or `dtype` for a folder.
        PytorchToMlxError: the folder is damaged, or no seeded checkpoint can be had.
    """
    if not is_model_folder(Path(given)):
        if given.partition(":")[0] in registry.names():
            return of_port(given, dtype, work, note)
        raise UsageError(f"{given}: neither a folder that convert wrote nor a model of `pytorch-to-mlx list`")
    if dtype is not None:
        raise UsageError(
            f"--dtype {dtype} is for models by name; {given} is converted: convert it with --dtype {dtype}"
        )
    subject = of_folder(given, source, offline=offline)
    check_task(given, subject.config.task)
    return subject


def check_task(given: str, task: str) -> None:
    """Raises `UsageError` where the task has no benchmark."""
    if task not in FILES:
        raise UsageError(f"{given}: a {task} has no benchmark; there are some for {' and '.join(FILES)}")
