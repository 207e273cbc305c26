"""The LSTM speaker encoder as its two upstreams compute it: Resemblyzer 0.1.4 and Chatterbox 0.1.7.

Taps of each case, in order (T frames, P partials; chatterbox has `trim` for the two VAD taps and for `normalized`):

    resampled        (samples,)  at 16 kHz
    normalized       (samples,)  resemblyzer: raised to -30 dBFS where quieter
    vad_flags, vad   (windows,)  resemblyzer: each 30 ms window, as detected, and after smoothing and dilation
    trim             (2,)        chatterbox: first and last sample kept
    trimmed          (samples,)
    mel              (T, 40)     power mel spectrogram (of the padded audio in resemblyzer)
    partials         (P, 160, 40)
    lstm             (1, 160, 256)  the last layer's outputs, first partial only
    linear | proj    (P, 256)    under upstream's name
    partial_embeds   (P, 256)    after ReLU and L2 norm
    embed            (256,)

The case `all` holds `speaker` (256,), the embedding of all cases together in their order, and `similarity`
(cases, cases). The float64 run replays the discrete decisions of the float32 run (VAD flags, trim ends): the floor
measures arithmetic.
"""

import contextlib
import copy
import importlib.util
import sys
import tempfile
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _seed
import numpy as np
import torch
from _recording import Case, Recording, Taps, arguments, nearest_distance, observed, replaced
from safetensors.torch import load_file, save_file

# chatterbox/__init__ imports every model: an empty parent package in its place lets the voice encoder import alone.
_chatterbox = types.ModuleType("chatterbox")
_chatterbox.__path__ = list(importlib.util.find_spec("chatterbox").submodule_search_locations)
sys.modules["chatterbox"] = _chatterbox

import resemblyzer  # noqa: E402
import resemblyzer.audio  # noqa: E402
import webrtcvad  # noqa: E402
from _voice_encoder import chatterbox_taps, chatterbox_ve, network_taps  # noqa: E402

SIMILARITY = {"similarity_weight": (1,), "similarity_bias": (1,)}  # in Resemblyzer's file, unused by its module


@dataclass(frozen=True)
class Upstream:
    """What differs between the two: files, loading, and the pipeline from a recording to an embedding."""

    packages: tuple[str, ...]
    file: str
    load: Callable[[Path], torch.nn.Module]
    save: Callable[[dict[str, torch.Tensor], Path], None]
    shapes: Callable[[], dict[str, tuple[int, ...]]]
    taps: Callable[[torch.nn.Module, np.ndarray, int, Any], tuple[Taps, Any]]
    combine: Callable[[torch.nn.Module, list[Taps]], Taps]


# --- Resemblyzer ------------------------------------------------------------------------------------------------------


def load_resemblyzer(checkpoint: Path) -> torch.nn.Module:
    model = resemblyzer.VoiceEncoder("cpu", verbose=False, weights_fpath=checkpoint).eval()
    given = torch.load(checkpoint, map_location="cpu", weights_only=True)["model_state"].keys()
    if unequal := (model.state_dict().keys() ^ given) - SIMILARITY.keys():  # upstream loads with strict=False
        raise SystemExit(f"{checkpoint.name}: tensors missing or unexpected: {', '.join(sorted(unequal))}")
    return model


def save_resemblyzer(state: dict[str, torch.Tensor], path: Path) -> None:
    """The packaged file's three entries; its optimizer (Adam, of which the encoder uses nothing) is all zeros here."""
    zeros = [torch.zeros_like(tensor) for tensor in state.values()]
    adam = torch.optim.Adam([torch.nn.Parameter(tensor) for tensor in state.values()], lr=1e-4).state_dict()
    adam["state"] = {i: {"step": 0, "exp_avg": zero, "exp_avg_sq": zero.clone()} for i, zero in enumerate(zeros)}
    torch.save({"step": 0, "model_state": state, "optimizer_state": adam}, path)


def resemblyzer_shapes() -> dict[str, tuple[int, ...]]:
    state = resemblyzer.VoiceEncoder("cpu", verbose=False).state_dict()
    return SIMILARITY | {name: tuple(tensor.shape) for name, tensor in state.items()}


class DecidedVad:
    """webrtcvad.Vad that appends its decisions to `flags`, or returns those that are there already."""

    def __init__(self, flags: list[bool] | None) -> None:
        self.flags: list[bool] = []
        self._replay = None if flags is None else iter(flags)

    def __call__(self, mode: int) -> "DecidedVad":
        self._vad = webrtcvad.Vad(mode=mode)
        return self

    def is_speech(self, window: bytes, sample_rate: int) -> bool:
        flag = self._vad.is_speech(window, sample_rate=sample_rate) if self._replay is None else next(self._replay)
        self.flags.append(flag)
        return flag


def rounding_nothing() -> contextlib.AbstractContextManager[None]:
    """Within the block, Resemblyzer's mel spectrogram, which it rounds to float32, stays float64."""
    return replaced(resemblyzer.audio, "np", lambda np: types.SimpleNamespace(**{**vars(np), "float32": np.float64}))


