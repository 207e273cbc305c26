"""Kokoro's networks as upstream computes them, stage by stage. F is the frames of a text, 40 a second.

`text/...`, from `tokens` (T,), `style` (1, 256) and `speed`, each module's output by its path, and:

    durations       (T,)            frames
    f0, n           (1, 2 F)        pitch in Hz and loudness
    asr             (1, 512, F)     phonemes stretched to frames

`source/...`, from `f0`, with upstream's noise:

    l_sin_gen       (1, 600 F, 9)
    source          (1, 600 F, 1)
    spectrum        (120 F + 1, 22) real and imaginary parts, of the recorded source
    ends            (120 F - 1, 2)  phases of the lowest and the highest bin, but for the first and the last frame

`decoder/...`, from `asr`, `f0`, `n`, `style`, and `harmonics`, the source's magnitudes and phases: each module's output
by its path within the decoder, and `wav`, (1, 600 F).

`tts/...`, from `phonemes` in UTF-8 bytes, `voice` (510, 256) and `speed`, with upstream's noise:

    durations       (T,)
    wav             (1, 600 F)
    loudness        (1,)            decibels of its mean square
    levels          (F,)            those of each frame

Source and spectrum are replayed: float32 does not determine a phase that accumulates over thousands of samples, not
even upstream's own; nor the sign of an imaginary part that is nothing but rounding, as of the first and last frame,
which reflection makes symmetric.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import _seed
import numpy as np
import torch
from _recording import Recording, Taps, default_dtype, hooked, numpy, replaced

HARMONICS, BINS, SAMPLES, FRAME = 9, 11, 300, 600
VOICED = (80, 400)  # Hz
PHONEMES = "ðə kwˈɪk bɹˈWn fˈɑks ʤˈʌmps ˌOvəɹ ðə lˈAzi dˈɔɡ."
OTHER = "sˈʌm wˈɜɹdz əv ənˈʌðəɹ kˈInd, wɪʧ sˈWnd nˈʌθɪŋ lˈIk ɪt!"
BLOCKS = [f"predictor.{curve}.{i}" for curve in ("F0", "N") for i in range(3)]
TEXT = [
    "bert",
    "bert_encoder",
    "predictor.text_encoder",
    "predictor.lstm",
    "predictor.duration_proj",
    "predictor.shared",
    *BLOCKS,
    "text_encoder",
]
ENDS = ["predictor.duration_proj", "text_encoder"]
GENERATOR = [
    f"generator.{name}"
    for i in range(2)
    for name in (f"noise_convs.{i}", f"noise_res.{i}", f"ups.{i}", *(f"resblocks.{3 * i + j}" for j in range(3)))
]
FRAMES = ["F0_conv", "N_conv", "encode", "asr_res", *(f"decode.{i}" for i in range(4))]
DECODER = [*FRAMES, *GENERATOR, "generator.conv_post"]


def record(recording: Recording, model: Any, double: Any, voices: dict[str, np.ndarray], *, small: bool) -> None:
    """Adds the cases of all stages, in evaluation mode; `double` is the same model in float64."""
    first, second = list(voices.values())[:2]
    style = first[40]
    texts = {"short": PHONEMES, "control": "ɑ."}
    if not small:
        texts |= {"fast": OTHER, "long": (" ".join([PHONEMES, OTHER] * 6))[:510]}
    short: Taps = {}
    for name, phonemes in texts.items():
        given = {"tokens": tokens(model, phonemes), "style": style, "speed": np.array(1.4 if name == "fast" else 1.0)}
        if small and name == "short":
            given["tokens"] = given["tokens"][:6]
        taps = text(model, given, ENDS if name == "long" else TEXT)
        with default_dtype(torch.float64):
            exact = text(double, given, ENDS if name == "long" else TEXT, taps["durations"])
        alive = {}
        if name in ("short", "long"):
            alive = {
                "voiced": np.mean((taps["f0"] > VOICED[0]) & (taps["f0"] < VOICED[1])),
                "durations": len(np.unique(taps["durations"])),
                "changed": _changes(model, given, second[40], taps),
            }
        recording.add(f"text/{name}", inputs=given, taps=taps, exact=exact, alive=alive)
        if name == "short":
            short = taps | {"style": style}
    record_source(recording, model, double, {"control": np.float32([[100, 310, 0, 210]])})
    record_decoder(recording, model, double, "control", _first(short, 3), second[40])
    if not small:  # for which there would be no room
        record_source(recording, model, double, {"short": short["f0"][:, :60]})
        record_decoder(recording, model, double, "short", _first(short, 60), second[40])
        record_speech(recording, model, voices)


def tokens(model: Any, phonemes: str) -> np.ndarray:
    """Numbers of phonemes, with 0 at both ends, as upstream's `forward` has them."""
    return np.array([0, *filter(None, map(model.vocab.get, phonemes)), 0])


# --- Text to frames ---------------------------------------------------------------------------------------------------


