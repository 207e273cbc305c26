"""Perth, the watermarker of Chatterbox, as resemble-perth 1.0.1 computes it.

Each case marks its recording, and tells whether the recording as given is marked: the case `marked` is given what
upstream marked. Taps, in order (T frames of 10 ms at 32 kHz; small recordings have layers of the control only):

    resampled                      (samples,)      at 32 kHz, only where the recording has another rate
    subband                        (128, T)        normalised decibels up to 2 kHz
    mask                           (T,)            which frames count
    encoder.layers.{0-6}           (1, C, T)       the modules' outputs
    residual                       (128, T)        what the encoder adds
    marked                         (320 (T - 1),)  at 32 kHz
    watermarked                    (samples,)      at the recording's rate
    detect/resampled, subband, mask                the same for the decoder; upstream resamples otherwise here
    decoder.BRANCH_layers.{0-6}    (1, C, T')      of the branches slow, normal and fast, each of its own T'
    branches                       (3, 1, 2)       attention and confidence of each branch
    confidence                     (1,)            before it is cut off at 0 and 1
"""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import _seed
import numpy as np
import perth.perth_net.perth_net_implicit.audio_processor as audio_processor
import perth.perth_net.perth_net_implicit.model.decoder as perth_decoder
import perth.perth_net.perth_net_implicit.perth_watermarker as perth_watermarker
import torch
from _recording import Case, Recording, Taps, hooked, numpy, observed, replaced

RATE = 32000
SUBBAND = 128
LONGEST = 30  # seconds of a recording: layers take 9 MB each second
BRANCHES = ("slow_layers", "normal_layers", "fast_layers")


def record(recording: Recording, network: torch.nn.Module, *, small: bool, audio: Sequence[Case] = ()) -> None:
    """Adds `perth/control` (5 frames), `perth/short`, which ends in silence, `perth/marked`, and each of `audio`."""
    spoken = Case.speechlike("short", seed=3, seconds=0.06 if small else 1.5, rate=RATE)
    short = Case(spoken.name, np.concatenate([spoken.wav, np.zeros(2000 if small else 8000, np.float32)]), RATE)
    # Noise leaves no bin empty: in few frames, the largest float32 error in one would be a matter of luck.
    noise = 0.1 * _seed.generator(0, "perth.control").standard_normal(960).astype(np.float32)
    control = Case("control", _seed.speechlike(4, 0.04, 24000) + noise, 24000)
    clean = Case.speechlike("clean", seed=5, seconds=0.06 if small else 1.5, rate=44100)
    marked = Case("marked", _marked(network, clean.wav, clean.rate)["watermarked"], clean.rate)
    double = copy.deepcopy(network).double()
    starts = [replace(case, wav=case.wav[: LONGEST * case.rate]) for case in audio]
    for case in (control, short, marked, *starts):
        taps = _marked(network, case.wav, case.rate) | _detected(network, case.wav, case.rate)
        wav = case.wav.astype(np.float64)
        exact = _marked(double, wav, case.rate) | _detected(double, wav, case.rate)
        if small and case is not control:
            taps = {name: tap for name, tap in taps.items() if "layers" not in name}
        change = taps["watermarked"] - case.wav[: taps["watermarked"].size]
        alive = {"marked_fraction": taps["mask"].mean(), "strength": _rms(change) / _rms(case.wav)}
        if case is marked:
            told = _detected(network, clean.wav, clean.rate)["confidence"]
            alive["told_apart"] = np.abs(taps["confidence"] - told).item()
        recording.add(f"perth/{case.name}", inputs=case.inputs, taps=taps, exact=exact, alive=alive)


def _rms(wav: np.ndarray) -> float:
    return float(np.sqrt(np.square(wav, dtype=np.float64).mean()))


def _marked(network: torch.nn.Module, wav: np.ndarray, rate: int) -> Taps:
    """Taps of `apply_watermark`."""
    taps: Taps = {}

    with _watermarker(network) as watermarker, _heard(taps, ""), contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(hooked(network.encoder, lambda out: taps.update(mask=numpy(out[1][0, 0]))))
        enter(_layers(network.encoder.layers, "encoder.layers", taps))
        enter(
            observed(
                audio_processor.AudioProcessor, "magphase_to_signal", lambda out, *_: taps.update(marked=numpy(out))
            )
        )
        taps["watermarked"] = watermarker.apply_watermark(wav.copy(), sample_rate=rate)
    taps["residual"] = taps["encoder.layers.6"][0] * taps["mask"]
    layers = [f"encoder.layers.{i}" for i in range(7)]
    order = ["resampled", "subband", "mask", *layers, "residual", "marked", "watermarked"]
    return {name: taps[name] for name in order if name in taps}


def _detected(network: torch.nn.Module, wav: np.ndarray, rate: int) -> Taps:
    """Taps of `get_watermark`."""
    taps: Taps = {}
    means: list[np.ndarray] = []
    with _watermarker(network) as watermarker, _heard(taps, "detect/"), contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(observed(perth_decoder, "magmask", lambda out, *_: taps.update({"detect/mask": numpy(out[0])})))
        enter(observed(perth_decoder, "_masked_mean", lambda out, *_: means.append(numpy(out[0, 0]))))
        for branch in BRANCHES:
            enter(_layers(network.decoder.get_submodule(branch), f"decoder.{branch}", taps))
        enter(hooked(network.decoder, lambda out: taps.update({"confidence": numpy(out)})))
        watermarker.get_watermark(wav.copy(), sample_rate=rate, round=False)
    # Upstream takes each branch's confidence first, then its attention.
    branches = np.stack(means).reshape(len(BRANCHES), 1, 2)[..., ::-1]
    confidence = taps.pop("confidence")
    return taps | {"branches": branches, "confidence": confidence}


@contextlib.contextmanager
def _watermarker(network: torch.nn.Module) -> Iterator[perth_watermarker.PerthImplicitWatermarker]:
    """Upstream's two methods around the network; a float64 network makes them compute in float64."""
    exact = next(network.parameters()).dtype == torch.float64
    with torch.no_grad(), contextlib.ExitStack() as stack:
        if exact:
            enter = stack.enter_context
            enter(replaced(torch.Tensor, "float", lambda _: torch.Tensor.double))
            enter(replaced(perth_watermarker, "_to_tensor", lambda _: lambda wav, device: torch.from_numpy(wav.copy())))
        yield perth_watermarker.PerthImplicitWatermarker(run_name=None, perth_net=network)


@contextlib.contextmanager
def _heard(taps: Taps, scope: str) -> Iterator[None]:
    """Within the block, what reaches the network is tapped: the recording at 32 kHz and its normalised decibels."""

    def record_levels(levels: tuple[torch.Tensor, torch.Tensor], *_: object) -> None:
        taps[f"{scope}subband"] = numpy(levels[0][:SUBBAND])

    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(observed(perth_watermarker, "resample", lambda out, *_: taps.setdefault(f"{scope}resampled", out)))
        enter(observed(audio_processor.AudioProcessor, "signal_to_magphase", record_levels))
        yield


@contextlib.contextmanager
def _layers(layers: torch.nn.Sequential, path: str, taps: Taps) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for i, layer in enumerate(layers):
            stack.enter_context(hooked(layer, lambda out, name=f"{path}.{i}": taps.update({name: numpy(out)})))
        yield
