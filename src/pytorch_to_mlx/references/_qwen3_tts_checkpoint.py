"""Seeded checkpoints of Qwen3-TTS as upstream's repositories have them: sharded, in bfloat16, a codec within.

The tokenizer has as many tokens as Qwen2's, those that upstream's prompts need where they are there, and merges drawn
at random. Reduced checkpoints have the same files, vocabularies and parts, and fewer and narrower layers.
"""

import json
from pathlib import Path
from typing import Any

import _seed
import torch
from _tokenizer_files import LETTERS, _merges
from qwen_tts.core import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model
from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from transformers import EncodecFeatureExtractor

KINDS = {"base": "base", "custom-voice": "custom_voice", "voice-design": "voice_design"}
VARIANTS = ("0.6b-base", "1.7b-base", "0.6b-custom-voice", "1.7b-custom-voice", "1.7b-voice-design")
REDUCED = tuple(f"{variant}-reduced" for variant in VARIANTS)

TEXT_TOKENS, WRITTEN = 151936, 151643
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|special_{n}|>" for n in range(25))]
SPECIAL += ["<tts_pad>", "<tts_text_bos>", "<tts_text_eod>"]
NEEDED = ("assistant", "user")
"""Words that are one token each in upstream's prompts."""

CODES, SPECIAL_CODES = 2048, 1024
"""The first code's vocabulary: codes, and tokens that are numbered behind them."""
TOKENS = {"pad": 100, "bos": 101, "eos_token": _seed.QWEN3_CODEC_EOS, "think": 106, "nothink": 107}
TOKENS |= {"think_bos": 108, "think_eos": 109}
LANGUAGES = {"english": 2, "german": 5, "spanish": 6, "chinese": 7, "japanese": 10, "french": 13, "sichuan_dialect": 14}
SPEAKERS = {"ryan": 1013, "eric": 827, "vivian": 1017}
DIALECTS = {"ryan": False, "eric": "sichuan_dialect", "vivian": False}

CODEC = {"decoder_config": {"codebook_dim": 512, "head_dim": 64, "hidden_size": 512, "intermediate_size": 1024}}
REDUCED_CODEC = {
    "encoder_config": {
        "hidden_size": 64,
        "num_filters": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 16,
        "intermediate_size": 128,
        "codebook_dim": 32,
        "vector_quantization_hidden_dimension": 32,
        "upsample_groups": 64,
    },
    "decoder_config": {
        "num_hidden_layers": 2,
        "decoder_dim": 192,
        "latent_dim": 128,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 16,
        "codebook_dim": 64,
    },
}
GENERATION = {
    "do_sample": True,
    "repetition_penalty": 1.05,
    "temperature": 0.9,
    "top_p": 1.0,
    "top_k": 50,
    "subtalker_dosample": True,
    "subtalker_temperature": 0.9,
    "subtalker_top_p": 1.0,
    "subtalker_top_k": 50,
    "max_new_tokens": 8192,
}


def configuration(variant: str, *, text_tokens: int = TEXT_TOKENS, codes: int = CODES) -> Qwen3TTSConfig:
    """Upstream's configuration of a variant, reduced where its name says so."""
    size, kind = variant.removesuffix("-reduced").split("-", 1)
    large = size == "1.7b"
    heads = {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "rope_theta": 1_000_000}
    talker = {"hidden_size": 2048 if large else 1024, "intermediate_size": 6144 if large else 3072}
    talker |= {"num_hidden_layers": 28, "text_hidden_size": 2048, **heads}
    predictor = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 5, **heads}
    encoder: dict[str, Any] = {"enc_dim": talker["hidden_size"], "sample_rate": 24000}
    if variant.endswith("-reduced"):
        heads |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}
        talker |= {"hidden_size": 320 if large else 256, "intermediate_size": 512, "num_hidden_layers": 4, **heads}
        talker["text_hidden_size"] = 64
        predictor |= {"hidden_size": 256, "intermediate_size": 384, "num_hidden_layers": 2, **heads}
        encoder |= {"enc_dim": talker["hidden_size"], "enc_channels": [64, 64, 64, 64, 192]}
        encoder |= {"enc_attention_channels": 32, "enc_se_channels": 32}
    return Qwen3TTSConfig(
        tokenizer_type="qwen3_tts_tokenizer_12hz",
        tts_model_size="1b7" if large else "0b6",
        tts_model_type=KINDS[kind],
        speaker_encoder_config=encoder,
        talker_config={
            **talker,
            "text_vocab_size": text_tokens,
            "vocab_size": codes + SPECIAL_CODES,
            "num_code_groups": 16,
            "rope_scaling": {
                "interleaved": True,
                "mrope_section": _sections(heads["head_dim"]),
                "rope_type": "default",
            },
            **{f"codec_{name}_id": codes + place for name, place in TOKENS.items()},
            "codec_language_id": {name: codes + place for name, place in LANGUAGES.items()},
            "spk_id": {n: codes + place for n, place in SPEAKERS.items()} if kind == "custom-voice" else {},
            "spk_is_dialect": DIALECTS if kind == "custom-voice" else {},
            "code_predictor_config": {**predictor, "vocab_size": codes, "num_code_groups": 16},
        },
    )


