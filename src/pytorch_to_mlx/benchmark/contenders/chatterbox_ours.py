"""This project as a contender at Chatterbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np
from chatterbox_on_mlx import Endless, MlxChatterbox
from chatterbox_serving import SPEECH_TOKENS
from mlx.utils import tree_flatten
from serving import Setting, Stopwatch, serve
from speech_ours import SpeechOurs

from pytorch_to_mlx.models.chatterbox.voice import Speaker
from pytorch_to_mlx.noise import SeededNoise


class Ours(SpeechOurs, MlxChatterbox):
    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        t3: Any = self.model.network.t3
        read: Any = tree_flatten([t3.tfmr.parameters(), t3.speech_head.parameters()])
        self.weights_per_token = sum(array.nbytes for _, array in read)
        if setting.exact:
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

    def speak_parts(self, tokens: int, parts: int) -> int:
        """As `synthesize`, for so many paragraphs, each of which is said in a pass of its own."""
        self.text = "\n\n".join([self.text] * parts)
        return self.synthesize(tokens)

    @property
    def speaker(self) -> Speaker:
        """Of the prepared voice."""
        return Speaker.of(self.prepared, self.model.config.voice)

    def t3(self, tokens: int) -> None:
        list(self.model.tokens(self.text, self.speaker, SeededNoise(0), max_tokens=tokens))

    def flow(self, tokens: int) -> None:
        spoken = np.random.default_rng(0).integers(SPEECH_TOKENS, size=tokens)
        self.model.vocaliser.mel(spoken.tolist(), self.speaker, SeededNoise(0))

    def vocoder(self, tokens: int) -> None:
        self.model.vocaliser.waveform(mx.random.normal((1, 2 * tokens, 80)), SeededNoise(0))

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "weights_per_token": self.weights_per_token}


if __name__ == "__main__":
    serve(Ours)
