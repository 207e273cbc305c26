"""This project's transcribers as contenders, each by the method that all of them have (`tasks.Transcriber`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from on_mlx import MlxContender
from serving import Setting, Stopwatch, serve
from transcription_serving import TranscriptionContender

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.loading import load


class TranscriptionOurs(MlxContender, TranscriptionContender):
    """One whose stages are not told; models whose are extend it."""

    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        self.model: Any = load(Path(setting.model))

    def transcribe(self, path: str) -> str:
        return self.model.transcribe(Audio.read(path), **self.setting.options).text


if __name__ == "__main__":
    serve(TranscriptionOurs)
