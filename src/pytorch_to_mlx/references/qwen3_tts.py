"""Qwen3-TTS as qwen-tts 0.1.1 has it, of every published size and kind, network by network and end to end.

Parts, in this order, each with cases named after it; their taps are told in the files that record them:

    speaker         of base models: the speaker encoder     _ecapa.py
    text            token ids                               below
    talker          text to codes                           _qwen3_talker.py
    encode, decode  of 0.6b-base: the codec                 _qwen3_codec.py
    voice           of base models: a reference recording   below
    tts             all together                            below

Taps of `text/...`, from the UTF-8 bytes of `text`: `said`, `heard` (what a reference says), `instruction`, token ids
(n,) with those around them; of `voice/...`: `speaker_embedding` (D,), `ref_code` (frames, 16); of `tts/...`: `said`
(n, 16), `wav` (1920 n,).

A checkpoint is a folder as upstream's repository has it. Small recordings are of small networks:
of speaker and talker.
"""

import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _ecapa
import _qwen3_codec
import _qwen3_talker
import _seed
import numpy as np
import torch
from _qwen3_tts_checkpoint import REDUCED, VARIANTS, configuration, draw, export
from _recording import Case, Recording, Taps, arguments, numpy, observed, replaced
from qwen_tts import Qwen3TTSModel
from qwen_tts.core.models import Qwen3TTSForConditionalGeneration
from transformers import PreTrainedTokenizerBase

PACKAGES = ("qwen-tts", "transformers", "tokenizers", "torch", "librosa", "soxr", "numpy")
DEEP = ("0.6b-base", "1.7b-custom-voice")
"""Variants whose recordings have upstream's own error in float64: between them every kind of layer and width."""

TEXTS = {
    "en": "Hello there — it's 12:45, isn’t it? That's 3.5 % of $1,024.",
    "de": "Über Straßen und Plätze: schön!",
    "fr": "Ça va ? L’été, déjà vu…",
    "es": "¿Qué tal, señor? Mañana será mejor.",
    "pt": "Olá, não é amanhã?",
    "it": "Perché no? È così.",
    "ru": "Привет, мир! Как дела?",
    "zh": "你好，世界！今天是2026年。",
    "ja": "こんにちは、日本の花は橋へ。カタカナも",
    "ko": "안녕하세요, 세계!",
    "odd": "tabs\tand\nlines\n\nand  spaces 🙂 e\u0301 <|im_end|>",
}
SAID, HEARD = "Seventy years ago, people walked across this bridge.", "A voice that somebody knows."
INSTRUCTION = "Speak slowly, in a warm and low voice."


def load(folder: Path) -> Qwen3TTSModel:
    """Upstream's model from the folder, in float32, with the tokenizer that the Hub's copy would have.

    transformers 4.57.3 takes every local tokenizer beside a config.json of its own version for Mistral's.
    """
    with replaced(PreTrainedTokenizerBase, "_patch_mistral_regex", lambda _: lambda tokenizer, *_, **__: tokenizer):
        return Qwen3TTSModel.from_pretrained(str(folder), dtype=torch.float32)


# --- Texts, voices, speech --------------------------------------------------------------------------------------------


def record_texts(recording: Recording, model: Qwen3TTSModel) -> None:
    """Adds `text/...`."""
    turns = {
        "said": model._build_assistant_text,
        "heard": model._build_ref_text,
        "instruction": model._build_instruct_text,
    }
    for name, text in TEXTS.items():
        taps = {turn: numpy(model._tokenize_texts([build(text)])[0][0]) for turn, build in turns.items()}
        alive = {"distinct_tokens": np.unique(taps["said"]).size}
        recording.add(f"text/{name}", inputs={"text": _bytes(text)}, taps=taps, alive=alive)


def record_voices(recording: Recording, model: Qwen3TTSModel, cases: Sequence[Case]) -> None:
    """Adds `voice/...`: of the cases, and of a recording of our own."""
    own = Case.speechlike("short", 31, 2.2, 44100)
    for case in (own, *cases):
        (item,) = model.create_voice_clone_prompt((case.wav, case.rate), ref_text=HEARD)
        taps = {"speaker_embedding": numpy(item.ref_spk_embedding), "ref_code": numpy(item.ref_code)}
        alive = {"distinct_tokens": np.unique(taps["ref_code"]).size}
        recording.add(f"voice/{case.name}", inputs=case.inputs, taps=taps, alive=alive)


def record_speech(recording: Recording, model: Qwen3TTSModel, frames: int) -> None:
    """Adds `tts/...`."""
    kind = model.model.tts_model_type
    told = {} if model.model.tts_model_size == "0b6" else {"instruct": INSTRUCTION}
    if kind == "base":
        wav = _seed.speechlike(32, 1.7, 24000)
        heard = {"ref_audio": (wav, 24000)}
        runs = {
            "clone": (model.generate_voice_clone, heard | {"ref_text": HEARD, "language": "English"}),
            "embedding": (model.generate_voice_clone, heard | {"x_vector_only_mode": True, "language": "german"}),
        }
    elif kind == "custom_voice":
        runs = {
            "named": (model.generate_custom_voice, {"speaker": "Ryan", "language": "English", **told}),
            "dialect": (model.generate_custom_voice, {"speaker": "eric", "language": "Auto"}),
        }
    else:
        runs = {"designed": (model.generate_voice_design, {"language": "English", **told})}
    for name, (run, settings) in runs.items():
        for way, sampled in (("greedy", False), ("sampled", True)):
            _add_speech(recording, model, f"tts/{name}-{way}", run, settings, sampled, frames)


