"""The 25 Hz tokenizer of Qwen3-TTS as qwen-tts computes it, network by network.

Taps of `encode/...`, in order, named by module paths relative to the encoder (F frames, L positions, T codes):

    mel                                 (F, 128)
    tokenizer.blocks.{i}                (1, L, C)       of recordings of one window
    tokenizer.audio_vq_downsample       (1, C, T)
    distances                           (T, vectors)    of what is quantized to each vector
    codes                               (T,)

of `dit/...`, relative to the DiT, whose guidance makes a batch of two (P frames; `last` and `control` are one step at
`time` from the state `z`, the others a whole solution):

    input_embed.spk_encoder.blocks.{i}, .mfa, .asp.conv  (2, C, frames)
    input_embed.spk_encoder             (2, C)
    time_embed                          (1, C)
    input_embed, transformer_blocks.{i}, norm_out  (2, P, C)
    proj_out                            (2, P, 80)
    state.{i}                           (1, P, 80)      after each step
    mel                                 (1, 80, P)

of `bigvgan/...`, relative to it: conv_pre, ups.{i}.0, resblocks.{j}, activation_post (1, C, steps), wav (1, steps); of
`decode/...`: wav (1, steps), of codes; of `heard/...`, what is taken from the recording of a voice:

    features                            (frames, 80)    what CAM++ is given
    ref_mel                             (frames, 80)

Two things of upstream are replaced where they cannot run: sox, a program, which brings a recording's peak to -6 dB, and
the session of CAM++, whose file no seeded checkpoint has.
"""

import contextlib
import copy
import functools
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any

import _seed
import numpy as np
import torch
from _qwen3_codec import exactly
from _recording import Recording, Taps, hooked, numpy, observed, replaced
from qwen_tts.core.tokenizer_25hz.vq import core_vq, speech_vq, whisper_encoder

RATE, MELS, XVECTOR = 16000, 80, 192
PEAK = np.float32(10 ** (-6 / 20))
SMALL = ("input_embed", "transformer_blocks.*", "state.1", "mel")  # of a whole solution, of which the rest has no room
STEPS = 9  # between the ten times of upstream's default
NOISE = 30000  # frames that upstream draws, of which it uses the first


def record(recording: Recording, model: torch.nn.Module, *, small: bool) -> None:
    """Adds the cases of all networks, float32 and in evaluation mode."""
    record_encoder(recording, model.encoder, _double(model.encoder), small=small)
    double = _double(model.decoder)  # only now: at full size each takes gigabytes
    record_dit(recording, model.decoder.dit, double.dit, small=small)
    record_vocoder(recording, model.decoder.bigvgan, double.bigvgan, small=small)
    record_decoder(recording, model, double, small=small)
    record_heard(recording, small=small)


def _double(network: torch.nn.Module) -> Any:
    return copy.deepcopy(network).double()


# --- Sound to codes ---------------------------------------------------------------------------------------------------


def record_encoder(recording: Recording, encoder: Any, double: Any, *, small: bool) -> None:
    """Adds `encode/...`: `short` and `control` of one window, `windows` of several, of which the last is shorter."""
    window = encoder.tokenizer.n_window / 50  # seconds
    seconds = {"short": 0.95 * window, "control": 0.15, "windows": 2.66 * window if small else 8.1}
    for name, length in seconds.items():
        wav = _seed.speechlike(3, length + 0.2, RATE)[3200:]
        taps = encode(encoder, wav, blocks=name != "windows")
        with exactly():
            exact = encode(double, wav, blocks=name != "windows", mel=torch.from_numpy(taps["mel"].T)) | {
                "mel": numpy(_mel(double, wav.astype(np.float64)).T)
            }
        recording.add(
            f"encode/{name}",
            inputs={"wav": wav},
            taps=taps,
            exact=exact,
            alive=_codes_alive(encoder, wav, taps["codes"]) if name == "windows" else {},
        )


