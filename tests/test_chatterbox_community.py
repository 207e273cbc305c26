"""Folders that mlx-audio-plus converted, imported: every tensor accounted for, every value where it belongs."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from held import Held
from small_ports import perth_tensors, safetensors_file, sparse_safetensors
from upstream_shapes import Shapes

from pytorch_to_mlx import convert, inspect
from pytorch_to_mlx.errors import PytorchToMlxError, UnrecognisedSourceError, WeightMapError
from pytorch_to_mlx.models.chatterbox import community
from pytorch_to_mlx.models.chatterbox.port import COMMUNITY, PORT
from pytorch_to_mlx.port import parameter_shapes
from pytorch_to_mlx.weights import Plan

COUNTS = {"ve": 13, "t3": 292, "s3gen": 2126, "s3_tokenizer": 102}
# What `model.parameters()` has besides, in a folder of all of them.
FURTHER: Shapes = {
    "t3.tfmr.lm_head.weight": (8, 1024),
    "s3gen.flow.decoder.rand_noise": (1, 80, 15000),
    "s3gen.flow.encoder.embed.pos_enc.pe": (1, 5000, 512),
    "s3gen.flow.encoder.up_embed.pos_enc.pe": (1, 5000, 512),
    "s3gen.mel2wav.stft_window": (16,),
    "s3gen.trim_fade": (960,),
}
ATTENTION = "s3gen.flow.decoder.estimator.mid_blocks_3.transformer_1.attn"
OURS = "s3gen.flow.decoder.estimator.mid_blocks.3.transformers.1.attn1"


def recorded() -> Shapes:
    shapes: Shapes = {}
    for line in Path(__file__).with_name("chatterbox_community.txt").read_text().splitlines():
        template, _, rest = line.partition(" ")
        shape, *numbers = rest.split(" ")
        if template == "#":
            continue
        for each in numbers or [""]:
            filled = iter(each.split(","))
            name = re.sub("#", lambda _, filled=filled: next(filled), template)
            shapes[name] = tuple(map(int, shape.split("x")))
    return shapes


SHAPES = recorded()


@pytest.fixture(scope="module")
def expected() -> Shapes:
    """The model's parameters but those of the watermarker, which comes from its package."""
    shapes = parameter_shapes(PORT.build(COMMUNITY.config))
    return {name: shape for name, shape in shapes.items() if not name.startswith("perth.")}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Such a folder at full size, all of zeros that take no place on the disk; the watermarker lies in it too."""
    file, watermarker = COMMUNITY.parts
    beside = replace(watermarker, package="", files=("perth.safetensors",))
    monkeypatch.setitem(PORT.imports, COMMUNITY.name, replace(COMMUNITY, parts=(file, beside)))
    safetensors_file(tmp_path / "community" / "perth.safetensors", perth_tensors())
    (tmp_path / "community" / "tokenizer.json").write_text("{}")
    write(tmp_path / "community", SHAPES)
    return tmp_path / "community"


def write(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    sparse_safetensors(folder / "model.safetensors", shapes)


def refusal(folder: Path, kind: type[PytorchToMlxError] = WeightMapError) -> str:
    with pytest.raises(kind) as caught:
        convert(folder, folder.parent / "out", variant="english-community")
    assert not (folder.parent / "out").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_recorded_layout_has_2533_tensors() -> None:
    prefixes = [name.partition(".")[0] for name in SHAPES]
    assert {prefix: prefixes.count(prefix) for prefix in COUNTS} == COUNTS
    assert len(SHAPES) == sum(COUNTS.values()) == 2533


@pytest.mark.parametrize("further", [False, True], ids=["converter", "parameters"])
def test_every_tensor_is_accounted_for(folder: Path, expected: Shapes, further: bool) -> None:
    shapes = SHAPES | FURTHER if further else SHAPES
    write(folder, shapes)
    found = inspect(folder, variant="english-community")
    assert not found.problems and found.match is not None and found.match.variant.name == "english-community"
    rows = [row for row in found.accounting if row.source in shapes]
    used = {row.source for row in rows if row.target}
    dropped = {row.source: row.action for row in rows if not row.target}
    assert used | set(dropped) == set(shapes) and not used & set(dropped)
    assert (len(used), len(dropped)) == (2520, 13 + 6 * further)
    assert all(re.fullmatch("drop: .{10,}", action) for action in dropped.values())
    assert set(FURTHER) & set(shapes) <= set(dropped)
    assert {row.target for row in rows if row.target} == set(expected)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("ve.proj.bias", "nothing fills ve.proj.bias"),
        (
            "t3.tfmr.model.layers.29.mlp.up_proj.weight",
            "missing t3.tfmr.model.layers.29.mlp.up_proj.weight (it belongs",
        ),
        (
            "s3gen.speaker_encoder.blocks.1.layers.23.linear1.weight",
            "missing s3gen.speaker_encoder.blocks.1.layers.23.linear1.weight",
        ),
        (f"{ATTENTION}.out_proj.weight", f"nothing fills {OURS}.to_out.weight"),
        ("s3_tokenizer.encoder.blocks.5.attn.fsmn_block.weight", "fsmn_block.weight (1280, 31, 1)"),
    ],
)
def test_a_missing_tensor_is_named(folder: Path, name: str, problem: str) -> None:
    write(folder, {each: shape for each, shape in SHAPES.items() if each != name})
    assert problem in refusal(folder)


def test_a_tensor_of_another_name_is_named(folder: Path) -> None:
    write(folder, {**SHAPES, "s3gen.flow.decoder.estimator.time_embed_mixer.weight": (1024, 2048)})
    assert "left over s3gen.flow.decoder.estimator.time_embed_mixer.weight (1024, 2048)" in refusal(folder)


def test_a_tensor_of_another_shape_is_named(folder: Path) -> None:
    write(folder, {**SHAPES, "s3gen.mel2wav.conv_post.weight": (18, 64, 7)})
    assert "s3gen.mel2wav.conv_post.weight gives" in (message := refusal(folder))
    assert "shape (18, 64, 7), the model has (18, 7, 64)" in message


def test_a_quantized_folder_is_refused_with_the_way_out(folder: Path) -> None:
    layer = "t3.tfmr.model.layers.0.self_attn.q_proj"
    write(
        folder, {**SHAPES, f"{layer}.weight": (1024, 128), f"{layer}.scales": (1024, 16), f"{layer}.biases": (1024, 16)}
    )
    message = refusal(folder, UnrecognisedSourceError)
    assert "was quantized by another program; import the unquantized folder" in message


def test_an_import_is_explicit(folder: Path) -> None:
    assert COMMUNITY.name not in PORT.variants
    with pytest.raises(UnrecognisedSourceError, match="none of the models known by name"):
        convert(folder, folder.parent / "out")


class Drawn(Held):
    """Tensors that are drawn when they are read."""

    def read(self, name: str) -> np.ndarray:
        return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(self[name].shape).astype(np.float32)


@pytest.fixture(scope="module")
def tensors() -> Drawn:
    return Drawn(Held.empty(SHAPES))


@pytest.fixture(scope="module")
def plan(tensors: Drawn, expected: Shapes) -> Plan:
    return community.WEIGHTS.plan(tensors, expected)


VALUES: dict[str, list[str]] = {
    "ve.lstm.layers.1.Wh": ["ve.lstm.layers.1.Wh"],
    "t3.tfmr.norm.weight": ["t3.tfmr.model.norm.weight"],
    "t3.tfmr.layers.7.self_attn.qkv_proj.weight": [
        f"t3.tfmr.model.layers.7.self_attn.{each}_proj.weight" for each in "qkv"
    ],
    "s3gen.speaker_encoder.head.layer2.0.shortcut.0.weight": ["s3gen.speaker_encoder.head.layer2.0.shortcut.0.weight"],
    "s3gen.speaker_encoder.xvector.block3.tdnnd16.linear1.weight": [
        "s3gen.speaker_encoder.blocks.2.layers.15.linear1.weight"
    ],
    "s3gen.speaker_encoder.xvector.transit1.nonlinear.batchnorm.running_var": [
        "s3gen.speaker_encoder.transits.0.nonlinear.0.running_var"
    ],
    "s3gen.flow.decoder.estimator.final_proj.weight": ["s3gen.flow.decoder.estimator.final_proj.weight"],
    f"{OURS}.to_qkv.weight": [f"{ATTENTION}.{each}_proj.weight" for each in ("query", "key", "value")],
    "s3gen.flow.decoder.estimator.up_block.transformers.2.ff.project.weight": [
        "s3gen.flow.decoder.estimator.up_blocks_0.transformer_2.ff.layers.1.weight"
    ],
    "s3gen.flow.encoder.up_encoders.3.self_attn.pos_bias_u": ["s3gen.flow.encoder.up_encoders.3.self_attn.pos_bias_u"],
    "s3gen.mel2wav.ups.1.weight": ["s3gen.mel2wav.ups.1.weight"],
    "s3gen.mel2wav.f0_predictor.condnet.6.bias": ["s3gen.mel2wav.f0_predictor.condnet.3.bias"],
    "s3_tokenizer.encoder.blocks.4.mlp.layers.1.weight": ["s3_tokenizer.encoder.blocks.4.mlp.layers.2.weight"],
    "s3_tokenizer.quantizer.codebook.project_down.bias": ["s3_tokenizer.quantizer.fsq_codebook.project_down.bias"],
}


@pytest.mark.parametrize("target", VALUES)
def test_values_arrive(plan: Plan, tensors: Drawn, expected: Shapes, target: str) -> None:
    """One after the other along the first axis; an axis of one may go, and no other changes its place."""
    (step,) = (step for step in plan.steps if target in [spec.name for spec in step.outputs])
    (made,) = step.rule.compute([tensors.read(name) for name in step.sources])
    values = np.concatenate([tensors.read(name) for name in VALUES[target]])
    assert made.shape == expected[target]
    np.testing.assert_array_equal(made, values.reshape(made.shape))


def test_lost_biases_are_zero_and_that_is_said(plan: Plan, tensors: Drawn) -> None:
    lost = [step for step in plan.steps if isinstance(step.rule, community.LostBias)]
    assert len(lost) == 56 and "lost 56 biases" in COMMUNITY.notice
    assert {row.action for row in plan.table() if row.target.endswith("attn1.to_out.bias")} == {community.LOST}
    for step in lost[::11]:
        weight, bias = step.rule.compute([tensors.read(name) for name in step.sources])
        np.testing.assert_array_equal(weight, tensors.read(step.sources[0]))
        assert bias.shape == weight.shape[:1] and bias.dtype == weight.dtype and not bias.any()
