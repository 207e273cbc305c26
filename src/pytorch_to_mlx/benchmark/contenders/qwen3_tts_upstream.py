"""Upstream's PyTorch code as a contender at Qwen3-TTS, in the environment of its reference."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import soundfile
import torch
from on_torch import TorchContender
from qwen3_tts_serving import OPTIONS, Qwen3TTSContender
from qwen_tts import Qwen3TTSModel  # type: ignore  # in its own environment
from serving import Setting, Stopwatch, serve


class Upstream(TorchContender, Qwen3TTSContender):
    options = OPTIONS

    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        self.model = Qwen3TTSModel.from_pretrained(setting.model, dtype=getattr(torch, setting.dtype))
        talker = self.model.model.talker
        self._generate, talker.generate = talker.generate, self._timed_generate
        predictor = talker.code_predictor
        self._predict, predictor.generate = predictor.generate, self._timed_predict

    def _timed_generate(self, **named: Any) -> Any:
        self.watch.begin_tokens()
        return self._generate(**named)

    def _timed_predict(self, **named: Any) -> Any:
        frame = self._predict(**named)
        self.watch.tick()
        return frame

    def voice(self) -> None:
        wav, rate = soundfile.read(self.setting.prompt, dtype="float32")
        text = self.setting.prompt_text or None
        self.prompt = self.model.create_voice_clone_prompt((wav, rate), ref_text=text, x_vector_only_mode=text is None)

    def synthesize(self, limit: int) -> int:
        (wav,), rate = self._say(limit, 1)
        return self.heard(wav, rate)

    def batch(self, frames: int, rows: int) -> int:
        wavs, _ = self._say(frames, rows)
        return min(wav.size for wav in wavs)

    def _say(self, frames: int, rows: int) -> tuple[list[Any], int]:
        told = {"voice_clone_prompt": self.prompt, **self.setting.options}
        limit = {"max_new_tokens": frames + 1} if frames else {}
        return self.model.generate_voice_clone(text=self.texts(rows), **told, **limit)

    def decode(self, frames: int) -> int:
        codes = torch.randint(2048, (frames, 16))
        wavs, _ = self.model.model.speech_tokenizer.decode([{"audio_codes": codes}])
        return wavs[0].size


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    serve(Upstream)
