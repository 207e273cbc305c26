"""Times MLX's own operations against the lowerings of `layers`, in turns, in one process: medians and ratios.

A decoding step is timed against the same layers one by one, with what else is lowered.

python benchmarks/layers.py [--repeats 11]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import statistics
import time
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import mlx.core as mx
import mlx.nn as nn

from pytorch_to_mlx.arrays import dtype_name
from pytorch_to_mlx.components.decoder import Decoder, DecoderConfig, network
from pytorch_to_mlx.decoding import KVCache
from pytorch_to_mlx.layers import elementwise
from pytorch_to_mlx.layers.attention import attention
from pytorch_to_mlx.layers.convolution import Conv1d, ConvTranspose1d
from pytorch_to_mlx.layers.device import can_compile, linux_cpu
from pytorch_to_mlx.layers.quantized import FEW_ROWS, lower_quantized

Work = Callable[[], mx.array]
Row = tuple[str, Work, Work]

CONVOLUTIONS = [  # batch, time, in, out, kernel, stride, dilation, groups, and where it is from
    (1, 12000, 64, 64, 11, 1, 5, 1, "HiFT, residual block"),
    (1, 2400, 256, 256, 7, 1, 1, 1, "HiFT, residual block"),
    (1, 12000, 18, 256, 30, 15, 1, 1, "HiFT, source"),
    (1, 500, 80, 512, 7, 1, 1, 1, "HiFT, entry"),
    (2, 500, 256, 256, 3, 1, 1, 1, "flow estimator"),
    (1, 1000, 512, 512, 3, 1, 1, 1, "conformer"),
    (1, 250, 128, 32, 3, 1, 2, 1, "CAM++"),
    (1, 500, 1280, 1280, 31, 1, 1, 1280, "S3 tokenizer, FSMN"),
]
TRANSPOSED = [  # time, in, out, kernel, stride
    (200, 512, 256, 16, 8),
    (1600, 256, 128, 11, 5),
    (8000, 128, 64, 7, 3),
]
HEADS = [(2, 8, 500, 64), (1, 20, 750, 64), (2, 16, 200, 64)]
QUANTIZED = [  # rows, in, out, bits, dtype
    (1500, 1280, 5120, 8, mx.float32),
    (1500, 384, 1536, 4, mx.float32),
    (64, 1280, 5120, 4, mx.float32),
    (FEW_ROWS + 1, 1280, 5120, 4, mx.float32),
    (FEW_ROWS + 1, 1280, 5120, 8, mx.float32),
    (FEW_ROWS + 1, 384, 1536, 4, mx.float32),
    (64, 384, 1536, 4, mx.bfloat16),
    (1, 1280, 5120, 4, mx.bfloat16),
    (1, 1280, 5120, 4, mx.float16),
]
DECODERS = {  # with how many sequences
    "Llama of 520 M, guided": (DecoderConfig(30, 1024, 4096, 16, 16, 64, rope_theta=500000.0), 2),
    "GPT-2 medium": (DecoderConfig(24, 1024, 4096, 16, 16, 64, "layer", mlp="gelu_tanh", max_positions=1024), 1),
}
PAST = 300
NATIVE: dict[str, Callable[[mx.array], mx.array]] = {
    "exp": mx.exp,
    "sigmoid": mx.sigmoid,
    "silu": nn.silu,
    "tanh": mx.tanh,
    "elu": nn.elu,
    "mish": nn.mish,
    "gelu": nn.gelu,
    "gelu_tanh": nn.gelu_approx,
    "sin": mx.sin,
    "softmax": lambda x: mx.softmax(x, axis=-1),
}


def convolution_row(case: tuple[int, int, int, int, int, int, int, int, str]) -> Row:
    batch, length, channels, outputs, kernel, stride, dilation, groups, origin = case
    layer = Conv1d(channels, outputs, kernel, stride, 0, dilation, groups)
    x = mx.random.normal((batch, length + dilation * (kernel - 1), channels))
    mx.eval(layer.parameters(), x)
    extra = f" dilation {dilation}" * (dilation > 1) + f" stride {stride}" * (stride > 1) + " depthwise" * (groups > 1)
    name = f"conv1d {(batch, length, channels)} to {outputs}, kernel {kernel}{extra} ({origin})"
    return name, lambda: mx.conv1d(x, layer.weight, stride, 0, dilation, groups) + layer.bias, lambda: layer(x)


def transposed_row(case: tuple[int, int, int, int, int]) -> Row:
    length, channels, outputs, kernel, stride = case
    layer = ConvTranspose1d(channels, outputs, kernel, stride)
    x = mx.random.normal((1, length, channels))
    mx.eval(layer.parameters(), x)
    name = f"conv_transpose1d {(1, length, channels)} to {outputs}, kernel {kernel} stride {stride} (HiFT)"
    return name, lambda: mx.conv_transpose1d(x, layer.weight, stride) + layer.bias, lambda: layer(x)


def attention_row(case: tuple[int, int, int, int]) -> Row:
    batch, heads, queries, depth = case
    q = mx.random.normal(case)
    k = v = mx.random.normal((batch, heads, max(queries, 400), depth))
    mx.eval(q, k)
    native = mx.fast.scaled_dot_product_attention
    return f"attention {case}", lambda: native(q, k, v, scale=0.125), lambda: attention(q, k, v, scale=0.125)


def quantized_row(case: tuple[int, int, int, int, mx.Dtype]) -> Row:
    rows, inner, outer, bits, dtype = case
    linear = nn.Linear(inner, outer)
    linear.set_dtype(dtype)
    plain, ours = (nn.Sequential(nn.QuantizedLinear.from_linear(linear, 64, bits)) for _ in range(2))
    lower_quantized(ours)
    x = mx.random.normal((rows, inner)).astype(dtype)
    mx.eval(plain.parameters(), ours.parameters(), x)
    name = f"{bits}-bit linear {(rows, inner)} to {outer}, {dtype_name(dtype)}"
    return name, lambda: plain(x), lambda: ours(x)


def step_row(name: str) -> Row:
    config, batch = DECODERS[name]
    decoder, caches = Decoder(config), [KVCache(config.num_layers) for _ in range(2)]
    x = mx.random.normal((batch, PAST + 1, config.hidden_size))
    mx.eval(decoder.parameters(), [decoder(x[:, :PAST], cache) for cache in caches])

    def one_more(cache: KVCache) -> mx.array:
        y = decoder(x[:, PAST:], cache)
        cache.trim(1)
        return y

    def layer_by_layer() -> mx.array:
        with patch.object(network, "step", return_value=None):
            return one_more(caches[0])

    return f"decoding step of {name}, after {PAST} positions", layer_by_layer, partial(one_more, caches[1])


def elementwise_row(name: str, size: int) -> Row:
    x = mx.random.normal((size // 512, 512)) * 3
    mx.eval(x)
    ours = getattr(elementwise, name)
    return f"{name} of {size}", lambda: NATIVE[name](x), lambda: ours(x)


def seconds(work: Work) -> float:
    start = time.perf_counter()
    mx.eval(work())
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=11)
    repeats = parser.parse_args().repeats
    version = importlib.metadata.version("mlx")
    print(f"MLX {version}, {mx.default_device()}; lowered: {linux_cpu()}, g++: {can_compile()}")
    print("native ms  ours ms   ratio")
    rows = [partial(elementwise_row, name, size) for size in (2**16, 2**20) for name in NATIVE]
    rows += [partial(attention_row, case) for case in HEADS]
    rows += [partial(quantized_row, case) for case in QUANTIZED]
    rows += [partial(convolution_row, case) for case in CONVOLUTIONS]
    rows += [partial(transposed_row, case) for case in TRANSPOSED]
    rows += [partial(step_row, name) for name in DECODERS]
    for row in rows:  # made when it is its turn: a decoder takes two gigabytes
        name, native, ours = row()
        once = max(seconds(native), seconds(ours))  # compiles, too
        count = repeats if once < 0.5 else 3
        taken = [(seconds(native), seconds(ours)) for _ in range(count)]
        slow, fast = (1000 * statistics.median(each) for each in zip(*taken, strict=True))
        print(f"{slow:9.2f} {fast:8.2f} {slow / fast:7.1f}  {name}", flush=True)


if __name__ == "__main__":
    main()
