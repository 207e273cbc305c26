"""The forms in which S3 speech tokenizers come: state dicts, published ONNX models, and inside Chatterbox's S3Gen."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from held import Held
from small_ports import s3_tokenizer_tensors, sparse_safetensors

import pytorch_to_mlx
from pytorch_to_mlx import inspect
from pytorch_to_mlx.checkpoint import open_checkpoint
from pytorch_to_mlx.components.s3_tokenizer import S3Tokenizer
from pytorch_to_mlx.components.s3_tokenizer.weights import V1, V1_ONNX, V2, V2_ONNX
from pytorch_to_mlx.errors import CheckpointError, SourceError
from pytorch_to_mlx.models.s3_tokenizer.port import PORT
from pytorch_to_mlx.port import parameter_shapes

STATE = 64  # of small models; no other size equals it or four times it
FULL = {STATE: 1280, 4 * STATE: 4 * 1280}


def small(variant: str) -> tuple[S3Tokenizer, Held]:
    config = replace(PORT.variants[variant].config, state=STATE, heads=1)
    return S3Tokenizer(config), Held(s3_tokenizer_tensors(config))


def published(variant: str) -> onnx.ModelProto:
    """The small model as ONNX: references/_s3_onnx.py, whose files upstream reads (tests/parity)."""
    path = Path(*pytorch_to_mlx.__path__) / "references" / "_s3_onnx.py"
    spec = importlib.util.spec_from_file_location("_s3_onnx", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.model(small(variant)[1], variant)


def full_size(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(FULL.get(size, size) for size in shape)


def sparse_onnx(path: Path, variant: str) -> Path:
    """A published file at full size, its weights in one file beside it that takes no space."""
    model = published(variant)
    for proto in model.graph.initializer:
        shape = full_size(tuple(proto.dims))
        proto.ClearField("raw_data")
        proto.dims[:] = shape
        proto.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": "zeros", "offset": "0", "length": str(4 * int(np.prod(shape)))}.items():
            proto.external_data.add(key=key, value=value)
    with (path.parent / "zeros").open("wb") as file:
        file.truncate(4 * 1280 * 5120)
    path.write_bytes(model.SerializeToString())
    return path


def test_onnx_of_what_the_exporter_made(tmp_path: Path) -> None:
    """Numbered initialisers are named by their first use, others and those that nothing uses as they are."""
    names = ["onnx::MatMul_7", "onnx::Add_8", "own.bias", "onnx::Add_9"]
    initialisers = [onnx.numpy_helper.from_array(np.full(2, i, np.float32), name) for i, name in enumerate(names)]
    nodes = [
        onnx.helper.make_node("Mul", ["x", "onnx::MatMul_7"], ["y"]),
        onnx.helper.make_node("MatMul", ["x", "onnx::MatMul_7"], ["y"], "/query/MatMul"),
        onnx.helper.make_node("Pow", ["onnx::MatMul_7", "two"], ["y"], "/query/Pow_1"),
        onnx.helper.make_node("Add", ["onnx::Add_8", "own.bias"], ["y"], "/query/Add"),
    ]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [], initialisers))
    onnx.save(model, tmp_path / "m.onnx")
    checkpoint = open_checkpoint(tmp_path / "m.onnx")
    assert list(checkpoint) == ["/query/MatMul:1", "/query/Add:0", "own.bias", "onnx::Add_9"]
    assert [checkpoint.read(name)[0] for name in checkpoint] == [0, 1, 2, 3]
    model.graph.initializer[2].name = "/query/Add:0"
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(CheckpointError, match=r"two initialisers.*'/query/Add:0'"):
        open_checkpoint(tmp_path / "m.onnx")


@pytest.mark.parametrize("variant", list(PORT.variants))
def test_a_published_model_gives_what_the_state_dict_gives(variant: str, tmp_path: Path) -> None:
    network, tensors = small(variant)
    shapes = parameter_shapes(network)
    onnx.save(published(variant), tmp_path / "m.onnx")
    first, second = (V1, V1_ONNX) if variant.startswith("v1") else (V2, V2_ONNX)
    expected = dict(first.plan(tensors, shapes).apply(tensors))
    with open_checkpoint(tmp_path / "m.onnx") as checkpoint:
        assert len(checkpoint) == len(tensors)
        found = dict(second.plan(checkpoint, shapes).apply(checkpoint))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, name)


@pytest.mark.parametrize("variant", list(PORT.variants))
def test_a_published_model_is_recognised(variant: str, tmp_path: Path) -> None:
    file = {"v1-50hz": "speech_tokenizer_v1.onnx", "v1-25hz": "speech_tokenizer_v1.onnx"}.get(variant)
    path = sparse_onnx(tmp_path / (file or "speech_tokenizer_v2.onnx"), variant)
    for source in (path, tmp_path):
        told = inspect(source, variant=variant)
        assert told.match is not None and told.match.variant.name == variant and told.problems == ()
        assert len(told.accounting) == (102 if variant.startswith("v2") else 96)
        assert not any(row.action.startswith("drop") for row in told.accounting)


def test_only_the_variant_tells_rates_of_v1_apart(tmp_path: Path) -> None:
    path = sparse_onnx(tmp_path / "speech_tokenizer_v1.onnx", "v1-25hz")
    for source in (path, tmp_path):
        with pytest.raises(SourceError, match=r"--variant: v1-50hz \(s3_tokenizer\), v1-25hz \(s3_tokenizer\)"):
            inspect(source)


def test_another_onnx_model_under_its_name(tmp_path: Path) -> None:
    sparse_onnx(tmp_path / "speech_tokenizer_v2.onnx", "v1-50hz")
    told = inspect(tmp_path)
    assert told.match is None and "speech_tokenizer_v2.onnx is not s3_tokenizer v2-25hz" in told.problems[0]


def test_an_initialiser_too_many_is_named(tmp_path: Path) -> None:
    path = sparse_onnx(tmp_path / "speech_tokenizer_v2.onnx", "v2-25hz")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(3, np.float32), "spare"))
    path.write_bytes(model.SerializeToString())
    assert inspect(path).problems == ("left over spare (3,)",)


def test_the_one_inside_chatterbox(tmp_path: Path) -> None:
    """Asked for by its port, or as the only model that the file is; all else of the file is dropped with a reason."""
    shapes = {f"tokenizer.{name}": full_size(tensor.shape) for name, tensor in small("v2-25hz")[1].items()}
    others = ("speaker_encoder.head.conv1.weight", "flow.input_embedding.weight", "flow.decoder.x.bias", "mel2wav.y")
    shapes |= {"tokenizer.window": (400,), **dict.fromkeys(others, (8,))}
    path = sparse_safetensors(tmp_path / "s3gen.safetensors", shapes)
    told = inspect(path, port="s3_tokenizer")
    assert told.match is not None and told.match.variant.name == "v2-25hz" and told.problems == ()
    dropped = {row.source: row.action for row in told.accounting if not row.target}
    assert dropped.keys() == {"tokenizer.window", *others}
    assert dropped["mel2wav.y"] == "drop: Chatterbox's vocoder"
    assert len(told.accounting) - len(dropped) == 102