def resemblyzer_taps(
    model: torch.nn.Module, wav: np.ndarray, rate: int, flags: list[bool] | None
) -> tuple[Taps, list[bool]]:
    taps: Taps = {}
    vad = DecidedVad(flags)

    def record_mask(mask: np.ndarray, *_: Any) -> None:
        taps.update(vad_flags=np.array(vad.flags), vad=mask)

    audio = resemblyzer.audio
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(replaced(audio, "webrtcvad", lambda _: types.SimpleNamespace(Vad=vad)))
        enter(observed(audio, "normalize_volume", lambda out, given, *_: taps.update(resampled=given, normalized=out)))
        enter(observed(audio, "binary_dilation", record_mask))
        enter(observed(audio, "trim_long_silences", lambda out, *_: taps.update(trimmed=out)))
        enter(observed(audio, "wav_to_mel_spectrogram", lambda out, *_: taps.update(mel=out)))
        if wav.dtype == np.float64:
            enter(rounding_nothing())
        enter(network_taps(model, "linear", taps))
        taps["embed"] = model.embed_utterance(audio.preprocess_wav(wav, source_sr=rate))
    return taps, vad.flags


def combine_resemblyzer(model: torch.nn.Module, cases: list[Taps]) -> Taps:
    embeds = np.stack([taps["embed"] for taps in cases])
    double = embeds.dtype == np.float64
    with rounding_nothing() if double else contextlib.nullcontext():
        speaker = model.embed_speaker([taps["trimmed"] for taps in cases])
    return {"speaker": speaker, "similarity": np.inner(embeds, embeds)}


# --- Chatterbox -------------------------------------------------------------------------------------------------------


def load_chatterbox(checkpoint: Path) -> torch.nn.Module:
    model = chatterbox_ve.VoiceEncoder()
    model.load_state_dict(load_file(checkpoint))
    return model.eval()


def save_chatterbox(state: dict[str, torch.Tensor], path: Path) -> None:
    save_file(state, path)


def chatterbox_shapes() -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in chatterbox_ve.VoiceEncoder().state_dict().items()}


def combine_chatterbox(model: torch.nn.Module, cases: list[Taps]) -> Taps:
    embeds = np.stack([taps["embed"] for taps in cases])
    similarity = [[model.voice_similarity(x, y) for y in embeds] for x in embeds]
    return {"speaker": model.utt_to_spk_embed(embeds), "similarity": np.array(similarity)}


# --- Both -------------------------------------------------------------------------------------------------------------

UPSTREAMS = {
    "resemblyzer": Upstream(
        packages=("Resemblyzer", "torch", "librosa", "soxr", "webrtcvad-wheels", "numpy", "scipy"),
        file="pretrained.pt",
        load=load_resemblyzer,
        save=save_resemblyzer,
        shapes=resemblyzer_shapes,
        taps=resemblyzer_taps,
        combine=combine_resemblyzer,
    ),
    "chatterbox": Upstream(
        packages=("chatterbox-tts", "torch", "librosa", "resampy", "numpy", "scipy"),
        file="ve.safetensors",
        load=load_chatterbox,
        save=save_chatterbox,
        shapes=chatterbox_shapes,
        taps=chatterbox_taps,
        combine=combine_chatterbox,
    ),
}

CASES = [
    Case.speechlike("speechlike", seed=0, seconds=4.7, rate=16000),  # ends in silence
    Case.speechlike("quiet", seed=1, seconds=2.4, rate=22050, loudness=0.2),  # below -30 dBFS
    Case.speechlike("short", seed=2, seconds=0.7, rate=16000),  # less than one partial
]
SMALL_CASES = [
    Case.speechlike("partials", seed=0, seconds=3.1, rate=8000),  # two partials, ends in silence
    Case.speechlike("quiet", seed=2, seconds=0.36, rate=22050, loudness=0.2),
]


def export(variant: str, seed: int, path: Path) -> None:
    """Writes a seeded checkpoint in upstream's format."""
    upstream = UPSTREAMS[variant]
    state = _seed.voice_encoder_weights(upstream.shapes(), seed)
    upstream.save({name: torch.from_numpy(array) for name, array in state.items()}, path)


def run(variant: str, checkpoint: Path, cases: list[Case], seed: int | None) -> Recording:
    """Records every case in float32 with its floor against float64."""
    upstream = UPSTREAMS[variant]
    model = upstream.load(checkpoint)
    double = copy.deepcopy(model).double()
    recording = Recording("voice_encoder", variant, checkpoint, upstream.packages, seed)
    every_taps, every_exact = [], []
    for case in cases:
        taps, decisions = upstream.taps(model, case.wav, case.rate, None)
        exact, _ = upstream.taps(double, case.wav.astype(np.float64), case.rate, decisions)
        alive = {
            "kept": taps["trimmed"].size / taps["resampled"].size,
            "partials": len(taps["partials"]),
            "active_units": np.mean(taps["embed"] > 0),
        }
        recording.add(case.name, inputs=case.inputs, taps=taps, exact=exact, alive=alive)
        every_taps.append(taps)
        every_exact.append(exact)
    recording.add(
        "all",
        taps=upstream.combine(model, every_taps),
        exact=upstream.combine(double, every_exact),
        alive={"nearest_distance": nearest_distance([taps["embed"] for taps in every_taps])},
    )
    return recording


def main() -> None:
    args = arguments(__doc__, list(UPSTREAMS))
    if args.verb == "export":
        return export(args.variant, args.seed, args.out)
    cases = SMALL_CASES if args.small else CASES + [Case.read(path, args.seconds) for path in args.audio]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = args.checkpoint
        if checkpoint is None:
            checkpoint = Path(folder) / UPSTREAMS[args.variant].file
            export(args.variant, args.seed, checkpoint)
        recording = run(args.variant, checkpoint, cases, args.seed)
    if args.small:
        recording.shrink()
    recording.save(args.out)


if __name__ == "__main__":
    main()