def encode(encoder: Any, wav: np.ndarray, *, blocks: bool, mel: torch.Tensor | None = None) -> Taps:
    """Codes of samples at 16 kHz, or of their spectrum (128, frames)."""
    taps: Taps = {}
    dtype = next(encoder.parameters()).dtype
    mel = _mel(encoder, wav) if mel is None else mel
    taps["mel"] = numpy(mel.T)
    names = [f"tokenizer.blocks.{i}" for i in range(encoder.tokenizer.audio_vq_layers)] if blocks else []
    with contextlib.ExitStack() as stack, torch.inference_mode():
        for name in names:
            stack.enter_context(hooked(encoder.get_submodule(name), functools.partial(_keep_block, taps, name)))
        name = "tokenizer.audio_vq_downsample"
        stack.enter_context(hooked(encoder.get_submodule(name), functools.partial(_keep, taps, name)))
        keep = functools.partial(_keep_distances, taps)
        stack.enter_context(observed(core_vq.EuclideanCodebook, "quantize", keep))
        codes, _ = encoder.mel2code([mel.to(dtype)])
    return taps | {"codes": numpy(codes[0])}


def _mel(encoder: Any, wav: np.ndarray) -> torch.Tensor:
    """Upstream's spectrum of samples, (128, frames), in their precision."""
    samples = torch.from_numpy(wav)
    filters = whisper_encoder.mel_filters  # which are kept in float32
    with replaced(whisper_encoder, "mel_filters", lambda _: lambda *args: filters(*args).to(samples.dtype)):
        (mel,) = encoder.speech2mel([samples])
    return mel


def _keep_distances(taps: Taps, codes: torch.Tensor, codebook: Any, x: torch.Tensor) -> None:
    """What upstream takes the least of: squared distances but for rounding, which is part of what it decides by."""
    embed = codebook.embed.t()
    distances = numpy(x.pow(2).sum(1, keepdim=True) - 2 * x @ embed + embed.pow(2).sum(0, keepdim=True))
    assert np.array_equal(distances.argmin(axis=1), numpy(codes).reshape(-1)), "upstream decides by something else"
    taps["distances"] = distances


def _codes_alive(encoder: Any, wav: np.ndarray, codes: np.ndarray) -> dict[str, float]:
    """The share of distinct ones in the first 200, and how many differ if the recording is played backwards."""
    some = codes[:200]
    backwards = encode(encoder, wav[::-1].copy(), blocks=False)["codes"]
    return {"distinct": len(np.unique(some)) / len(some), "changed": float(np.mean(codes != backwards))}


# --- Codes to a spectrum ----------------------------------------------------------------------------------------------


def record_dit(recording: Recording, dit: Any, double: Any, *, small: bool) -> None:
    """Adds `dit/...`: `short`, a whole solution; `last`, its last step; `control`, one step of few codes."""
    inputs = dit_inputs(dit, "short", codes=3 if small else 30, frames=12 if small else 120)
    z = noise(dit, "short", len(inputs["codes"]))
    taps = solve(dit, inputs, z)
    with exactly():
        exact = solve(double, inputs, z)
    changed = _changes(dit, inputs, z, taps["mel"])
    kept = {name: tap for name, tap in taps.items() if not small or any(fnmatchcase(name, each) for each in SMALL)}
    recording.add("dit/short", inputs=inputs, noise={"flow": z[0]}, taps=kept, exact=exact, alive=changed)
    last = numpy(1 - torch.cos(torch.pi / 2 * torch.linspace(0, 1, STEPS + 1)))[-2]
    few = dit_inputs(dit, "control", codes=3, frames=12)
    for name, given, state, time in (
        ("last", inputs, taps[f"state.{STEPS - 1}"], last),
        ("control", few, noise(dit, "control", 3), np.float32(0.3)),
    ):
        given = given | {"time": np.array(time)}
        with exactly():
            exact = velocity(double, given, state)
        recording.add(
            f"dit/{name}",
            inputs=given,
            noise={"flow": state[0]},
            taps=velocity(dit, given, state),
            exact=exact,
            alive={},
        )


def dit_inputs(dit: Any, name: str, *, codes: int, frames: int) -> Taps:
    """Codes, the vector of a voice and its reference spectrum."""
    draw = _seed.generator(0, f"25hz.{name}")
    xvector = draw.standard_normal(XVECTOR)
    return {
        "codes": draw.integers(0, dit.text_embed.codec_embed.num_embeddings - 1, codes),
        "xvector": np.float32(xvector / np.linalg.norm(xvector)),
        "ref_mel": draw.standard_normal((frames, MELS), np.float32) - np.float32(3),
    }


