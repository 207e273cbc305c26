"""CAM++, the speaker encoder of Chatterbox's S3Gen (`speaker_encoder`), as upstream computes it from 16 kHz.

Taps of a case, in order, named by module paths relative to the network (T frames of 10 ms, t = ceil(T / 2)):

    features                    (T, 80)         Kaldi's filterbank, mean over time subtracted
    head.bn1                    (1, 32, 80, T)
    head.layer{1,2}.{0,1}       (1, 32, 40 or 20, T)
    head                        (1, 320, T)
    xvector.tdnn                (1, 128, t)
    xvector.block{b}.tdnnd{n}   (1, 32, t)
    xvector.transit{b}          (1, C, t)
    xvector.out_nonlinear       (1, 512, t)
    xvector.stats               (1, 1024)       mean and standard deviation over time
    xvector.dense, embedding    (1, 192)

The control's recording is a fifth of a second long; it and small recordings keep a few taps.
"""

import contextlib
import copy
import functools
from collections.abc import Sequence
from typing import Any

import _seed
import numpy as np
import torch
from _recording import Recording, Taps, default_dtype, hooked, numpy
from chatterbox.models.s3gen.xvector import extract_feature

RATE = 16000
SECONDS = {"short": 1.1, "long": 2.4}  # in one and in two segments of 100 frames, after halving

BLOCKS = {1: 12, 2: 24, 3: 16}
ALL = [
    "head.bn1",
    *(f"head.layer{layer}.{block}" for layer in (1, 2) for block in (0, 1)),
    "head",
    "xvector.tdnn",
    *(
        name
        for block, layers in BLOCKS.items()
        for name in (*(f"xvector.block{block}.tdnnd{n + 1}" for n in range(layers)), f"xvector.transit{block}")
    ),
    "xvector.out_nonlinear",
    "xvector.stats",
    "xvector.dense",
]
SMALL = [
    "head",
    "xvector.tdnn",
    "xvector.transit1",
    "xvector.transit2",
    "xvector.transit3",
    "xvector.stats",
    "xvector.dense",
]
CONTROL = ["xvector.transit1", "xvector.stats", "xvector.dense"]


def record(recording: Recording, network: torch.nn.Module, *, small: bool) -> None:
    """Adds `campplus/short`, `campplus/long` (not if small) and `campplus/control`."""
    double = copy.deepcopy(network).double()
    seconds = {"short": 0.45} if small else SECONDS
    wavs = {name: _seed.speechlike(seed, length, RATE) for seed, (name, length) in enumerate(seconds.items(), 11)}
    other = _embedding(network, _seed.speechlike(10, 1.0, RATE))
    for name, wav in wavs.items():
        _add(recording, network, double, f"campplus/{name}", wav, SMALL if small else ALL, other)
    _add(recording, network, double, "campplus/control", _seed.speechlike(13, 0.2, RATE), CONTROL, other)


def _add(
    recording: Recording,
    network: torch.nn.Module,
    double: torch.nn.Module,
    case: str,
    wav: np.ndarray,
    wanted: Sequence[str],
    other: np.ndarray,
) -> None:
    taps = _run(network, wav, wanted)
    with default_dtype(torch.float64):
        exact = _run(double, wav.astype(np.float64), wanted)
    embedding = taps["embedding"]
    alive = {
        "nearest_distance": np.linalg.norm(embedding - other) / np.linalg.norm(embedding),
    }
    if not case.endswith("control"):  # a fifth of a second hardly varies
        alive["varied"] = np.mean(taps["xvector.stats"][:, 512:])  # standard deviations over time
    recording.add(case, inputs={"wav": wav}, taps=taps, exact=exact, alive=alive)


def _run(network: torch.nn.Module, wav: np.ndarray, wanted: Sequence[str]) -> Taps:
    seen: Taps = {}

    def keep(name: str, output: Any) -> None:
        seen[name] = numpy(output)

    audio = torch.from_numpy(wav)[None]
    with contextlib.ExitStack() as stack, torch.inference_mode():
        for name in wanted:
            stack.enter_context(hooked(network.get_submodule(name), functools.partial(keep, name)))
        features, *_ = extract_feature(audio)
        seen["features"] = numpy(features[0])
        seen["embedding"] = numpy(network(features))
    return seen


def _embedding(network: torch.nn.Module, wav: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return numpy(network.inference(torch.from_numpy(wav)[None]))
