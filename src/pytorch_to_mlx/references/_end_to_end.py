"""Chatterbox whole, through upstream's own classes: `voice/...`, `tts/...` and `vc/...`.

Taps of a voice, from the input `wav` at `rate`, which upstream reads from a file:

    ref_24k                         (samples,)
    loudness                        (samples,)    Turbo: brought to -27 LUFS
    ref_16k                         (samples,)    for the voice encoder and T3's prompt
    prompt_16k                      (samples,)    for CAM++ and the flow's prompt, ten seconds at most
    t3.speaker_emb                  (1, 256)
    t3.cond_prompt_speech_tokens    (1, n)
    gen.prompt_token                (1, n)
    gen.prompt_feat                 (1, 2n, 80)
    gen.embedding                   (1, 192)

Those named `t3...` and `gen...` are inputs of the other cases. Taps of `tts/...`, from `text` in UTF-8 bytes, settings
and noise, with as many speech tokens as `max_tokens`; and of `vc/...`, from `wav` at `rate`:

    text_tokens                     (n,)             tts
    source_16k, source_tokens       (samples,), (1, n)  vc
    tokens                          (n,)             tts: what the flow gets
    mel                             (1, 80, frames)
    wav                             (samples,)
    log_mel                         (1, 80, frames)  of `wav`, as upstream has it of its prompt
    watermarked                     (samples,)

Noise streams, one frame after another: `t3` (tokens, vocabulary), which probabilities are divided by before the largest
is taken, as `torch.multinomial` does; `flow` (frames, 80), prompt and speech; `hift.phase` (1, 9) in [0, 1), made into
angles by -pi + 2 pi u; `hift.noise` (frames, 480, 9). Seeded weights end no speech and know no special tokens: their
noise is such that none is drawn.
"""

import contextlib
import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _seed
import chatterbox.models.s3gen.utils.mel as mel_module
import librosa
import numpy as np
import soundfile
import torch
from _recording import Case, Recording, Taps, hooked, numpy, observed, replaced
from chatterbox import ChatterboxVC
from chatterbox.models.s3gen.s3gen import get_resampler
from chatterbox.models.s3gen.xvector import extract_feature

RATE, TOKENIZER_RATE, HOP, HARMONICS = 24000, 16000, 480, 9
SPEECH_VOCABULARY = 6561
NEVER = 1e30  # as an exponential draw
VOICED = (80, 400)  # Hz

TARGETS = {
    variant: Case.speechlike("speechlike", seed=3, seconds=seconds, rate=22050)
    for variant, seconds in (("english", 2.6), ("multilingual", 2.6), ("turbo", 5.4))  # Turbo refuses less than 5 s
}
SOURCE = Case.speechlike("speechlike", seed=4, seconds=0.9, rate=16000)
MAX_TOKENS = 24

TEXTS = {
    "english": "hello — this is a test: it works…",
    "turbo": "Well, [laugh] that’s how it goes.",
    "multilingual": "Çela fonctionne, n’est-ce pas",
}
SETTINGS: dict[str, dict[str, float]] = {
    "english": {
        "exaggeration": 0.7,
        "cfg_weight": 0.5,
        "temperature": 0.8,
        "top_p": 0.95,
        "min_p": 0.05,
        "repetition_penalty": 1.2,
    },
    "turbo": {"temperature": 0.8, "top_k": 1000, "top_p": 0.95, "repetition_penalty": 1.2},
    "multilingual": {
        "exaggeration": 0.5,
        "cfg_weight": 0.5,
        "temperature": 0.8,
        "top_p": 1.0,
        "min_p": 0.05,
        "repetition_penalty": 2.0,
    },
}
LANGUAGE = {"multilingual": {"language_id": "fr"}}


def record_voices(recording: Recording, model: Any, variant: str, cases: list[Case]) -> None:
    """Adds `voice/...` of each recording, and of a speech-like one."""
    with torch.inference_mode():
        recorded = {case.name: (case, _voice(model, case)) for case in [TARGETS[variant], *cases]}
    speakers = {name: taps["gen.embedding"] for name, (_, taps) in recorded.items()}
    speakers["another"] = _embedding(model, Case.speechlike("another", seed=5, seconds=1.0, rate=RATE))
    for name, (case, taps) in recorded.items():
        alive = {
            "distinct_tokens": len(np.unique(taps["gen.prompt_token"])),
            "active_units": np.mean(taps["t3.speaker_emb"] > 0),
            "nearest_embedding": min(
                np.linalg.norm(taps["gen.embedding"] - speakers[n]) for n in speakers if n != name
            ),
        }
        exact = _exact_voice(model, taps)
        recording.add(f"voice/{name}", inputs=case.inputs, taps=taps, exact=exact, alive=alive)


