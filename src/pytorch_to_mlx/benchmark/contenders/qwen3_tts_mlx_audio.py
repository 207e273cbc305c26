"""The PyPI package mlx-audio as a contender at Qwen3-TTS, in an environment of its own.

    python qwen3_tts_mlx_audio.py convert CHECKPOINT FOLDER DTYPE

writes upstream's files with tensors of that dtype, since it takes files as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_audio.tts.utils import load_model  # type: ignore[import-not-found]
from on_mlx import MlxContender
from qwen3_tts_serving import FIRST, OPTIONS, Qwen3TTSContender
from serving import Setting, Stopwatch, serve


class MlxAudio(MlxContender, Qwen3TTSContender):
    packages = ("mlx-audio", "mlx")
    options = OPTIONS

    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        self.model = load_model(Path(setting.model))
        self.model.talker = _Counted(self.model.talker, watch)

    def voice(self) -> bool:
        """It prepares none: a synthesis hears the recording, and keeps its codes for the next."""
        return False

    def synthesize(self, limit: int) -> int:
        return self.heard(np.concatenate(list(self._said(limit))), self.model.sample_rate)

    def first_audio(self, limit: int) -> int:
        said = next(self._said(limit, stream=True, streaming_interval=FIRST / 12.5))
        return self.heard(said, self.model.sample_rate)

    def _said(self, frames: int, **ways: Any) -> Iterator[np.ndarray]:
        self.watch.begin_tokens()
        for said in self.model.generate(self.text, max_tokens=frames or None, **self._voiced(), **ways):
            yield np.array(said.audio)

    def _voiced(self) -> dict[str, str | None]:
        told = self.setting
        language = told.options.get("language", "auto")
        return {"ref_audio": told.prompt, "ref_text": told.prompt_text or None, "lang_code": language}

    def batch(self, frames: int, rows: int) -> int:
        self.watch.begin_tokens()
        said = list(self.model.batch_generate(self.texts(rows), max_tokens=frames, **self._voiced()))
        mx.eval([each.audio for each in said])
        return min(each.audio.size for each in said)

    def decode(self, frames: int) -> int:
        codes = mx.array(np.random.default_rng(0).integers(1, 2048, size=(1, frames, 16)))
        audio, _ = self.model.speech_tokenizer.decode(codes)
        mx.eval(audio)
        return audio.size


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


def convert(checkpoint: Path, folder: Path, dtype: str) -> None:
    """A copy of a checkpoint whose tensors are of that dtype."""
    for source in (file for file in checkpoint.rglob("*") if file.is_file()):
        target = folder / source.relative_to(checkpoint)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix != ".safetensors":
            target.write_bytes(source.read_bytes())
            continue
        tensors: Any = mx.load(str(source))
        mx.save_safetensors(str(target), {name: each.astype(getattr(mx, dtype)) for name, each in tensors.items()})


if __name__ == "__main__":
    if sys.argv[1:2] == ["convert"]:
        convert(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    else:
        serve(MlxAudio)