def text(model: Any, inputs: Taps, wanted: Sequence[str], durations: np.ndarray | None = None) -> Taps:
    """Taps of upstream's `forward_with_tokens` up to its decoder; with `durations` in place of its rounding."""
    seen: Taps = {}
    rounding = (lambda _: lambda x: torch.from_numpy(durations)[None].to(x.dtype)) if durations is not None else None
    with contextlib.ExitStack() as stack:
        stack.enter_context(_watched(model, wanted, seen))
        stack.enter_context(replaced(model.decoder, "forward", lambda _: functools.partial(_kept, seen)))
        if rounding is not None:
            stack.enter_context(replaced(torch, "round", rounding))
        dtype = model.bert_encoder.weight.dtype
        _, frames = model.forward_with_tokens(
            torch.from_numpy(inputs["tokens"])[None],
            torch.from_numpy(inputs["style"]).to(dtype),
            float(inputs["speed"]),
        )
    given = {name: seen.pop(name) for name in ("asr", "f0", "n")}
    return seen | {"durations": numpy(frames)} | given


def _kept(seen: Taps, asr: torch.Tensor, f0: torch.Tensor, n: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """In place of the decoder: keeps what it is given."""
    seen |= {"asr": numpy(asr), "f0": numpy(f0), "n": numpy(n)}
    return torch.zeros(1)


def _changes(model: Any, inputs: Taps, style: np.ndarray, taps: Taps) -> float:
    """How much the voice changes the pitch: the mean over frames, in Hz, of as many as both have."""
    other = text(model, inputs | {"style": style}, [])["f0"]
    frames = min(other.shape[1], taps["f0"].shape[1])
    return float(np.mean(np.abs(other[:, :frames] - taps["f0"][:, :frames])))


# --- Pitch to the source ----------------------------------------------------------------------------------------------


def record_source(recording: Recording, model: Any, double: Any, curves: Taps) -> None:
    """Adds `source/...` of each curve of pitch."""
    for name, curve in curves.items():
        noise = _seed.NoiseStream(0, f"kokoro.{name}").normal((1, curve.shape[1] * SAMPLES, HARMONICS))
        taps = excite(model.decoder.generator, curve, noise)
        with default_dtype(torch.float64):
            exact = excite(double.decoder.generator, curve, noise, taps["source"])
        exact.pop("ends")
        loud = {"loudness": float(np.sqrt(np.mean(taps["source"] ** 2)))}
        inputs = {"f0": curve, "source": taps["source"]}
        recording.add(
            f"source/{name}",
            inputs=inputs,
            noise={"source": noise.reshape(-1, SAMPLES, HARMONICS)},
            taps=taps,
            exact=exact,
            alive=loud,
        )


def excite(generator: Any, f0: np.ndarray, noise: np.ndarray, source: np.ndarray | None = None) -> Taps:
    """Taps of upstream's source of (1, frames) Hz; `source` instead of its own is transformed."""
    seen: Taps = {}
    dtype = generator.m_source.l_linear.weight.dtype
    names = ["l_sin_gen"]
    with torch.inference_mode(), _watched(generator.m_source, names, seen), drawing(noise):
        stretched = generator.f0_upsamp(torch.from_numpy(f0).to(dtype)[:, None]).transpose(1, 2)
        own = generator.m_source(stretched)[0]
        given = own if source is None else torch.from_numpy(source).to(dtype)
        magnitude, phase = (part[0].T for part in _transform(generator.stft, given[..., 0]))
    spectrum = torch.cat([magnitude * torch.cos(phase), magnitude * torch.sin(phase)], dim=1)
    return {**seen, "source": numpy(own), "spectrum": numpy(spectrum), "ends": numpy(phase[1:-1, [0, -1]])}


def _transform(stft: Any, signal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Upstream's, whose window keeps float32."""
    window = stft.window
    with replaced(stft, "window", lambda _: window.to(signal.dtype)):
        return stft.transform(signal)


@contextlib.contextmanager
def drawing(noise: np.ndarray) -> Iterator[None]:
    """Within the block, upstream draws this noise of the sines, and zeros where the draw has no effect."""

    def normal(like: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(noise).to(like.dtype) if like.shape == noise.shape else torch.zeros_like(like)

    def uniform(*shape: int, **_: Any) -> torch.Tensor:
        return torch.zeros(shape)

    with replaced(torch, "randn_like", lambda _: normal), replaced(torch, "rand", lambda _: uniform):
        yield


# --- Frames to sound --------------------------------------------------------------------------------------------------


def record_decoder(recording: Recording, model: Any, double: Any, name: str, inputs: Taps, style: np.ndarray) -> None:
    """Adds `decoder/...`, on the harmonics of upstream's own source; `style` is another one."""
    noise = _seed.NoiseStream(0, f"kokoro.{name}").normal((1, inputs["f0"].shape[1] * SAMPLES, HARMONICS))
    inputs = inputs | {"harmonics": decode(model.decoder, inputs, [], noise=noise)["harmonics"]}
    taps = decode(model.decoder, inputs, DECODER)
    with default_dtype(torch.float64):
        exact = decode(double.decoder, inputs, DECODER)
    other = decode(model.decoder, inputs | {"style": style[:, :128]}, [])["wav"]
    alive = {
        "loudness": float(np.sqrt(np.mean(taps["wav"] ** 2))),
        "changed": float(np.linalg.norm(taps["wav"] - other) / np.linalg.norm(taps["wav"])),
    }
    recording.add(f"decoder/{name}", inputs=inputs, taps=taps, exact=exact, alive=alive)


def _first(spoken: Taps, frames: int) -> Taps:
    """What the decoder is given of the first frames of a text."""
    curves = {name: spoken[name][:, : 2 * frames] for name in ("f0", "n")}
    return curves | {"asr": spoken["asr"][..., :frames], "style": spoken["style"][:, :128]}


def decode(decoder: Any, inputs: Taps, wanted: Sequence[str], noise: np.ndarray | None = None) -> Taps:
    """Taps of upstream's decoder on the given `harmonics`, or on its own source of `noise`, which are then a tap."""
    seen: Taps = {}
    dtype = decoder.F0_conv.bias.dtype
    stft = decoder.generator.stft
    given = inputs.get("harmonics")

    def transform(original: Any) -> Any:
        def call(signal: torch.Tensor) -> Any:
            if given is not None:
                return tuple(torch.from_numpy(given).to(dtype).transpose(1, 2).split(BINS, dim=1))
            found = original(signal)
            seen["harmonics"] = numpy(torch.cat(found, dim=1).transpose(1, 2))
            return found

        return call

    shape = (1, inputs["f0"].shape[1] * SAMPLES, HARMONICS)
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(_watched(decoder, wanted, seen))
        stack.enter_context(drawing(np.zeros(shape, np.float32) if noise is None else noise))
        stack.enter_context(replaced(stft, "transform", transform))
        stack.enter_context(replaced(stft, "window", lambda window: window.to(dtype)))
        wav = decoder(*(torch.from_numpy(inputs[name]).to(dtype) for name in ("asr", "f0", "n", "style")))
    return seen | {"wav": numpy(wav[:, 0])}


# --- Phonemes to sound ------------------------------------------------------------------------------------------------


def record_speech(recording: Recording, model: Any, voices: dict[str, np.ndarray]) -> None:
    """Adds `tts/short`, of a few phonemes, and `tts/whole`."""
    voice, another = list(voices.values())[:2]
    for name, phonemes in {"short": "ə tˈɛst.", "whole": OTHER}.items():
        taps = speak(model, name, phonemes, voice)
        noise = taps.pop("noise").reshape(-1, SAMPLES, HARMONICS)
        others = [speak(model, name, OTHER[:9], voice), speak(model, name, phonemes, another)]
        inputs = {"phonemes": np.frombuffer(phonemes.encode(), np.uint8), "voice": voice[:, 0], "speed": np.array(1.0)}
        alive = {
            "loudness": float(taps["loudness"][0]),
            "distance": min(float(_distance(taps["levels"], other["levels"])) for other in others),
        }
        recording.add(f"tts/{name}", inputs=inputs, noise={"source": noise}, taps=taps, alive=alive)


def speak(model: Any, name: str, phonemes: str, voice: np.ndarray) -> Taps:
    """What upstream's pipeline makes of phonemes, with its noise, which is drawn for as many frames as it takes."""
    drawn: list[np.ndarray] = []

    def normal(like: torch.Tensor) -> torch.Tensor:
        if like.shape[-1] != HARMONICS:
            return torch.zeros_like(like)
        drawn.append(_seed.NoiseStream(0, f"kokoro.tts.{name}").normal(tuple(like.shape)))
        return torch.from_numpy(drawn[0])

    with replaced(torch, "randn_like", lambda _: normal):
        said = model(phonemes, torch.from_numpy(voice[len(phonemes) - 1]), return_output=True)
    wav = numpy(said.audio)[None]
    return {
        "durations": numpy(said.pred_dur),
        "wav": wav,
        "loudness": 10 * np.log10(np.mean(wav**2, axis=1)),
        "levels": 10 * np.log10(np.mean(wav.reshape(-1, FRAME) ** 2, axis=1)),
        "noise": drawn[0],
    }


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    frames = min(len(first), len(second))
    return float(np.abs(first[:frames] - second[:frames]).mean())


@contextlib.contextmanager
def _watched(network: Any, modules: Sequence[str], seen: Taps) -> Iterator[None]:
    """Within the block, the first outputs of modules are collected, of pairs the first."""

    def keep(name: str, output: Any) -> None:
        if name not in seen:
            output = output[0] if isinstance(output, tuple) else output
            output = output.data if isinstance(output, torch.nn.utils.rnn.PackedSequence) else output
            seen[name] = numpy(output)

    with contextlib.ExitStack() as stack:
        for name in modules:
            stack.enter_context(hooked(network.get_submodule(name), functools.partial(keep, name)))
        yield
