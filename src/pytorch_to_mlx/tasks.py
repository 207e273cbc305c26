"""What models offer. A loaded model has the methods of its task; the command line and services use nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.errors import AudioError, CheckpointError, FolderError

Decoder = Literal["argmax", "weighted", "viterbi"]
VOICE_FORMAT = "pytorch-to-mlx-voice-1"


@dataclass(frozen=True)
class PitchTrack:
    """A pitch contour.

    Attributes:
        times: frame centres in seconds, shape (frames,).
        pitch: fundamental frequency in Hz, shape (frames,); it has a value in unvoiced frames too.
        periodicity: the network's confidence in [0, 1], shape (frames,).
    """

    times: np.ndarray
    pitch: np.ndarray
    periodicity: np.ndarray

    def voiced(self, threshold: float = 0.21) -> np.ndarray:
        """Boolean mask of frames whose periodicity reaches `threshold`, shape (frames,)."""
        return self.periodicity >= threshold


@runtime_checkable
class PitchTracker(Protocol):
    """Tells the fundamental frequency of speech or song over time."""

    def pitch(
        self,
        audio: Audio,
        *,
        hop_length: int = 160,
        fmin: float = 50.0,
        fmax: float = 550.0,
        decoder: Decoder = "viterbi",
        dither: np.ndarray | None = None,
    ) -> PitchTrack: ...


@runtime_checkable
class SpeakerEncoder(Protocol):
    """Turns a voice into a unit vector; the inner product of two tells how alike the voices are."""

    def embed(self, audio: Audio) -> np.ndarray: ...

    def embed_speaker(self, recordings: Sequence[Audio]) -> np.ndarray: ...

    def similarity(self, first: np.ndarray, second: np.ndarray) -> float: ...


@dataclass(frozen=True, eq=False)
class Voice:
    """What a speech model needs to know of a speaker, prepared once from a recording.

    Attributes:
        kind: which models it is for, such as "chatterbox".
        arrays: its tensors by name.
    """

    kind: str
    arrays: Mapping[str, np.ndarray]

    def save(self, path: str | Path) -> None:
        """Write it as one safetensors file.

        Raises:
            FolderError: the file cannot be written.
        """
        data = self.to_bytes()
        try:
            Path(path).write_bytes(data)
        except OSError as error:
            raise FolderError(f"{path}: cannot be written ({error.strerror})") from error

    def to_bytes(self) -> bytes:
        """The safetensors file that `load` reads."""
        from safetensors.numpy import save

        metadata = {"format": VOICE_FORMAT, "kind": self.kind}
        return save({name: np.ascontiguousarray(array) for name, array in self.arrays.items()}, metadata)

    @classmethod
    def load(cls, path: str | Path) -> Voice:
        """Read what `save` wrote.

        Raises:
            CheckpointError: the file is missing or damaged, or holds no voice.
        """
        from pytorch_to_mlx.checkpoint import open_checkpoint

        with open_checkpoint(Path(path)) as tensors:
            if tensors.metadata.get("format") != VOICE_FORMAT:
                raise CheckpointError(f"{path} holds no voice; make one with: pytorch-to-mlx voice DIR AUDIO -o {path}")
            return cls(tensors.metadata.get("kind", ""), {name: np.array(tensors.read(name)) for name in tensors})


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Of the angle between two embeddings of any shape."""
    lengths = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    return float(np.vdot(first, second)) / lengths if lengths else 0.0


