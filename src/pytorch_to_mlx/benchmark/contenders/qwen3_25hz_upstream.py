"""Upstream's PyTorch code as a contender at the 25 Hz tokenizer of Qwen3-TTS, in the environment of its reference."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from on_torch import TorchContender
from qwen3_25hz_serving import TokenizerContender, drawn
from qwen_tts.core import (  # type: ignore  # in its own environment
    Qwen3TTSTokenizerV1Config,
    Qwen3TTSTokenizerV1Model,
)
from safetensors.torch import load_file
from serving import Setting, Stopwatch, serve


class Upstream(TorchContender, TokenizerContender):
    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        folder = Path(setting.model)
        config = Qwen3TTSTokenizerV1Config(**json.loads((folder / "config.json").read_text()))
        self.model: Any = Qwen3TTSTokenizerV1Model(config).eval()  # its own loader wants CAM++, which is not used here
        self.model.load_state_dict(load_file(folder / "model.safetensors"))
        self.samples = np.float32(soundfile.read(setting.prompt)[0])
        watch.watch(self.model.decoder.dit, "sample", "spectrum")
        watch.watch(self.model.decoder.bigvgan, "forward", "vocoder")

    @torch.inference_mode()
    def encode(self) -> int:
        (mel,) = self.model.encoder.speech2mel([torch.from_numpy(self.samples)])
        codes, _ = self.model.encoder.mel2code([mel])
        return len(codes[0])

    @torch.inference_mode()
    def decode(self, codes: int) -> int:
        said, xvector, ref_mel = (torch.from_numpy(each)[None] for each in drawn(codes))
        (wav,) = self.model.decode(said, xvector, ref_mel).audio_values
        return wav.numel()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    serve(Upstream)