def _sections(head_dim: int) -> list[int]:
    """Of the halves of a head, as 24, 20 and 20 are of 64."""
    return [head_dim // 2 - 2 * (head_dim * 5 // 32), head_dim * 5 // 32, head_dim * 5 // 32]


def draw(network: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Seeded weights by the network's names, rounded to bfloat16."""
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    drawn = _seed.qwen3_tts_weights(shapes, seed)
    return {name: torch.from_numpy(array).to(torch.bfloat16) for name, array in drawn.items()}


def export(variant: str, seed: int, folder: Path) -> None:
    """Writes a seeded checkpoint, a folder as the repository is."""
    folder.mkdir(parents=True, exist_ok=True)
    config = configuration(variant)
    with torch.device("meta"):
        network = Qwen3TTSForConditionalGeneration(config)
    _save_shards(draw(network, seed), folder)
    told = config.to_dict() | {"architectures": ["Qwen3TTSForConditionalGeneration"]}
    told["speaker_encoder_config"] = {  # of which upstream reads back what it knows
        name: value for name, value in told["speaker_encoder_config"].items() if name.startswith(("enc_", "sample_"))
    }
    (folder / "config.json").write_text(json.dumps(told, indent=2))
    (folder / "generation_config.json").write_text(json.dumps(GENERATION, indent=2))
    write_tokenizer(folder)
    _export_codec(CODEC if variant in VARIANTS else REDUCED_CODEC, seed, folder / "speech_tokenizer")


def _save_shards(tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Two files and their index."""
    names = sorted(tensors)
    files = {name: f"model-0000{1 + (i >= len(names) // 2)}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in sorted(set(files.values())):
        save_file({name: tensors[name] for name in names if files[name] == file}, folder / file, {"format": "pt"})
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _export_codec(sizes: dict[str, Any], seed: int, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    config = Qwen3TTSTokenizerV2Config(**sizes)
    with torch.device("meta"):
        network = Qwen3TTSTokenizerV2Model(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    drawn = {name: torch.from_numpy(array) for name, array in _seed.qwen3_codec_weights(shapes, seed).items()}
    save_file(drawn, folder / "model.safetensors", {"format": "pt"})
    config.architectures = ["Qwen3TTSTokenizerV2Model"]
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2))
    EncodecFeatureExtractor(feature_size=1, sampling_rate=24000).save_pretrained(folder)


def write_tokenizer(folder: Path) -> None:
    """`vocab.json`, `merges.txt` and `tokenizer_config.json`."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _words()
    made = {first + second for first, second in merges}
    room = WRITTEN - len(letters) - len(merges)
    for pair in _merges(["Ġ", *LETTERS], room + len(merges)):
        if (joined := "".join(pair)) not in made and room:
            merges.append(pair)
            made.add(joined)
            room -= 1
    tokens = [*letters, *("".join(pair) for pair in merges)]
    assert len(tokens) == len(set(tokens)) == WRITTEN
    (folder / "vocab.json").write_text(
        json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False), encoding="utf-8"
    )
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    settings = {
        "add_prefix_space": False,
        "added_tokens_decoder": {str(WRITTEN + i): {"content": token, **flags} for i, token in enumerate(SPECIAL)},
        "additional_special_tokens": SPECIAL[1:],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _words() -> list[tuple[str, str]]:
    """Merges that make one token of each word, letter by letter."""
    merges: list[tuple[str, str]] = []
    for word in NEEDED:
        for end in range(1, len(word)):
            if (pair := (word[:end], word[end])) not in merges:
                merges.append(pair)
    return merges
