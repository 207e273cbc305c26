"""HiFT, the vocoder of Chatterbox's S3Gen (`mel2wav`), as upstream computes it from a mel spectrum.

Taps of a case, in order, named by module paths relative to the network (T frames, N = 480 T samples); small recordings
and the control keep some of them:

    f0_predictor.condnet.{0,2,4,6,8}  (1, 512, T)
    f0_predictor                      (1, T)       Hz
    m_source.l_sin_gen                (1, 9, N)    from the recorded F0, phases and noise
    m_source                          (1, N, 1)    the source
    conv_pre                          (1, 512, T)  from here on from the recorded source
    ups.{i}, source_downs.{i}, source_resblocks.{i}, resblocks.{3i}, .{3i + 1}, .{3i + 2}  (1, C, L) for i = 0, 1, 2
    conv_post                         (1, 18, N / 4 + 1)
    wav                               (1, N)

F0 and source are replayed: float32 does not determine a phase that accumulates over thousands of samples, not even
upstream's own.
"""

import contextlib
import copy
import functools
import types
from collections.abc import Sequence
from typing import Any

import _seed
import numpy as np
import torch
from _recording import Recording, Taps, default_dtype, hooked, numpy, replaced
from chatterbox.models.s3gen import hifigan
from chatterbox.models.s3gen.utils.mel import mel_spectrogram

RATE, HOP, HARMONICS = 24000, 480, 9
VOICE = (80, 400)  # Hz

STAGES = [
    [f"ups.{i}", f"source_downs.{i}", f"source_resblocks.{i}", *(f"resblocks.{3 * i + j}" for j in range(3))]
    for i in range(3)
]
ENDS = ["f0_predictor", "m_source", "conv_post"]  # these notice a change of any parameter
ALL = [
    *(f"f0_predictor.condnet.{i}" for i in range(0, 10, 2)),
    "f0_predictor",
    "m_source.l_sin_gen",
    "m_source",
    "conv_pre",
    *(name for stage in STAGES for name in stage),
    "conv_post",
]
SMALL = [*ENDS, "f0_predictor.condnet.0", "conv_pre", "ups.0", "source_downs.0", "source_resblocks.0", "resblocks.2"]


def record(recording: Recording, network: torch.nn.Module, *, small: bool) -> None:
    """Adds `hift/short`, a second of speech-like sound, and `hift/control`, two frames of which one is unvoiced."""
    mel, other = (mel_spectrogram(torch.from_numpy(_seed.speechlike(seed, 1.0, RATE))[None]) for seed in (1, 2))
    frames = slice(10, 13) if small else slice(None)
    mel, other = mel[..., frames], other[..., frames]
    with torch.inference_mode():
        f0 = network.f0_predictor(mel)
    voiced = np.mean(numpy((f0 > VOICE[0]) & (f0 < VOICE[1])))
    _add(recording, network, "hift/short", mel, f0, SMALL if small else ALL, {"voiced": voiced}, other)
    f0 = torch.tensor([[0.0, 310.0]])
    _add(recording, network, "hift/control", mel[..., :2], f0, ENDS, {}, other[..., :2])


def _add(
    recording: Recording,
    network: torch.nn.Module,
    case: str,
    mel: torch.Tensor,
    f0: torch.Tensor,
    wanted: Sequence[str],
    alive: dict[str, float],
    other: torch.Tensor,
) -> None:
    """Adds a case. `other` is another mel spectrum: with the same source it must sound different."""
    samples = mel.shape[-1] * HOP
    stream = _seed.NoiseStream(0, case)  # in upstream's order; a last draw, (1, 1, N), reaches no output
    noise = {
        "phase": np.float32(np.pi) * (2 * stream.uniform((1, HARMONICS, 1)) - 1),
        "noise": stream.normal((1, HARMONICS, samples)),
    }
    with torch.inference_mode(), _replayed(noise):
        source = _excite(network, f0)
    inputs = {"mel": mel, "f0": f0, "source": source}
    taps = _run(network, inputs, noise, wanted)

    double = copy.deepcopy(network).double()
    double.stft_window = double.stft_window.double()  # a plain attribute, which `double` leaves as it is
    with default_dtype(torch.float64):
        exact = _run(double, {name: value.double() for name, value in inputs.items()}, noise, wanted)

    wav = taps["wav"]
    elsewhere = _run(network, inputs | {"mel": other}, noise, [])["wav"]
    alive = alive | {
        "loudness": np.sqrt(np.mean(wav**2)),
        "unclipped": np.mean(np.abs(wav) < network.audio_limit),
        "wav_distance": np.linalg.norm(wav - elsewhere) / np.linalg.norm(wav),
    }
    recorded = {name: numpy(value) for name, value in inputs.items()}
    recording.add(case, inputs=recorded, noise=noise, taps=taps, exact=exact, alive=alive)


def _run(network: torch.nn.Module, inputs: dict[str, torch.Tensor], noise: Taps, wanted: Sequence[str]) -> Taps:
    """F0 of the mel spectrum, the source of the given F0, the waveform of the given source."""
    seen: Taps = {}

    def keep(name: str, output: Any) -> None:
        # Upstream adds to some outputs in place later on; `numpy` copies.
        seen[name] = numpy(output[0] if isinstance(output, tuple) else output)

    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(_replayed(noise))
        for name in wanted:
            stack.enter_context(hooked(network.get_submodule(name), functools.partial(keep, name)))
        network.f0_predictor(inputs["mel"])
        _excite(network, inputs["f0"])
        seen["wav"] = numpy(network.decode(inputs["mel"], inputs["source"]))
    return seen


def _excite(network: torch.nn.Module, f0: torch.Tensor) -> torch.Tensor:
    """Hz (1, T) to the source (1, 1, 480 T), as upstream's `inference` has it between its two networks."""
    return network.m_source(network.f0_upsamp(f0[:, None]).transpose(1, 2))[0].transpose(1, 2)


@contextlib.contextmanager
def _replayed(noise: Taps) -> Any:
    """Within the block, upstream draws the recorded phases and noise, and zeros where the draw has no effect."""

    def uniform(**_: float) -> Any:
        return types.SimpleNamespace(sample=lambda sample_shape: torch.from_numpy(noise["phase"].copy()))

    def normal(like: torch.Tensor) -> torch.Tensor:
        if like.shape != noise["noise"].shape:
            return torch.zeros_like(like)
        return torch.from_numpy(noise["noise"]).to(like.dtype)

    with replaced(hifigan, "Uniform", lambda _: uniform), replaced(torch, "randn_like", lambda _: normal):
        yield
