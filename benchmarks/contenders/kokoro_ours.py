"""This project as a contender of benchmarks/kokoro.py."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from kokoro_serving import KokoroContender, drawn, style
from on_mlx import MlxContender
from serving import Setting, Stopwatch, serve

from pytorch_to_mlx.loading import load
from pytorch_to_mlx.models.kokoro.model import KokoroModel
from pytorch_to_mlx.models.kokoro.network import Frames
from pytorch_to_mlx.noise import SeededNoise


class Ours(MlxContender, KokoroContender):
    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        self.model: KokoroModel = load(Path(setting.model))

    def frames(self) -> int:
        tokens = [0, *(self.model.config.vocab[each] for each in self.setting.text), 0]
        made = self.model.network.frames(mx.array([tokens]), mx.array(style()))
        mx.eval(made.asr, made.pitch, made.loudness)
        return made.asr.shape[1]

    def decode(self, frames: int) -> int:
        text, pitch, loudness = (mx.array(each) for each in drawn(frames))
        made = Frames(np.ones(1), text.swapaxes(1, 2), pitch, loudness)
        noise = SeededNoise(0).normal("source", 0, 2 * frames, (self.model.frame // 2, 9)).reshape(1, -1, 9)
        return np.array(self.model.network.sound(made, mx.array(style()), noise)).size

    def facts(self) -> dict[str, Any]:
        return {"about": f"MLX {version('mlx')}, {mx.default_device()}"}


if __name__ == "__main__":
    serve(Ours)
