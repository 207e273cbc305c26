"""The PyPI package mlx-audio as a contender of benchmarks/kokoro.py, in an environment of its own."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
from kokoro_serving import KokoroContender, drawn, style
from mlx_audio.tts.models.kokoro.kokoro import Model, ModelConfig  # type: ignore[import-not-found]
from on_mlx import MlxContender
from serving import Setting, Stopwatch, serve


class MlxAudio(MlxContender, KokoroContender):
    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        folder = Path(setting.model)
        self.model: Any = Model(ModelConfig.from_dict(json.loads((folder / "config.json").read_text())))
        weights = self.model.sanitize(mx.load(str(folder / "model.safetensors")))
        self.model.load_weights(list(weights.items()), strict=False)  # as its own loader does
        self.model.eval()
        mx.eval(self.model.parameters())

    def frames(self) -> int:
        seen: list[int] = []
        own, self.model.decoder = self.model.decoder, lambda text, *rest: (seen.append(text.shape[-1]), [text])[1]
        self.model(self.setting.text, mx.array(style()))
        self.model.decoder = own
        return seen[0]

    def decode(self, frames: int) -> int:
        wav = self.model.decoder(*map(mx.array, drawn(frames)), mx.array(style())[:, :128])
        mx.eval(wav)
        return wav.size

    def facts(self) -> dict[str, Any]:
        return {"about": f"mlx-audio {version('mlx-audio')}, MLX {version('mlx')}, {mx.default_device()}"}


if __name__ == "__main__":
    serve(MlxAudio)
