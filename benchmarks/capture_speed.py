"""Models of the sizes that people run, for `capture_zoo.py --zoo`: each takes PyTorch 20 ms or more on a few cores.

Every architecture is built from its configuration, with torch's own seeded weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

Built = tuple[nn.Module, tuple, dict]


LIBRARY = torch.library.Library("torchvision", "DEF")  # gone with its operators once nobody holds it


def import_vision_and_audio() -> None:
    """What lets transformers be imported beside torchvision's build for CUDA, whose operators do not load here."""
    for name in ("nms", "qnms"):
        LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


class Output(nn.Module):
    """A model of transformers that returns one tensor of its output."""

    def __init__(self, model: nn.Module, key: str | int) -> None:
        super().__init__()
        self.model = model
        self.key = key

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return self.model(*args)[self.key]


class Translator(nn.Module):
    """An encoder and a decoder with its head, over whole sentences."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=ids, decoder_input_ids=targets, use_cache=False).logits


def bert() -> Built:
    """BERT base, 128 tokens."""
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig(), add_pooling_layer=False)
    return Output(model, "last_hidden_state"), (torch.randint(0, 30000, (1, 128)),), {}


def llama() -> Built:
    """Eight of Llama 3.2 1B's layers, 128 tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=8,
        num_attention_heads=32,
        num_key_value_heads=8,
        use_cache=False,
    )
    return Output(LlamaForCausalLM(config), "logits"), (torch.randint(0, 32000, (1, 128)),), {}


def whisper() -> Built:
    """Whisper base's encoder over its 30 seconds."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(d_model=512, encoder_layers=6, encoder_attention_heads=8, encoder_ffn_dim=2048)
    return Output(WhisperEncoder(config), "last_hidden_state"), (torch.randn(1, 80, 3000),), {}


def marian() -> Built:
    """Marian as of OPUS-MT, 64 tokens on both sides."""
    from transformers import MarianConfig, MarianMTModel

    config = MarianConfig(
        vocab_size=58101,
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
        pad_token_id=58100,
        decoder_start_token_id=58100,
        eos_token_id=0,
        max_position_embeddings=512,
        activation_function="swish",
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
    )
    ids = torch.randint(1, 58000, (1, 64))
    return Translator(MarianMTModel(config)), (ids, torch.randint(1, 58000, (1, 64))), {}


def resnet() -> Built:
    """ResNet-50 over one image."""
    from transformers import ResNetConfig, ResNetForImageClassification

    model = ResNetForImageClassification(ResNetConfig())
    return Output(model, "logits"), (torch.randn(1, 3, 224, 224),), {}


def lstm() -> Built:
    """Two bidirectional layers of 512, 200 steps."""
    return Output(nn.LSTM(256, 512, 2, batch_first=True, bidirectional=True), 0), (torch.randn(4, 200, 256),), {}


def hifigan() -> Built:
    """HiFi-GAN V1's generator, 100 frames of 256 samples."""
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    config = SpeechT5HifiGanConfig(
        upsample_rates=[8, 8, 2, 2], upsample_kernel_sizes=[16, 16, 4, 4], normalize_before=False
    )
    model = SpeechT5HifiGan(config)
    return model, (torch.randn(1, 100, 80),), {}


def _seeded(build: Callable[[], Built]) -> Callable[[], Built]:
    def seeded() -> Built:
        torch.manual_seed(0)
        module, args, kwargs = build()
        return module.eval(), args, kwargs

    return seeded


MODELS = {build.__name__: _seeded(build) for build in (bert, llama, whisper, marian, resnet, lstm, hifigan)}
