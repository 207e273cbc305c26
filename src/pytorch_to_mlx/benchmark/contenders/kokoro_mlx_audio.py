"""The PyPI package mlx-audio as a contender at Kokoro, in an environment of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from kokoro_serving import OPTIONS, KokoroContender, drawn, style
from mlx_audio.tts.models.kokoro.kokoro import Model, ModelConfig  # type: ignore[import-not-found]
from on_mlx import MlxContender
from serving import Setting, Stopwatch, serve


class MlxAudio(MlxContender, KokoroContender):
    packages = ("mlx-audio", "mlx")
    options = OPTIONS

    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        folder = Path(setting.model)
        self.model: Any = Model(ModelConfig.from_dict(json.loads((folder / "config.json").read_text())))
        weights = self.model.sanitize(mx.load(str(folder / "model.safetensors")))
        self.model.load_weights(list(weights.items()), strict=False)  # as its own loader does
        self.model.eval()
        mx.eval(self.model.parameters())
        if speaker := setting.options.get("speaker"):
            voices: Any = mx.load(str(folder / "voices.safetensors"))
            self.styles = voices[speaker]
        watch.watch(self.model, "decoder", "sound", mx.eval)
        timed = self.model.decoder
        # What is lazy before the sound is computed before it, and counts to the frames.
        self.model.decoder = lambda *given: (mx.eval(given), timed(*given))[1]

    def say(self, line: str) -> np.ndarray:
        return np.array(self.model(line, self.styles[len(line) - 1])).flatten()

    def frames(self) -> int:
        seen: list[int] = []

        def counted(text: mx.array, *rest: mx.array) -> list[mx.array]:
            mx.eval(text, *rest)  # pitch and loudness are lazy, and belong to the frames
            seen.append(text.shape[-1])
            return [text]

        own, self.model.decoder = self.model.decoder, counted
        self.model(self.text, mx.array(style()))
        self.model.decoder = own
        return seen[0]

    def decode(self, frames: int) -> int:
        wav = self.model.decoder(*map(mx.array, drawn(frames)), mx.array(style())[:, :128])
        mx.eval(wav)
        return wav.size


if __name__ == "__main__":
    serve(MlxAudio)
