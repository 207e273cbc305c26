"""Upstream's PyTorch code as a contender at Kokoro, in the environment of its reference.

    python kokoro_upstream.py convert CHECKPOINT FOLDER DTYPE

writes the files that mlx-audio would be given: upstream's tensors by part and name, and its voices.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kokoro import KModel  # type: ignore  # in its own environment
from kokoro_serving import OPTIONS, KokoroContender, drawn, style
from on_torch import TorchContender
from serving import Setting, Stopwatch, serve

WEIGHTS = "kokoro-v1_0.pth"


class Upstream(TorchContender, KokoroContender):
    options = OPTIONS

    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        folder = Path(setting.model)
        self.model: Any = KModel(
            repo_id="hexgrad/Kokoro-82M", config=str(folder / "config.json"), model=str(folder / WEIGHTS)
        ).eval()
        if speaker := setting.options.get("speaker"):
            self.styles = torch.load(folder / "voices" / f"{speaker}.pt", weights_only=True)
        watch.watch(self.model.decoder, "forward", "sound")
        self._decoder = self.model.decoder.forward

    def say(self, line: str) -> np.ndarray:
        return self.model(line, self.styles[len(line) - 1]).numpy()

    @torch.inference_mode()
    def frames(self) -> int:
        seen: list[int] = []
        self.model.decoder.forward = lambda text, *rest: (seen.append(text.shape[-1]), torch.zeros(1))[1]
        self.model(self.text, torch.from_numpy(style()))
        self.model.decoder.forward = self._decoder
        return seen[0]

    @torch.inference_mode()
    def decode(self, frames: int) -> int:
        given = (torch.from_numpy(each) for each in drawn(frames))
        return self.model.decoder(*given, torch.from_numpy(style())[:, :128]).numel()


def convert(checkpoint: Path, folder: Path) -> None:
    """The files of mlx-audio's form."""
    from safetensors.torch import save_file

    folder.mkdir()
    parts = torch.load(checkpoint / WEIGHTS, weights_only=True)
    tensors = {
        f"{part}.{name.removeprefix('module.')}": tensor.contiguous()
        for part, state in parts.items()
        for name, tensor in state.items()
    }
    voices = {file.stem: torch.load(file, weights_only=True) for file in sorted(checkpoint.glob("voices/*.pt"))}
    save_file(tensors, folder / "model.safetensors")
    save_file(voices, folder / "voices.safetensors")
    shutil.copy(checkpoint / "config.json", folder)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    if sys.argv[1:2] == ["convert"]:
        convert(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        serve(Upstream)
