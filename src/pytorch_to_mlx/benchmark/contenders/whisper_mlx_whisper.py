"""The PyPI package mlx-whisper as a contender at Whisper, in an environment of its own."""

from __future__ import annotations

import sys
from typing import Any

import mlx.core as mx
import mlx_whisper  # type: ignore[import-not-found]
from on_mlx import MlxContender
from serving import Setting, Stopwatch, serve
from whisper_serving import WhisperContender, endless, read, spectrum, states


class MlxWhisper(MlxContender, WhisperContender):
    packages = ("mlx-whisper", "mlx")

    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        # The package's function hides the module of the same name.
        holder: Any = sys.modules["mlx_whisper.transcribe"]
        self.half = setting.dtype == "float16"
        self.model: Any = holder.ModelHolder.get_model(setting.model, mx.float16 if self.half else mx.float32)
        watch.watch(self.model, "encoder", "encoder", mx.eval)
        self._decoder = self.model.decoder
        self._drawn = 0
        self.model.decoder = self._timed

    def _timed(self, tokens: Any, states: Any, kv_cache: Any = None) -> Any:
        first = kv_cache is None and tokens.shape[1] > 1
        if first:
            self.watch.begin_tokens()
            self._drawn = 0
        elif kv_cache is not None:
            if not self._drawn:
                mx.eval(tokens)  # the loop waits for each token but the newest, so one more is known with each step
            self._drawn += 1
            self.watch.tick()
        return self._decoder(tokens, states, kv_cache=kv_cache)

    def transcribe(self, path: str) -> str:
        options = {**self.setting.options}
        if "temperature" in options:
            options["temperature"] = tuple(options["temperature"])
        return mlx_whisper.transcribe(read(path), path_or_hf_repo=self.setting.model, fp16=self.half, **options)["text"]

    def encode(self) -> int:
        made = self.model.encoder(mx.array(spectrum(self.model.dims.n_mels)))
        mx.eval(made)
        return made.shape[1]

    def decode(self, tokens: int, beams: int) -> int:
        if beams:
            return 0  # it says that it has no such search yet
        end = mlx_whisper.decoding.get_tokenizer(
            self.model.is_multilingual, num_languages=self.model.num_languages, language="en", task="transcribe"
        ).eot
        options = mlx_whisper.decoding.DecodingOptions(fp16=self.half, **endless(end, tokens, beams))
        given = mx.array(states(self.model.dims.n_audio_state))
        (found,) = self.model.decode(given.astype(mx.float16) if self.half else given, options)
        return len(found.tokens)


if __name__ == "__main__":
    serve(MlxWhisper)
