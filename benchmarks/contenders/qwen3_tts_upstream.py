"""Upstream's PyTorch code as a contender of benchmarks/qwen3_tts.py, in the environment of its reference."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import soundfile
import torch
from on_torch import TorchContender
from qwen3_tts_serving import LANGUAGE, REF_TEXT, Qwen3TTSContender
from serving import Setting, Stopwatch, serve


class Upstream(TorchContender, Qwen3TTSContender):
    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        from qwen_tts import Qwen3TTSModel  # type: ignore  # in its own environment; it prints when imported

        super().__init__(setting, watch)
        self.model = Qwen3TTSModel.from_pretrained(setting.model, dtype=torch.float32)
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
        self.prompt = self.model.create_voice_clone_prompt((wav, rate), ref_text=REF_TEXT)

    def synthesize(self, frames: int) -> int:
        return self._say(frames, 1)

    def batch(self, frames: int, rows: int) -> int:
        return self._say(frames, rows)

    def _say(self, frames: int, rows: int) -> int:
        texts = self.texts(rows)
        told = {"language": LANGUAGE, "voice_clone_prompt": self.prompt, "max_new_tokens": frames + 1}
        wavs, _ = self.model.generate_voice_clone(text=texts, **told)
        return min(wav.size for wav in wavs)

    def decode(self, frames: int) -> int:
        codes = torch.randint(2048, (frames, 16))
        wavs, _ = self.model.model.speech_tokenizer.decode([{"audio_codes": codes}])
        return wavs[0].size


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    serve(Upstream)
