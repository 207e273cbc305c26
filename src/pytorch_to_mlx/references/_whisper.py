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

`decode/...`, from `states`, `settings` and, where it draws, upstream's noise `whisper` (steps, sequences, V). Settings
are upstream's options, as bytes of JSON:

    tokens              (n,)
    scores              (n, V)      of greedy ones: what tokens are the largest of
    measures            (2,)        mean log-probability, probability of silence

`words/...`, from `states` and `tokens`, of a text of `frames` in a `language` (bytes of its code):

    matrix              (T + 1, frames / 2)     attention that words are timed by
    starts, ends        (words,)                hundredths of a second
    probabilities       (words,)

`transcribe/...`, from `wav` and `settings`; above temperature 0 from upstream's noise `whisper` too, `sample_len`
frames (1, V) for each window that is drawn:

    text, language      UTF-8 bytes
    tokens, times       of all segments: (n,), (segments, 3): start, end and seek in hundredths of a second
    words               (words, 2)              likewise
"""

import contextlib
import copy
import json
from collections.abc import Iterator, Mapping, Sequence
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
STEPS = 200
SPOKEN = "The quick brown fox jumps over the lazy dog, doesn't it? Yes: 42 times; naïve café 東京."
BEFORE = "A talk about Whisper, naïve cafés and 東京."


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
            record_words(recording, model, name, each, len(sounds[name]) // 160, "en")
    if not small and model.is_multilingual:
        record_words(recording, model, "short", states["short"], len(sounds["short"]) // 160, "ja")
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
    """Adds `decode/...`: greedy and by beams without an end, with times and without; drawn; of what was said before."""
    eot = _tokenizer(model).eot
    steps = 60 if small else STEPS
    # What is small needs no vocabulary: it may write what is not said.
    free = {"suppress_tokens": [eot], "suppress_blank": False} if small else {"suppress_tokens": [-1, eot]}
    endless = {"language": "en", "sample_len": steps, **free}
    runs: dict[str, dict[str, Any]] = {
        "greedy": {**endless, "without_timestamps": True},
        "times": endless,
        "beams": {**endless, "beam_size": 5},
    }
    if name == "short" and not small:  # for whose noise there would be no room
        chosen = {"temperature": 0.7, "best_of": 3, "length_penalty": 0.6}
        other = {"language": "ja", "task": "translate"} if model.is_multilingual else {"language": "en"}
        before = {"prompt": _tokenizer(model).encode(f" {BEFORE}")}
        runs["ending"] = {"language": "en", "sample_len": 224, "beam_size": 3, "patience": 2.0}
        runs["drawn"] = {"language": "en", "sample_len": 40, **chosen}
        runs["told"] = {**other, **before, "sample_len": 100, "beam_size": 2, "length_penalty": 1.0}
    for run, settings in runs.items():
        noise, taps, alive = _decoded(model, states, settings)
        if name != "short":
            taps.pop("scores", None)
        recording.add(
            f"decode/{name}-{run}",
            inputs={"states": states, "settings": _bytes(json.dumps(settings))},
            noise=noise,
            taps=taps,
            alive=alive if run in ("greedy", "beams") else {},
        )


def _decoded(model: Any, states: np.ndarray, settings: Mapping[str, Any]) -> tuple[Taps, Taps, dict[str, float]]:
    scores: list[np.ndarray] = []

    def watched(update: Any) -> Any:
        def call(self: Any, tokens: torch.Tensor, logits: torch.Tensor, sums: torch.Tensor) -> Any:
            scores.append(numpy(logits))
            return update(self, tokens, logits, sums)

        return call

    with _drawing() as drawn, replaced(decoding.GreedyDecoder, "update", watched):
        (found,) = model.decode(torch.from_numpy(states), decoding.DecodingOptions(fp16=False, **settings))
    measures = np.array([found.avg_logprob, found.no_speech_prob], np.float32)
    taps: Taps = {"tokens": np.array(found.tokens), "measures": measures}
    if scores and not drawn:
        taps["scores"] = np.concatenate(scores)[: len(found.tokens)]
    noise = {"whisper": np.stack(drawn)} if drawn else {}
    return noise, taps, {"distinct": len(set(found.tokens))}


@contextlib.contextmanager
def _drawing() -> Iterator[list[np.ndarray]]:
    """What is drawn within it, (sequences, V) each: the largest of probabilities over exponential noise."""
    drawn: list[np.ndarray] = []
    stream = _seed.NoiseStream(0, "whisper")

    def multinomial(probabilities: torch.Tensor, count: int, replacement: bool = False) -> torch.Tensor:
        drawn.append(stream.exponential(tuple(probabilities.shape)))
        return (probabilities / torch.from_numpy(drawn[-1])).argmax(dim=-1, keepdim=True)

    with replaced(torch, "multinomial", lambda _: multinomial):
        yield drawn


def record_words(recording: Recording, model: Any, name: str, states: np.ndarray, frames: int, language: str) -> None:
    """Adds `words/...`."""
    tokenizer = _tokenizer(model, language)
    tokens = tokenizer.encode(f" {SPOKEN}")
    matrices: list[np.ndarray] = []

    def kept(warp: Any) -> Any:
        return lambda x: (matrices.append(numpy(-x)), warp(x))[1]

    # Its encoder is replaced by what it gave: `find_alignment` takes a spectrum.
    given = torch.from_numpy(states)
    with replaced(timing, "dtw", kept), replaced(model.encoder, "forward", lambda _: lambda _: given):
        found = timing.find_alignment(model, tokenizer, tokens, torch.zeros(1), frames)
    inputs = {"states": states, "tokens": np.array(tokens), "frames": np.array(frames), "language": _bytes(language)}
    recording.add(
        f"words/{name}-{language}",
        inputs=inputs,
        taps={
            "matrix": matrices[0],
            "starts": np.array([round(100 * word.start) for word in found]),
            "ends": np.array([round(100 * word.end) for word in found]),
            "probabilities": np.array([word.probability for word in found], np.float32),
        },
        alive={"words": len({word.start for word in found})},
    )


def record_transcripts(recording: Recording, model: Any, sounds: Mapping[str, np.ndarray]) -> None:
    """Adds `transcribe/...`: all recordings after each other, as often as it takes; with words; in clips that are told
    what was said before, translated from a language that is heard; drawn, in a language without spaces."""
    together = np.concatenate([wav for name, wav in sounds.items() if name != "short"] or [sounds["short"]])
    together = np.tile(together, -(-70 * RATE // len(together)))
    english = {"language": "en", "temperature": [0.0]}
    told = {"initial_prompt": BEFORE, "carry_initial_prompt": True}
    many = model.is_multilingual
    runs: dict[str, tuple[int, dict[str, Any]]] = {
        "plain": (70, english),
        "words": (45, {**english, "word_timestamps": True, "hallucination_silence_threshold": 1.0}),
        "guided": (
            40,
            {
                **told,
                **({"task": "translate"} if many else {}),
                "temperature": [0.0, 0.6],
                "sample_len": 40,
                "clip_timestamps": [2.5, 33.0, 34.0],
            },
        ),
        "unspaced": (
            35,
            {
                "language": "ja" if many else "en",
                "initial_prompt": BEFORE,
                "temperature": [0.4],
                "sample_len": 60,
                "condition_on_previous_text": False,
                "word_timestamps": True,
            },
        ),
    }
    for name, (seconds, settings) in runs.items():
        wav = together[: seconds * RATE]
        found, drawn, fallbacks = _transcribed(model, wav, settings)
        segments = found["segments"]
        tokens = [token for segment in segments for token in segment["tokens"]]
        words = [word for segment in segments for word in segment.get("words", ())]
        times = [[round(100 * s["start"]), round(100 * s["end"]), s["seek"]] for s in segments]
        taps: Taps = {
            "text": _bytes(found["text"]),
            "language": _bytes(found["language"]),
            "tokens": np.array(tokens),
            "times": np.array(times),
        }
        if words:
            taps["words"] = np.array([[round(100 * word["start"]), round(100 * word["end"])] for word in words])
        recording.add(
            f"transcribe/{name}",
            inputs={"wav": wav, "settings": _bytes(json.dumps(settings))},
            noise=drawn,
            taps=taps,
            alive={"distinct": len(set(tokens)), "segments": len(segments), "fallbacks": fallbacks},
        )


def _transcribed(model: Any, wav: np.ndarray, settings: Mapping[str, Any]) -> tuple[dict[str, Any], Taps, int]:
    """What upstream writes; its noise, in which each drawn window has `sample_len` frames; how many windows were drawn
    after another temperature had not been good enough."""
    frames: list[np.ndarray] = []
    fallbacks = 0

    def watched(decode: Any) -> Any:
        def call(mel: torch.Tensor, options: Any) -> Any:
            nonlocal fallbacks
            before = len(drawn)
            result = decode(mel, options)
            if options.temperature > 0:
                made = drawn[before:]
                rest = np.ones((options.sample_len - len(made), *made[0].shape), np.float32)
                frames.append(np.concatenate([np.stack(made), rest]))
                fallbacks += options.temperature > settings["temperature"][0]
            return result

        return call

    given = {**settings, "temperature": tuple(settings["temperature"])}
    with _drawing() as drawn, replaced(model, "decode", watched):
        found = model.transcribe(wav, fp16=False, **given)
    return found, {"whisper": np.concatenate(frames)} if frames else {}, fallbacks


def _bytes(text: str) -> np.ndarray:
    """UTF-8, as numbers."""
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


def _tokenizer(model: Any, language: str = "en") -> Any:
    return get_tokenizer(model.is_multilingual, num_languages=model.num_languages, language=language, task="transcribe")
