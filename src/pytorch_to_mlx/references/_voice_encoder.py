"""Taps of Chatterbox's voice encoder, for its own reference and for the whole model's (see voice_encoder.py)."""

import contextlib
import copy
import types
from collections.abc import Iterator

import chatterbox.models.voice_encoder.voice_encoder as chatterbox_ve
import numpy as np
import torch
from _recording import Case, Recording, Taps, hooked, numpy, observed, replaced

CASES = [
    Case.speechlike("speechlike", seed=0, seconds=4.7, rate=16000),  # ends in silence
    Case.speechlike("short", seed=2, seconds=0.7, rate=16000),  # less than one partial
]


def chatterbox_taps(
    model: torch.nn.Module, wav: np.ndarray, rate: int, ends: np.ndarray | None
) -> tuple[Taps, np.ndarray]:
    taps: Taps = {}
    librosa = chatterbox_ve.librosa

    def trim(wav: np.ndarray, top_db: float) -> tuple[np.ndarray, np.ndarray]:
        kept, found = librosa.effects.trim(wav, top_db=top_db) if ends is None else (wav[slice(*ends)], ends)
        taps.update(resampled=wav, trim=found, trimmed=kept)
        return kept, found

    decided = types.SimpleNamespace(resample=librosa.resample, effects=types.SimpleNamespace(trim=trim))
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(replaced(chatterbox_ve, "librosa", lambda _: decided))
        enter(observed(chatterbox_ve, "melspectrogram", lambda out, *_: taps.update(mel=out.T)))
        enter(network_taps(model, "proj", taps))
        taps["embed"] = model.embeds_from_wavs([wav], sample_rate=rate, batch_size=None)[0]  # all partials in one batch
    return taps, taps["trim"]


@contextlib.contextmanager
def network_taps(model: torch.nn.Module, projection: str, taps: Taps) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        before = model.register_forward_pre_hook(lambda _module, args: taps.update(partials=numpy(args[0])))
        stack.callback(before.remove)
        stack.enter_context(hooked(model.lstm, lambda output: taps.update(lstm=numpy(output[0][:1]))))
        stack.enter_context(hooked(getattr(model, projection), lambda output: taps.update({projection: numpy(output)})))
        stack.enter_context(hooked(model, lambda output: taps.update(partial_embeds=numpy(output))))
        yield


def record(recording: Recording, network: torch.nn.Module, *, small: bool) -> None:
    """Adds the cases `ve/...`."""
    double = copy.deepcopy(network).double()
    for case in CASES[1:] if small else CASES:
        taps, ends = chatterbox_taps(network, case.wav, case.rate, None)
        exact, _ = chatterbox_taps(double, case.wav.astype(np.float64), case.rate, ends)
        alive = {"active_units": np.mean(taps["embed"] > 0), "partials": len(taps["partials"])}
        recording.add(f"ve/{case.name}", inputs=case.inputs, taps=taps, exact=exact, alive=alive)
