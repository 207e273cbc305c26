"""This project as a contender at Qwen3-TTS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from mlx.utils import tree_flatten
from qwen3_tts_serving import Qwen3TTSContender
from serving import Setting, Stopwatch, serve
from speech_ours import SpeechOurs

from pytorch_to_mlx.tasks import Utterance


class Ours(SpeechOurs, Qwen3TTSContender):
    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        self._draw = self.model.frames
        self.model.frames = self._timed_frames

    def _timed_frames(self, *arguments: Any, **named: Any) -> Iterator[np.ndarray]:
        self.watch.begin_tokens()
        for frame in self._draw(*arguments, **named):
            self.watch.tick()
            yield frame

    def batch(self, frames: int, rows: int) -> int:
        language = self.setting.options["language"]
        texts = enumerate(self.texts(rows))
        said = [Utterance(text, voice=self.prepared, language=language, seed=row) for row, text in texts]
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
        return {**super().facts(), "weights_per_token": read}


if __name__ == "__main__":
    serve(Ours)
