"""This project as a contender of benchmarks/chatterbox.py."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from chatterbox_on_mlx import Endless, MlxChatterbox
from chatterbox_serving import CHOICE, SPEECH_TOKENS
from mlx.utils import tree_flatten
from serving import Setting, Stopwatch, serve

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.loading import load
from pytorch_to_mlx.models.chatterbox.model import ChatterboxModel
from pytorch_to_mlx.models.chatterbox.voice import Speaker
from pytorch_to_mlx.noise import SeededNoise


class Ours(MlxChatterbox):
    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        self.model: ChatterboxModel = load(Path(setting.model))
        t3: Any = self.model.network.t3
        read: Any = tree_flatten([t3.tfmr.parameters(), t3.speech_head.parameters()])
        self.weights_per_token = sum(array.nbytes for _, array in read)
        t3.speech_head = Endless(t3.speech_head, t3.config.speech_vocabulary)
        self._draw = self.model.tokens
        self.model.tokens = self._timed_tokens
        watch.watch(self.model.vocaliser, "mel", "flow", mx.eval)
        watch.watch(self.model.vocaliser, "waveform", "vocoder", mx.eval)
        watch.watch(self.model, "apply", "watermark")

    def _timed_tokens(self, *arguments: Any, **named: Any) -> Iterator[int]:
        self.watch.begin_tokens()
        for token in self._draw(*arguments, **named):
            self.watch.tick()
            yield token

    def voice(self) -> None:
        self.prepared = self.model.prepare_voice(Audio.read(self.setting.prompt))
        self.speaker = Speaker.of(self.prepared, self.model.config.voice)

    def synthesize(self, tokens: int) -> int:
        return self.speak_parts(tokens, 1)

    def speak_parts(self, tokens: int, parts: int) -> int:
        """As `synthesize`, for so many paragraphs, each of which is said in a pass of its own."""
        text = "\n\n".join([self.setting.text] * parts)
        return self.model.synthesize(text, voice=self.prepared, max_tokens=tokens, **CHOICE).samples.size

    def first_audio(self, tokens: int) -> int:
        pieces = self.model.stream(self.setting.text, voice=self.prepared, max_tokens=tokens, **CHOICE)
        return next(iter(pieces)).samples.size

    def t3(self, tokens: int) -> None:
        list(self.model.tokens(self.setting.text, self.speaker, SeededNoise(0), max_tokens=tokens))

    def flow(self, tokens: int) -> None:
        spoken = np.random.default_rng(0).integers(SPEECH_TOKENS, size=tokens)
        self.model.vocaliser.mel(spoken.tolist(), self.speaker, SeededNoise(0))

    def vocoder(self, tokens: int) -> None:
        self.model.vocaliser.waveform(mx.random.normal((1, 2 * tokens, 80)), SeededNoise(0))

    def facts(self) -> dict[str, Any]:
        about = f"MLX {version('mlx')}, {mx.default_device()}"
        return {"about": about, "weights_per_token": self.weights_per_token}


if __name__ == "__main__":
    serve(Ours)
