"""The PyPI package mlx-audio as a contender at Chatterbox, in an environment of its own.

    python chatterbox_mlx_audio.py convert CHECKPOINT FOLDER DTYPE

converts upstream's checkpoint with mlx-audio's own converter, which finds every weight. It would fetch the checkpoint
from the Hub and read it with torch; both are replaced by reading the folder. So is its fetching of the S3 tokenizer,
whose weights are those of the checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import mlx.core as mx
import mlx_audio.tts.models.chatterbox.t3.t3 as t3_module  # type: ignore[import-not-found]
import numpy as np
from chatterbox_on_mlx import Endless, MlxChatterbox
from chatterbox_serving import OPTIONS, SPEECH_TOKENS
from mlx_audio.tts.models.chatterbox.chatterbox import punc_norm  # type: ignore[import-not-found]
from mlx_audio.tts.utils import load_model  # type: ignore[import-not-found]
from serving import Setting, Stopwatch, serve

TOKENIZER = "s3_tokenizer"
RATE = 24000


class MlxAudio(MlxChatterbox):
    packages = ("mlx-audio", "mlx")
    options = OPTIONS

    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        huggingface_hub.snapshot_download = lambda **_: f"{setting.model}/{TOKENIZER}"
        self.model = load_model(Path(setting.model))
        t3, s3gen = self.model.t3, self.model.s3gen
        if setting.exact:
            t3.speech_head = Endless(t3.speech_head, t3.hp.speech_tokens_dict_size)
        self._make_sampler, t3_module.make_sampler = t3_module.make_sampler, self._timed_sampler
        self._infer = t3.inference
        t3.inference = self._timed_inference
        watch.watch(s3gen.flow, "inference", "flow", mx.eval)
        watch.watch(s3gen.mel2wav, "inference", "vocoder", mx.eval)

    def _timed_inference(self, **named: Any) -> mx.array:
        self.watch.begin_tokens()
        return self._infer(**named)

    def _timed_sampler(self, **settings: Any) -> Any:
        draw = self._make_sampler(**settings)

        def timed(logits: mx.array) -> mx.array:
            token = draw(logits)
            mx.eval(token)  # as its caller does next
            self.watch.tick()
            return token

        return timed

    def voice(self) -> None:
        self.conds = self.model.prepare_conditionals(self.setting.prompt, 0)  # it reads the file at its own rate

    def synthesize(self, limit: int) -> int:
        told = {"conds": self.conds, **({"max_new_tokens": limit} if limit else {}), **self.setting.options}
        return self.heard(
            np.concatenate([np.array(said.audio) for said in self.model.generate(self.text, **told)]), RATE
        )

    def t3(self, tokens: int) -> None:
        hp = self.model.t3.hp
        ids = self.model.tokenizer.text_to_tokens(punc_norm(self.text))
        start, stop = (mx.full((1, 1), token, mx.int32) for token in (hp.start_text_token, hp.stop_text_token))
        ids = mx.concatenate([start, ids, stop], axis=1)
        choice = {name: value for name, value in self.setting.options.items() if name != "exaggeration"}
        self.model.t3.inference(
            t3_cond=self.conds.t3, text_tokens=mx.concatenate([ids, ids]), max_new_tokens=tokens, **choice
        )

    def flow(self, tokens: int) -> None:
        spoken = mx.array(np.random.default_rng(0).integers(SPEECH_TOKENS, size=(1, tokens)))
        mx.eval(self.model.s3gen.flow_inference(spoken, self.conds.gen, finalize=True))

    def vocoder(self, tokens: int) -> None:
        mx.eval(self.model.s3gen.hift_inference(mx.random.normal((1, 80, 2 * tokens))))


def convert(checkpoint: Path, folder: Path) -> None:
    """mlx-audio's converter on a folder."""
    import mlx_audio.tts.models.chatterbox.scripts.convert as converter  # type: ignore[import-not-found]
    from safetensors.numpy import load_file

    def tokenizer_weights(path: Path) -> dict[str, np.ndarray]:
        prefix = "tokenizer."
        return {n.removeprefix(prefix): array for n, array in load_file(path).items() if n.startswith(prefix)}

    converter.load_pytorch_safetensors = load_file
    converter.load_onnx_weights = tokenizer_weights
    converter.download_chatterbox_weights = lambda *_: checkpoint
    converter.download_s3tokenizer_onnx = lambda *_: checkpoint / "s3gen.safetensors"
    converter.convert_s3_tokenizer(folder / TOKENIZER)
    converter.convert_all("", folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["convert"]:
        convert(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        serve(MlxAudio)
