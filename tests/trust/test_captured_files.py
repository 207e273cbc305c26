"""Files of torch.export and TorchScript that would run code, or reach files, are refused before torch reads them."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pytorch_to_mlx.capture.subject import from_file
from pytorch_to_mlx.errors import CheckpointError, UnsafeFileError

PROGRAM, WEIGHTS, INPUTS = "models/model.json", "data/weights/model_weights_config.json", "data/sample_inputs/model.pt"


class Scaled(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"y": self.linear(x) * x.shape[0]}


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "scaled.pt2"
    dynamic = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(Scaled(), (torch.randn(3, 4),), dynamic_shapes=dynamic), path)
    return path


def changed(source: Path, path: Path, member: str, change: Callable[[bytes], bytes]) -> Path:
    """The archive with one member changed, or added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        names = old.namelist()
        full = f"{names[0].partition('/')[0]}/{member}"
        for name in names:
            new.writestr(name, change(old.read(name)) if name == full else old.read(name))
        if full not in names:
            new.writestr(full, change(b""))
    return path


def replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        text = content.decode()
        assert old in text
        return text.replace(old, new).encode()

    return change


def nested(key: str, value: Any) -> Callable[[bytes], bytes]:
    """The JSON with another value under a key, wherever it stands."""

    def within(each: Any) -> Any:
        if isinstance(each, dict):
            return {name: value if name == key else within(inner) for name, inner in each.items()}
        return [within(inner) for inner in each] if isinstance(each, list) else each

    return lambda content: json.dumps(within(json.loads(content))).encode()


ENUM = json.dumps([1, {"type": None, "context": '{"__enum__": true, "fqn": "os:environ", "name": "HOME"}'}])
CODE = "__import__('os').mkdir('made')"

CASES: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "operator": (PROGRAM, replaced("torch.ops.aten.linear.default", "torch.hub.load"), "calls 'torch.hub.load'"),
    "attribute": (PROGRAM, replaced("torch.ops.aten.linear.default", "torch.os.system"), "calls 'torch.os.system'"),
    "file": (PROGRAM, replaced("aten.linear.default", "aten.from_file.default"), "calls 'torch.ops.aten.from_file"),
    "method": (PROGRAM, replaced("torch.ops.aten.linear.default", "_operator.methodcaller"), "_operator.methodcaller"),
    "size": (PROGRAM, nested("expr_str", CODE), "for a size"),
    "symbol": (PROGRAM, nested("expr_str", f"S({CODE!r})"), "for a size"),
    "range": (PROGRAM, nested("range_constraints", {CODE: {"min_val": 0, "max_val": 9}}), "for a size"),
    "structure": (PROGRAM, nested("in_spec", ENUM), "other types than Python's own containers"),
    "weights": (WEIGHTS, nested("use_pickle", True), "has pickled tensors"),
    "native code": ("data/aotinductor/model/x.so", lambda _: b"\x7fELF", "is no part of a program of tensors"),
    "object": ("data/constants/opaque_obj_0", lambda _: b"x", "is no part of a program of tensors"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_program_that_could_run_code_is_refused(name: str, exported: Path, tmp_path: Path) -> None:
    member, change, message = CASES[name]
    with pytest.raises(UnsafeFileError, match=r"name that with --module") as caught:
        from_file(changed(exported, tmp_path / "changed.pt2", member, change))
    assert message in str(caught.value)


def test_pickled_inputs_are_refused(exported: Path, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    content = io.BytesIO()
    torch.save(((Payload(touched),), {}), content)
    path = changed(exported, tmp_path / "changed.pt2", INPUTS, lambda _: content.getvalue())
    with pytest.raises(UnsafeFileError, match="pickles more than tensors"):
        from_file(path)
    assert not touched.exists()
    with contextlib.suppress(TypeError):  # which its own warning raises
        torch.export.load(path)  # what it would have done
    assert touched.exists()


def test_the_program_itself_is_read(exported: Path) -> None:
    assert from_file(exported).args[0].shape == (3, 4)


def test_a_member_that_stands_twice_is_refused(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "twice.pt2"
    path.write_bytes(exported.read_bytes())
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(archive.namelist()[0], b"")
    with pytest.raises(CheckpointError, match="holds a member twice"):
        from_file(path)


def test_a_script_that_writes_files_is_refused(tmp_path: Path) -> None:
    touched = tmp_path / "touched"

    class Writing(torch.nn.Module):
        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.save(x, self.path)
            return x

    torch.jit.script(Writing(str(touched))).save(str(tmp_path / "writing.pt"))
    with pytest.raises(UnsafeFileError, match=r"calls torch\.save"):
        from_file(tmp_path / "writing.pt")
    assert not touched.exists()
