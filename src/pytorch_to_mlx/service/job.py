"""What the segments of a narration share, and what becomes of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytorch_to_mlx.audio.tempo import check_speed
from pytorch_to_mlx.environments import cache_folder
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.service.script import Segment, is_file

MOST_RETRIES = 20
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
RESERVED = {"text", "voice", "speaker", "language", "seed", "progress", "ref_text"}


@dataclass(frozen=True)
class SpeakerCheck:
    """Whether a segment sounds like its voice.

    Attributes:
        threshold: the least cosine between the two, -1 to 1.
        encoder: a converted speaker encoder's folder; the speech model's own encoder if None.
    """

    threshold: float = 0.7
    encoder: Path | None = None

    def __post_init__(self) -> None:
        if not -1 <= self.threshold <= 1:
            raise UsageError(f"--threshold {self.threshold:g} is not within -1 to 1")

    def seen_from_anywhere(self) -> SpeakerCheck:
        """With whole paths."""
        return replace(self, encoder=self.encoder and self.encoder.resolve())


@dataclass(frozen=True)
class WordsCheck:
    """Whether a recogniser hears in a segment what was to be said.

    Attributes:
        recogniser: a converted recogniser's folder, such as Whisper's.
        most: the largest word error rate, 0 to 1; of characters, where no spaces are written between words.
    """

    recogniser: Path
    most: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.most <= 1:
            raise UsageError(f"--max-wer {self.most:g} is not within 0 to 1")

    def seen_from_anywhere(self) -> WordsCheck:
        """With whole paths."""
        return replace(self, recogniser=self.recogniser.resolve())


@dataclass(frozen=True)
class Job:
    """What all segments share.

    Attributes:
        model: a converted speech model's folder.
        voice: a recording, a prepared voice, or the name of a voice that the model has; None for the model's default.
        ref_text: what that recording says, for models that go on from it.
        language: name or code, where a segment names none.
        speed: of speech, 1 is the model's own, where a segment names none.
        seed: another seed speaks otherwise.
        settings: of the model's `synthesize`.
        normalize: whether numbers, units and formulae are put into words first.
        suffix: of the files to write, such as `.wav`.
        checks: what each segment must hold; of tries that fail alike, the first check tells the best.
        retries: how often a segment that does not hold it is said again, with other seeds.
        fallback: a smaller model's folder, for segments that memory does not suffice for.
    """

    model: Path
    voice: str | None = None
    ref_text: str | None = None
    language: str | None = None
    speed: float = 1.0
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    normalize: bool = True
    suffix: str = ".wav"
    checks: Sequence[SpeakerCheck | WordsCheck] = ()
    retries: int = 2
    fallback: Path | None = None

    def __post_init__(self) -> None:
        check_speed(self.speed, "--speed")
        if self.suffix not in SUFFIXES:
            raise UsageError(f"--format {self.suffix[1:]} is none of {', '.join(each[1:] for each in SUFFIXES)}")
        if reserved := RESERVED & self.settings.keys():
            raise UsageError(f"--setting {min(reserved)} is no setting of a model: a segment or another option says it")
        if self.ref_text is not None and self.voice is None:
            raise UsageError("--ref-text says what a recording says: give --voice too")
        if not 0 <= self.retries <= MOST_RETRIES:
            raise UsageError(f"--retries {self.retries} is not within 0 to {MOST_RETRIES}")

    def recording(self, segment: Segment) -> Path | None:
        """Of a segment's voice, perhaps prepared; None where that is one of the model's own."""
        name = segment.voice or self.voice
        return Path(name) if name is not None and is_file(name) else None


@dataclass(frozen=True)
class Result:
    """What became of a segment.

    Attributes:
        id: the segment's.
        path: its file; None where it failed.
        duration: seconds of speech.
        sample_rate: samples per second.
        from_cache: whether it was said before.
        seconds: what it took; of segments that were said at once, each its share.
        said: the text as it was given to the model.
        error: why it failed; empty where it did not.
        about: how it was made: its seed, how often it was said, what checks found and whether that sufficed, whether
            the fallback said it, what the model warned of.
    """

    id: str
    path: Path | None = None
    duration: float = 0.0
    sample_rate: int = 0
    from_cache: bool = False
    seconds: float = 0.0
    said: str = ""
    error: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether it was said, and holds what was checked."""
        return not self.error and bool(self.about.get("passed", True))

    def as_json(self) -> dict[str, Any]:
        """For pipelines: one flat object."""
        fields = {name: value for name, value in vars(self).items() if name != "about"}
        return fields | {"path": None if self.path is None else str(self.path)} | dict(self.about)


def results_folder() -> Path:
    """Where this machine keeps what was said."""
    return cache_folder() / "speech"
