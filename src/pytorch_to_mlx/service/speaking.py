"""A speech model at work on segments: voices prepared once, several segments at once, checked and said again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pytorch_to_mlx import registry
from pytorch_to_mlx.audio import Audio, naming
from pytorch_to_mlx.audio.tempo import change_tempo
from pytorch_to_mlx.errors import AudioError, FolderError, PytorchToMlxError, UsageError
from pytorch_to_mlx.folder import read_config
from pytorch_to_mlx.loading import load
from pytorch_to_mlx.noise import part_seed
from pytorch_to_mlx.service.cache import ResultCache, key_of
from pytorch_to_mlx.service.job import Job
from pytorch_to_mlx.service.memory import check_room
from pytorch_to_mlx.service.script import Segment, is_file
from pytorch_to_mlx.service.warned import by_text, collected
from pytorch_to_mlx.tasks import BatchSpeechModel, SpeakerEncoder, SpeechModel, Utterance, Voice, cosine
from pytorch_to_mlx.text.normalisation import normalise

REVISION = 2
"""To be raised by whoever changes how the same settings sound: a checkout's version stays, and old sounds would too."""
NOT_COMPUTED_WITH = {"README.md", "parity.json"}
RETRY = 7919
"""Seeds of retries are as far apart as no texts have parts."""
HEARD = 10.0
"""Seconds of a segment that its voice is told by: more is no better, and references may not be long."""
SILENT = 1e-3
"""No voice at all: 60 dB below the loudest there can be."""


@dataclass(frozen=True)
class Spoken:
    """The sound of a segment, and how it came about."""

    audio: Audio
    about: Mapping[str, Any]


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

    def __init__(self, job: Job, cache: ResultCache) -> None:
        self.job, self._cache = job, cache
        self._voices: dict[tuple[str, str | None], _Prepared] = {}
        self._embeddings: dict[str, np.ndarray] = {}

    @property
    def at_once(self) -> int:
        """How many segments the model says at once."""
        return self.model.at_once if isinstance(self.model, BatchSpeechModel) else 1

    @cached_property
    def model(self) -> SpeechModel:
        """Raises `UsageError` if the folder holds another kind of model, `MemoryError` if there is no room for it."""
        check_room(self.job.model)
        model = load(self.job.model)
        if not isinstance(model, SpeechModel):
            raise UsageError(f"{self.job.model} holds no speech model; give one with --model")
        return model

    @cached_property
    def folder_hash(self) -> str:
        """Of all bytes that the model computes with. Raises `FolderError` if there is no such folder."""
        return _folder_hash(self.job.model, self._cache)

    def key(self, segment: Segment) -> str:
        """Of all that the segment's sound depends on."""
        job, check = self.job, self.job.check
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
            check=check
            and [check.threshold, check.retries, check.encoder and _folder_hash(check.encoder, self._cache)],
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
        """Say segments, at once if the model can; those that fail the check again, with other seeds.

        Raises:
            PytorchToMlxError: one of them cannot be said; the others are not told.
        """
        check = self.job.check
        best = self._attempt(segments, 0)
        for attempt in range(1, check.retries + 1 if check else 1):
            again = [place for place, each in enumerate(best) if not each.about.get("passed", True)]
            if not again:
                break
            others = self._attempt([segments[place] for place in again], attempt)
            for place, other in zip(again, others, strict=True):
                better = max(best[place], other, key=_rank)
                best[place] = replace(better, about={**better.about, "attempts": attempt + 1})
        return best

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
        for segment, sound, warned in zip(segments, sounds, shares, strict=True):
            audio = Audio(change_tempo(sound.samples, sound.rate, self._speed(segment)), sound.rate)
            about: dict[str, Any] = {"seed": seed, "attempts": 1}
            if self.job.check is not None:
                about |= self._likeness(segment, sound)
            if warned := [*self._warned_of_voice(segment), *warned]:
                about["warnings"] = warned
            spoken.append(Spoken(audio, about))
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
        recording = self._recording(segment)
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

    def _recording(self, segment: Segment) -> Path | None:
        """Of the segment's voice, perhaps prepared; None where that is one of the model's own."""
        name = segment.voice or self.job.voice
        return Path(name) if name is not None and is_file(name) else None

    def _warned_of_voice(self, segment: Segment) -> Sequence[str]:
        recording = self._recording(segment)
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
        """Whether each segment's voice can be compared, if it is to be.

        Raises:
            UsageError: it has none, or none that the encoder hears, or there is no such encoder.
        """
        if self.job.check is None:
            return
        for segment in segments:
            recording = self._recording(segment)
            if recording is None:
                raise UsageError("--check speaker compares with recordings: give --voice, or leave out the check")
            if self.job.check.encoder is not None and recording.suffix == ".safetensors":
                raise UsageError(
                    f"--speaker-encoder hears recordings, {recording} is a prepared voice: give its recording"
                )
        _ = self._encoder

    def unload(self) -> None:
        """Let go of the model and what it prepared."""
        self.__dict__.pop("model", None)
        self._voices.clear()
        mx.clear_cache()

    @cached_property
    def _encoder(self) -> SpeakerEncoder | None:
        folder = self.job.check.encoder if self.job.check else None
        if folder is None:
            return None
        encoder = load(folder)
        if not isinstance(encoder, SpeakerEncoder):
            raise UsageError(f"--speaker-encoder {folder} holds no speaker encoder; convert package:resemblyzer")
        return encoder

    def _likeness(self, segment: Segment, sound: Audio) -> dict[str, Any]:
        """How much a segment sounds like its voice. One that is too short to tell passes, and says so."""
        recording = self._recording(segment)
        assert self.job.check is not None and recording is not None
        if float(np.abs(sound.samples).max()) < SILENT:
            return {"similarity": -1.0, "passed": False}
        encoder = self._encoder
        voice = self._prepared(segment, recording).voice if encoder is None else self._embedding(encoder, recording)
        _, heard = sound.passage(HEARD)
        try:
            if isinstance(voice, Voice):
                value = self.model.likeness(heard, voice)
            else:
                assert encoder is not None
                value = cosine(encoder.embed(heard), voice)
        except AudioError as error:
            return {"similarity": None, "passed": True, "unchecked": str(error)}
        return {"similarity": round(value, 4), "passed": value >= self.job.check.threshold}

    def _embedding(self, encoder: SpeakerEncoder, path: Path) -> np.ndarray:
        known = self._cache.checksum(path)
        if known not in self._embeddings:
            with naming(path):
                self._embeddings[known] = encoder.embed(Audio.read(path))
        return self._embeddings[known]


def _rank(spoken: Spoken) -> float:
    value = spoken.about["similarity"]
    return -2.0 if value is None else value  # below every cosine


def _named(utterance: Utterance) -> dict[str, str]:
    """Models that have no voices by name are not asked for one."""
    return {} if utterance.speaker is None else {"speaker": utterance.speaker}


def _folder_hash(folder: Path, cache: ResultCache) -> str:
    if not (folder / "config.json").is_file():
        raise FolderError(f"{folder}: holds no converted model; make one with: pytorch-to-mlx convert")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    files = [path for path in files if path.name not in NOT_COMPUTED_WITH]
    told = [(str(path.relative_to(folder)), cache.checksum(path)) for path in files]
    return hashlib.sha256(repr(told).encode()).hexdigest()
