"""This project as a contender at Whisper."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from serving import Setting, Stopwatch, serve
from transcription_ours import TranscriptionOurs
from whisper_serving import WhisperContender, endless, spectrum, states

from pytorch_to_mlx.models.whisper.decoding import Request
from pytorch_to_mlx.models.whisper.options import DecodingOptions


class Ours(TranscriptionOurs, WhisperContender):
    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        self.decoder = self.model.decoder
        watch.watch(self.decoder, "states", "encoder", mx.eval)
        self._read, self._drawn = self.decoder.network.decoder.read, 0
        self.decoder.network.decoder.read = self._timed_read

    def _timed_read(self, tokens: mx.array, cache: Any, memory: Any) -> mx.array:
        if tokens.shape[1] > 1:
            self.watch.begin_tokens()
            self._drawn = 0
        elif cache is not None:  # else it hears a language
            if not self._drawn:
                mx.eval(tokens)  # where tokens stay in MLX, the loop waits for each but the newest
            self._drawn += 1
            self.watch.tick()
        return self._read(tokens, cache, memory)

    def encode(self) -> int:
        made = self.decoder.states(mx.array(spectrum(self.model.config.n_mels)))
        mx.eval(made)
        return made.shape[1]

    def decode(self, tokens: int, beams: int) -> int:
        options = endless(self.decoder.vocabulary.eot, tokens, beams)
        language = options.pop("language")
        given = mx.array(states(self.model.config.n_audio_state))[0]
        request = Request(given, language, (), 0.0, DecodingOptions(**options), lambda *_: mx.zeros((1, 1)))
        return len(self.decoder.decode([request])[0].tokens)


if __name__ == "__main__":
    serve(Ours)
