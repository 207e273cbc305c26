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
        self._read, self._logits = self.decoder.network.decoder.read, self.decoder.network.decoder.logits
        self.decoder.network.decoder.read = self._timed_read
        self.decoder.network.decoder.logits = self._timed_logits
        self._first = False

    def _timed_read(self, tokens: mx.array, cache: Any, memory: Any) -> mx.array:
        self._first = tokens.shape[1] > 1
        if self._first:
            self.watch.begin_tokens()
        elif cache is not None:  # else it hears a language
            self.watch.tick()  # the loop waits for each token but the newest, so one more is known with each step
        return self._read(tokens, cache, memory)

    def _timed_logits(self, hidden: mx.array) -> mx.array:
        logits = self._logits(hidden)
        if self._first:
            mx.eval(logits)
        return logits

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