def record_speech(recording: Recording, model: Any, variant: str) -> None:
    """Adds `tts/VARIANT`."""
    _voice(model, TARGETS[variant])
    voice = _arrays(model.conds)
    taps: Taps = {}
    settings = SETTINGS[variant]
    with _drawn(f"tts.{variant}") as noise, _tapped(model, taps) as alive, _capped(model.t3, taps):
        model.generate(TEXTS[variant], **settings, **LANGUAGE.get(variant, {}))
    inputs = voice | {name: np.array(value) for name, value in settings.items()}
    inputs |= {"text": _bytes(TEXTS[variant]), "max_tokens": np.array(MAX_TOKENS)}
    inputs |= {name: _bytes(value) for name, value in LANGUAGE.get(variant, {}).items()}
    alive["distinct_tokens"] = len(np.unique(taps["tokens"]))
    recording.add(f"tts/{variant}", inputs=inputs, noise=noise, taps=taps, alive=alive)


def record_conversion(recording: Recording, model: Any) -> None:
    """Adds `vc/speechlike`."""
    converter = ChatterboxVC(model.s3gen, "cpu")
    with _file(TARGETS["english"]) as target:
        converter.set_target_voice(target)
    voice = {f"gen.{name}": numpy(value) for name, value in converter.ref_dict.items() if torch.is_tensor(value)}
    del voice["gen.prompt_token_len"]
    taps: Taps = {}
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        noise = enter(_drawn("vc"))
        source = enter(_file(SOURCE))
        enter(observed(librosa, "load", lambda out, *_: taps.update(source_16k=out[0])))
        enter(hooked(model.s3gen.tokenizer, lambda out: taps.update(source_tokens=numpy(out[0]))))
        alive = enter(_tapped(converter, taps))
        converter.generate(source)
    alive["distinct_tokens"] = len(np.unique(taps["source_tokens"]))
    recording.add("vc/speechlike", inputs=SOURCE.inputs | voice, noise=noise, taps=taps, alive=alive)


# --- Voices -----------------------------------------------------------------------------------------------------------


def _voice(model: Any, case: Case) -> Taps:
    """Taps of upstream's `prepare_conditionals`, which leaves the voice in `model.conds`."""
    taps: Taps = {}
    loudness = hasattr(model, "norm_loudness")
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        path = enter(_file(case))
        enter(observed(librosa, "load", lambda out, *_: taps.update(ref_24k=out[0])))
        if loudness:
            enter(observed(model, "norm_loudness", lambda out, *_: taps.update(loudness=out)))
        enter(observed(librosa, "resample", lambda out, *_: taps.update(ref_16k=out)))
        enter(observed(model.s3gen.speaker_encoder, "inference", lambda _, wav: taps.update(prompt_16k=numpy(wav[0]))))
        model.prepare_conditionals(path)
    return taps | _arrays(model.conds)


def _arrays(conditionals: Any) -> Taps:
    parts = (
        ("t3", ("speaker_emb", "cond_prompt_speech_tokens")),
        ("gen", ("prompt_token", "prompt_feat", "embedding")),
    )
    given = {"t3": vars(conditionals.t3), "gen": conditionals.gen}
    return {f"{part}.{name}": numpy(given[part][name]) for part, names in parts for name in names}


def _exact_voice(model: Any, taps: Taps) -> Taps:
    """What upstream's parts give in float64, from the recording at 24 and at 16 kHz: soxr has float32 only."""
    full = taps.get("loudness", taps["ref_24k"]).astype(np.float64)
    prompt = torch.from_numpy(full[: model.DEC_COND_LEN])[None]
    exact: Taps = {}
    with contextlib.ExitStack() as stack:
        for name in ("mel_basis", "hann_window"):
            stack.enter_context(replaced(mel_module, name, lambda found: {k: v.double() for k, v in found.items()}))
        exact["gen.prompt_feat"] = numpy(mel_module.mel_spectrogram(prompt).transpose(1, 2))
    resampler = get_resampler(RATE, TOKENIZER_RATE, model.device)
    prompt_16k = resampler.double()(prompt)
    resampler.float()
    exact["prompt_16k"] = numpy(prompt_16k[0])
    speaker_encoder = _double(model.s3gen.speaker_encoder)
    with torch.inference_mode():
        exact["gen.embedding"] = numpy(speaker_encoder(extract_feature(prompt_16k)[0]))
    speaker = _double(model.ve).embeds_from_wavs([taps["ref_16k"].astype(np.float64)], sample_rate=TOKENIZER_RATE)
    exact["t3.speaker_emb"] = speaker.mean(axis=0, keepdims=True)
    return exact


