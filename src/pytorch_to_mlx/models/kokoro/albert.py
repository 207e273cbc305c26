"""ALBERT (Lan et al. 2020, arXiv:1909.11942) as transformers' AlbertModel has it: one layer, many times."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.layers.attention import attention
from pytorch_to_mlx.layers.elementwise import gelu_tanh
from pytorch_to_mlx.layers.linear import Linear
from pytorch_to_mlx.models.kokoro.config import AlbertConfig

EPSILON = 1e-12


class Embeddings(nn.Module):
    """Of tokens and their positions; all tokens are of one segment."""

    def __init__(self, config: AlbertConfig, tokens: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(tokens, config.embedding_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.embedding_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.embedding_size)
        self.LayerNorm = nn.LayerNorm(config.embedding_size, EPSILON)

    def __call__(self, tokens: mx.array) -> mx.array:
        """(batch, tokens) to (batch, tokens, embedding_size)."""
        position = self.position_embeddings.weight[: tokens.shape[1]]
        return self.LayerNorm(self.word_embeddings(tokens) + self.token_type_embeddings.weight[0] + position)


class Attention(nn.Module):
    """Every token to every token, added to what came in and normed."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.query, self.value = Linear(width, width), Linear(width, width)
        self.key = Linear(width, width, bias=False)  # with one, all scores of a token would change alike
        self.dense = Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width, EPSILON)

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, tokens, hidden_size) to the same."""
        q, k, v = (
            mx.unflatten(each(x), -1, (self.heads, -1)).swapaxes(1, 2) for each in (self.query, self.key, self.value)
        )
        y = attention(q, k, v, scale=q.shape[-1] ** -0.5)
        return self.LayerNorm(x + self.dense(y.swapaxes(1, 2).flatten(-2)))


class Layer(nn.Module):
    """Attention and a feed-forward network."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.full_layer_layer_norm = nn.LayerNorm(config.hidden_size, EPSILON)
        self.attention = Attention(config)
        self.ffn = Linear(config.hidden_size, config.intermediate_size)
        self.ffn_output = Linear(config.intermediate_size, config.hidden_size)

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, tokens, hidden_size) to the same."""
        x = self.attention(x)
        return self.full_layer_layer_norm(self.ffn_output(gelu_tanh(self.ffn(x))) + x)


class LayerGroup(nn.Module):
    """The layers that share weights: one."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.albert_layers = [Layer(config)]

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, tokens, hidden_size) to the same."""
        return self.albert_layers[0](x)


class Encoder(nn.Module):
    """Embeddings made as wide as the layers, and those."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.count = config.num_hidden_layers
        self.embedding_hidden_mapping_in = Linear(config.embedding_size, config.hidden_size)
        self.albert_layer_groups = [LayerGroup(config)]

    def __call__(self, x: mx.array) -> mx.array:
        """(batch, tokens, embedding_size) to (batch, tokens, hidden_size)."""
        x = self.embedding_hidden_mapping_in(x)
        for _ in range(self.count):
            x = self.albert_layer_groups[0](x)
        return x


class Albert(nn.Module):
    """Without the pooled output, which nothing asks for."""

    def __init__(self, config: AlbertConfig, tokens: int) -> None:
        super().__init__()
        self.embeddings = Embeddings(config, tokens)
        self.encoder = Encoder(config)

    def __call__(self, tokens: mx.array) -> mx.array:
        """(batch, tokens) to (batch, tokens, hidden_size)."""
        return self.encoder(self.embeddings(tokens))
