"""The two benchmarks: a model against other implementations of it, and speech models side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pytorch_to_mlx.benchmark.contender import OTHERS, OURS, Contender, ours
from pytorch_to_mlx.benchmark.contenders.serving import Setting
from pytorch_to_mlx.benchmark.race import Entrant, Note, Plan, Progress, run
from pytorch_to_mlx.benchmark.recordings import find
from pytorch_to_mlx.benchmark.results import Race
from pytorch_to_mlx.benchmark.steps import Hearing, Speaking
from pytorch_to_mlx.benchmark.subjects import Subject, files_of
from pytorch_to_mlx.benchmark.workload import SPEECH, Choice, Item, Workload, default
from pytorch_to_mlx.errors import PytorchToMlxError, UsageError
from pytorch_to_mlx.validation import precision


@dataclass(frozen=True)
class Request:
    """What is measured, and how.

    Attributes:
        plan: how often.
        against: names of contenders; all that there are if None.
        workloads: by task, instead of the default ones.
        only: some of the items; all if empty.
        recordings: a folder with those that workloads name; they are made up if None.
        ref_audio: the recording whose voice is cloned, instead of the workload's.
        ref_text: what it says.
    """

    plan: Plan
    against: tuple[str, ...] | None = None
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    recordings: Path | None = None
    ref_audio: Path | None = None
    ref_text: str | None = None

    def workload(self, task: str) -> Workload:
        """Of a task, with the items that were asked for.

        Raises:
            UsageError: it has none of them.
        """
        found = self._whole(task)
        return found.only(self.only) if self.only else found

    def asks(self, task: str) -> bool:
        """Whether the workload of a task has any of the items that were asked for."""
        return not self.only or bool(set(self.only) & set(self._whole(task).names))

    def check(self, tasks: Iterable[str]) -> None:
        """Raises `UsageError` where an item was asked for that no workload of those tasks has."""
        whole = [self._whole(task) for task in dict.fromkeys(tasks)]
        if unknown := [name for name in self.only if not any(name in each.names for each in whole)]:
            raise UsageError(f"--only {unknown[0]}: {'; '.join(map(str, whole))}")

    def _whole(self, task: str) -> Workload:
        return self.workloads.get(task) or default(task)


def benchmark(subject: Subject, request: Request, work: Path, said: Path, note: Note, progress: Progress) -> Race:
    """Measure a model, and the contenders that can be had.

    Args:
        subject: the model.
        request: what is measured, and how.
        work: a folder for what contenders load, this model's own.
        said: a folder for what contenders say, this race's own.
        note: called with a line at each phase.
        progress: called as runs are done.

    Raises:
        UsageError: the workload does not have what is asked for.
        BenchmarkError: ours failed. Others that fail or cannot be had are told of in `left_out`.
    """
    config = subject.config
    setter = Setter(request, request.workload(config.task), work)
    race = setter.race(subject.name, subject.about, [subject])
    own = ours(config.model_type, config.task)
    entrants = {own: setter.entrant(own, subject, subject.folder, files_of(subject.folder))}
    known = OTHERS.get(config.model_type, {})
    for key in known if request.against is None else request.against:
        if key not in known:
            race.left_out[key] = f"there is no such contender at {config.model_type}"
            continue
        contender = known[key]
        try:
            entrants[contender] = setter.entrant(contender, subject, *_files(key, contender, subject, work, note))
        except PytorchToMlxError as error:
            race.left_out[contender.name] = str(error)
            note(f"{subject.name}: {contender.name} is left out: {error}")
    if config.quantization is not None and len(entrants) > 1:
        race.remarks.append(
            f"{OURS} computes with quantized weights ({precision(config)}), the others in {config.dtype}."
        )
    setter.run(race, entrants, said, note, progress)
    return race


def compare(
    subjects: Sequence[Subject], request: Request, work: Path, said: Path, note: Note, progress: Progress
) -> Race:
    """Measure speech models side by side on one set of texts; the arguments and errors are those of `benchmark`."""
    setter = Setter(request, request.workload(SPEECH), work)
    told = "; ".join(f"{each.name} is {each.about}" for each in subjects)
    race = setter.race("Speech models side by side", told, subjects)
    race.side_by_side = True
    entrants = {}
    for each in subjects:
        contender = ours(each.config.model_type, SPEECH, each.name)
        entrants[contender] = setter.entrant(contender, each, each.folder, files_of(each.folder))
    setter.run(race, entrants, said, note, progress)
    return race


@dataclass(frozen=True)
class Setter:
    """Puts contenders to one workload."""

    request: Request
    workload: Workload
    work: Path

    def race(self, title: str, about: str, subjects: Sequence[Subject]) -> Race:
        """One in which nothing was measured yet."""
        first = Speaking.first if self.workload.task == SPEECH else Hearing.first
        about = "; ".join(filter(None, [about, str(self.request.plan), self._made_up(subjects)]))
        return Race(title, about, self.workload.task, first, [item.name for item in self.workload.items])

    def entrant(self, contender: Contender, subject: Subject, model: Path, files: tuple[Path, ...]) -> Entrant:
        """How a contender is asked, and what it works with: a model, of so many files."""
        choice = self._choice(subject)
        setting = Setting(
            str(model),
            threads=self.request.plan.threads,
            dtype=subject.config.dtype,
            exact=subject.seeded,
            options=choice.options,
        )
        if self.workload.task != SPEECH:
            heard = {item.name: self._recording(item) for item in self.workload.items}
            return Entrant(Hearing(contender, choice, heard), setting, files)
        if choice.clones:
            path, text = self._voice()
            setting = replace(setting, prompt=str(path.resolve()), prompt_text=text if choice.continues else "")
        return Entrant(Speaking(contender, choice), setting, files)

    def run(
        self, race: Race, entrants: Mapping[Contender, Entrant], said: Path, note: Note, progress: Progress
    ) -> None:
        """Measure contenders; what each was told is in `race.asked`."""
        told = {each.name: asdict(entrant.setting) for each, entrant in entrants.items()}
        race.asked = {"plan": asdict(self.request.plan), "workload": asdict(self.workload), "settings": told}
        said.mkdir(parents=True, exist_ok=True)
        run(race, entrants, self.workload.items, self.request.plan, said, note, progress)
        measured = {each.name for each in race.entrants}
        known = [each for each in entrants if each.name in measured]
        race.remarks += [f"{each.name}: {remark}." for each in known for remark in each.remarks]

    def _choice(self, subject: Subject) -> Choice:
        return self.workload.choice(subject.config.model_type, subject.config.variant)

    def _made_up(self, subjects: Sequence[Subject]) -> str:
        """What is said of recordings that are not of people; nothing where none is heard."""
        if self.request.recordings:
            return ""
        if self.workload.task != SPEECH:
            return "the recordings are made up, like speech"
        clones = not self.request.ref_audio and any(self._choice(each).clones for each in subjects)
        return "the recording whose voice is cloned is made up, like speech" if clones else ""

    def _voice(self) -> tuple[Path, str]:
        """The recording that is cloned, and what it says."""
        if self.request.ref_audio:
            return self.request.ref_audio, self.request.ref_text or ""
        return self._recording(self.workload.voice), self.workload.voice.text

    def _recording(self, item: Item) -> Path:
        return find(item, self.request.recordings, self.work)


def _files(key: str, contender: Contender, subject: Subject, work: Path, note: Note) -> tuple[Path, tuple[Path, ...]]:
    """What a contender loads, and its files.

    Raises:
        UsageError: it cannot be compared with this folder, or its environment is not installed.
        PytorchToMlxError: upstream's files cannot be had, or not be converted for it.
    """
    config = subject.config
    if reason := contender.unfit(config.variant, config.dtype):
        raise UsageError(reason)
    if missing := contender.missing:
        name = config.model_type if missing.scripts else missing.name
        raise UsageError(f"it is not installed; install it with: pytorch-to-mlx reference install {name}")
    originals = subject.originals
    if contender.converter is None:
        return originals.path, originals.files
    note(f"{subject.name}: converts for {contender.name}")
    folder = contender.files(originals.path, work / f"for-{key}", config.dtype)
    return folder, files_of(folder)
