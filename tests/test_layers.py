"""The lowerings of `layers`: as exact as float32 allows, equal to MLX's own operations, and taken where they pay."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from pytorch_to_mlx.layers import attention as attention_module
from pytorch_to_mlx.layers import convolution, cores, elementwise
from pytorch_to_mlx.layers.attention import attention
from pytorch_to_mlx.layers.convolution import Conv1d, Conv2d, ConvTranspose1d
from pytorch_to_mlx.layers.device import can_compile, linux_cpu, portable
from pytorch_to_mlx.layers.quantized import FEW_ROWS, QuantizedEmbedding, QuantizedLinear, lower_quantized, unpacked
from pytorch_to_mlx.port import parameter_shapes

LOWERED = linux_cpu() and can_compile()
RNG = np.random.default_rng(0)
GENTLE = np.concatenate([RNG.normal(0, s, 20000) for s in (1e-4, 1, 4)] + [RNG.uniform(-80, 80, 20000)]).astype("f4")

Exact = Callable[[np.ndarray], np.ndarray]
ERF = np.vectorize(math.erf, otypes=[np.float64])


def logistic(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def exact_mish(x: np.ndarray) -> np.ndarray:
    return x * np.tanh(np.log1p(np.exp(x)))


def exact_gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * logistic(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


# Function, in float64, largest error relative to the result, and to |x| (what cancellation leaves of the former).
FUNCTIONS: list[tuple[str, Exact, float, float]] = [
    ("exp", np.exp, 1.2e-7, math.inf),
    ("sigmoid", logistic, 2e-7, math.inf),
    ("silu", lambda x: x * logistic(x), 3e-7, math.inf),
    ("tanh", np.tanh, 2.5e-7, math.inf),
    ("elu", lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), 1.5e-7, math.inf),
    ("mish", exact_mish, 4e-7, math.inf),
    ("gelu_tanh", exact_gelu_tanh, math.inf, 3e-7),
    ("gelu", lambda x: x / 2 * (1 + ERF(x / math.sqrt(2))), math.inf, 3e-7),
    ("sin", np.sin, math.inf, 3e-7),
]


@pytest.mark.parametrize(("name", "exact", "relative", "of_x"), FUNCTIONS, ids=[each[0] for each in FUNCTIONS])
def test_functions_agree_with_float64(name: str, exact: Exact, relative: float, of_x: float) -> None:
    if not LOWERED:
        relative, of_x = max(relative, 1e-5), max(of_x, 1e-6)  # MLX's own are less exact
    want = exact(GENTLE.astype(np.float64))
    got = np.array(getattr(elementwise, name)(mx.array(GENTLE)))
    assert got.dtype == np.float32
    error = np.abs(got - want)
    held = np.abs(want) > 1e-30
    assert (error[held] / np.abs(want)[held]).max() < relative
    assert (error / np.maximum(np.abs(GENTLE), 1e-30)).max() < of_x
    assert error[~held].max(initial=0) < 1e-30


@pytest.mark.skipif(not LOWERED, reason="needs the Linux CPU backend and g++")
@pytest.mark.parametrize("name", [each[0] for each in FUNCTIONS])
def test_infinities_nan_and_extremes_are_mlx_s(name: str) -> None:
    special = [0.0, -0.0, 1e-40, -1e-40, 1e-30, 80.0, -80.0, -90.0, -104.0, -1e4, -1e30, 1e4, 1e30, math.inf, -math.inf]
    if name == "sin":
        special = special[:8]
    native = {"silu": nn.silu, "elu": nn.elu, "mish": nn.mish, "gelu": nn.gelu, "gelu_tanh": nn.gelu_approx}
    function = getattr(elementwise, name)
    with np.errstate(all="ignore"):
        want = np.array(native.get(name, getattr(mx, name, None))(mx.array([*special, math.nan])))  # type: ignore[misc]
    got = np.array(function(mx.array([*special, math.nan] * elementwise.SMALL))[: len(want)])
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-38)
    assert np.isnan(got[-1])


@pytest.mark.skipif(not LOWERED, reason="needs the Linux CPU backend and g++")
def test_exp_at_the_ends_of_its_range() -> None:
    x = np.linspace(-104, 90, 100_000, dtype=np.float32)
    want = np.exp(x.astype(np.float64))
    got = np.array(elementwise.exp(mx.array(x)))
    most = float(np.finfo(np.float32).max)
    assert np.isinf(got[want > most]).all()
    held = (want < most) & (want > 1.7e-38)
    assert (np.abs(got - want)[held] / want[held]).max() < 1.2e-7
    assert (got[want < 5e-39] == 0).all()


@pytest.mark.parametrize(("farthest", "error"), [(10, 1.6e-7), (2 * math.pi * 1e4, 1.6e-7), (8e5, 3e-7)])
def test_sine_of_long_phases(farthest: float, error: float) -> None:
    x = RNG.uniform(-farthest, farthest, 200_000).astype(np.float32)
    assert np.abs(np.array(elementwise.sin(mx.array(x))) - np.sin(x.astype(np.float64))).max() < error


@pytest.mark.skipif(not LOWERED, reason="needs the Linux CPU backend and g++")
def test_a_sine_that_cannot_be_told_is_nan() -> None:
    assert np.isnan(np.array(elementwise.sin(mx.full(elementwise.SMALL, 1e6)))).all()


@pytest.mark.parametrize("shape", [(40, 700), (3, 50, 64), (2000, 3), (5, 4)])
def test_softmax_agrees_with_float64_and_masks(shape: tuple[int, ...]) -> None:
    x = RNG.normal(0, 4, shape).astype(np.float32)
    x[0, ..., -1] = -np.inf
    for axis in (-1, 0):
        want = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
        want /= want.sum(axis, keepdims=True)
        got = np.array(elementwise.softmax(mx.array(x), axis))
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-6 * want.max())
        assert (got[want == 0] == 0).all()


def test_softmax_sums_long_rows_exactly() -> None:
    rows = np.array(elementwise.softmax(mx.array(RNG.normal(0, 1, (30, 5003)).astype(np.float32))))
    assert np.abs(rows.astype(np.float64).sum(axis=1) - 1).max() < (1e-6 if LOWERED else 2e-5)


def test_softmax_of_minus_infinity_alone_is_nan() -> None:
    x = mx.full((100, 100), -mx.inf)
    x[1:] = 0
    got = np.array(elementwise.softmax(x))
    assert np.isnan(got[0]).all() and np.allclose(got[1:], 0.01)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
@pytest.mark.parametrize("name", [each[0] for each in FUNCTIONS] + ["softmax"])
def test_other_dtypes_are_kept(name: str, dtype: mx.Dtype) -> None:
    assert getattr(elementwise, name)(mx.zeros((100, 100), dtype)).dtype == dtype


@pytest.mark.skipif(not LOWERED, reason="needs the Linux CPU backend and g++")
def test_lowerings_take_views_and_any_shape() -> None:
    x = mx.random.normal((60, 4, 70))
    for view in (x.transpose(2, 0, 1), x[:, :3, ::2], mx.broadcast_to(x[:1], (60, 4, 70))):
        np.testing.assert_allclose(np.array(elementwise.tanh(view)), np.array(mx.tanh(view)), atol=3e-7)
        np.testing.assert_allclose(np.array(elementwise.softmax(view)), np.array(mx.softmax(view, -1)), atol=3e-7)


# --- convolutions -------------------------------------------------------------------------------------------------

CONVOLUTIONS = [  # batch, time, in, out, kernel, stride, padding, dilation, groups
    (2, 20, 6, 5, 3, 1, 1, 1, 1),
    (1, 2000, 64, 30, 7, 1, 3, 5, 1),  # too large to unfold
    (2, 1500, 80, 12, 5, 3, 2, 2, 1),
    (1, 9000, 1, 16, 16, 8, 0, 1, 1),
    (2, 4003, 40, 50, 8, 4, 0, 1, 1),  # strides side by side, a rest behind them
    (1, 23, 4, 3, 5, 5, 1, 1, 1),
    (1, 3, 4, 6, 3, 1, 0, 1, 1),
    (1, 40, 6, 6, 1, 1, 0, 1, 1),
    (2, 50, 8, 8, 5, 1, 2, 1, 8),  # depthwise, odd and even
    (2, 50, 8, 8, 4, 2, 3, 3, 8),
    (1, 9, 8, 8, 1, 1, 0, 1, 8),
    (1, 9, 8, 4, 4, 1, 0, 1, 4),  # grouped
    (1, 9, 8, 16, 5, 1, 2, 1, 8),
]


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_convolution_equals_mlx_s(case: tuple[int, ...], bias: bool) -> None:
    batch, time, channels, outputs, kernel, *rest = case
    layer = Conv1d(channels, outputs, kernel, *rest, bias=bias)
    if bias:
        layer.bias = mx.random.normal((outputs,))
    x = mx.random.normal((batch, time, channels))
    want = mx.conv1d(x, layer.weight, *rest) + (layer.bias if bias else 0)
    got = layer(x)
    assert got.shape == want.shape and got.dtype == mx.float32
    np.testing.assert_allclose(np.array(got), np.array(want), atol=1e-5)


TRANSPOSED = [  # in, out, kernel, stride, padding, output padding
    (6, 5, 16, 8, 4, 0),
    (6, 5, 11, 5, 3, 0),
    (6, 5, 7, 3, 2, 1),
    (6, 5, 3, 1, 0, 0),
    (6, 5, 2, 4, 0, 2),  # some outputs are reached by nothing
]


@pytest.mark.parametrize("case", TRANSPOSED)
@pytest.mark.parametrize(("batch", "time"), [(1, 12), (2, 1)])
def test_transposed_convolution_equals_mlx_s(case: tuple[int, ...], batch: int, time: int) -> None:
    channels, outputs, kernel, stride, padding, extra = case
    layer = ConvTranspose1d(channels, outputs, kernel, stride, padding, extra)
    layer.bias = mx.random.normal((outputs,))
    x = mx.random.normal((batch, time, channels))
    got = layer(x)
    assert got.shape[1] == (time - 1) * stride - 2 * padding + kernel + extra
    want = mx.conv_transpose1d(x, layer.weight, stride, padding, 1, extra) + layer.bias
    np.testing.assert_allclose(np.array(got), np.array(want), atol=1e-5)


def test_parameters_are_mlx_nn_s() -> None:
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (Conv1d(6, 4, 3, groups=2), nn.Conv1d(6, 4, 3, groups=2)),
        (ConvTranspose1d(6, 4, 3), nn.ConvTranspose1d(6, 4, 3)),
        (Conv2d(6, 4, 3, bias=False), nn.Conv2d(6, 4, 3, bias=False)),
    ]
    for ours, theirs in pairs:
        assert parameter_shapes(ours) == parameter_shapes(theirs)


def test_half_precision_is_kept_and_as_exact_as_it_can_be() -> None:
    x, weight = mx.random.normal((1, 300, 64)), mx.random.normal((64, 9, 64)) / 24
    want = np.array(mx.conv1d(x.astype(mx.float16).astype(mx.float32), weight.astype(mx.float16).astype(mx.float32)))
    got = convolution.conv1d(x.astype(mx.float16), weight.astype(mx.float16))
    assert got.dtype == mx.float16
    np.testing.assert_allclose(np.array(got).astype(np.float32), want, rtol=2e-3, atol=2e-3)


@pytest.mark.skipif(not linux_cpu(), reason="MLX's own message elsewhere")
def test_an_input_shorter_than_the_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="4 steps, padded by 1 on both sides, are fewer than the kernel's 7"):
        Conv1d(2, 2, 3, padding=1, dilation=3)(mx.zeros((1, 4, 2)))


# --- cores --------------------------------------------------------------------------------------------------------

SHARED_OUT = pytest.mark.skipif(not (LOWERED and cores._streams()), reason="needs 2 to 4 cores and OpenBLAS on Linux")


def test_items_computed_apart_are_a_batch_s() -> None:
    layer = Conv1d(64, 64, 3, padding=1)
    x = mx.random.normal((3, 200, 64))
    mx.eval(layer.parameters(), x)
    sizes = []

    def work(y: mx.array) -> mx.array:
        sizes.append(len(y))
        return elementwise.gelu(layer(y))

    want = np.array(work(x))
    got = np.array(cores.apart(work, x))
    assert sizes == [3, *([1, 1, 1] if linux_cpu() and cores._streams() else [3])]
    np.testing.assert_allclose(got, want, atol=1e-6)


@SHARED_OUT
def test_products_get_their_threads_back() -> None:
    openblas = cores._openblas()
    before = openblas.openblas_get_num_threads()

    def fail(y: mx.array) -> mx.array:
        assert cores.on_one_core() and openblas.openblas_get_num_threads() == 1
        raise KeyError

    with pytest.raises(KeyError):
        cores.apart(fail, mx.zeros((2, 3)))
    assert not cores.on_one_core() and openblas.openblas_get_num_threads() == before


@SHARED_OUT
def test_a_limit_of_one_thread_is_kept() -> None:
    script = "from pytorch_to_mlx.layers import cores; print(len(cores._streams()), cores.usable_cores())"
    limited = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=limited, capture_output=True, text=True, check=True)
    assert done.stdout == "0 1\n"


@SHARED_OUT
def test_threads_share_the_cores() -> None:
    weight = mx.random.normal((64, 64)) / 8
    inputs = [mx.random.normal((2, 100 + i, 64)) for i in range(4)]
    mx.eval(weight, inputs)

    def work(x: mx.array) -> np.ndarray:
        for _ in range(20):
            x = cores.apart(lambda y: elementwise.tanh(y @ weight), x)
            mx.eval(x)
        return np.array(x)

    want = [work(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(pool.map(work, inputs), want, strict=True):
            np.testing.assert_array_equal(got, expected)
    assert cores._openblas().openblas_get_num_threads() > 1


@pytest.mark.skipif(not linux_cpu(), reason="elsewhere there is only one way")
def test_only_the_linux_cpu_is_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the device's answer changed, no lowering is taken."""

    def refused(*_: object) -> mx.array:
        raise AssertionError("a lowering was taken")

    for module in (convolution, attention_module, elementwise):
        monkeypatch.setattr(module, "linux_cpu", lambda: False)
    for name in ("_dense", "_depthwise", "_transposed"):
        monkeypatch.setattr(convolution, name, refused)
    monkeypatch.setattr(attention_module, "_native", refused)
    for name in [each for each in vars(elementwise) if each.startswith("_fast_")]:
        monkeypatch.setattr(elementwise, name, refused)
    x = mx.random.normal((2, 100, 64))
    mx.eval(Conv1d(64, 64, 3)(x), Conv1d(64, 64, 3, groups=64)(x), ConvTranspose1d(64, 8, 4, 2)(x))
    heads = x.reshape(2, 100, 4, 16).swapaxes(1, 2)
    mx.eval(attention(heads, heads, heads, scale=0.25))
    mx.eval([getattr(elementwise, each[0])(x) for each in FUNCTIONS], elementwise.softmax(x))


