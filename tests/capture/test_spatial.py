"""Operators on images: pooling, resizing, sampling, padding, rearranging, beside torch's."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from pytorch_to_mlx import runtime


def image(rng: random.Random, rank: int, least: int = 4, most: int = 12) -> torch.Tensor:
    """(batch, channels, *spatial) of random sizes, with equal elements among them."""
    torch.manual_seed(rng.randrange(2**31))
    shape = (rng.randint(1, 3), rng.randint(1, 9), *(rng.randint(least, most) for _ in range(rank)))
    return torch.randint(-40, 40, shape) / 16


def last(x: torch.Tensor) -> mx.array:
    """Channels-last, as an MLX array."""
    return mx.array(x.movedim(1, -1).contiguous().numpy())


def first(x: mx.array) -> np.ndarray:
    """Channels after the batch, as torch has it."""
    return np.moveaxis(np.array(x), -1, 1)


def same(got: mx.array, want: torch.Tensor) -> None:
    """Equal as integers, or within 1e-5 of the largest magnitude."""
    mine = first(got)
    assert mine.shape == tuple(want.shape)
    if not want.dtype.is_floating_point:
        assert mine.dtype == want.numpy().dtype
        np.testing.assert_array_equal(mine, want.numpy())
        return
    largest = float(want[want.isfinite()].abs().max()) if want.isfinite().any() else 0.0
    np.testing.assert_allclose(mine, want.numpy(), rtol=0, atol=1e-5 * largest)


def torch_function(name: str, rank: int) -> Callable[..., Any]:
    return getattr(F, f"{name}{rank}d")


@pytest.mark.parametrize("seed", range(60))
def test_max_pool(seed: int) -> None:
    rng = random.Random(seed)
    rank = rng.randint(1, 3)
    x = image(rng, rank, 6, 30 if rank == 1 else 12)
    if rng.random() < 0.3:
        x[x < 1] = -torch.inf
    kernel = [rng.randint(1, 4) if rank > 1 else rng.randint(1, 12) for _ in range(rank)]
    options = {
        "stride": rng.choice([None, [rng.randint(1, 4) for _ in range(rank)]]),
        "padding": [rng.randint(0, size // 2) for size in kernel],
        "dilation": [rng.randint(1, 2) for _ in range(rank)],
        "ceil_mode": rng.random() < 0.5,
    }
    try:
        want, where = torch_function("max_pool", rank)(x, kernel, **options, return_indices=True)
    except RuntimeError as error:
        assert "too small" in str(error)
        return
    same(runtime.max_pool(last(x), kernel, **options), want)
    largest, places = runtime.max_pool_with_indices(last(x), kernel, **options)
    same(largest, want)
    same(places, where)


def test_max_pool_of_not_a_number_and_of_integers() -> None:
    x = torch.randn(1, 2, 9, 9)
    x[0, 0, 3, 4] = x[0, 0, 4, 4] = torch.nan
    want, where = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    largest, places = runtime.max_pool_with_indices(last(x), 3, 2, 1)
    np.testing.assert_array_equal(first(largest), want.numpy())
    same(places, where)
    whole = torch.randint(-9, 9, (1, 2, 9, 9))
    same(runtime.max_pool(last(whole), 3, 2, 1), F.max_pool2d(whole, 3, 2, 1))


@pytest.mark.parametrize("seed", range(60))
def test_avg_pool(seed: int) -> None:
    rng = random.Random(seed)
    rank = rng.randint(1, 3)
    x = image(rng, rank, 6, 30 if rank == 1 else 12)
    kernel = [rng.randint(1, 4) if rank > 1 else rng.randint(1, 12) for _ in range(rank)]
    kernel = [min(size, length) for size, length in zip(kernel, x.shape[2:], strict=True)]
    options: dict[str, Any] = {
        "stride": rng.choice([None, [rng.randint(1, 4) for _ in range(rank)]]),
        "padding": [rng.randint(0, size // 2) for size in kernel],
        "ceil_mode": rng.random() < 0.5,
        "count_include_pad": rng.random() < 0.5,
    }
    if rank > 1 and rng.random() < 0.3:
        options["divisor_override"] = rng.choice([-3, 1, 2, 9])
    same(runtime.avg_pool(last(x), kernel, **options), torch_function("avg_pool", rank)(x, kernel, **options))
    if rank > 1:
        whole = (x * 16).long()
        want = torch_function("avg_pool", rank)(whole, kernel, **options)
        same(runtime.avg_pool(last(whole), kernel, **options), want)


@pytest.mark.parametrize("seed", range(40))
def test_adaptive_pool(seed: int) -> None:
    rng = random.Random(seed)
    rank = rng.randint(1, 3)
    x = image(rng, rank)
    size = [rng.randint(1, 14) for _ in range(rank)]
    same(runtime.adaptive_avg_pool(last(x), size), torch_function("adaptive_avg_pool", rank)(x, size))
    want, where = torch_function("adaptive_max_pool", rank)(x, size, return_indices=True)
    same(runtime.adaptive_max_pool(last(x), size), want)
    largest, places = runtime.adaptive_max_pool_with_indices(last(x), size)
    same(largest, want)
    same(places, where)


@pytest.mark.parametrize("rank", [2, 3])
def test_fractional_max_pool(rank: int) -> None:
    x = image(random.Random(rank), rank, 9, 12)
    samples = torch.rand(x.shape[0], x.shape[1], rank)
    kernel, size = [2, 3, 2][:rank], [4, 5, 3][:rank]
    want, where = torch_function("fractional_max_pool", rank)(
        x, kernel, size, return_indices=True, _random_samples=samples
    )
    largest, places = runtime.fractional_max_pool(last(x), kernel, size, mx.array(samples.numpy()))
    same(largest, want)
    same(places, where)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_unpool(rank: int) -> None:
    x = image(random.Random(rank), rank, 6, 12)
    largest, where = torch_function("max_pool", rank)(x, 2, return_indices=True)
    want = torch_function("max_unpool", rank)(largest, where, 2, output_size=x.shape[2:])
    same(runtime.max_unpool(last(largest), last(where), x.shape[2:]), want)


MODES = {
    1: ["nearest", "nearest-exact", "linear"],
    2: ["nearest", "nearest-exact", "bilinear", "bicubic"],
    3: ["nearest", "nearest-exact", "trilinear"],
}


@pytest.mark.parametrize("seed", range(120))
def test_interpolate(seed: int) -> None:
    rng = random.Random(seed)
    rank = rng.randint(1, 3)
    x = image(rng, rank, 1, 14 if rank > 1 else 300)
    mode = rng.choice(MODES[rank])
    options: dict[str, Any] = {}
    if "linear" in mode or "cubic" in mode:
        options["align_corners"] = rng.random() < 0.5
    if mode in ("bilinear", "bicubic") and rng.random() < 0.5:
        options["antialias"] = True
        x = torch.cat([x, x], dim=1)
    if rng.random() < 0.5:
        options["size"] = [rng.choice([rng.randint(1, 30), size, 2 * size]) for size in x.shape[2:]]
    else:
        options["scale_factor"] = [rng.choice([1.0, 2.0, 3.0, 1.05, 1.5, 1 / 3, 0.5]) for _ in range(rank)]
        if any(int(n * scale) == 0 for n, scale in zip(x.shape[2:], options["scale_factor"], strict=True)):
            options = {"size": list(x.shape[2:])}
    if "antialias" in options:  # torch repeats the first row of results that are one column wide
        x = x.contiguous(memory_format=torch.channels_last)
    want = F.interpolate(x, mode=mode, **options)
    same(runtime.interpolate(last(x), mode=mode, **options), want)


def test_interpolate_keeps_an_infinity_where_it_is() -> None:
    x = torch.randn(1, 3, 9, 9)
    x[0, 0, 4, 4] = torch.inf
    got = first(runtime.interpolate(last(x), scale_factor=2, mode="bilinear"))
    np.testing.assert_array_equal(
        np.isfinite(got), F.interpolate(x, scale_factor=2, mode="bilinear").isfinite().numpy()
    )


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(("mode", "rank"), [(m, r) for r in (2, 3) for m in ("bilinear", "nearest", "bicubic")][:-1])
def test_grid_sample(mode: str, rank: int, padding_mode: str, align_corners: bool) -> None:
    x = image(random.Random(rank), rank, 3, 7)
    torch.manual_seed(0)
    grid = torch.randn(x.shape[0], *[5, 6, 4][:rank], rank) * 1.5
    grid.view(-1)[:4] = torch.tensor([torch.inf, -torch.inf, 1e20, 0.0]) if padding_mode == "zeros" else 1.0
    want = F.grid_sample(x, grid, mode, padding_mode, align_corners)
    if padding_mode == "zeros":
        want = want.nan_to_num(0.0)
    got = runtime.grid_sample(last(x), mx.array(grid.numpy()), mode, padding_mode, align_corners)
    same(mx.nan_to_num(got), want)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(5, 6), (1, 4), (3, 1, 4)])
def test_affine_grid(size: tuple[int, ...], align_corners: bool) -> None:
    theta = torch.randn(2, len(size), len(size) + 1)
    want = F.affine_grid(theta, [2, 3, *size], align_corners)
    got = np.array(runtime.affine_grid(mx.array(theta.numpy()), size, align_corners))
    np.testing.assert_allclose(got, want.numpy(), atol=1e-6)


def torch_widths(widths: Sequence[tuple[int, int]]) -> list[int]:
    return [width for pair in reversed(widths) for width in pair]


@pytest.mark.parametrize("seed", range(60))
def test_pad(seed: int) -> None:
    rng = random.Random(seed)
    rank = rng.randint(1, 3)
    mode = rng.choice(["constant", "reflect", "replicate", "circular"])
    x = image(rng, rank, 6, 12)
    lowest = 0 if mode == "reflect" else -2
    widths = [(rng.randint(lowest, 4), rng.randint(lowest, 4)) for _ in range(rank)]
    given = [(0, 0), (0, 0), *widths]
    value = 0.5 if mode == "constant" else 0.0
    want = F.pad(x, torch_widths(widths), mode, value if mode == "constant" else None)
    got = np.array(runtime.pad(mx.array(x.numpy()), given, mode, value))
    np.testing.assert_array_equal(got, want.numpy())


@pytest.mark.parametrize("shape", [(2, 12, 3, 4), (2, 3, 12, 3, 4)])
def test_pixel_shuffle(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    mine = mx.array(x.movedim(-3, -1).contiguous().numpy())
    wide = runtime.pixel_shuffle(mine, 2)
    want = F.pixel_shuffle(x, 2)
    np.testing.assert_array_equal(np.array(wide), want.movedim(-3, -1).numpy())
    np.testing.assert_array_equal(np.array(runtime.pixel_unshuffle(wide, 2)), np.array(mine))


def test_channel_shuffle() -> None:
    x = torch.randn(2, 12, 3, 4)
    same(runtime.channel_shuffle(last(x), 3), F.channel_shuffle(x, 3))


@pytest.mark.parametrize("seed", range(40))
def test_im2col_and_back(seed: int) -> None:
    rng = random.Random(seed)
    x = image(rng, 2, 7, 12)
    kernel = (rng.randint(1, 3), rng.randint(1, 3))
    stride = rng.choice([kernel, (rng.randint(1, 3), rng.randint(1, 3))])
    options: dict[str, Any] = {
        "dilation": rng.choice([[1, 1], [rng.randint(1, 2) for _ in range(2)]]),
        "padding": [rng.randint(0, 2) for _ in range(2)],
        "stride": stride,
    }
    columns = F.unfold(x, kernel, **options)
    np.testing.assert_array_equal(np.array(runtime.im2col(mx.array(x.numpy()), kernel, **options)), columns.numpy())
    want = F.fold(columns, tuple(x.shape[2:]), kernel, **options)
    got = runtime.col2im(mx.array(columns.numpy()), x.shape[2:], kernel, **options)
    np.testing.assert_allclose(np.array(got), want.numpy(), atol=1e-5)
