"""What is said and heard: workloads are TOML files, those of `workloads/` or a user's own."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pytorch_to_mlx.errors import UsageError

FOLDER = Path(__file__).parent / "workloads"
SPEECH = "text to speech"
FILES = {SPEECH: "text-to-speech.toml", "transcription": "transcription.toml"}
"""The default one of each task that has a benchmark."""


@dataclass(frozen=True)
class Item:
    """One text to say, or one recording to hear.

    Attributes:
        name: in tables.
        text: to say.
        phonemes: the same for models that say phonemes, a line for each pass.
        recording: the file's name, in the folder of recordings.
        seconds: speech of a text is cut off here; a recording that is made up is so long.
    """

    name: str
    text: str = ""
    phonemes: str = ""
    recording: str = ""
    seconds: float = 10.0


@dataclass(frozen=True)
class Choice:
    """What a model is told beside its text.

    Attributes:
        options: by the names of the verb that runs it.
        tokens_per_second: of speech, for those that are told when to stop; else 0.
        clones: whether it speaks with the voice of a recording.
        continues: whether its speech goes on from the recording, so that it is told what that says.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    tokens_per_second: float = 0.0
    clones: bool = False
    continues: bool = False


@dataclass(frozen=True)
class Workload:
    """What every contender does.

    Attributes:
        name: of its file.
        task: the task of the models that it is for.
        about: a line or two for people.
        items: texts or recordings.
        voice: of texts, the recording whose voice is cloned: its name, what it says, and its seconds if it is made up.
        settings: of models, by a pattern of port and variant ("chatterbox english"); all that fit count, the last most.
    """

    name: str
    task: str
    about: str
    items: tuple[Item, ...]
    voice: Item
    settings: Mapping[str, Mapping[str, Any]]

    def choice(self, port: str, variant: str) -> Choice:
        """What a model is told."""
        fitting = [told for pattern, told in self.settings.items() if fnmatchcase(f"{port} {variant}", pattern)]
        told = {name: value for each in fitting for name, value in each.items()}
        known = {name: told.pop(name) for name in ("tokens_per_second", "clones", "continues") if name in told}
        return Choice(told, **known)

    @property
    def names(self) -> list[str]:
        """Of its items."""
        return [item.name for item in self.items]

    def __str__(self) -> str:
        return f"the workload {self.name} has {', '.join(self.names)}"

    def only(self, names: Collection[str]) -> Workload:
        """With those of its items that are named.

        Raises:
            UsageError: it has none of them.
        """
        if not set(names) & set(self.names):
            raise UsageError(f"--only {', '.join(names)}: {self}")
        return replace(self, items=tuple(item for item in self.items if item.name in names))


def default(task: str) -> Workload:
    """The workload of a task that has a benchmark."""
    return read(FOLDER / FILES[task])


def read(path: Path) -> Workload:
    """A workload's file.

    Raises:
        UsageError: it is missing or damaged, or says what no workload has.
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        items = [*told.get("texts", ()), *told.get("recordings", ())]
        found = Workload(
            path.stem,
            told["task"],
            told.get("about", ""),
            tuple(_item(**item) for item in items),
            _item(**{"name": "voice", **told.get("voice", {})}),
            dict(told.get("settings", {})),
        )
    except OSError as error:
        raise UsageError(f"{path}: no such workload ({error.strerror}); there are those in {FOLDER}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is no workload: {error}; write one as those in {FOLDER}") from error
    if problem := next(_problems(found), ""):
        raise UsageError(f"{path}: {problem}")
    return found


def _problems(found: Workload) -> Iterator[str]:
    """What makes no sense of what a workload says."""
    if found.task not in list(FILES):
        yield f"task {found.task!r} has no benchmark; there are {', '.join(FILES)}"
    what = "text" if found.task == SPEECH else "recording"
    if not found.items or not all(getattr(item, what) for item in found.items):
        yield f"give [[{what}s]] with name and {what}: the task is {found.task}"
    if twice := [name for name, count in Counter(found.names).items() if count > 1]:
        yield f"two items are called {twice[0]}"
    for item in (*found.items, found.voice):
        if not item.name or "/" in item.name or "," in item.name:
            yield f"{item.name!r} is no name of an item: it has a slash or a comma, or nothing"
        if not item.seconds > 0:
            yield f"{item.name}: seconds = {item.seconds} is not above 0"
    for pattern, told in found.settings.items():
        if not isinstance(told, dict):
            yield f"settings of {pattern!r} are not a table"
        elif told.get("phonemes") and (silent := [item.name for item in found.items if not item.phonemes]):
            yield f"settings of {pattern!r} say phonemes, which {silent[0]} lacks"


def _item(**told: Any) -> Item:
    """One of a file, each of whose values is of its kind.

    Raises:
        TypeError: one is not, or there is no such value.
    """
    item = Item(**told)
    for name, value in vars(item).items():
        if not isinstance(value, (int, float) if name == "seconds" else str):
            raise TypeError(f"{name} = {value!r} is a {type(value).__name__}")
    return item
