"""ECAPA-TDNN, the speaker encoder of Qwen3-TTS, as qwen-tts computes it from 24 kHz.

Taps, in order, named by module paths relative to the network (T frames):

    mel              (T, 128)
    blocks.{i}, mfa  (1, C, T)
    asp.conv         (1, C, T)       whose bias makes no difference to what follows
    asp              (1, C, 1)
    embedding        (D,)
"""

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

import _seed
import numpy as np
import torch
from _recording import Recording, Taps, hooked, numpy

RATE = 24000


def record(recording: Recording, model: Any, *, small: bool) -> None:
    """Adds `speaker/short` and `speaker/control`."""
    network = model.speaker_encoder
    modules = [*(f"blocks.{i}" for i in range(len(network.blocks))), "mfa", "asp.conv", "asp"]
    seconds = {"short": 0.4 if small else 2.0, "control": 0.15}
    other = _run(model, _seed.speechlike(22, 1.0, RATE), [])["embedding"]
    for name, length in seconds.items():
        wav = _seed.speechlike(21, 1.0, RATE)[4800 : 4800 + round(length * RATE)]
        if name == "short":
            wav = _seed.speechlike(21, length, RATE)
        taps = _run(model, wav, modules)
        network.double()
        exact = _run(model, wav, modules)
        network.float()
        del exact["mel"]  # in float32, as upstream has it
        embedding = taps["embedding"]
        apart = float(np.linalg.norm(embedding - other) / np.linalg.norm(embedding))
        alive = {"nearest_distance": apart} if name == "short" else {}
        recording.add(f"speaker/{name}", inputs={"wav": wav}, taps=taps, exact=exact, alive=alive)


@torch.inference_mode()
def _run(model: Any, wav: np.ndarray, modules: Sequence[str]) -> Taps:
    """`extract_speaker_embedding`, in the precision of the network."""
    taps: Taps = {}

    def keep(name: str, output: torch.Tensor) -> None:
        taps[name] = numpy(output)

    def entering(_: torch.nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        keep("mel", args[0][0])
        return (args[0].to(next(network.parameters()).dtype),)

    network = model.speaker_encoder
    with contextlib.ExitStack() as stack:
        stack.callback(network.register_forward_pre_hook(entering).remove)
        for name in modules:
            stack.enter_context(hooked(network.get_submodule(name), functools.partial(keep, name)))
        taps["embedding"] = numpy(model.extract_speaker_embedding(wav, RATE))
    return taps
