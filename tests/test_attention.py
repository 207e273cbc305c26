"""Attention: MLX's own everywhere but on the Linux CPU, where it is compiled for the processor."""

from __future__ import annotations

import contextlib
import math
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from pytorch_to_mlx.layers import attention as attention_module
from pytorch_to_mlx.layers import cores, native
from pytorch_to_mlx.layers.attention import attention
from pytorch_to_mlx.layers.device import can_compile, linux_cpu

NATIVE = pytest.mark.skipif(not (linux_cpu() and can_compile()), reason="needs the Linux CPU backend and g++")
RNG = np.random.default_rng(0)


def exact_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float, mask: np.ndarray) -> np.ndarray:
    shared = q.shape[1] // k.shape[1]
    k, v = (np.repeat(each.astype(np.float64), shared, axis=1) for each in (k, v))
    scores = scale * q.astype(np.float64) @ k.swapaxes(-1, -2) + mask
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


@pytest.mark.parametrize("queries", [1, 37])
@pytest.mark.parametrize("kv_heads", [8, 2])
def test_attention_agrees_with_float64(queries: int, kv_heads: int) -> None:
    q = RNG.normal(size=(2, 8, queries, 16)).astype(np.float32)
    k, v = (RNG.normal(size=(2, kv_heads, 60, width)).astype(np.float32) for width in (16, 24))
    seen = RNG.random((2, 1, queries, 60)) > 0.3
    additive = RNG.normal(size=(queries, 60)).astype(np.float32)
    masks = [(None, 0.0), (seen, np.where(seen, 0, -np.inf)), (additive, additive)]
    masks.append((seen[:, :, :1], np.where(seen[:, :, :1], 0, -np.inf)))
    for mask, added in masks:
        given = None if mask is None else mx.array(mask)
        got = attention(mx.array(q), mx.array(k), mx.array(v), scale=0.25, mask=given)
        np.testing.assert_allclose(np.array(got), exact_attention(q, k, v, 0.25, np.asarray(added)), atol=2e-6)


def test_attention_takes_views_of_any_layout() -> None:
    heads = mx.array(RNG.normal(size=(3, 1, 4, 16, 50)).astype(np.float32))
    views = heads.swapaxes(-1, -2)
    want = attention(*(mx.contiguous(each) for each in views), scale=0.25)
    np.testing.assert_allclose(np.array(attention(*views, scale=0.25)), np.array(want), rtol=1e-5, atol=1e-6)


def test_attention_keeps_nan_in_its_query() -> None:
    q, k, v = (RNG.normal(size=(1, 2, 40, 16)).astype(np.float32) for _ in range(3))
    q[0, 1, 7] = math.nan
    got = np.array(attention(mx.array(q), mx.array(k), mx.array(v), scale=0.25))
    assert np.isnan(got[0, 1, 7]).all() and np.isnan(got).sum() == 16


def test_half_precision_is_mlx_s() -> None:
    q = mx.array(RNG.normal(size=(1, 2, 40, 16))).astype(mx.float16)
    want = mx.fast.scaled_dot_product_attention(q, q, q, scale=0.25)
    np.testing.assert_array_equal(np.array(attention(q, q, q, scale=0.25)), np.array(want))


def test_a_query_that_sees_nothing_is_nan() -> None:
    q = mx.array(RNG.normal(size=(1, 2, 40, 16)).astype(np.float32))
    seen = np.ones((40, 40), bool)
    seen[5] = False
    got = np.array(attention(q, q, q, scale=0.25, mask=mx.array(seen)))
    assert np.isnan(got[:, :, 5]).all() and np.isfinite(np.delete(got, 5, axis=2)).all()


def test_scores_of_any_size_are_weighed() -> None:
    q = RNG.normal(0, 40, size=(1, 2, 33, 16)).astype(np.float32)
    got = np.array(attention(*(mx.array(q),) * 3, scale=1.0))
    np.testing.assert_allclose(got, exact_attention(q, q, q, 1.0, np.zeros(1)), atol=2e-3)


def test_inside_a_transformation_it_is_mlx_s() -> None:
    q = mx.random.normal((1, 2, 40, 16))
    got = mx.compile(lambda x: attention(x, x, x, scale=0.25))(q)
    np.testing.assert_allclose(np.array(got), np.array(attention(q, q, q, scale=0.25)), rtol=1e-5, atol=1e-6)


def test_inside_vmap_it_is_mlx_s() -> None:
    q = mx.random.normal((3, 1, 2, 40, 16))
    got = mx.vmap(lambda x: attention(x, x, x, scale=0.25))(q)
    want = [np.array(attention(x, x, x, scale=0.25)) for x in q]
    np.testing.assert_allclose(np.array(got), want, rtol=1e-5, atol=1e-6)


