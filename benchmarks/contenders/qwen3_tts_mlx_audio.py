"""The PyPI package mlx-audio as a contender of benchmarks/qwen3_tts.py, in an environment of its own.

It loads upstream's files, in float32.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_audio.tts.utils import load_model  # type: ignore[import-not-found]
from on_mlx import MlxContender
from qwen3_tts_serving import FIRST, LANGUAGE, REF_TEXT, Qwen3TTSContender
from serving import Setting, Stopwatch, serve


class MlxAudio(MlxContender, Qwen3TTSContender):
    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        self.model = load_model(Path(setting.model))
        self.model.talker = _Counted(self.model.talker, watch)

    def voice(self) -> None:
        """It prepares none: each synthesis hears the recording again."""

    def synthesize(self, frames: int) -> int:
        return sum(said.audio.size for said in self._said(frames))

    def first_audio(self, frames: int) -> int:
        return next(self._said(frames, stream=True, streaming_interval=FIRST / 12.5)).audio.size

    def _said(self, frames: int, **ways: Any) -> Any:
        self.watch.begin_tokens()
        heard = {"ref_audio": self.setting.prompt, "ref_text": REF_TEXT, "lang_code": LANGUAGE}
        for said in self.model.generate(self.setting.text, max_tokens=frames, **heard, **ways):
            mx.eval(said.audio)
            yield said

    def batch(self, frames: int, rows: int) -> int:
        self.watch.begin_tokens()
        heard = {"ref_audio": self.setting.prompt, "ref_text": REF_TEXT, "lang_code": LANGUAGE}
        said = list(self.model.batch_generate(self.texts(rows), max_tokens=frames, **heard))
        mx.eval([each.audio for each in said])
        return min(each.audio.size for each in said)

    def decode(self, frames: int) -> int:
        codes = mx.array(np.random.default_rng(0).integers(1, 2048, size=(1, frames, 16)))
        audio, _ = self.model.speech_tokenizer.decode(codes)
        mx.eval(audio)
        return audio.size

    def facts(self) -> dict[str, Any]:
        return {"about": f"mlx-audio {version('mlx-audio')}, MLX {version('mlx')}, {mx.default_device()}"}


class _Counted:
    """A talker each of whose calls is a frame."""

    def __init__(self, talker: Any, watch: Stopwatch) -> None:
        self._talker, self._watch = talker, watch

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        logits, hidden = self._talker(*arguments, **named)
        mx.eval(logits, hidden)  # one evaluation more a frame than it makes itself
        self._watch.tick()
        return logits, hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._talker, name)


if __name__ == "__main__":
    serve(MlxAudio)