def test_equal_under_compilation() -> None:
    x = mx.random.normal((1, 100, 64))
    layer = Conv1d(64, 64, 3, padding=1)
    got = mx.compile(lambda y: elementwise.softmax(elementwise.mish(layer(y))))(x)
    np.testing.assert_allclose(np.array(got), np.array(mx.softmax(nn.mish(layer(x)), -1)), atol=1e-6)


@pytest.mark.parametrize(("dtype", "limit"), [(mx.float32, 2e-6), (mx.float16, 1e-3), (mx.bfloat16, 8e-3)])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", [(128,), (1, FEW_ROWS, 128), (1, FEW_ROWS + 1, 128), (2, 40, 128)])
def test_quantized_layers_compute_their_product(
    dtype: mx.Dtype, limit: float, bits: int, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without MLX's product for many rows and in half precision, where it is less exact too; with it elsewhere."""
    network = nn.Sequential(nn.Linear(128, 96), nn.Linear(128, 96, bias=False), nn.Embedding(96, 128))
    network.set_dtype(dtype)
    nn.quantize(network, 32, bits)
    lower_quantized(network)
    assert [type(layer) for layer in network.layers] == [QuantizedLinear, QuantizedLinear, QuantizedEmbedding]
    product, called = mx.quantized_matmul, []
    monkeypatch.setattr(mx, "quantized_matmul", lambda *args, **more: called.append(1) or product(*args, **more))
    x = mx.array(RNG.standard_normal(shape)).astype(dtype)
    few = dtype == mx.float32 and x.size // 128 <= FEW_ROWS
    for layer in network.layers:
        y = getattr(layer, "as_linear", layer)(x)
        parts = [layer[name].astype(mx.float32) for name in ("scales", "biases")]
        weight = np.array(mx.dequantize(layer.weight, *parts, group_size=32, bits=bits), np.float64)
        np.testing.assert_array_equal(np.array(unpacked(layer)), weight)
        exact = np.array(x.astype(mx.float32), np.float64) @ weight.T
        if "bias" in layer:
            exact += np.array(layer.bias.astype(mx.float32))
        assert y.dtype == dtype and y.shape == exact.shape
        assert np.abs(np.array(y.astype(mx.float32)) - exact).max() <= limit * np.abs(exact).max()
    assert len(called) == (3 if few or not linux_cpu() else 0)
    called.clear()
    with portable():
        assert network.layers[0](x).shape == network.layers[2].as_linear(x).shape == (*shape[:-1], 96)
    assert len(called) == 2


def test_only_affine_quantization_is_lowered() -> None:
    network = nn.Sequential(nn.Linear(128, 96), nn.Linear(128, 96))
    nn.quantize(network, mode="mxfp4", class_predicate=lambda path, _: path == "layers.0")
    lower_quantized(network)
    assert [type(layer) for layer in network.layers] == [nn.QuantizedLinear, nn.Linear]


def test_quantized_layers_unpack_one_after_the_other() -> None:
    """The most memory is a few layers' however many there are, since MLX waits with each for the one before."""

    def most(count: int) -> int:
        network = nn.Sequential(*(nn.Linear(256, 256) for _ in range(count)))
        nn.quantize(network)
        lower_quantized(network)
        x = mx.ones((64, 256))
        mx.eval(network.parameters(), x)
        held = mx.get_active_memory()
        mx.reset_peak_memory()
        mx.eval(network(x))
        return mx.get_peak_memory() - held

    assert most(100) < 10 * 256 * 256 * 4
