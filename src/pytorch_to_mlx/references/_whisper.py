"""Whisper as upstream computes it, stage by stage. Recordings are at 16 kHz, cut to 30 s but for `transcribe/...`.
Small recordings have `mel` in place of `wav`, 30 positions, and nothing that would need the vocabulary.

`encoder/...`, from `wav` (n,):

    mel                 (80 or 128, 3000)
    conv1, ...          each module's output by its path
    states              (1, 1500, state)

`decoder/...`, from `tokens` (T,) and `states` (1, M, state), what the encoder might give: each module's output by its
path and

    logits              (1, T, V)

`language/...`, from `states`: `languages`, (1, 99 or 100), how likely each is.

`decode/...`, from `states` and, where it draws, upstream's noise `whisper` (steps, sequences, V). `options` are numbers
of `OPTIONS`, nan for none; what is `bare` may write what is not said, and needs no vocabulary:

    tokens              (n,)
    scores              (n, V)      of greedy ones: what tokens are the largest of
    measures            (2,)        mean log-probability, probability of silence

`words/...`, from `states` and `tokens`, of a text of `frames`:

    matrix              (T + 1, frames / 2)     attention that words are timed by
    starts, ends        (words,)                hundredths of a second
    probabilities       (words,)

`transcribe/...`, from `wav`, at temperature 0; where it is `timed`, with words, and silences of 1 s in doubt:

    text                UTF-8 bytes
    tokens, times       of all segments: (n,), (segments, 3): start, end and seek in hundredths of a second
    words               (words, 2)              likewise
"""

import contextlib
import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import _seed
import numpy as np
import soxr
import torch
import whisper
from _recording import Case, Recording, Taps, default_dtype, hooked, numpy, replaced
from whisper import decoding, timing
from whisper.audio import N_FRAMES, N_SAMPLES, log_mel_spectrogram, pad_or_trim
from whisper.tokenizer import get_tokenizer

RATE = 16000
OPTIONS = ("sample_len", "beam_size", "patience", "temperature", "without_timestamps", "endless", "translate", "bare")
STEPS = 200
SPOKEN = "The quick brown fox jumps over the lazy dog, doesn't it? Yes: 42 times; naïve café 東京."