def test_what_fails_before_it_is_told() -> None:
    with pytest.raises(ValueError, match="shape"):
        attention(mx.zeros((1, 2, 40, 16)), mx.zeros((1, 2, 40, 8)), mx.zeros((1, 2, 40, 16)), scale=1.0)


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 2, 40, 16), (1, 2, 40, 16), (2, 2, 40, 16)),
        ((1, 2, 40, 16), (1, 4, 40, 16), (1, 4, 40, 16)),
        ((1, 3, 40, 16), (1, 2, 40, 16), (1, 2, 40, 16)),
        ((1, 2, 40, 16), (1, 2, 40, 8), (1, 2, 40, 16)),
        ((1, 2, 40, 16), (1, 2, 30, 16), (1, 2, 40, 16)),
        ((0, 2, 40, 16), (0, 2, 40, 16), (0, 2, 40, 16)),
    ],
)
def test_shapes_that_do_not_agree_are_left_to_mlx(
    shapes: tuple[tuple[int, ...], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_module, "_native", lambda *_: pytest.fail("read as if they did"))
    q, k, v = map(mx.zeros, shapes)
    with contextlib.suppress(ValueError):
        mx.eval(attention(q, k, v, scale=1.0))


def test_other_dtypes_are_left_to_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_module, "_native", lambda *_: pytest.fail("read as if it were float32"))
    q = mx.random.normal((1, 2, 40, 16))
    for dtype in (mx.float16, mx.bfloat16):
        k = q.astype(dtype)
        got = np.array(attention(q, k, k, scale=0.25).astype(mx.float32))
        np.testing.assert_allclose(got, np.array(attention_of(q, k, k)), rtol=1e-5, atol=1e-6)


def attention_of(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=0.25).astype(mx.float32)


def test_a_row_of_the_least_finite_mask_sees_all_alike() -> None:
    q = RNG.normal(size=(1, 2, 40, 16)).astype(np.float32)
    mask = np.zeros((40, 40), np.float32)
    mask[3] = np.finfo(np.float32).min
    got = np.array(attention(*(mx.array(q),) * 3, scale=0.25, mask=mx.array(mask)))
    np.testing.assert_allclose(got[:, :, 3], q.mean(axis=2), atol=1e-6)


@NATIVE
def test_threads_and_shares_give_the_same() -> None:
    """Several callers at once, and one core for what all cores compute."""
    given = [mx.random.normal((2, 4, 50 + i, 16)) for i in range(6)]
    mx.eval(given)

    def work(x: mx.array) -> np.ndarray:
        return np.array(attention(x, x, x, scale=0.25))

    want = [work(x) for x in given]
    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(pool.map(work, given), want, strict=True):
            np.testing.assert_array_equal(got, expected)
    alone = cores.apart(lambda x: attention(x, x, x, scale=0.25), given[0])
    np.testing.assert_array_equal(np.array(alone), want[0])


@NATIVE
def test_it_is_compiled_here() -> None:
    assert native.library() is not None


@NATIVE
def test_what_is_kept_is_compiled_again_when_it_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_here = native._made.__wrapped__
    monkeypatch.setenv("PYTORCH_TO_MLX_CACHE", str(tmp_path / "first"))
    assert compile_here()[0] is not None
    (made,) = tmp_path.glob("first/native/*")
    kept = tmp_path / "second" / "native" / made.name  # a path that was loaded once is not read again
    kept.parent.mkdir(parents=True)
    kept.write_text("not a library")
    monkeypatch.setenv("PYTORCH_TO_MLX_CACHE", str(tmp_path / "second"))
    assert compile_here()[0] is not None
    assert kept.read_bytes() == made.read_bytes() and list(kept.parent.iterdir()) == [kept]
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("compiled again"))
    assert compile_here()[0] is not None


@NATIVE
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "native").touch()
    monkeypatch.setenv("PYTORCH_TO_MLX_CACHE", str(tmp_path))
    assert native._made.__wrapped__()[0] is not None
    monkeypatch.setattr(native, "cache_folder", Path("/nowhere").owner)  # as where there is no home
    assert native._made.__wrapped__()[0] is not None


@NATIVE
def test_a_compiler_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "g++").write_text("#!/bin/sh\necho it is too old >&2\nexit 1\n")
    (tmp_path / "g++").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert native._made.__wrapped__() == (None, "g++ fails: it is too old")


def test_without_a_compiler_it_is_mlx_s(monkeypatch: pytest.MonkeyPatch) -> None:
    q = mx.random.normal((1, 2, 40, 16))
    want = attention(q, q, q, scale=0.25)
    monkeypatch.setattr(native, "library", lambda: None)
    np.testing.assert_allclose(np.array(attention(q, q, q, scale=0.25)), np.array(want), rtol=1e-5, atol=1e-6)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    assert native._made.__wrapped__() == (None, "g++ is missing")
