"""A speech model at work on segments: voices prepared once, several segments at once, checked and said again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx import registry
from pytorch_to_mlx.audio import Audio, naming
from pytorch_to_mlx.audio.tempo import change_tempo
from pytorch_to_mlx.errors import PytorchToMlxError, UsageError
from pytorch_to_mlx.folder import read_config
from pytorch_to_mlx.loading import load
from pytorch_to_mlx.noise import part_seed
from pytorch_to_mlx.service.cache import ResultCache, folder_hash, key_of
from pytorch_to_mlx.service.checks import Check, Try, judged
from pytorch_to_mlx.service.job import Job
from pytorch_to_mlx.service.memory import check_room
from pytorch_to_mlx.service.script import Segment, is_file
from pytorch_to_mlx.service.warned import by_text, collected
from pytorch_to_mlx.tasks import BatchSpeechModel, SpeechModel, Utterance, Voice
from pytorch_to_mlx.text.normalisation import normalise

REVISION = 2
"""To be raised by whoever changes how the same settings sound: a checkout's version stays, and old sounds would too."""
RETRY_ERROR = "retry_error"
"""What is told of a segment whose retry failed, and of which an earlier try is delivered."""
RETRY = 7919
"""Seeds of retries are as far apart as no texts have parts."""


@dataclass(frozen=True)
class Spoken:
    """The sound of a segment, and how it came about; of two, that of the larger merit is better."""

    audio: Audio
    about: Mapping[str, Any]
    merit: tuple[float, ...] = ()


@dataclass(frozen=True)
class _Prepared:
    """A voice, and what there was to warn of it."""

    voice: Voice
    warnings: Sequence[str] = ()


_normalised = lru_cache(maxsize=4096)(normalise)  # a key is asked for several times


def said(segment: Segment, job: Job) -> str:
    """The text as the model is given it."""
    text = " ".join(segment.text.split())
    return _normalised(text, segment.language or job.language) if job.normalize else text