def noise(dit: Any, name: str, codes: int) -> np.ndarray:
    """(1, frames, 80) in place of what upstream draws."""
    return _seed.NoiseStream(0, f"25hz.{name}").normal((1, codes * dit.repeats, MELS))


def solve(dit: Any, inputs: Taps, z: np.ndarray) -> Taps:
    """Taps of upstream's `sample` from the noise `z`."""
    states: list[np.ndarray] = []

    def watching(forward: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            states.append(numpy(kwargs["hidden_states"]))
            return forward(*args, **kwargs)

        return call

    codes, xvector, ref_mel = _given(dit, inputs)
    with _watched(dit, _dit_modules(dit)) as taps, drawing(z), replaced(dit, "forward", watching):
        mel = dit.sample(xvector, ref_mel, codes)
    taps |= {f"state.{i}": state for i, state in enumerate(states) if i}
    return taps | {f"state.{len(states)}": numpy(mel.transpose(1, 2)), "mel": numpy(mel)}


def velocity(dit: Any, inputs: Taps, state: np.ndarray) -> Taps:
    """Taps of one call of upstream's network with guidance."""
    codes, xvector, ref_mel = _given(dit, inputs)
    with _watched(dit, _dit_modules(dit)) as taps:
        dit(
            hidden_states=torch.from_numpy(state).to(xvector.dtype),
            quantized_code=codes,
            speaker_embedding=xvector[:, None].repeat(1, state.shape[1], 1),
            condition_vector=ref_mel,
            time_step=torch.from_numpy(inputs["time"]).to(xvector.dtype),
        )
    return taps


def _dit_modules(dit: Any) -> list[str]:
    speaker = "input_embed.spk_encoder"
    blocks = [f"{speaker}.blocks.{i}" for i in range(len(dit.input_embed.spk_encoder.blocks))]
    layers = [f"transformer_blocks.{i}" for i in range(len(dit.transformer_blocks))]
    return [
        "time_embed",
        *blocks,
        f"{speaker}.mfa",
        f"{speaker}.asp.conv",
        speaker,
        "input_embed",
        *layers,
        "norm_out",
        "proj_out",
    ]


def _changes(dit: Any, inputs: Taps, z: np.ndarray, mel: np.ndarray) -> dict[str, float]:
    """How much of the spectrum changes with each input: drawn again, or in another order."""
    other = dit_inputs(dit, "other", codes=len(inputs["codes"]), frames=len(inputs["ref_mel"]))
    changed = {name: solve(dit, inputs | {name: other[name]}, z)["mel"] for name in inputs}
    return {name: float(np.linalg.norm(each - mel) / np.linalg.norm(mel)) for name, each in changed.items()}


def _given(dit: Any, inputs: Taps) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    dtype = dit.proj_out.weight.dtype
    codes, xvector, ref_mel = (torch.from_numpy(inputs[name])[None] for name in ("codes", "xvector", "ref_mel"))
    return codes, xvector.to(dtype), ref_mel.to(dtype)


# --- A spectrum to sound ----------------------------------------------------------------------------------------------


def record_vocoder(recording: Recording, vocoder: Any, double: Any, *, small: bool) -> None:
    """Adds `bigvgan/...`."""
    for name, frames in {"short": 4 if small else 24, "control": 1 if small else 3}.items():
        mel = 2 * _seed.generator(0, f"25hz.mel.{name}").standard_normal((1, MELS, frames), np.float32) - np.float32(4)
        taps, exact = vocode(vocoder, mel), vocode(double, mel)
        kept = {"wav": taps["wav"]} if small and name == "short" else taps  # for which there is room
        recording.add(f"bigvgan/{name}", inputs={"mel": mel}, taps=kept, exact=exact, alive=_sound(taps["wav"]))


def vocode(vocoder: Any, mel: np.ndarray) -> Taps:
    """Taps of upstream's vocoder."""
    count = vocoder.num_residual_blocks
    modules = ["conv_pre"]
    for i in range(vocoder.num_upsample_layers):
        modules += [f"ups.{i}.0", *(f"resblocks.{i * count + j}" for j in range(count))]
    with _watched(vocoder, [*modules, "activation_post"]) as taps:
        wav = vocoder(torch.from_numpy(mel).to(vocoder.conv_pre.weight.dtype))
    return taps | {"wav": numpy(wav)}


def _sound(wav: np.ndarray) -> dict[str, float]:
    """Loudness, and the share of samples that are not clipped."""
    return {"loudness": float(np.sqrt(np.mean(wav**2))), "unclipped": float(np.mean(np.abs(wav) < 1))}


# --- Codes to sound, and voices ---------------------------------------------------------------------------------------


def record_decoder(recording: Recording, model: Any, double: Any, *, small: bool) -> None:
    """Adds `decode/short`: codes to sound, by upstream's own `decode`."""
    dit = model.decoder.dit
    inputs = dit_inputs(dit, "decode", codes=1 if small else 13, frames=12 if small else 90)
    z = noise(dit, "decode", len(inputs["codes"]))
    taps = {"wav": decode(model, inputs, z)}
    with exactly(), replaced(model, "decoder", lambda _: double):
        exact = {"wav": decode(model, inputs, z)}
    recording.add(
        "decode/short", inputs=inputs, noise={"flow": z[0]}, taps=taps, exact=exact, alive=_sound(taps["wav"])
    )


def decode(model: Any, inputs: Taps, z: np.ndarray) -> np.ndarray:
    """The sound of (codes,), (1, samples)."""
    with torch.inference_mode(), drawing(z):
        (wav,) = model.decode(*_given(model.decoder.dit, inputs)).audio_values
    return numpy(wav)[None]


def record_heard(recording: Recording, *, small: bool) -> None:
    """Adds `heard/short`."""
    wav = _seed.speechlike(8, 0.11 if small else 1.63, RATE)
    recording.add("heard/short", inputs={"wav": wav}, taps=hear(wav), exact=heard_exactly(wav), alive={})


def heard_exactly(wav: np.ndarray) -> Taps:
    """`hear` in float64."""
    with exactly():
        return hear(wav.astype(np.float64))


def hear(wav: np.ndarray) -> Taps:
    """What upstream's extractor gives CAM++ of samples at 16 kHz, (frames, 80), and the reference spectrum."""
    given: list[np.ndarray] = []

    def run(_outputs: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        given.extend(inputs.values())
        return [np.ones((1, XVECTOR), np.float32)]

    session = SimpleNamespace(run=run, get_inputs=lambda: [SimpleNamespace(name="input")])
    with (
        replaced(speech_vq.onnxruntime, "InferenceSession", lambda _: lambda *args, **kwargs: session),
        replaced(speech_vq.XVectorExtractor, "sox_norm", lambda _: lambda self, audio: normed(audio)),
    ):
        _, ref_mel = speech_vq.XVectorExtractor("").extract_code(wav)
    return {"features": given[0][0], "ref_mel": ref_mel}


def normed(audio: np.ndarray) -> np.ndarray:
    """What `sox norm -6` does: clipped, with the peak at -6 dB. tests/goldens/sox_norm.json is what sox 14.4.2 gave."""
    audio = np.clip(audio, -1, 1)
    peak = np.abs(audio).max()
    return audio * (PEAK / peak).astype(audio.dtype) if peak else audio


# --- Around upstream --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def drawing(z: np.ndarray) -> Iterator[None]:
    """Within the block, upstream draws `z`, (1, frames, 80), and zeros after it."""

    def draw(_original: Any) -> Any:
        def randn(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
            assert tuple(shape) == (1, NOISE, MELS)
            return torch.nn.functional.pad(torch.from_numpy(z), (0, 0, 0, NOISE - z.shape[1])).to(dtype)

        return randn

    with replaced(torch, "randn", draw):
        yield


@contextlib.contextmanager
def _watched(network: Any, modules: Sequence[str]) -> Iterator[Taps]:
    """Within the block, the first outputs of modules are collected."""
    taps: Taps = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        for name in modules:
            stack.enter_context(hooked(network.get_submodule(name), functools.partial(_keep, taps, name)))
        yield taps


def _keep(taps: Taps, name: str, output: torch.Tensor) -> None:
    if name not in taps:
        taps[name] = numpy(output[:1] if name == "time_embed" else output)  # of which guidance has two equal rows


def _keep_block(taps: Taps, name: str, output: torch.Tensor) -> None:
    taps[name] = numpy(output[None])
