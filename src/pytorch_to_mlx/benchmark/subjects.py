"""What is measured: converted folders, or ports by name, with seeded weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import get_args

from pytorch_to_mlx import environments, registry
from pytorch_to_mlx.benchmark.race import Note
from pytorch_to_mlx.benchmark.workload import FILES, SPEECH
from pytorch_to_mlx.conversion import DType, convert
from pytorch_to_mlx.errors import UpstreamError, UsageError
from pytorch_to_mlx.folder import FolderConfig, is_model_folder, read_config
from pytorch_to_mlx.validation import Originals, find_originals, precision

REDUCED = "-reduced"
"""Behind a variant's name: a small size of it that the reference knows."""


@dataclass
class Subject:
    """A converted model.

    Attributes:
        name: as the user gave it.
        folder: the converted model.
        seeded: whether its weights are made up, so that it speaks until it is stopped.
        find: what upstream loads. Raises `PytorchToMlxError` where it cannot be found.
    """

    name: str
    folder: Path
    seeded: bool
    find: Callable[[], Originals]

    @cached_property
    def config(self) -> FolderConfig:
        """Its config.json."""
        return read_config(self.folder)

    @cached_property
    def originals(self) -> Originals:
        """What upstream loads."""
        return self.find()

    @property
    def about(self) -> str:
        """Port, variant and precision."""
        weights = "seeded weights" if self.seeded else "weights as converted"
        return f"{self.config.model_type} {self.config.variant}, {precision(self.config)}, {weights}"


@dataclass(frozen=True)
class Named:
    """A model that the user named and that has a benchmark. Nothing is written for it before it is prepared.

    Attributes:
        given: as the user gave it.
        name: in reports.
        task: of the model.
        prepare: makes it, in a folder, with a line at each step. Raises `PytorchToMlxError` where that fails.
    """

    given: str
    name: str
    task: str
    prepare: Callable[[Path, Note], Subject]

    def subject(self, work: Path, note: Note) -> Subject:
        """The model, under its name in reports; the errors are those of `prepare`."""
        return replace(self.prepare(work, note), name=self.name)


def told_apart(found: Sequence[Named]) -> list[Named]:
    """Models whose names differ: folders of the same name are called as they were given."""
    often = Counter(each.name for each in found)
    return [replace(each, name=each.given) if often[each.name] > 1 else each for each in found]


def find(given: str, source: str | None, dtype: str | None, *, offline: bool) -> Named:
    """What the user named: a folder, or else a port.

    Args:
        given: the folder, or the port's name.
        source: where upstream's files of a folder are, if they came from a local file or folder.
        dtype: of a port's weights.
        offline: take Hub repositories from the cache only.

    Raises:
        UsageError: neither, or one whose task has no benchmark; or `dtype` for a folder.
        PytorchToMlxError: the folder is damaged, or no seeded checkpoint can be had.
    """
    if not is_model_folder(Path(given)):
        if given.partition(":")[0] in registry.names():
            return of_port(given, dtype)
        raise UsageError(f"{given}: neither a folder that convert wrote nor a model of `pytorch-to-mlx list`")
    if dtype is not None:
        raise UsageError(
            f"--dtype {dtype} is for models by name; {given} is converted: convert it with --dtype {dtype}"
        )
    folder = Path(given)
    config = read_config(folder)
    check_task(given, config.task)
    name = folder.resolve().name
    subject = Subject(name, folder, False, lambda: find_originals(config, source, offline))
    return Named(given, name, config.task, lambda work, note: subject)


def of_port(given: str, dtype: str | None) -> Named:
    """A port (`kokoro`, or `chatterbox:turbo`) with seeded weights, which its reference exports.

    Raises:
        UsageError: there is no such port, variant or dtype, or its task has no benchmark.
        UpstreamError: the reference is not installed.
    """
    name, _, variant = given.partition(":")
    port = registry.get(name)
    check_task(given, port.task)
    variant = variant or next(iter(port.variants))
    full = variant.removesuffix(REDUCED) if port.reference.reduced else variant
    if full not in port.variants:
        raise UsageError(f"{given}: {name} has {', '.join(port.variants)}")
    if dtype not in (None, *get_args(DType)):
        raise UsageError(f"--dtype {dtype}: there are {', '.join(get_args(DType))}")
    environment = environments.of_script(port.reference.script)
    if not environment.installed:
        raise UpstreamError(
            f"{given}: upstream writes its seeded weights; install it with: pytorch-to-mlx reference install {name}"
        )

    def prepare(work: Path, note: Note) -> Subject:
        checkpoint, folder = work / "checkpoint", work / "ours"
        note(f"{given}: writes a seeded checkpoint")
        arguments = ["export", "--variant", variant, "--seed", "0", "--out", str(checkpoint)]
        environments.run(environment, port.reference.script, arguments)
        note(f"{given}: converts it")
        convert(checkpoint, folder, port=name, variant=full, dtype=dtype)  # type: ignore[arg-type]  # checked above
        return Subject(given, folder, True, lambda: Originals(checkpoint, files_of(checkpoint)))

    return Named(given, given, port.task, prepare)


def files_of(path: Path) -> tuple[Path, ...]:
    """A file, or all files of a folder."""
    return (path,) if path.is_file() else tuple(sorted(each for each in path.rglob("*") if each.is_file()))


def check_speaks(found: Sequence[Named]) -> None:
    """Raises `UsageError` where a model does not speak."""
    if other := [each.given for each in found if each.task != SPEECH]:
        raise UsageError(f"{other[0]} does not speak; compare-tts compares speech models")


def check_task(given: str, task: str) -> None:
    """Raises `UsageError` where the task has no benchmark."""
    if task not in FILES:
        raise UsageError(f"{given}: a {task} has no benchmark; there are some for {' and '.join(FILES)}")
