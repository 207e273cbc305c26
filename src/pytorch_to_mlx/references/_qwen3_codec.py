"""The 12 Hz codec of Qwen3-TTS as qwen-tts computes it, in both directions.

Taps of `encode/...`, in order, named by module paths relative to the encoder (T frames, L positions, two for each):

    encoder.layers.{i}                (1, C, steps)
    encoder_transformer.layers.{i}    (1, L, C)
    downsample                        (1, C, T)
    distances                         (16 T, vectors)   of what is quantized to each vector; frame by frame
    codes                             (1, T, 16)

and of `decode/...`, relative to the decoder:

    pre_conv                          (1, C, T)
    pre_transformer.layers.{i}        (1, T, C)
    pre_transformer                   (1, T, C)
    upsample.{i}.{j}                  (1, C, steps)
    decoder.{i}                       (1, C, steps)
    wav                               (1, 1920 T)
    streamed                          (1, 1920 T)       of more than 7 frames: the same, which ours decodes in pieces

`long` has codes and sound alone. Sound is the network's: upstream's `chunked_decode`, which forgets all but 25 frames
every 300, differs from it beyond 24 s.
"""

import contextlib
import copy
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import _seed
import numpy as np
import torch
from _recording import Recording, Taps, default_dtype, hooked, numpy, observed, replaced

RATE, SAMPLES = 24000, 1920
CODEBOOKS = 16
PIECE = 7  # frames


def record(recording: Recording, codec: torch.nn.Module, *, small: bool) -> None:
    """Adds the cases of both directions."""
    double = copy.deepcopy(codec).double()
    seconds = {"short": 0.5, "control": 0.17} if small else {"short": 2.0, "control": 0.17, "long": 13.0}
    for name, length in seconds.items():
        wav = _seed.speechlike(3, length, RATE)
        if name == "control":
            wav = _seed.speechlike(3, 1.0, RATE)[4800 : 4800 + round(length * RATE)]
        modules = [] if name == "long" else _encoder_modules(codec.encoder)
        taps, exact = encode(codec, wav, modules), None
        if modules:
            with exactly():
                exact = encode(double, wav, modules)
        alive = {} if name == "control" else _encoder_alive(codec, wav, taps["codes"])
        recording.add(f"encode/{name}", inputs={"wav": wav}, taps=taps, exact=exact, alive=alive)
    frames = {"short": 8, "control": 2} if small else {"short": 24, "control": 2, "long": 130}
    for name, count in frames.items():
        codes = _seed.generator(0, f"codes.{name}").integers(
            0, codec.config.decoder_config.codebook_size, (count, CODEBOOKS)
        )
        modules = [] if name == "long" else _decoder_modules(codec.decoder)
        taps, exact = decode(codec.decoder, codes, modules), None
        if modules:
            with exactly():
                exact = decode(double.decoder, codes, modules)
        recording.add(
            f"decode/{name}", inputs={"codes": codes}, taps=taps, exact=exact, alive=_alive(codec, codes, taps)
        )


def _encoder_modules(encoder: torch.nn.Module) -> list[str]:
    """Those with parameters, in order of execution."""
    layers = [f"encoder.layers.{i}" for i, layer in enumerate(encoder.encoder.layers) if list(layer.parameters())]
    return [*layers, *_layers("encoder_transformer", encoder.encoder_transformer), "downsample"]


def _decoder_modules(decoder: torch.nn.Module) -> list[str]:
    upsampling = [f"upsample.{i}.{j}" for i, pair in enumerate(decoder.upsample) for j in range(len(pair))]
    blocks = [f"decoder.{i}" for i in range(len(decoder.decoder))]
    transformer = _layers("pre_transformer", decoder.pre_transformer)
    return ["pre_conv", *transformer, "pre_transformer", *upsampling, *blocks]


def _layers(path: str, transformer: torch.nn.Module) -> list[str]:
    return [f"{path}.layers.{i}" for i in range(len(transformer.layers))]


def encode(codec: torch.nn.Module, wav: np.ndarray, modules: Sequence[str]) -> Taps:
    """Codes of samples at 24 kHz, by upstream's own `encode`."""
    taps: Taps = {}
    distances: list[np.ndarray] = []
    samples = torch.from_numpy(wav)[None].to(next(codec.parameters()).dtype)
    with contextlib.ExitStack() as stack, torch.inference_mode():
        _hook(stack, codec.encoder, modules, taps)
        stack.enter_context(observed(torch, "cdist", lambda result, *_: distances.append(numpy(result[0]))))
        (codes,) = codec.encode(samples, torch.ones(samples.shape, dtype=torch.long)).audio_codes
    if modules:
        used = np.stack(distances[:CODEBOOKS], axis=1)  # (frames, codebooks, vectors)
        taps["distances"] = used.reshape(-1, used.shape[-1])
    return taps | {"codes": numpy(codes)[None]}


def decode(decoder: torch.nn.Module, codes: np.ndarray, modules: Sequence[str]) -> Taps:
    """The sound of (frames, 16) codes."""
    taps: Taps = {}
    with contextlib.ExitStack() as stack, torch.inference_mode():
        _hook(stack, decoder, modules, taps)
        taps["wav"] = numpy(decoder(torch.from_numpy(codes).T[None])[:, 0])
    return taps | {"streamed": taps["wav"]} if len(codes) > PIECE else taps


def _hook(stack: contextlib.ExitStack, network: torch.nn.Module, modules: Sequence[str], taps: Taps) -> None:
    for name in modules:
        stack.enter_context(hooked(network.get_submodule(name), functools.partial(_keep, taps, name)))


def _keep(taps: Taps, name: str, output: Any) -> None:
    if hasattr(output, "last_hidden_state"):
        output = output.last_hidden_state
    taps[name] = numpy(output[0] if isinstance(output, tuple) else output)


def _encoder_alive(codec: torch.nn.Module, wav: np.ndarray, codes: np.ndarray) -> dict[str, float]:
    """The least share of distinct codes among a codebook's first 50, and how many change if it is played backwards."""
    some = codes[0, :50]
    backwards = encode(codec, wav[::-1].copy(), [])["codes"]
    return {
        "distinct": min(len(np.unique(column)) for column in some.T) / len(some),
        "changed": float(np.mean(codes != backwards)),
    }


def _alive(codec: torch.nn.Module, codes: np.ndarray, taps: Taps) -> dict[str, float]:
    """Loudness, the share of samples that are not clipped, and how much of the sound changes with the codes' order."""
    wav = taps["wav"]
    backwards = decode(codec.decoder, codes[::-1].copy(), [])["wav"]
    return {
        "loudness": float(np.sqrt(np.mean(wav**2))),
        "unclipped": float(np.mean(np.abs(wav) < 1)),
        "changed": float(np.linalg.norm(wav - backwards) / np.linalg.norm(wav)),
    }


@contextlib.contextmanager
def exactly() -> Iterator[None]:
    """Within the block, upstream's code stays in float64 where it would round to float32."""

    def wide(original: Any) -> Any:
        return lambda x: x if x.dtype == torch.float64 else original(x).double()

    def kept(original: Any) -> Any:
        def to(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            narrow = args[:1] == (torch.float32,) and x.dtype == torch.float64
            return x if narrow else original(x, *args, **kwargs)

        return to

    with default_dtype(torch.float64), replaced(torch.Tensor, "float", wide), replaced(torch.Tensor, "to", kept):
        yield
