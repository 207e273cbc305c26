"""Speech made by espeak-ng, which comes inside the espeakng-loader package."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

from pytorch_to_mlx import Audio
from pytorch_to_mlx.errors import MissingDependencyError, PytorchToMlxError

# From espeak-ng's speak_lib.h.
SYNCHRONOUS = 2
RATE_PARAMETER, PITCH_PARAMETER, RANGE_PARAMETER = 1, 3, 4
UTF8 = 1
OK = 0

Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class EspeakVoice:
    """A voice: espeak-ng's name for it, pitch and range from 0 to 100, and words a minute."""

    name: str
    pitch: int
    range: int
    rate: int


def synthesize(voice: EspeakVoice, text: str) -> Audio:
    """Speak English text.

    Raises:
        MissingDependencyError: espeakng-loader is not installed.
        PytorchToMlxError: espeak-ng does not know the voice, or fails.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise MissingDependencyError("made voices need espeak-ng: pip install espeakng-loader") from error
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path().encode()
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, data, 0)
    if rate <= 0:
        raise PytorchToMlxError("espeak-ng cannot start; reinstall espeakng-loader")
    pieces: list[np.ndarray] = []

    @Callback
    def collect(samples: ctypes._Pointer[ctypes.c_short], count: int, events: int | None) -> int:
        if samples and count:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    try:
        library.espeak_SetSynthCallback(collect)
        if library.espeak_SetVoiceByName(voice.name.encode()) != OK:
            raise PytorchToMlxError(f"espeak-ng has no voice {voice.name}; choose one of its variants")
        settings = {RATE_PARAMETER: voice.rate, PITCH_PARAMETER: voice.pitch, RANGE_PARAMETER: voice.range}
        for parameter, value in settings.items():
            library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode()
        size = len(encoded) + 1
        if library.espeak_Synth(ctypes.c_char_p(encoded), ctypes.c_size_t(size), 0, 0, 0, UTF8, None, None) != OK:
            raise PytorchToMlxError(f"espeak-ng failed to speak as {voice.name}")
    finally:
        library.espeak_Terminate()
    return Audio(np.concatenate(pieces).astype(np.float32) / 32768, rate)
