"""Upstream's PyTorch code as a contender of benchmarks/kokoro.py, in the environment of its reference."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from kokoro_serving import KokoroContender, drawn, style
from on_torch import TorchContender
from serving import Setting, Stopwatch, serve


class Upstream(TorchContender, KokoroContender):
    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        from kokoro import KModel  # type: ignore  # in its own environment

        super().__init__(setting, watch)
        folder = Path(setting.model)
        self.model: Any = KModel(
            repo_id="hexgrad/Kokoro-82M", config=str(folder / "config.json"), model=str(folder / "kokoro-v1_0.pth")
        ).eval()
        self._decoder = self.model.decoder.forward

    @torch.inference_mode()
    def frames(self) -> int:
        seen: list[int] = []
        self.model.decoder.forward = lambda text, *rest: (seen.append(text.shape[-1]), torch.zeros(1))[1]
        self.model(self.setting.text, torch.from_numpy(style()))
        self.model.decoder.forward = self._decoder
        return seen[0]

    @torch.inference_mode()
    def decode(self, frames: int) -> int:
        given = (torch.from_numpy(each) for each in drawn(frames))
        return self.model.decoder(*given, torch.from_numpy(style())[:, :128]).numel()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    serve(Upstream)
