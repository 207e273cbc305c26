"""What the fuzz damages, healthy at first, and what it then does with it, as a user would."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from random import Random

import mlx.core as mx
import onnx
from checkpoint_files import Persistent, tar_tables, torch_tar
from fuzz_mutations import Files, Special
from small_ports import add_toy, crepe_tensors, safetensors_file, sharded_files, torch_file, toy_tensors

from pytorch_to_mlx import convert, inspect, load
from pytorch_to_mlx.checkpoint import open_checkpoint


@dataclass(frozen=True)
class Subject:
    """A model folder or a checkpoint: its files, which of them a user names ("" for the folder), and what is done."""

    name: str
    files: Files
    opened: str
    actions: tuple[str, ...]


def make_subjects(room: Path) -> None:
    """Write the healthy folders, each under the name of its subject."""
    add_toy()
    tensors = toy_tensors()
    source = str(safetensors_file(room / "safetensors" / "toy.safetensors", tensors))
    sharded_files(room / "sharded", tensors)
    torch_file(room / "zip" / "toy.pt", tensors)
    torch_file(room / "old" / "toy.pt", {**tensors, "epoch": 3}, old=True)
    arrays = {key: array for key, array in enumerate(tensors.values()) if array.ndim}
    (room / "tar").mkdir()
    tree = {name: Persistent(100 + key) for key, name in enumerate(tensors) if key in arrays}
    (room / "tar" / "toy.tar").write_bytes(torch_tar(tree, tar_tables(arrays)))
    _torchscript(room / "torchscript")
    (room / "onnx").mkdir()
    initialisers = [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()]
    graph = onnx.helper.make_graph([], "toy", [], [], initialisers)
    onnx.save(onnx.helper.make_model(graph), room / "onnx" / "toy.onnx")

    convert(source, room / "folder", variant="small")
    convert(source, room / "folder-float16", variant="small", dtype="float16")
    convert(source, room / "folder-quantized", variant="small", quantize=True, q_group_size=32)
    convert(source, room / "folder-sharded", variant="small")
    whole = room / "folder-sharded" / "model.safetensors"
    with open_checkpoint(whole) as checkpoint:
        sharded_files(whole.parent, {name: checkpoint.read(name) for name in checkpoint})
    whole.unlink()
    convert(str(torch_file(room / "crepe.pth", crepe_tensors())), room / "folder-crepe")


def _torchscript(folder: Path) -> None:
    import torch

    folder.mkdir()
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).eval()
    torch.jit.save(torch.jit.trace(module, torch.ones(2, 3)), folder / "toy.jit")


def read_subjects(room: Path) -> list[Subject]:
    """The subjects that `make_subjects` wrote; a file of megabytes is linked to instead of copied."""
    found = []
    for folder in sorted(path for path in room.iterdir() if path.is_dir()):
        files = {
            path.name: Special("hard link", str(path)) if path.stat().st_size > 10**6 else path.read_bytes()
            for path in sorted(folder.iterdir())
        }
        if folder.name.startswith("folder"):
            found.append(Subject(folder.name, files, "", ("load", "load", "load", "open", "inspect")))
        else:
            opened = "" if len(files) > 1 else next(iter(files))
            # The tar format is older than scalars, and the scripted module is another one: neither is a whole toy.
            whole = folder.name not in ("tar", "torchscript")
            found.append(
                Subject(folder.name, files, opened, ("open", "open", "inspect", "convert")[: 4 if whole else 3])
            )
    return found


# --- What is done -----------------------------------------------------------------------------------------------------


def _load(path: Path, out: Path, rng: Random) -> None:
    model = load(path)
    if hasattr(model, "run"):
        model.run()


def _open(path: Path, out: Path, rng: Random) -> None:
    with open_checkpoint(path) as checkpoint:
        for name in checkpoint:
            assert checkpoint.read(name).copy().nbytes == checkpoint.info(name).nbytes


def _inspect(path: Path, out: Path, rng: Random) -> None:
    inspect(str(path), variant=rng.choice((None, "small")))


def _convert(path: Path, out: Path, rng: Random) -> None:
    quantize = rng.random() < 0.2
    dtype = rng.choice((None, None, "float16", "bfloat16"))
    try:
        convert(str(path), out, variant="small", dtype=dtype, quantize=quantize, q_group_size=32 if quantize else None)
    except Exception:
        assert not list(out.parent.iterdir()), "the conversion failed and left something behind"
        raise
    try:
        load(out).run()
    except Exception as error:
        raise AssertionError("the conversion wrote what cannot be loaded") from error


ACTIONS: dict[str, Callable[[Path, Path, Random], None]] = {
    "load": _load,
    "open": _open,
    "inspect": _inspect,
    "convert": _convert,
}


# --- MLX's own parser -------------------------------------------------------------------------------------------------

_ITEM_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4, "I32": 4, "F32": 4}
_ITEM_BYTES |= {"U64": 8, "I64": 8}


def guard_mlx() -> None:
    """From now on `mx.load` raises AssertionError for a file that is not well-formed."""
    parse = mx.load

    def load(file: str) -> object:
        require_well_formed(Path(file).read_bytes())
        return parse(file)

    mx.load = load  # type: ignore[assignment]


def require_well_formed(content: bytes) -> None:
    """Read the format strictly (https://huggingface.co/docs/safetensors), by other code than the package's."""
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length].decode(), object_pairs_hook=_unique)
    data_bytes = len(content) - 8 - length
    header.pop("__metadata__", None)
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        sizes: list[int] = entry["shape"]
        assert start == end, f"MLX was given {name} at {start}, not {end}"
        assert all(type(size) is int and size >= 0 for size in sizes), f"MLX was given {name} of shape {sizes}"
        assert stop - start == prod(sizes) * _ITEM_BYTES[entry["dtype"]], f"MLX was given {name} of another size"
        end = stop
    assert end == data_bytes, f"MLX was given {data_bytes} bytes for {end}"


def _unique(pairs: list[tuple[str, object]]) -> Mapping[str, object]:
    found = dict(pairs)
    assert len(found) == len(pairs), "MLX was given a name twice"
    return found
