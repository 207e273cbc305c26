"""The CREPE pitch tracker as torchcrepe 0.0.24 computes it.

Taps of each case, in order (T frames of 10 ms; C channels and H rows of each layer, in upstream's NCHW layout):

    resampled                 (samples,)     at 16 kHz, only where the recording has another rate
    frames                    (T, 1024)      centred and scaled
    conv1, conv1_BN ... 6     (4, C, H, 1)   the modules' outputs, the first four frames only (one in a small recording)
    embedding                 (4, 32, -1)    what torchcrepe.embed returns, after the fifth layer's pooling
    classifier                (4, 360)       logits
    probabilities             (T, 360)
    DECODER/bins              (T,)           for argmax, weighted and viterbi
    DECODER/pitch             (T,)           Hz, without dither
    DECODER/dithered_pitch    (T,)           Hz, with the recorded dither
    DECODER/periodicity       (T,)

The inputs `fmin` and `fmax`, in Hz, bound the decoders: upstream's README advises 50 to 550 for speech. Up to its
default of 2006, pauses draw its Viterbi path to the topmost bin, where staying is likelier than anywhere between.

Upstream dithers at random; here its dither is an input in cents: `dither_frames` (T,) for argmax and viterbi, which
dither each pitch, and `dither_bins` (360,) for weighted, which dithers the bins' centres once per process. Where
float64 decides for another bin than float32, the floor leaves the frame out; `alive` counts such frames.
"""

import contextlib
import copy
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path

import _seed
import numpy as np
import torch
from _recording import (
    Case,
    Recording,
    Taps,
    arguments,
    default_dtype,
    hooked,
    nearest_distance,
    numpy,
    observed,
    replaced,
)

# torchcrepe imports torchaudio only to read files, which is done here.
sys.modules["torchaudio"] = types.ModuleType("torchaudio")

import torchcrepe  # noqa: E402

PACKAGES = ("torchcrepe", "torch", "librosa", "resampy", "numpy", "scipy")
DECODERS: dict[str, Callable] = {
    "argmax": torchcrepe.decode.argmax,
    "weighted": torchcrepe.decode.weighted_argmax,
    "viterbi": torchcrepe.decode.viterbi,
}
DECODED = ("pitch", "dithered_pitch", "periodicity")
VOICED = 0.21  # the periodicity that upstream's documentation thresholds speech at
SECONDS = {"tiny": None, "full": 1.5}  # of each recording: full costs 2.6 GFLOP a frame

SPEECH = {"fmin": 50.0, "fmax": 550.0}  # what upstream's README advises for speech
DEFAULTS = {"fmin": 50.0, "fmax": torchcrepe.MAX_FMAX}

CASES = [
    Case.speechlike("speechlike", seed=0, seconds=1.3, rate=16000, **SPEECH),  # with a pause
    Case.speechlike("speechlike_22050", seed=1, seconds=0.4, rate=22050, **DEFAULTS),
    Case.speechlike("short", seed=2, seconds=0.05, rate=16000, **SPEECH),  # 6 frames, for controls: one run a tensor
]
SMALL_CASES = CASES[1:]


def load(variant: str, checkpoint: Path) -> torchcrepe.Crepe:
    """torchcrepe.load.model for a file of any place."""
    model = torchcrepe.Crepe(variant)
    model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    return model.eval()


def export(variant: str, seed: int, path: Path) -> None:
    """Writes a seeded checkpoint in upstream's format."""
    shapes = {name: tuple(tensor.shape) for name, tensor in torchcrepe.Crepe(variant).state_dict().items()}
    state = _seed.crepe_weights(shapes, seed)
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, path)


def network(model: torchcrepe.Crepe, variant: str, wav: np.ndarray, rate: int, frames_tapped: int) -> Taps:
    """Upstream from the recording to probabilities, one batch."""
    taps: Taps = {}
    audio = torch.from_numpy(wav)[None]
    torchcrepe.infer.model, torchcrepe.infer.capacity = model, variant

    def record_embedding(pooled: torch.Tensor, frames: torch.Tensor) -> None:
        taps["embedding"] = numpy(pooled.reshape(len(frames), 32, -1)[:frames_tapped])

    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(torch.no_grad())
        enter(observed(torchcrepe.core, "resample", lambda out, *_: taps.update(resampled=numpy(out[0]))))
        enter(observed(model, "embed", record_embedding))
        for name, module in model.named_children():
            enter(hooked(module, lambda out, name=name: taps.update({name: numpy(out[:frames_tapped])})))
        for frames in torchcrepe.preprocess(audio, rate):
            taps["frames"] = numpy(frames)
            taps["probabilities"] = numpy(torchcrepe.infer(frames, variant))
    return taps


