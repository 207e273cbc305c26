"""This project as a contender at the 25 Hz tokenizer of Qwen3-TTS."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
from on_mlx import MlxContender
from qwen3_25hz_serving import TokenizerContender, drawn
from serving import Setting, Stopwatch, serve

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.components.qwen3_25hz.model import KIND, Qwen3Tokenizer25Model
from pytorch_to_mlx.loading import load
from pytorch_to_mlx.tasks import Voice


class Ours(MlxContender, TokenizerContender):
    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        self.model: Qwen3Tokenizer25Model = load(Path(setting.model))
        self.audio = Audio.read(setting.prompt)
        decoder = self.model.network.decoder
        watch.watch(decoder, "dit", "spectrum", mx.eval)
        watch.watch(decoder.bigvgan, "in_pieces", "vocoder", mx.eval)

    def encode(self) -> int:
        return len(self.model.tokenize(self.audio))

    def decode(self, codes: int) -> int:
        said, xvector, ref_mel = drawn(codes)
        voice = Voice(KIND, {"xvector": xvector, "ref_mel": ref_mel})
        return self.model.decode(said, voice).samples.size


if __name__ == "__main__":
    serve(Ours)
