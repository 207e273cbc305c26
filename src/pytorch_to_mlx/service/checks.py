"""What segments are checked for: whether they sound like their voice, and whether they say their words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pytorch_to_mlx.audio import Audio, naming
from pytorch_to_mlx.errors import AudioError, MissingDependencyError, PytorchToMlxError, UsageError
from pytorch_to_mlx.folder import read_config
from pytorch_to_mlx.loading import load
from pytorch_to_mlx.service.cache import ResultCache, folder_hash
from pytorch_to_mlx.service.job import Job, SpeakerCheck, WordsCheck
from pytorch_to_mlx.service.memory import check_room
from pytorch_to_mlx.service.script import Segment
from pytorch_to_mlx.tasks import SpeakerEncoder, SpeechModel, Transcriber, Utterance, Voice, cosine
from pytorch_to_mlx.text.error_rate import check_libraries, error_rate

HEARD = 10.0
"""Seconds of a segment that its voice is told by: more is no better, and references may not be long."""
SILENT = 1e-3
"""No voice at all: 60 dB below the loudest there can be."""


@dataclass(frozen=True)
class Try:
    """A segment as the model was given it, and as it said it.

    Attributes:
        segment: of the script.
        utterance: what the model was given.
        sound: at the model's own speed.
        model: that said it.
    """

    segment: Segment
    utterance: Utterance
    sound: Audio
    model: SpeechModel


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Attributes:
        about: what is told of it in the segment's JSON.
        merit: of two tries, that with the larger one is better.
        fault: why the segment does not pass; empty if it does.
        unchecked: why nothing could be found; such a segment passes. Empty otherwise.
    """

    about: Mapping[str, Any]
    merit: float
    fault: str = ""
    unchecked: str = ""


class Check(Protocol):
    """What is asked of every segment."""

    @property
    def key(self) -> Sequence[Any]:
        """JSON of all that a verdict depends on beside the segment and its sound."""
        ...

    def require(self, segments: Sequence[Segment]) -> None:
        """Raises `PytorchToMlxError` if segments cannot be checked at all, before the work rather than after it."""
        ...

    def prepare(self) -> None:
        """Load what it judges with. Raises `PytorchToMlxError` if that cannot be, `MemoryError` without room for it."""
        ...

    def judge(self, made: Try) -> Verdict:
        """Raises `PytorchToMlxError` if it cannot be judged."""
        ...


@dataclass(frozen=True)
class Judgement:
    """What all checks found of one try.

    Attributes:
        about: for the segment's JSON.
        merit: of two tries, that with the larger one is better: it has fewer faults, or else fares better with the
            first check, or else with the second.
    """

    about: Mapping[str, Any]
    merit: tuple[float, ...] = ()


def judged(checks: Sequence[Check], made: Try) -> Judgement:
    """A try, checked; without checks there is nothing to tell.

    Raises:
        PytorchToMlxError: a check cannot be carried out.
    """
    if not checks:
        return Judgement({})
    verdicts = [check.judge(made) for check in checks]
    about = {name: value for each in verdicts for name, value in each.about.items()}
    faults = [each.fault for each in verdicts if each.fault]
    about["passed"] = not faults
    if faults:
        about["faults"] = faults
    if unchecked := "; ".join(each.unchecked for each in verdicts if each.unchecked):
        about["unchecked"] = unchecked
    return Judgement(about, (-len(faults), *(each.merit for each in verdicts)))


def checks_of(job: Job, cache: ResultCache) -> list[Check]:
    """Those that a job asks for, in its order."""
    return [Likeness(each, job, cache) if isinstance(each, SpeakerCheck) else Words(each, cache) for each in job.checks]


