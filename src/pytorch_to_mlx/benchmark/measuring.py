"""The two benchmarks: a model against other implementations of it, and speech models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytorch_to_mlx.benchmark.contender import OTHERS, Contender, ours
from pytorch_to_mlx.benchmark.contenders.serving import Setting
from pytorch_to_mlx.benchmark.race import Note, Plan, Progress, run
from pytorch_to_mlx.benchmark.recordings import find
from pytorch_to_mlx.benchmark.results import Race
from pytorch_to_mlx.benchmark.steps import Asked, Hearing, Speaking
from pytorch_to_mlx.benchmark.subjects import Subject
from pytorch_to_mlx.benchmark.workload import Item, Workload, default
from pytorch_to_mlx.errors import PytorchToMlxError, UsageError


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
        """Of a task, with the items that were asked for."""
        found = self.workloads.get(task) or default(task)
        return found.only(self.only) if self.only else found

    @property
    def voice(self) -> Item | None:
        """The recording that is cloned instead of the workload's."""
        return Item("voice", text=self.ref_text or "", recording=str(self.ref_audio)) if self.ref_audio else None


def benchmark(subject: Subject, request: Request, work: Path, note: Note, progress: Progress) -> Race:
    """Measure a model, and the contenders that can be had.

    Args:
        subject: the model.
        request: what is measured, and how.
        work: a folder for what contenders load and say.
        note: called with a line at each phase.
        progress: called as runs are done.

    Raises:
        UsageError: the workload does not have what is asked for.
        BenchmarkError: ours failed. Others that fail or cannot be had are told of in `left_out`.
    """
    config = subject.config
    workload = request.workload(config.task)
    setter = Setter(request, workload, work)
    entrants = {ours(config.model_type, config.task): subject.folder}
    race = setter.race(subject.name, f"{subject.about}; {request.plan}")
    known = OTHERS.get(config.model_type, {})
    for key in known if request.against is None else request.against:
        if key not in known:
            race.left_out[key] = f"there is no such contender at {config.model_type}"
            continue
        contender = known[key]
        try:
            entrants[contender] = _files(key, contender, subject, work, note)
        except PytorchToMlxError as error:
            race.left_out[contender.name] = str(error)
            note(f"{subject.name}: {contender.name} is left out: {error}")
    asked = {contender: setter.entrant(contender, subject, folder) for contender, folder in entrants.items()}
    run(race, asked, workload.items, request.plan, _folder(work, f"{subject.name}-said"), note, progress)
    return race


def compare(subjects: Sequence[Subject], request: Request, work: Path, note: Note, progress: Progress) -> Race:
    """Measure speech models side by side on one set of texts; the arguments and errors are those of `benchmark`."""
    task = "text to speech"
    if other := [each.name for each in subjects if each.config.task != task]:
        raise UsageError(f"{other[0]} does not speak; compare-tts compares speech models")
    if len({each.name for each in subjects}) < len(subjects):
        raise UsageError("two of the folders have the same name; compare-tts tells models apart by it")
    workload = request.workload(task)
    setter = Setter(request, workload, work)
    told = "; ".join(f"{each.name} is {each.about}" for each in subjects)
    race = setter.race("Speech models side by side", f"{told}; {request.plan}")
    race.side_by_side = True
    entrants = {}
    for each in subjects:
        contender = ours(each.config.model_type, task, each.name)
        entrants[contender] = setter.entrant(contender, each, each.folder)
    run(race, entrants, workload.items, request.plan, _folder(work, "said"), note, progress)
    return race


@dataclass(frozen=True)
class Setter:
    """Puts contenders to one workload."""

    request: Request
    workload: Workload
    work: Path

    def race(self, title: str, about: str) -> Race:
        """One in which nothing was measured yet."""
        first = Speaking.first if self.workload.task == "text to speech" else Hearing.first
        return Race(title, about, self.workload.task, first, [item.name for item in self.workload.items])

    def entrant(self, contender: Contender, subject: Subject, model: Path) -> tuple[Asked, Setting]:
        """How a contender is asked, and what it works with."""
        config = subject.config
        choice = self.workload.choice(config.model_type, config.variant)
        setting = Setting(
            str(model),
            threads=self.request.plan.threads,
            dtype=config.dtype,
            exact=subject.seeded,
            options=choice.options,
        )
        if self.workload.task != "text to speech":
            folder = self.request.recordings
            return Hearing(
                contender, choice, {i.name: find(i, folder, self.work) for i in self.workload.items}
            ), setting
        if choice.clones:
            voice = self.request.voice
            path = Path(voice.recording) if voice else find(self.workload.voice, self.request.recordings, self.work)
            text = (voice or self.workload.voice).text
            setting = replace(setting, prompt=str(path.resolve()), prompt_text=text if choice.continues else "")
        return Speaking(contender, choice), setting


def _folder(work: Path, name: str) -> Path:
    """A new folder, whatever a model is called."""
    folder = work / name.replace(":", "-")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _files(key: str, contender: Contender, subject: Subject, work: Path, note: Note) -> Path:
    """What a contender loads.

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
    checkpoint = subject.originals
    if contender.converter:
        note(f"{subject.name}: converts for {contender.name}")
    return contender.files(checkpoint, work / f"{subject.name.replace(':', '-')}-{key}", config.dtype)