@runtime_checkable
class SpeechModel(Protocol):
    """Speaks a text with a voice."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def tokens_per_second(self) -> float:
        """Of those that `synthesize` counts to its `progress`."""
        ...

    def prepare_voice(self, audio: Audio, text: str | None = None) -> Voice:
        """Analyse a reference recording; `text` is what it says, for models that go on from it."""
        ...

    def likeness(self, first: Voice | Audio, second: Voice | Audio) -> float:
        """How alike two voices are, 1 for the same; of recordings, only the speaker is heard."""
        ...

    def synthesize(
        self,
        text: str,
        *,
        voice: Voice | Audio | None = None,
        language: str | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> Audio: ...

    def stream(
        self,
        text: str,
        *,
        voice: Voice | Audio | None = None,
        language: str | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> Iterator[Audio]: ...


@dataclass(frozen=True, eq=False)
class Utterance:
    """One of several texts that are said at once.

    Attributes:
        text: what to say.
        voice: prepared, or a recording.
        speaker: the name of a voice that the model has.
        language: name or code.
        seed: another seed speaks otherwise.
    """

    text: str
    voice: Voice | Audio | None = None
    speaker: str | None = None
    language: str | None = None
    seed: int = 0


@runtime_checkable
class BatchSpeechModel(SpeechModel, Protocol):
    """Speaks several texts at once, in less time than one after the other."""

    @property
    def at_once(self) -> int:
        """How many it had best be given."""
        ...

    def synthesize_all(self, utterances: Sequence[Utterance], **settings: Any) -> list[Audio]: ...


@runtime_checkable
class VoiceConverter(Protocol):
    """Says what a recording says with another voice."""

    def convert_voice(
        self, source: Audio, *, voice: Voice | Audio | None = None, seed: int = 0, watermark: bool = True
    ) -> Audio: ...


@runtime_checkable
class SpeechTokenizer(Protocol):
    """Turns speech into a sequence of numbers."""

    def tokenize(self, audio: Audio) -> np.ndarray: ...


@runtime_checkable
class SpeechCodec(SpeechTokenizer, Protocol):
    """A tokenizer whose numbers, (frames, codes), can be heard again."""

    @property
    def sample_rate(self) -> int: ...

    def decode(self, codes: np.ndarray) -> Audio: ...

    def stream(self, pieces: Iterable[np.ndarray]) -> Iterator[Audio]:
        """Sound for each piece as it comes; together the pieces sound as `decode` has them."""
        ...


@runtime_checkable
class VoicedTokenizer(SpeechTokenizer, Protocol):
    """A tokenizer whose numbers, (codes,), say what is said; a voice, who says it."""

    @property
    def sample_rate(self) -> int: ...

    def prepare_voice(self, audio: Audio, xvector: np.ndarray) -> Voice:
        """A voice from somebody's speech and what a speaker encoder of upstream's makes of it."""
        ...

    def checked_voice(self, voice: Voice) -> Any:
        """What it takes of a voice, which may be for another model."""
        ...

    def decode(self, codes: np.ndarray, voice: Voice, *, seed: int = 0) -> Audio: ...


@dataclass(frozen=True)
class Word:
    """A word of a transcript.

    Attributes:
        word: with the space before it, and the punctuation beside it.
        start, end: in seconds.
        probability: the mean of its tokens'.
    """

    word: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Segment:
    """A phrase of a transcript.

    Attributes:
        start, end: in seconds.
        text: with the space before it.
        tokens: the model's, timestamps included.
        seek: where the window began that it was heard in, in hundredths of a second.
        temperature: that the window was decoded with.
        avg_logprob: of the window's tokens; -1 and less is doubtful.
        compression_ratio: of the window's text; 2.4 and more is repetition.
        no_speech_prob: that nobody speaks in the window.
        words: where they were asked for.
    """

    start: float
    end: float
    text: str
    tokens: tuple[int, ...] = ()
    seek: int = 0
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 1.0
    no_speech_prob: float = 0.0
    words: tuple[Word, ...] | None = None


@dataclass(frozen=True)
class Transcript:
    """What a recording says.

    Attributes:
        text: all of it.
        language: code of the one that is spoken, such as "en".
        segments: in order.
    """

    text: str
    language: str
    segments: tuple[Segment, ...]


Heard = Callable[[Sequence[Segment], float, float], None]
"""Called while a recording is heard, with the segments that are new, and how many seconds of all are done."""


@runtime_checkable
class Transcriber(Protocol):
    """Writes down what is said."""

    def known_language(self, language: str) -> str | None:
        """The code of a language given by name or code, perhaps with a region (`en_US`); None if it is not known."""
        ...

    def transcribe(self, audio: Audio, *, language: str | None = None, **settings: Any) -> Transcript: ...


@runtime_checkable
class BatchTranscriber(Transcriber, Protocol):
    """Writes down what several recordings say at once, in less time than one after the other."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of those that it knows."""
        ...

    def transcripts(
        self,
        recordings: Sequence[Audio | str | Path | Iterable[np.ndarray]],
        *,
        language: str | None = None,
        seed: int = 0,
        heard: Sequence[Heard] | None = None,
        **settings: Any,
    ) -> Iterator[tuple[int, Transcript | AudioError]]:
        """Places of recordings and what they say, or why one cannot be read, as they are done.

        Args:
            recordings: or files; or samples (n,) at 16 kHz, some at a time.
            heard: of each recording.
        """
        ...


@runtime_checkable
class Watermarker(Protocol):
    """Marks recordings so that it can tell them later; listeners do not notice."""

    def apply(self, audio: Audio) -> Audio: ...

    def detect(self, audio: Audio) -> float:
        """How sure it is that the recording is marked, from 0 to 1."""
        ...
