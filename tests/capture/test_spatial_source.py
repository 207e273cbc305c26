"""Operators on images as they are written: what torch's database of operators has no samples of."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from pytorch_to_mlx.capture.generate import generate
from pytorch_to_mlx.capture.state import program_of
from pytorch_to_mlx.errors import CaptureError

sys.path.insert(0, str(Path(__file__).parent))
from operator_cases import assert_same, result_of, run, to_mlx

AUTO = torch.export.Dim.AUTO
aten = torch.ops.aten


def written(function: Callable[..., Any], *tensors: torch.Tensor) -> str:
    """The source of a function, after what it computes has been compared."""
    got, want, source = run(function, tensors)
    assert_same(got, want)
    return source


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "upsample_linear1d",
        "upsample_bilinear2d",
        "upsample_bicubic2d",
        "upsample_trilinear3d",
        "_upsample_bilinear2d_aa",
        "_upsample_bicubic2d_aa",
        "_upsample_lanczos2d_aa",
    ],
)
def test_overloads_with_a_size_and_scales(name: str, align_corners: bool) -> None:
    rank = int(name.split("d")[-2][-1]) if name.endswith("_aa") else int(name[-2])
    function = getattr(aten, name).default
    x = torch.randn(2, 3, *[9, 12, 7][:rank])
    size = [5, 20, 6][:rank]
    written(lambda x: function(x, size, align_corners), x)
    written(lambda x: function(x, size, align_corners, *[0.6, 1.7, 0.9][:rank]), x)


@pytest.mark.parametrize("name", ["upsample_nearest", "_upsample_nearest_exact"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_nearest_overloads_with_a_size_and_scales(name: str, rank: int) -> None:
    function = getattr(aten, f"{name}{rank}d").default
    x = torch.randn(2, 3, *[9, 12, 7][:rank])
    size = [5, 20, 14][:rank]
    written(lambda x: function(x, size), x)
    written(lambda x: function(x, size, *[0.6, 1.7, 2.1][:rank]), x)
    written(
        lambda x: function(x, [2 * n for n in x.shape[2:]]), torch.arange(3 * 7**rank).reshape(1, 3, *[7] * rank).byte()
    )


def test_interpolation_says_the_scale() -> None:
    x = torch.randn(1, 3, 4, 4)
    assert "scale_factor=2)" in written(lambda x: F.interpolate(x, scale_factor=2.0), x)
    assert "scale_factor=(2, 1.5), mode=" in written(
        lambda x: F.interpolate(x, scale_factor=(2.0, 1.5), mode="bilinear"), x
    )


def test_interpolation_of_bytes_is_refused() -> None:
    with pytest.raises(CaptureError, match="bilinear"):
        run(lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"), [torch.zeros(1, 3, 4, 4, dtype=torch.uint8)])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_padding_by_its_own_names(rank: int) -> None:
    x = torch.randn(2, 3, *[6, 5, 7][:rank])
    widths = [2, 1, 3, 0, 1, 2][: 2 * rank]
    for name in ("reflection_pad", "replication_pad"):
        written(lambda x, name=name: getattr(aten, f"{name}{rank}d")(x, widths), x)
    written(lambda x: aten._pad_circular(x, widths), x)
    for mode in range(4):
        written(lambda x, mode=mode: aten._pad_enum(x, widths, mode), x)


def test_padding_that_only_crops_is_a_slice() -> None:
    x = torch.randn(2, 3, 6, 5)
    assert "x0[..., 1:-2]" in written(lambda x: F.pad(x, (-1, -2)), x).replace(":, :, :, 1:-2", "..., 1:-2")
    written(lambda x: F.pad(x, (0, -2, -1, 0)), x)
    written(lambda x: F.pad(x, (-1, 2, 1, -1), value=3.0), x)


def test_max_unpool_of_max_pool() -> None:
    for rank in (1, 2, 3):
        x = torch.randn(2, 3, *[8, 6, 8][:rank])

        def there_and_back(x: torch.Tensor, rank: int = rank) -> torch.Tensor:
            largest, places = getattr(F, f"max_pool{rank}d")(x, 2, return_indices=True)
            return getattr(F, f"max_unpool{rank}d")(largest, places, 2)

        written(there_and_back, x)
        written(there_and_back, x[0])


def test_fold_and_unfold() -> None:
    x = torch.randn(2, 3, 8, 9)
    written(lambda x: F.fold(F.unfold(x, (3, 2), padding=1, stride=2), (8, 9), (3, 2), padding=1, stride=2), x)
    written(lambda x: F.fold(F.unfold(x, 2, stride=2), (8, 8), 2, stride=2), x[0, :, :, :8])


def test_affine_grid_and_sampling() -> None:
    theta = torch.randn(2, 2, 3)
    written(
        lambda theta, x: F.grid_sample(x, F.affine_grid(theta, [2, 3, 5, 6], False), align_corners=False),
        theta,
        torch.randn(2, 3, 7, 8),
    )
    written(lambda theta: F.affine_grid(theta, [2, 3, 4, 5, 6], True), torch.randn(2, 3, 4))


@pytest.mark.parametrize("shape", [(8, 4, 6), (2, 8, 4, 6), (2, 3, 8, 4, 6), (2, 3, 2, 8, 4, 6)])
def test_shuffles_of_pixels_with_other_batches(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    written(lambda x: F.pixel_shuffle(x, 2), x)
    written(lambda x: F.pixel_unshuffle(x, 2), x)


@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 6, 5, 4), (1, 6, 2, 3, 4)])
def test_channel_shuffle_of_any_rank(shape: tuple[int, ...]) -> None:
    written(lambda x: F.channel_shuffle(x, 3), torch.randn(shape))
    written(lambda x: aten.native_channel_shuffle(x, 2), torch.randn(shape))


def test_adaptive_pooling_to_one_is_a_mean() -> None:
    x = torch.randn(2, 3, 5, 6)
    assert "mx.mean(" in written(lambda x: F.adaptive_avg_pool2d(x, 1), x)
    assert "mx.max(" in written(lambda x: F.adaptive_max_pool2d(x, 1), x)
    written(lambda x: aten._adaptive_avg_pool2d(x, [3, 4]), x)


class Of(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.pad(x, (0, -x.shape[3] % 8, 0, -x.shape[2] % 8)),
        lambda x: F.pad(x, (0, 40 - x.shape[3])),
        lambda x: F.pad(x, (0, -x.shape[3] % 8, 1, 1), mode="reflect"),
        lambda x: F.interpolate(x, scale_factor=(1.5, 2), mode="bilinear"),
        lambda x: F.interpolate(x[:, :, ::2, ::2], size=x.shape[2:], mode="bilinear", align_corners=True),
        lambda x: F.interpolate(x, size=(x.shape[2] // 2, 7), mode="bicubic"),
        lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
        lambda x: F.adaptive_avg_pool2d(x, (7, None)),
        lambda x: F.fold(F.unfold(x, 3, padding=1, stride=2), x.shape[2:], 3, padding=1, stride=2),
    ],
)
def test_sizes_that_vary(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    module = Of(function).eval()
    exported = torch.export.export(module, (torch.randn(2, 3, 16, 20),), dynamic_shapes=({2: AUTO, 3: AUTO},))
    made = generate(program_of(exported, module), tidy=False)
    names: dict[str, Any] = {}
    exec(made.source, names)
    network = names[made.root]()
    for height, width in ((16, 20), (13, 9), (16, 50)):
        x = torch.randn(2, 3, height, width)
        assert_same([result_of(network(to_mlx(x)))], [module(x)])
