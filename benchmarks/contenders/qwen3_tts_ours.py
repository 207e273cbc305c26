"""This project as a contender of benchmarks/qwen3_tts.py."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from on_mlx import MlxContender
from qwen3_tts_serving import LANGUAGE, REF_TEXT, Qwen3TTSContender
from serving import Setting, Stopwatch, serve

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.loading import load
from pytorch_to_mlx.models.qwen3_tts.model import Qwen3TTSModel
from pytorch_to_mlx.tasks import Utterance


class Ours(MlxContender, Qwen3TTSContender):
    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        self.model: Qwen3TTSModel = load(Path(setting.model))
        self._draw = self.model.frames
        self.model.frames = self._timed_frames  # type: ignore[method-assign]

    def _timed_frames(self, *arguments: Any, **named: Any) -> Iterator[np.ndarray]:
        self.watch.begin_tokens()
        for frame in self._draw(*arguments, **named):
            self.watch.tick()
            yield frame

    def voice(self) -> None:
        self.prepared = self.model.prepare_voice(Audio.read(self.setting.prompt), REF_TEXT)

    def synthesize(self, frames: int) -> int:
        text = self.setting.text
        return self.model.synthesize(text, voice=self.prepared, language=LANGUAGE, max_tokens=frames).samples.size

    def first_audio(self, frames: int) -> int:
        pieces = self.model.stream(self.setting.text, voice=self.prepared, language=LANGUAGE, max_tokens=frames)
        return next(iter(pieces)).samples.size

    def batch(self, frames: int, rows: int) -> int:
        texts = enumerate(self.texts(rows))
        said = [Utterance(text, voice=self.prepared, language=LANGUAGE, seed=row) for row, text in texts]
        return min(each.samples.size for each in self.model.synthesize_all(said, max_tokens=frames))

    def decode(self, frames: int) -> int:
        codes = np.random.default_rng(0).integers(2048, size=(frames, 16))
        return self.model.codec.decode(codes).samples.size

    def facts(self) -> dict[str, Any]:
        talker: Any = self.model.network.talker
        places = talker.config.codes - 1  # how often the code predictor is read for a frame
        once: Any = tree_flatten([talker.model.layers, talker.codec_head, talker.code_predictor.lm_head])
        often: Any = tree_flatten(talker.code_predictor.model.layers)
        read = sum(array.nbytes for _, array in once) + places * sum(array.nbytes for _, array in often)
        return {"about": f"MLX {version('mlx')}, {mx.default_device()}", "weights_per_token": read}


if __name__ == "__main__":
    serve(Ours)