def decode(probabilities: np.ndarray, noise: Taps, fmin: float, fmax: float) -> Taps:
    """Every decoder of upstream, without dither and with the dither in `noise`."""
    taps: Taps = {}
    given = torch.from_numpy(probabilities).T[None]
    for name, decoder in DECODERS.items():
        dither = noise["dither_bins" if name == "weighted" else "dither_frames"]
        for tap, cents in (("pitch", np.zeros_like(dither)), ("dithered_pitch", dither)):
            with replaced(torchcrepe.convert, "dither", lambda _, cents=cents: lambda to: to + to.new_tensor(cents)):
                vars(torchcrepe.decode.weighted_argmax).pop("weights", None)  # cached with the dither of its first call
                changed = given.clone()  # in place, by upstream
                bins, taps[f"{name}/{tap}"], periodicity = decode_once(changed, decoder, fmin, fmax)
        taps[f"{name}/bins"], taps[f"{name}/periodicity"] = bins, periodicity
    return {f"{name}/{tap}": taps[f"{name}/{tap}"] for name in DECODERS for tap in ("bins", *DECODED)}


def decode_once(
    probabilities: torch.Tensor, decoder: Callable, fmin: float, fmax: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bins, pitch and periodicity, each (T,), through torchcrepe.postprocess."""
    decided = {}

    def observed_decoder(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        decided["bins"], pitch = decoder(logits)
        return decided["bins"], pitch

    pitch, periodicity = torchcrepe.postprocess(probabilities, fmin, fmax, observed_decoder, return_periodicity=True)
    return numpy(decided["bins"][0]), numpy(pitch[0]), numpy(periodicity[0])


def run(variant: str, checkpoint: Path, cases: list[Case], seed: int | None, frames_tapped: int) -> Recording:
    """Records every case in float32 with its floor against float64."""
    model = load(variant, checkpoint)
    double = copy.deepcopy(model).double()
    recording = Recording("crepe", variant, checkpoint, PACKAGES, seed)
    means = []
    for case in cases:
        taps = network(model, variant, case.wav, case.rate, frames_tapped)
        stream = _seed.NoiseStream(0, f"crepe.{case.name}")
        width = torchcrepe.CENTS_PER_BIN
        noise = {
            "dither_frames": stream.triangular((len(taps["frames"]),), width),
            "dither_bins": stream.triangular((torchcrepe.PITCH_BINS,), width),
        }
        taps |= decode(taps["probabilities"], noise, **case.settings)
        with default_dtype(torch.float64):
            exact = network(double, variant, case.wav.astype(np.float64), case.rate, frames_tapped)
            exact |= decode(exact["probabilities"], noise, **case.settings)

        other_bins = 0
        for name in DECODERS:
            same = taps[f"{name}/bins"] == exact[f"{name}/bins"]
            other_bins += np.sum(~same)
            for tap in DECODED:
                exact[f"{name}/{tap}"] = np.where(same, exact[f"{name}/{tap}"], taps[f"{name}/{tap}"])

        pitch = taps["viterbi/pitch"]
        voiced = (taps["viterbi/periodicity"] > VOICED) & (pitch >= 80) & (pitch <= 400)
        alive = {
            "voiced_fraction": voiced.mean(),
            "distinct_bins": len(np.unique(taps["argmax/bins"])),
            "frames": len(pitch),
            "other_bins_in_float64": other_bins,
        }
        recording.add(case.name, inputs=case.inputs, noise=noise, taps=taps, exact=exact, alive=alive)
        means.append(taps["probabilities"].mean(axis=0))
    recording.add("all", taps={}, exact={}, alive={"nearest_distance": nearest_distance(means)})
    return recording


def main() -> None:
    args = arguments(__doc__, list(SECONDS))
    if args.verb == "export":
        return export(args.variant, args.seed, args.out)
    seconds = args.seconds or SECONDS[args.variant]
    cases = SMALL_CASES if args.small else CASES + [Case.read(path, seconds, **SPEECH) for path in args.audio]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = args.checkpoint
        if checkpoint is None:
            checkpoint = Path(folder) / f"{args.variant}.pth"
            export(args.variant, args.seed, checkpoint)
        recording = run(args.variant, checkpoint, cases, args.seed, frames_tapped=1 if args.small else 4)
    if args.small:
        recording.shrink()
    recording.save(args.out)


if __name__ == "__main__":
    main()