def record(recording: Recording, model: Any, cases: Sequence[Case], *, small: bool) -> None:
    """Adds the cases of all stages, of recordings and of our own."""
    double = exact(model, "encoder")
    if small:
        mel = np.float32(_seed.generator(0, "mel").standard_normal((2 * model.dims.n_audio_ctx, model.dims.n_mels)))
        sounds, spectra = {}, {"short": torch.from_numpy(mel.T)}
        record_encoder(recording, model, double, "short", {"mel": mel}, spectra["short"], spectra["short"])
    else:
        sounds = {"short": _seed.speechlike(1, 4.0, RATE)} | {case.name: _at_rate(case) for case in cases}
        spectra = {name: _mel(model, wav[:N_SAMPLES]) for name, wav in sounds.items()}
        for name, wav in sounds.items():
            wide = _wide_mel(model, wav[:N_SAMPLES])
            record_encoder(recording, model, double, name, {"wav": wav[:N_SAMPLES]}, spectra[name], wide)
    states = {name: encode(model, mel) for name, mel in spectra.items()}
    del double  # there would be no room for both halves of a large model
    double = exact(model, "decoder")
    record_decoder(recording, model, double, states["short"], small=small)
    for name, each in states.items():
        record_language(recording, model, double, name, each)
    del double
    for name, each in states.items():
        record_decoding(recording, model, name, each, small=small)
        if not small:
            record_words(recording, model, name, each, len(sounds[name]) // 160)
    if not small:
        record_transcripts(recording, model, sounds)


def exact(model: Any, half: str) -> Any:
    """The same model, its encoder or decoder in float64. Upstream's layer norm computes in float32; the double's does
    not."""
    double = copy.copy(model)
    double._modules = {**model._modules, half: copy.deepcopy(getattr(model, half)).double()}
    for module in getattr(double, half).modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.__class__ = torch.nn.LayerNorm
    return double


def _at_rate(case: Case) -> np.ndarray:
    """At 16 kHz, as soxr has it (upstream asks ffmpeg)."""
    return soxr.resample(case.wav, case.rate, RATE, quality="HQ")


def _mel(model: Any, wav: np.ndarray) -> torch.Tensor:
    """Of 30 s, as upstream's `transcribe` has it."""
    mel = log_mel_spectrogram(wav, model.dims.n_mels, padding=N_SAMPLES)
    return pad_or_trim(mel[:, : len(wav) // 160], N_FRAMES)


def _wide_mel(model: Any, wav: np.ndarray) -> torch.Tensor:
    """The same, computed in float64."""
    double = replaced(whisper.audio, "mel_filters", lambda make: lambda *given: make(*given).double())
    with default_dtype(torch.float64), double:
        return _mel(model, wav.astype(np.float64))


def encode(model: Any, mel: torch.Tensor) -> np.ndarray:
    """States (1, 1500, state)."""
    with torch.inference_mode():
        return numpy(model.encoder(mel[None]))


# --- Encoder ----------------------------------------------------------------------------------------------------------


def record_encoder(
    recording: Recording, model: Any, double: Any, name: str, inputs: Taps, mel: torch.Tensor, wide: torch.Tensor
) -> None:
    """Adds `encoder/...`."""
    taps = _through(model, model.encoder, mel[None])
    fine = _through(double, double.encoder, wide[None].double())
    alive = {"loudest": float(mel.max() - mel.min())}
    recording.add(
        f"encoder/{name}",
        inputs=inputs,
        taps={"mel": numpy(mel.T), **taps},
        exact={"mel": numpy(wide.T.double()), **fine},
        alive=alive,
    )


def _through(model: Any, part: torch.nn.Module, *given: torch.Tensor) -> Taps:
    """Each block's output, and the whole's."""
    encoding = part is model.encoder
    inner = [*(("conv1", "conv2") if encoding else ()), *(f"blocks.{i}" for i in range(len(part.blocks)))]
    seen: Taps = {}
    with contextlib.ExitStack() as stack, torch.inference_mode():
        for path in inner:
            stack.enter_context(hooked(part.get_submodule(path), _keeping(seen, path)))
        # The logits of the double would be float32 by upstream's `.float()`.
        stack.enter_context(hooked(part.ln_post if encoding else part.ln, _keeping(seen, "last")))
        made = part(*given)
    last = seen.pop("last")
    if encoding:
        return {**seen, "states": last}
    logits = numpy(made) if last.dtype == np.float32 else last @ numpy(part.token_embedding.weight).T
    return {**seen, "hidden": last, "logits": logits}


def _keeping(seen: Taps, name: str) -> Any:
    return lambda output: seen.__setitem__(name, numpy(output))


# --- Decoder ----------------------------------------------------------------------------------------------------------


def record_decoder(recording: Recording, model: Any, double: Any, states: np.ndarray, *, small: bool) -> None:
    """Adds `decoder/...`."""
    tokenizer = _tokenizer(model)
    text = [*tokenizer.sot_sequence, *tokenizer.encode(SPOKEN), tokenizer.timestamp_begin + 77]
    for name, tokens, seen in (("forward", text, states), ("control", text[:8], states[:, :30])):
        if small and name == "forward":
            continue
        given = {"tokens": np.array(tokens), "states": seen}
        taps = _through(model, model.decoder, torch.tensor([tokens]), torch.from_numpy(seen))
        fine = _through(double, double.decoder, torch.tensor([tokens]), torch.from_numpy(seen).double())
        other = model.decoder(torch.tensor([tokens]), torch.from_numpy(seen[:, ::-1].copy() * 0.5))
        changed = np.abs(numpy(other) - taps["logits"]).max() / np.abs(taps["logits"]).max()
        recording.add(f"decoder/{name}", inputs=given, taps=taps, exact=fine, alive={"changed": float(changed)})


def record_language(recording: Recording, model: Any, double: Any, name: str, states: np.ndarray) -> None:
    """Adds `language/...` of a model that knows several."""
    if not model.is_multilingual:
        return
    _, found = model.detect_language(torch.from_numpy(states))
    with replaced(double.decoder, "forward", lambda forward: lambda *given: forward(*given).double()):
        _, fine = double.detect_language(torch.from_numpy(states).double())
    recording.add(
        f"language/{name}",
        inputs={"states": states},
        taps={"languages": _shares(found[0])[None]},
        exact={"languages": _shares(fine[0])[None].astype(np.float64)},
        alive={},
    )


def _shares(found: Mapping[str, float]) -> np.ndarray:
    """In the order of their tokens."""
    return np.array([found[code] for code in list(whisper.tokenizer.LANGUAGES)[: len(found)]], np.float32)


# --- Texts ------------------------------------------------------------------------------------------------------------


def record_decoding(recording: Recording, model: Any, name: str, states: np.ndarray, *, small: bool) -> None:
    """Adds `decode/...`: greedy and by beams without an end, with times and without; drawn."""
    nan = math.nan
    steps = 60 if small else STEPS
    runs = {
        "greedy": {"sample_len": steps, "without_timestamps": 1, "endless": 1},
        "times": {"sample_len": steps, "endless": 1},
        "beams": {"sample_len": steps, "endless": 1, "beam_size": 5, "patience": nan},
        "ending": {"beam_size": 3, "patience": 2.0, "sample_len": 224},
    }
    if name == "short":
        runs["drawn"] = {"sample_len": min(steps, 40), "temperature": 0.7}
    else:
        runs.pop("ending")
    if small:  # for whose noise there would be no room
        runs = {run: chosen for run, chosen in runs.items() if run not in ("ending", "drawn")}
    for run, chosen in runs.items():
        chosen = chosen | {"bare": int(small)}
        given = {option: chosen.get(option, nan if option in ("beam_size", "patience") else 0) for option in OPTIONS}
        noise, taps, alive = _decoded(model, states, given)
        if name != "short":
            taps.pop("scores", None)
        recording.add(
            f"decode/{name}-{run}",
            inputs={"states": states, "options": np.array([given[option] for option in OPTIONS])},
            noise=noise,
            taps=taps,
            alive=alive if run in ("greedy", "beams") else {},
        )


def _decoded(model: Any, states: np.ndarray, given: Mapping[str, float]) -> tuple[Taps, Taps, dict[str, float]]:
    tokenizer = _tokenizer(model)
    drawn: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    stream = _seed.NoiseStream(0, "whisper")

    def multinomial(probabilities: torch.Tensor, count: int, replacement: bool = False) -> torch.Tensor:
        drawn.append(stream.exponential(tuple(probabilities.shape)))
        return (probabilities / torch.from_numpy(drawn[-1])).argmax(dim=-1, keepdim=True)

    def watched(update: Any) -> Any:
        def call(self: Any, tokens: torch.Tensor, logits: torch.Tensor, sums: torch.Tensor) -> Any:
            scores.append(numpy(logits))
            return update(self, tokens, logits, sums)

        return call

    suppressed = f"{tokenizer.eot}" if given["bare"] else f"-1,{tokenizer.eot}" if given["endless"] else "-1"
    options = decoding.DecodingOptions(
        language="en",
        task="translate" if given["translate"] else "transcribe",
        fp16=False,
        temperature=given["temperature"],
        sample_len=int(given["sample_len"]),
        beam_size=None if math.isnan(given["beam_size"]) else int(given["beam_size"]),
        patience=None if math.isnan(given["patience"]) else given["patience"],
        without_timestamps=bool(given["without_timestamps"]),
        suppress_tokens=suppressed,
        suppress_blank=not given["bare"],
    )
    with replaced(torch, "multinomial", lambda _: multinomial), replaced(decoding.GreedyDecoder, "update", watched):
        (found,) = model.decode(torch.from_numpy(states), options)
    measures = np.array([found.avg_logprob, found.no_speech_prob], np.float32)
    taps: Taps = {"tokens": np.array(found.tokens), "measures": measures}
    if scores and not drawn:
        taps["scores"] = np.concatenate(scores)[: len(found.tokens)]
    noise = {"whisper": np.stack(drawn)} if drawn else {}
    return noise, taps, {"distinct": len(set(found.tokens))}


def record_words(recording: Recording, model: Any, name: str, states: np.ndarray, frames: int) -> None:
    """Adds `words/...`."""
    tokenizer = _tokenizer(model)
    tokens = tokenizer.encode(f" {SPOKEN}")
    matrices: list[np.ndarray] = []

    def kept(warp: Any) -> Any:
        return lambda x: (matrices.append(numpy(-x)), warp(x))[1]

    # Its encoder is replaced by what it gave: `find_alignment` takes a spectrum.
    given = torch.from_numpy(states)
    with replaced(timing, "dtw", kept), replaced(model.encoder, "forward", lambda _: lambda _: given):
        found = timing.find_alignment(model, tokenizer, tokens, torch.zeros(1), frames)
    recording.add(
        f"words/{name}",
        inputs={"states": states, "tokens": np.array(tokens), "frames": np.array(frames)},
        taps={
            "matrix": matrices[0],
            "starts": np.array([round(100 * word.start) for word in found]),
            "ends": np.array([round(100 * word.end) for word in found]),
            "probabilities": np.array([word.probability for word in found], np.float32),
        },
        alive={"words": len({word.start for word in found})},
    )


def record_transcripts(recording: Recording, model: Any, sounds: Mapping[str, np.ndarray]) -> None:
    """Adds `transcribe/...`: all recordings after each other, as often as it takes, and with words."""
    together = np.concatenate([wav for name, wav in sounds.items() if name != "short"] or [sounds["short"]])
    together = np.tile(together, -(-70 * RATE // len(together)))
    runs = {
        "plain": (together[: 70 * RATE], {}),
        "words": (together[: 45 * RATE], {"word_timestamps": True, "hallucination_silence_threshold": 1.0}),
    }
    for name, (wav, options) in runs.items():
        found = model.transcribe(wav, fp16=False, language="en", temperature=0.0, **options)
        segments = found["segments"]
        tokens = [token for segment in segments for token in segment["tokens"]]
        words = [word for segment in segments for word in segment.get("words", ())]
        times = [[round(100 * s["start"]), round(100 * s["end"]), s["seek"]] for s in segments]
        taps: Taps = {
            "text": np.frombuffer(found["text"].encode(), np.uint8).astype(np.int64),
            "tokens": np.array(tokens),
            "times": np.array(times),
        }
        if words:
            taps["words"] = np.array([[round(100 * word["start"]), round(100 * word["end"])] for word in words])
        recording.add(
            f"transcribe/{name}",
            inputs={"wav": wav, "timed": np.array(int(name == "words"))},
            taps=taps,
            alive={"distinct": len(set(tokens))} | ({} if words else {"segments": len(segments)}),
        )


def _tokenizer(model: Any) -> Any:
    return get_tokenizer(model.is_multilingual, num_languages=model.num_languages, language="en", task="transcribe")