def _embedding(model: Any, case: Case) -> np.ndarray:
    with _file(case) as path:
        wav, _ = librosa.load(path, sr=TOKENIZER_RATE)
    with torch.inference_mode():
        return numpy(model.s3gen.speaker_encoder.inference(torch.from_numpy(wav)[None]))


@contextlib.contextmanager
def _file(case: Case) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given.wav"
        soundfile.write(path, case.wav, case.rate, subtype="FLOAT")
        yield str(path)


# --- Speech -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _tapped(model: Any, taps: Taps) -> Iterator[dict[str, float]]:
    """Within the block, `generate` fills the taps; yields what says how alive the sound is."""
    alive: dict[str, float] = {}

    def record_f0(f0: torch.Tensor) -> None:
        alive["voiced"] = float(((f0 > VOICED[0]) & (f0 < VOICED[1])).float().mean())

    def record_mel(mel: torch.Tensor, tokens: torch.Tensor) -> None:
        if "source_tokens" not in taps:
            taps["tokens"] = numpy(tokens)
        taps["mel"] = numpy(mel)

    def record_wav(wav: np.ndarray, marked: np.ndarray) -> None:
        log_mel = mel_module.mel_spectrogram(torch.from_numpy(wav)[None])
        taps.update(wav=wav, log_mel=numpy(log_mel), watermarked=marked)
        alive["loudness"] = float(np.sqrt(np.mean(wav**2)))

    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(observed(model.s3gen, "flow_inference", record_mel))
        enter(hooked(model.s3gen.mel2wav.f0_predictor, record_f0))
        enter(observed(model.watermarker, "apply_watermark", lambda marked, wav: record_wav(wav, marked)))
        yield alive


@contextlib.contextmanager
def _capped(t3: torch.nn.Module, taps: Taps) -> Iterator[None]:
    """Within the block, T3 stops after MAX_TOKENS, for seeded weights would go on; taps the text's tokens."""
    name, limit = (
        ("inference_turbo", {"max_gen_len": MAX_TOKENS - 1})
        if t3.is_gpt
        else ("inference", {"max_new_tokens": MAX_TOKENS})
    )

    def capping(infer: Any) -> Any:
        def call(**given: Any) -> torch.Tensor:
            ids = numpy(given["text_tokens"][0])
            taps["text_tokens"] = ids if t3.is_gpt else ids[1:-1]  # without start and stop
            return infer(**{**given, **limit})

        return call

    with replaced(t3, name, capping):
        yield


@contextlib.contextmanager
def _drawn(case: str) -> Iterator[Taps]:
    """Within the block, upstream's random numbers are from named streams; yields the noise that came to effect."""
    streams = {
        name: _seed.NoiseStream(0, f"chatterbox.{case}.{name}")
        for name in ("t3", "flow", "flow.tail", "phase", "noise")
    }
    noise: Taps = {}
    tail = np.zeros((0, 80), np.float32)
    draws: list[np.ndarray] = []

    def multinomial(probabilities: torch.Tensor, num_samples: int) -> torch.Tensor:
        draw = streams["t3"].exponential(tuple(probabilities.shape[1:]))
        draw[SPEECH_VOCABULARY:] = NEVER
        draws.append(draw)
        noise["t3"] = np.stack(draws)
        return (probabilities / torch.from_numpy(draw)).argmax(dim=-1, keepdim=True)

    def randn(*shape: int, **_: Any) -> torch.Tensor:
        """Meanflow's (1, 80, n): it overwrites the end of what `randn_like` draws for the flow."""
        nonlocal tail
        tail = streams["flow.tail"].normal((shape[2], shape[1]))
        return torch.from_numpy(tail).T[None]

    def randn_like(like: torch.Tensor) -> torch.Tensor:
        _, channels, length = like.shape
        if channels == 80:
            drawn = streams["flow"].normal((length, 80))
            noise["flow"] = np.concatenate([drawn[: length - len(tail)], tail])
            return torch.from_numpy(drawn).T[None]
        if channels == HARMONICS:
            noise["hift.noise"] = streams["noise"].normal((length // HOP, HOP, HARMONICS))
            return torch.from_numpy(noise["hift.noise"].reshape(length, HARMONICS)).T[None]
        return torch.zeros_like(like)  # the source's noise branch, which upstream computes and drops

    def rand(shape: torch.Size, **_: Any) -> torch.Tensor:
        noise["hift.phase"] = streams["phase"].uniform((1, shape[1]))
        return torch.from_numpy(noise["hift.phase"])[..., None]

    with contextlib.ExitStack() as stack:
        for draw in (multinomial, randn, randn_like, rand):
            stack.enter_context(replaced(torch, draw.__name__, lambda _, draw=draw: draw))
        yield noise


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


def _double(module: Any) -> Any:
    return copy.deepcopy(module).double()
