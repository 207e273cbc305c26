"""Pooling, upsampling and shuffles of pixels are layers; padding of any mode stays channels-last."""

from __future__ import annotations

import torch
from operator_cases import assert_same, result_of, to_mlx
from torch import nn

from pytorch_to_mlx.capture.generate import generate
from pytorch_to_mlx.capture.state import program_of


def source_of(module: nn.Module, x: torch.Tensor) -> str:
    """The source of a module, after what it computes has been compared."""
    module.eval()
    program = program_of(torch.export.export(module, (x,)), module)
    made = generate(program)
    names: dict = {}
    exec(made.source, names)
    network = names[made.root]()
    stored = {name: (program.tensors[old], axes) for name, (old, axes) in made.tensors.items()}
    network.load_weights(
        [(name, to_mlx(value if axes is None else value.permute(axes))) for name, (value, axes) in stored.items()]
    )
    assert_same([result_of(network(to_mlx(x)))], [module(x)])
    return made.source


def test_a_sequence_with_pooling_is_a_loop() -> None:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 4, 3),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.MaxPool2d((3, 2), stride=1, dilation=(1, 2), ceil_mode=True),
        nn.AvgPool2d(2, stride=1),
        nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False, ceil_mode=True),
        nn.AvgPool2d(2, stride=1, divisor_override=3),
        nn.Upsample(scale_factor=2),
        nn.Upsample(scale_factor=(1.5, 2), mode="bilinear"),
        nn.UpsamplingBilinear2d(scale_factor=2),
        nn.PixelUnshuffle(2),
        nn.PixelShuffle(2),
    ]
    source = source_of(nn.Sequential(*layers), torch.randn(1, 3, 23, 21))
    for line in (
        "nn.MaxPool2d(3, stride=2, padding=1)",
        "runtime.MaxPool((3, 2), stride=1, dilation=(1, 2), ceil_mode=True)",
        "nn.AvgPool2d(2, stride=1)",
        "runtime.AvgPool(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)",
        "runtime.AvgPool(2, stride=1, divisor_override=3)",
        "runtime.Upsample(scale_factor=2)",
        'runtime.Upsample(scale_factor=(1.5, 2), mode="bilinear")',
        'runtime.Upsample(scale_factor=2, mode="bilinear", align_corners=True)',
        "runtime.PixelUnshuffle(2)",
        "runtime.PixelShuffle(2)",
        "for layer in self.",
    ):
        assert line in source, source


def test_pooling_of_other_ranks() -> None:
    assert "nn.MaxPool1d(2)" in source_of(nn.Sequential(nn.MaxPool1d(2), nn.ReLU()), torch.randn(2, 3, 9))
    assert "nn.AvgPool3d(2)" in source_of(nn.Sequential(nn.AvgPool3d(2), nn.ReLU()), torch.randn(2, 3, 4, 5, 6))
    source_of(nn.Sequential(nn.MaxPool2d(2), nn.ReLU()), torch.randn(3, 8, 8))  # without a batch


def test_padding_of_any_mode_is_channels_last() -> None:
    torch.manual_seed(0)
    pads = [nn.ReflectionPad2d((1, 2, 2, 1)), nn.ReplicationPad2d(1), nn.CircularPad2d(2), nn.ZeroPad2d((0, 1, 1, 0))]
    layers = [each for pad in pads for each in (pad, nn.Conv2d(3, 3, 3))]
    source = source_of(nn.Sequential(*layers), torch.randn(2, 3, 8, 9))
    assert source.count("transpose(") == 2, source
