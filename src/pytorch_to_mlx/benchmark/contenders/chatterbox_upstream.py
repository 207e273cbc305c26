"""Upstream's PyTorch code as a contender at Chatterbox, in the environment of its reference."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
import torch.nn.functional as functional
from chatterbox.tts import ChatterboxTTS, punc_norm  # type: ignore  # in its own environment
from chatterbox_serving import NEVER, OPTIONS, SPEECH_TOKENS, ChatterboxContender
from on_torch import TorchContender
from serving import Setting, Stopwatch, serve


class Upstream(TorchContender, ChatterboxContender):
    options = OPTIONS

    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        self.model = ChatterboxTTS.from_local(setting.model, "cpu")
        self.tokens = 0
        t3, s3gen = self.model.t3, self.model.s3gen
        if setting.exact:
            mask = torch.zeros(t3.hp.speech_tokens_dict_size)
            mask[SPEECH_TOKENS:] = NEVER
            t3.speech_head.register_forward_hook(lambda _module, _inputs, logits: logits + mask)
        self._infer, t3.inference = t3.inference, self._timed_inference
        self._draw, torch.multinomial = torch.multinomial, self._timed_draw
        watch.watch(s3gen, "flow_inference", "flow")
        watch.watch(s3gen, "hift_inference", "vocoder")
        watch.watch(self.model.watermarker, "apply_watermark", "watermark")

    def _timed_inference(self, **named: Any) -> torch.Tensor:
        self.watch.begin_tokens()
        return self._infer(**named | ({"max_new_tokens": self.tokens} if self.tokens else {}))

    def _timed_draw(self, *arguments: Any, **named: Any) -> torch.Tensor:
        token = self._draw(*arguments, **named)
        self.watch.tick()
        return token

    @torch.inference_mode()
    def voice(self) -> None:
        self.model.prepare_conditionals(self.setting.prompt)

    def synthesize(self, limit: int) -> int:
        self.tokens = limit
        return self.heard(self.model.generate(self.text, **self.setting.options).flatten().numpy(), self.model.sr)

    @torch.inference_mode()
    def t3(self, tokens: int) -> None:
        self.tokens = tokens
        hp = self.model.t3.hp
        ids = self.model.tokenizer.text_to_tokens(punc_norm(self.text))
        ids = functional.pad(functional.pad(ids, (1, 0), value=hp.start_text_token), (0, 1), value=hp.stop_text_token)
        choice = {name: value for name, value in self.setting.options.items() if name != "exaggeration"}
        self.model.t3.inference(t3_cond=self.model.conds.t3, text_tokens=ids.repeat(2, 1), **choice)

    def flow(self, tokens: int) -> None:
        spoken = torch.randint(SPEECH_TOKENS, (tokens,))
        self.model.s3gen.flow_inference(spoken, ref_dict=self.model.conds.gen, finalize=True)

    def vocoder(self, tokens: int) -> None:
        self.model.s3gen.hift_inference(torch.randn(1, 80, 2 * tokens))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    serve(Upstream)
