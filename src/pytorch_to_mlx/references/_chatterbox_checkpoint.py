"""Seeded checkpoints of Chatterbox in the file formats of its repositories, at full size."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import _seed
import _tokenizer_files
import numpy as np
import torch
from chatterbox.models.s3gen import S3Gen
from chatterbox.models.t3 import T3
from chatterbox.models.t3.modules.t3_config import T3Config
from chatterbox.models.voice_encoder import VoiceEncoder
from safetensors.torch import save_file

Shapes = dict[str, tuple[int, ...]]

NETWORKS = {"tokenizer": "s3_tokenizer", "speaker_encoder": "campplus", "flow": "flow", "mel2wav": "hift"}
FILTERS, WINDOW = "tokenizer._mel_filters", "tokenizer.window"  # the only tensors that upstream computes


def turbo_config() -> T3Config:
    """What ChatterboxTurboTTS.from_local sets."""
    config = T3Config(text_tokens_dict_size=50276)
    config.llama_config_name = "GPT2_medium"
    config.speech_tokens_dict_size = 6563
    config.input_pos_emb = None
    config.speech_cond_prompt_len = 375
    config.use_perceiver_resampler = False
    config.emotion_adv = False
    return config


@dataclass(frozen=True)
class Files:
    """What a variant loads from its repository's folder. The files of `english` and `multilingual` share one."""

    voice_encoder: str
    t3: str
    s3gen: str
    config: Callable[[], T3Config]
    write_tokenizer: Callable[[Path], None]


FILES = {
    "english": Files(
        "ve.safetensors",
        "t3_cfg.safetensors",
        "s3gen.safetensors",
        T3Config.english_only,
        lambda folder: _tokenizer_files.write_english(folder / "tokenizer.json"),
    ),
    "multilingual": Files(
        "ve.pt",
        "t3_mtl23ls_v2.safetensors",
        "s3gen.pt",
        T3Config.multilingual,
        _tokenizer_files.write_multilingual,
    ),
    "turbo": Files(
        "ve.safetensors",
        "t3_turbo_v1.safetensors",
        "s3gen_meanflow.safetensors",
        turbo_config,
        _tokenizer_files.write_turbo,
    ),
}


def export(variant: str, seed: int, folder: Path) -> None:
    """Writes every file that upstream's `from_local` reads, beside what is in the folder already."""
    folder.mkdir(parents=True, exist_ok=True)
    files = FILES[variant]
    with torch.device("meta"):
        t3, s3gen, voice_encoder = T3(files.config()), S3Gen(meanflow=variant == "turbo"), VoiceEncoder()
    _save(_draw("voice_encoder", _shapes(voice_encoder), seed), folder / files.voice_encoder)
    _save(_draw("t3", _shapes(t3), seed), folder / files.t3)
    _save(_s3gen_weights(s3gen, seed, published=variant == "english"), folder / files.s3gen)
    files.write_tokenizer(folder)
    torch.save(_default_voice(t3.hp.speech_cond_prompt_len, seed), folder / "conds.pt")


def seeded_s3gen(variant: str, seed: int) -> S3Gen:
    """Upstream's network with the weights that `export` writes."""
    network = S3Gen(meanflow=variant == "turbo").eval()
    network.load_state_dict(_s3gen_weights(network, seed, published=False))
    return network


def seeded_voice_encoder(seed: int) -> VoiceEncoder:
    """Upstream's network with the weights that `export` writes."""
    network = VoiceEncoder().eval()
    network.load_state_dict(_draw("voice_encoder", _shapes(network), seed))
    return network


def _shapes(module: torch.nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _draw(network: str, shapes: Shapes, seed: int) -> dict[str, torch.Tensor]:
    draw = getattr(_seed, f"{network}_weights")
    return {name: torch.from_numpy(array) for name, array in draw(shapes, seed).items()}


def _s3gen_weights(s3gen: S3Gen, seed: int, published: bool) -> dict[str, torch.Tensor]:
    """Each network's tensors, and the tokenizer's two buffers, of which the published safetensors lacks the filters."""
    state = {}
    for name, network in NETWORKS.items():
        shapes = _shapes(s3gen.get_submodule(name))
        computed = {key for key in shapes if f"{name}.{key}" in (FILTERS, WINDOW)}
        drawn = _draw(network, {key: shape for key, shape in shapes.items() if key not in computed}, seed)
        state |= {f"{name}.{key}": tensor for key, tensor in drawn.items()}
    state[WINDOW] = torch.hann_window(s3gen.tokenizer.n_fft)
    if not published:
        state[FILTERS] = s3gen.tokenizer._mel_filters  # made from numpy: real also on the meta device
    return state


def _save(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(state, path) if path.suffix == ".pt" else save_file(state, path)


def _default_voice(prompt_tokens: int, seed: int, reference_tokens: int = 40) -> dict:
    """The two halves of a `Conditionals`: of no one's voice."""
    random = _seed.generator(seed, "conds")

    def floats(*shape: int) -> torch.Tensor:
        return torch.from_numpy(random.standard_normal(shape).astype(np.float32))

    def tokens(count: int) -> torch.Tensor:
        return torch.from_numpy(random.integers(0, 6561, (1, count)))

    speaker = torch.nn.functional.normalize(floats(1, 256).relu())
    return {
        "t3": {
            "speaker_emb": speaker,
            "clap_emb": None,
            "cond_prompt_speech_tokens": tokens(prompt_tokens),
            "cond_prompt_speech_emb": None,
            "emotion_adv": 0.5 * torch.ones(1, 1, 1),
        },
        "gen": {
            "prompt_token": tokens(reference_tokens),
            "prompt_token_len": torch.tensor([reference_tokens]),
            "prompt_feat": 2 * floats(1, 2 * reference_tokens, 80) - 6,
            "prompt_feat_len": None,
            "embedding": floats(1, 192),
        },
    }
