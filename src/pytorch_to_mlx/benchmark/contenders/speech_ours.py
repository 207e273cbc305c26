"""This project's speech models as contenders, each by the methods that all of them have (`tasks.SpeechModel`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from on_mlx import MlxContender
from serving import Setting, Stopwatch, serve
from speech_serving import SpeechContender

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.loading import load


class SpeechOurs(MlxContender, SpeechContender):
    """One whose stages are not told; models whose are extend it."""

    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        self.model: Any = load(Path(setting.model))
        self.prepared: Any = None

    def voice(self) -> None:
        self.prepared = self.model.prepare_voice(Audio.read(self.setting.prompt), self.setting.prompt_text or None)

    def synthesize(self, limit: int) -> int:
        said = self.model.synthesize(self.text, **self.asked(limit))
        return self.heard(said.samples, said.rate)

    def first_audio(self, limit: int) -> int:
        said = next(iter(self.model.stream(self.text, **self.asked(limit))))
        return self.heard(said.samples, said.rate)

    def asked(self, limit: int) -> dict[str, Any]:
        """What it is asked for beside the text."""
        return {"voice": self.prepared, **self.setting.options, **({"max_tokens": limit} if limit else {})}


if __name__ == "__main__":
    serve(SpeechOurs)