class Speaker:
    """The model of a job, loaded when it is first needed, and its voices, prepared once."""

    def __init__(self, job: Job, cache: ResultCache, checks: Sequence[Check] = ()) -> None:
        """For a job, whose `checks` (those of `checks_of`) are carried out."""
        self.job, self._cache, self._checks = job, cache, checks
        self._voices: dict[tuple[str, str | None], _Prepared] = {}

    @property
    def at_once(self) -> int:
        """How many segments the model says at once."""
        return self.model.at_once if isinstance(self.model, BatchSpeechModel) else 1

    @cached_property
    def model(self) -> SpeechModel:
        """With what checks its speech, so that both fit, or are told not to before the work.

        Raises:
            UsageError: the folder holds another kind of model.
            MemoryError: there is no room for it, or for what checks it.
        """
        check_room(self.job.model)
        model = load(self.job.model)
        if not isinstance(model, SpeechModel):
            raise UsageError(f"{self.job.model} holds no speech model; give one with --model")
        for check in self._checks:
            check.prepare()
        return model

    @cached_property
    def folder_hash(self) -> str:
        """Of all bytes that the model computes with. Raises `FolderError` if there is no such folder."""
        return folder_hash(self.job.model, self._cache)

    def key(self, segment: Segment) -> str:
        """Of all that the segment's sound depends on."""
        job = self.job
        return key_of(
            model=self.folder_hash,
            text=said(segment, self.job),
            voice=self._voice_hash(segment.voice or job.voice),
            ref_text=self._ref_text(segment),
            language=segment.language or job.language,
            speed=self._speed(segment),
            seed=job.seed,
            settings=dict(job.settings),
            front_end=self._front_end,
            suffix=job.suffix,
            check=[job.retries, *(each.key for each in self._checks)] if self._checks else None,
            version=version("pytorch-to-mlx"),
            revision=REVISION,
        )

    @cached_property
    def _front_end(self) -> str:
        """What the sound depends on beside the folder."""
        try:
            return registry.get(read_config(self.job.model).model_type).front_end()
        except PytorchToMlxError:  # what is wrong with the folder is told when the model is loaded
            return ""

    def speak(self, segments: Sequence[Segment]) -> list[Spoken]:
        """Say segments, at once if the model can; those that fail a check again, with other seeds.

        Raises:
            PytorchToMlxError: one of them cannot be said; the others are not told.
        """
        best = self._attempt(segments, 0)
        for attempt in range(1, self.job.retries + 1):
            again = [place for place, each in enumerate(best) if not each.about.get("passed", True)]
            if not again:
                break
            others = self._retried([segments[place] for place in again], attempt)
            for place, other in zip(again, others, strict=True):
                better, told = best[place], {RETRY_ERROR: other}
                if isinstance(other, Spoken):
                    better, told = max(better, other, key=lambda spoken: spoken.merit), {}
                best[place] = replace(better, about={**better.about, "attempts": attempt + 1, **told})
        return best

    def _retried(self, segments: Sequence[Segment], attempt: int) -> Sequence[Spoken | str]:
        """Of each segment another try, or why there is none: the tries before it are sound already."""
        try:
            return self._attempt(segments, attempt)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        mx.clear_cache()  # out of the handler, whose traceback holds on to memory
        if len(segments) == 1:
            return [failure]
        return [other for segment in segments for other in self._retried([segment], attempt)]

    def again(self, segment: Segment, seed: int) -> Audio:
        """A segment as a seed has it, unchecked.

        Raises:
            PytorchToMlxError: it cannot be said.
        """
        (sound,) = self._sounds([self._utterance(segment, seed)])
        return Audio(change_tempo(sound.samples, sound.rate, self._speed(segment)), sound.rate)

    def as_float32(self) -> None:
        """Compute in float32 from now on, whatever the precision of the weights."""
        network = getattr(self.model, "network", None)
        if not isinstance(network, nn.Module):
            raise UsageError(f"{self.job.model}: its precision cannot be changed; give --audit-model")
        network.set_dtype(mx.float32)

    def _attempt(self, segments: Sequence[Segment], attempt: int) -> list[Spoken]:
        seed = part_seed(self.job.seed, RETRY * attempt)
        utterances = [self._utterance(segment, seed) for segment in segments]
        with collected() as told:
            sounds = self._sounds(utterances)
        shares = by_text(told, [each.text for each in utterances])
        spoken = []
        for segment, utterance, sound, warned in zip(segments, utterances, sounds, shares, strict=True):
            audio = Audio(change_tempo(sound.samples, sound.rate, self._speed(segment)), sound.rate)
            judgement = judged(self._checks, Try(segment, utterance, sound, self.model))
            about: dict[str, Any] = {"seed": seed, "attempts": 1, **judgement.about}
            if warned := [*self._warned_of_voice(segment), *warned]:
                about["warnings"] = warned
            spoken.append(Spoken(audio, about, judgement.merit))
        return spoken

    def _sounds(self, utterances: Sequence[Utterance]) -> list[Audio]:
        settings = self.job.settings
        if len(utterances) > 1 and isinstance(self.model, BatchSpeechModel):
            return self.model.synthesize_all(utterances, **settings)
        return [
            self.model.synthesize(
                each.text, voice=each.voice, language=each.language, seed=each.seed, **settings, **_named(each)
            )
            for each in utterances
        ]

    def _utterance(self, segment: Segment, seed: int) -> Utterance:
        recording = self.job.recording(segment)
        return Utterance(
            said(segment, self.job),
            voice=self._prepared(segment, recording).voice if recording else None,
            speaker=None if recording else self._speaker(segment),
            language=segment.language or self.job.language,
            seed=seed,
        )

    def _speaker(self, segment: Segment) -> str | None:
        """The voice that is the model's own. Raises `UsageError` where it has none of the name."""
        name = segment.voice or self.job.voice
        known: Sequence[str] = getattr(self.model, "speakers", ())
        names = (
            [each.partition(":")[0].strip().casefold() for each in re.split(r"[+,]", name)] if name is not None else []
        )
        if not set(names) <= set(map(str.casefold, known)):
            others = f"it is none of the model's: {', '.join(known)}" if known else "this model has no voices by name"
            raise UsageError(f"voice {name!r}: there is no such file, and {others}")
        return name

    def _speed(self, segment: Segment) -> float:
        return self.job.speed if segment.speed is None else segment.speed

    def _ref_text(self, segment: Segment) -> str | None:
        return segment.ref_text if segment.voice else self.job.ref_text

    def _warned_of_voice(self, segment: Segment) -> Sequence[str]:
        recording = self.job.recording(segment)
        return self._prepared(segment, recording).warnings if recording else ()

    def _prepared(self, segment: Segment, path: Path) -> _Prepared:
        text = self._ref_text(segment)
        known = (self._cache.checksum(path), text)
        if known not in self._voices:
            if path.suffix != ".safetensors":
                with naming(path), collected() as told:
                    voice = self.model.prepare_voice(Audio.read(path), text)
                self._voices[known] = _Prepared(voice, told)
            elif text is not None:
                raise UsageError(f"{path} was prepared already: its ref_text is of a recording; leave it out")
            else:
                self._voices[known] = _Prepared(Voice.load(path))
        return self._voices[known]

    def _voice_hash(self, name: str | None) -> str | None:
        """Of a file's bytes; a name stands for itself."""
        return self._cache.checksum(Path(name)) if name is not None and is_file(name) else name

    def check(self, segments: Sequence[Segment]) -> None:
        """Whether segments can be checked, if they are to be.

        Raises:
            PytorchToMlxError: as the checks do.
        """
        for check in self._checks:
            check.require(segments)

    def unload(self) -> None:
        """Let go of the model and what it prepared."""
        self.__dict__.pop("model", None)
        self._voices.clear()
        mx.clear_cache()


def _named(utterance: Utterance) -> dict[str, str]:
    """Models that have no voices by name are not asked for one."""
    return {} if utterance.speaker is None else {"speaker": utterance.speaker}