class Likeness:
    """A `Check`: how much a segment sounds like its voice. One that is too short to tell passes, and says so."""

    def __init__(self, asked: SpeakerCheck, job: Job, cache: ResultCache) -> None:
        self._asked, self._job, self._cache = asked, job, cache
        self._judge = asked.encoder and _Judge(asked.encoder, SpeakerEncoder, cache)
        self._embeddings: dict[str, np.ndarray] = {}

    @property
    def key(self) -> Sequence[Any]:
        return ["speaker", self._asked.threshold, self._judge and self._judge.bytes_hash]

    def require(self, segments: Sequence[Segment]) -> None:
        """Raises `UsageError` if a segment has no voice that can be compared, or there is no such encoder."""
        folder = self._asked.encoder
        for segment in segments:
            recording = self._job.recording(segment)
            if recording is None:
                raise UsageError("--check speaker compares with recordings: give --voice, or leave out the check")
            if folder is not None and recording.suffix == ".safetensors":
                raise UsageError(
                    f"--speaker-encoder hears recordings, {recording} is a prepared voice: give its recording"
                )
        if folder is not None:
            advice = "speaker encoder; convert package:resemblyzer"
            _require_task("--speaker-encoder", folder, "speaker encoder", advice)

    def prepare(self) -> None:
        _ = self._encoder

    @property
    def _encoder(self) -> SpeakerEncoder | None:
        return self._judge and self._judge.model

    def judge(self, made: Try) -> Verdict:
        if _is_silent(made.sound):
            return Verdict({"similarity": -1.0}, merit=-1.0, fault="it is silent, which is nobody's voice")
        encoder, reference = self._encoder, self._reference(made)
        _, heard = made.sound.passage(HEARD)
        try:
            if isinstance(reference, Voice):
                value = made.model.likeness(heard, reference)
            else:
                assert encoder is not None
                value = cosine(encoder.embed(heard), reference)
        except AudioError as error:
            reason = f"too short to tell whose voice it is ({error})"
            return Verdict({"similarity": None}, merit=-2.0, unchecked=reason)  # below every cosine
        least = self._asked.threshold
        fault = f"likeness {value:.4f} to its voice, below --threshold {least:g}" if value < least else ""
        return Verdict({"similarity": round(value, 4)}, merit=value, fault=fault)

    def _reference(self, made: Try) -> Voice | np.ndarray:
        """What a segment is compared with: its voice, or what the other encoder makes of the recording."""
        voice, recording, encoder = made.utterance.voice, self._job.recording(made.segment), self._encoder
        assert isinstance(voice, Voice) and recording is not None
        if encoder is None:
            return voice
        known = self._cache.checksum(recording)
        if known not in self._embeddings:
            with naming(recording):
                self._embeddings[known] = encoder.embed(Audio.read(recording))
        return self._embeddings[known]


class Words:
    """A `Check`: whether a recogniser hears in a segment what was to be said."""

    def __init__(self, asked: WordsCheck, cache: ResultCache) -> None:
        self._asked = asked
        self._judge = _Judge(asked.recogniser, Transcriber, cache)

    @property
    def key(self) -> Sequence[Any]:
        return ["words", self._asked.most, self._judge.bytes_hash]

    def require(self, segments: Sequence[Segment]) -> None:
        """Raises `UsageError` if the folder holds no recogniser, `MissingDependencyError` if a library is missing."""
        advice = "recogniser of speech; convert openai/whisper-large-v3-turbo"
        _require_task("--asr", self._asked.recogniser, "transcription", advice)
        try:
            check_libraries()
        except MissingDependencyError as error:
            raise MissingDependencyError(f"--check words: {error}") from error

    def prepare(self) -> None:
        _ = self._judge.model

    def judge(self, made: Try) -> Verdict:
        heard, language = self._heard(made.utterance, made.sound)
        rate = error_rate(made.utterance.text, heard, language)
        about: dict[str, Any] = {"transcript": heard, "transcript_language": language}
        if rate is None:
            return Verdict(about | {"wer": None}, merit=0.0, unchecked="no words to compare")
        most = self._asked.most
        fault = f"{rate.of} error rate {rate.value:.4f}, above --max-wer {most:g}" if rate.value > most else ""
        told = {"wer" if rate.of == "word" else "cer": round(rate.value, 4)}
        return Verdict(about | told, merit=-rate.value, fault=fault)

    def _heard(self, utterance: Utterance, sound: Audio) -> tuple[str, str | None]:
        """The transcript and its language: the utterance's where the recogniser knows that, else what it hears."""
        if _is_silent(sound):  # in which recognisers hear words
            return "", None
        recogniser: Transcriber = self._judge.model
        language = utterance.language and recogniser.known_language(utterance.language)
        transcript = recogniser.transcribe(sound, language=language)
        return transcript.text.strip(), transcript.language


def _is_silent(sound: Audio) -> bool:
    return float(np.abs(sound.samples).max()) < SILENT


def _require_task(flag: str, folder: Path, task: str, advice: str) -> None:
    """Raises `UsageError` unless the folder holds a model for a task, by its config: weights are read when needed."""
    try:
        found = read_config(folder).task
    except PytorchToMlxError as error:
        raise UsageError(f"{flag}: {error}") from error
    if found != task:
        raise UsageError(f"{flag} {folder} holds no {advice}")


class _Judge:
    """A folder's model that a check judges with: loaded when first needed, and kept as long as the check is."""

    def __init__(self, folder: Path, task: type[Any], cache: ResultCache) -> None:
        self._folder, self._task, self._cache = folder, task, cache
        self._loaded: tuple[str, Any] | None = None

    @property
    def bytes_hash(self) -> str:
        """Of all that it judges by."""
        return folder_hash(self._folder, self._cache)

    @property
    def model(self) -> Any:
        """Loaded again where the folder has other bytes.

        Raises:
            UsageError: it is for another task than its config says.
            MemoryError: there is no room for it.
        """
        if self._loaded is None or self._loaded[0] != self.bytes_hash:
            self._loaded = None  # two may not fit
            check_room(self._folder)
            model = load(self._folder)
            if not isinstance(model, self._task):
                raise UsageError(f"{self._folder} holds no {self._task.__name__}")
            self._loaded = self.bytes_hash, model
        return self._loaded[1]
