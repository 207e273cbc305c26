"""This project as a contender at Kokoro."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from kokoro_serving import KokoroContender, drawn, style
from serving import Setting, Stopwatch, serve
from speech_ours import SpeechOurs

from pytorch_to_mlx.models.kokoro.network import Frames
from pytorch_to_mlx.noise import SeededNoise


class Ours(KokoroContender, SpeechOurs):
    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        # What is lazy before the sound is computed before it, and counts to the frames.
        watch.watch(
            self.model.network, "frames", "evaluated", lambda made: mx.eval(made.asr, made.pitch, made.loudness)
        )
        watch.watch(self.model.network, "sound", "sound", mx.eval)

    def say(self, line: str) -> np.ndarray:
        said = self.model.synthesize(line, **self.setting.options).samples
        self.watch.spans.pop("evaluated")
        return said

    def frames(self) -> int:
        tokens = [0, *(self.model.config.vocab[each] for each in self.text), 0]
        return self.model.network.frames(mx.array([tokens]), mx.array(style())).asr.shape[1]

    def decode(self, frames: int) -> int:
        text, pitch, loudness = (mx.array(each) for each in drawn(frames))
        made = Frames(np.ones(1), text.swapaxes(1, 2), pitch, loudness)
        noise = SeededNoise(0).normal("source", 0, 2 * frames, (self.model.frame // 2, 9)).reshape(1, -1, 9)
        return np.array(self.model.network.sound(made, mx.array(style()), noise)).size


if __name__ == "__main__":
    serve(Ours)
