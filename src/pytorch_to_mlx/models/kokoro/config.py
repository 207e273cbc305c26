"""Sizes of Kokoro, as `config.json` of hexgrad/Kokoro-82M has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field

from pytorch_to_mlx.layers.fourier import OVERLAP

Count = Annotated[int, Field(ge=1, le=4096)]
Layers = Annotated[int, Field(ge=1, le=64)]
Symbols = Annotated[int, Field(ge=2, le=65536)]

RATE = 24000
STYLE = 128  # numbers of a voice for the sound, before as many for the prosody
WIDE, NARROW, RESIDUAL = 1024, 512, 64  # channels of the decoder that upstream writes into its code


@dataclass(frozen=True)
class AlbertConfig:
    """The text's transformer, whose layers share one set of weights (`plbert`)."""

    hidden_size: Count = 768
    num_attention_heads: Count = 12
    intermediate_size: Count = 2048
    max_position_embeddings: Symbols = 512
    num_hidden_layers: Layers = 12
    embedding_size: Count = 128
    type_vocab_size: Symbols = 2

    def __post_init__(self) -> None:
        if self.max_position_embeddings < 3:
            raise ValueError("plbert's max_position_embeddings leave no room for a phoneme")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"{self.num_attention_heads} heads do not divide plbert's hidden_size {self.hidden_size}")


@dataclass(frozen=True)
class GeneratorConfig:
    """The vocoder (`istftnet`): frames of 40 a second to spectra of `gen_istft_n_fft` samples."""

    upsample_kernel_sizes: tuple[Count, ...] = (20, 12)
    upsample_rates: tuple[Count, ...] = (10, 6)
    gen_istft_hop_size: Count = 5
    gen_istft_n_fft: Count = 20
    resblock_dilation_sizes: tuple[tuple[Count, Count, Count], ...] = ((1, 3, 5),) * 3
    resblock_kernel_sizes: tuple[Count, ...] = (3, 7, 11)
    upsample_initial_channel: Count = 512

    def __post_init__(self) -> None:
        if len(self.upsample_rates) != len(self.upsample_kernel_sizes):
            raise ValueError("upsample_rates and upsample_kernel_sizes of istftnet must be as many")
        if not (self.upsample_rates and self.resblock_kernel_sizes):
            raise ValueError("istftnet has no upsampling, or no resblocks")
        if not all(kernel % 2 for kernel in self.resblock_kernel_sizes):
            raise ValueError("resblock_kernel_sizes of istftnet must be odd")
        if len(self.resblock_kernel_sizes) != len(self.resblock_dilation_sizes):
            raise ValueError("resblock_kernel_sizes and resblock_dilation_sizes of istftnet must be as many")
        if self.upsample_initial_channel != NARROW or self.upsample_initial_channel % 2 ** len(self.upsample_rates):
            raise ValueError(f"upsample_initial_channel of istftnet is not {NARROW}, which upstream's decoder gives it")
        if self.gen_istft_n_fft != OVERLAP * self.gen_istft_hop_size:
            raise ValueError(f"gen_istft_n_fft of istftnet must be {OVERLAP} times gen_istft_hop_size")
        if any((kernel - rate) % 2 or kernel < rate for rate, kernel in self.upsampling):
            raise ValueError("kernels of istftnet's upsampling must exceed their rates by even numbers")
        if self.samples % 2:
            raise ValueError(f"istftnet makes {self.samples} samples of a frame of pitch, an odd number")
        if self.samples > 4096:
            raise ValueError(f"istftnet makes {self.samples} samples of a frame, more than 4096")

    @property
    def upsampling(self) -> tuple[tuple[int, int], ...]:
        """Rates and kernel sizes."""
        return tuple(zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True))

    @property
    def samples(self) -> int:
        """Of a frame of pitch, of which there are two for each frame of the text."""
        return prod(self.upsample_rates) * self.gen_istft_hop_size


@dataclass(frozen=True)
class KokoroConfig:
    """All of it.

    Attributes:
        hidden_dim: of the text's and prosody's encoders.
        max_dur: frames (1/40 s) that a phoneme lasts at most, at speed 1.
        n_layer: of either encoder.
        n_token: phonemes' embeddings.
        vocab: phonemes' numbers, between 1 and n_token - 1; 0 stands at both ends of a text.
        chinese: the version of misaki's Chinese phonemes, which upstream's files do not tell.
    """

    hidden_dim: Count = 512
    max_dur: Count = 50
    n_layer: Layers = 3
    n_mels: Count = 80
    n_token: Symbols = 178
    style_dim: Count = STYLE
    text_encoder_kernel_size: Count = 5
    istftnet: GeneratorConfig = GeneratorConfig()
    plbert: AlbertConfig = AlbertConfig()
    vocab: Mapping[str, int] = field(default_factory=dict)
    chinese: Literal["1.0", "1.1"] = "1.0"

    def __post_init__(self) -> None:
        if self.style_dim != STYLE or self.hidden_dim != NARROW:
            raise ValueError(
                f"style_dim and hidden_dim are not {STYLE} and {NARROW}, which upstream's code is written for"
            )
        if not self.text_encoder_kernel_size % 2:
            raise ValueError("text_encoder_kernel_size is even")
        if wrong := [symbol for symbol, number in self.vocab.items() if not 0 < number < self.n_token]:
            raise ValueError(f"vocab: {wrong[0]!r} has a number that is not between 0 and n_token {self.n_token}")

    @property
    def longest(self) -> int:
        """Phonemes of a pass, without those at the ends."""
        return self.plbert.max_position_embeddings - 2


IGNORED = ("dropout",)
"""Settings of `plbert` that count in training alone."""


def from_json(told: Mapping[str, Any], chinese: Literal["1.0", "1.1"] = "1.0") -> KokoroConfig:
    """The configuration of upstream's `config.json`.

    Raises:
        KeyError, TypeError, ValueError: it is not as upstream has it.
    """
    albert = {name: value for name, value in told["plbert"].items() if name not in IGNORED}
    top = {each.name for each in fields(KokoroConfig)} - {"istftnet", "plbert", "chinese"}
    return KokoroConfig(
        **{name: told[name] for name in top},
        istftnet=GeneratorConfig(**{name: _frozen(value) for name, value in told["istftnet"].items()}),
        plbert=AlbertConfig(**albert),
        chinese=chinese,
    )


def _frozen(value: Any) -> Any:
    """Lists as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