def _add_speech(
    recording: Recording,
    model: Qwen3TTSModel,
    case: str,
    run: Callable[..., Any],
    settings: dict[str, Any],
    sampled: bool,
    frames: int,
) -> None:
    codes: list[np.ndarray] = []
    with (
        observed(model.model, "generate", lambda result, *_: codes.append(numpy(result[0][0]))),
        _qwen3_talker.drawn() as draws,
    ):
        ways = {"do_sample": sampled, "subtalker_dosample": sampled, "max_new_tokens": frames + 1}
        wavs, _ = run(text=SAID, **settings, **ways)
    inputs: Taps = {"text": _bytes(SAID), "frames": np.array(frames), "do_sample": np.array(sampled)}
    for name, value in settings.items():
        if name == "ref_audio":
            inputs["wav"], inputs["rate"] = value[0], np.array(value[1])
        elif isinstance(value, str):
            inputs[name] = _bytes(value)
    noise = _qwen3_talker.streams(draws, len(codes[0])) if sampled else {}
    taps = {"said": codes[0], "wav": wavs[0]}
    alive = {
        "distinct_tokens": np.unique(codes[0]).size,
        "loudness": float(np.sqrt(np.mean(wavs[0] ** 2))),
    }
    recording.add(case, inputs=inputs, noise=noise, taps=taps, alive=alive)


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


# --- The command ------------------------------------------------------------------------------------------------------


def small_model(variant: str, seed: int) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """Upstream's model for a small recording, and its tensors' shapes."""
    config = configuration(f"{variant}-reduced", text_tokens=300, codes=64)
    talker, predictor = config.talker_config, config.talker_config.code_predictor_config
    for each, layers in ((talker, 2), (predictor, 1)):
        each.num_hidden_layers, each.hidden_size, each.intermediate_size, each.head_dim = layers, 32, 64, 16
        each.num_attention_heads, each.num_key_value_heads = 4, 2
        each.layer_types = ["full_attention"] * layers
    talker.text_hidden_size, talker.rope_scaling["mrope_section"] = 16, [4, 2, 2]
    encoder = config.speaker_encoder_config
    encoder.enc_channels, encoder.enc_dim = [32, 32, 32, 32, 96], 32
    encoder.enc_attention_channels = encoder.enc_se_channels = 8
    config.tts_pad_token_id, config.tts_bos_token_id, config.tts_eos_token_id = 297, 298, 299
    network = Qwen3TTSForConditionalGeneration(config).eval()
    drawn = draw(network, seed)
    network.load_state_dict(drawn)
    return network, {name: tuple(tensor.shape) for name, tensor in drawn.items()}


def record_small(variant: str, seed: int, path: Path) -> None:
    """A small recording, of speaker and talker."""
    network, shapes = small_model(variant, seed)
    recording = Recording("qwen3_tts", variant, [], PACKAGES, seed)
    recording.describe(shapes, {"config.json": json.loads(network.config.to_json_string(use_diff=False))})
    if network.speaker_encoder is not None:
        _ecapa.record(recording, network, small=True)
    _qwen3_talker.record(recording, network, small=True, deep=True)
    recording.shrink()
    recording.save(path)


def main() -> None:
    args = arguments(__doc__, [*VARIANTS, *REDUCED])
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_grad_enabled(False)
    if args.verb == "export":
        return export(args.variant, args.seed, args.out)
    if args.small:
        return record_small(args.variant, args.seed, args.out)
    cases = [Case.read(path, args.seconds) for path in args.audio]
    with tempfile.TemporaryDirectory() as room:
        folder = args.checkpoint
        if folder is None:
            folder = Path(room)
            export(args.variant, args.seed, folder)
        model = load(folder)
        codec = folder / "speech_tokenizer"
        originals = [*folder.glob("model*.safetensors"), codec / "model.safetensors"]
        recording = Recording("qwen3_tts", args.variant, originals, PACKAGES, args.seed)
        if model.model.speaker_encoder is not None:
            _ecapa.record(recording, model.model, small=False)
        record_texts(recording, model)
        _qwen3_talker.record(recording, model.model, small=False, deep=args.variant in DEEP)
        if args.variant == "0.6b-base":
            _qwen3_codec.record(recording, model.model.speech_tokenizer.model.eval(), small=False)
        if model.model.speaker_encoder is not None:
            record_voices(recording, model, cases)
        record_speech(recording, model, frames=30)
    recording.save(args.out)


if __name__ == "__main__":
    main()
