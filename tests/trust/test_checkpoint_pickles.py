"""Malicious pickles, in every format that holds one: nothing runs, whatever the trick, and the error is typed."""

import copyreg
import pickle
import struct
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import checkpoint_files as make
import numpy as np
import pytest
from checkpoint_files import Build, Call, Name, Persistent, Raw
from checkpoint_meter import Outcome, measure

from pytorch_to_mlx.checkpoint import open_checkpoint
from pytorch_to_mlx.errors import CheckpointError, UnsafeFileError

CODE = 'class M(Module):\n  __parameters__ = ["a", ]\n  __buffers__ = []\n'
ITEMS = Call("collections.OrderedDict", ())


def module(state: Any) -> Build:
    return Build(Call("__torch__.M", (), b"\x81"), state)


def in_zip(payload: Any) -> bytes:
    return make.torch_zip({"a": payload}, {})


def in_old(payload: Any) -> bytes:
    return make.torch_old({"a": payload}, {})


def in_old_magic(payload: Any) -> bytes:
    return make.pickled(payload) + make.torch_old({}, {})


def in_old_keys(payload: Any) -> bytes:
    return make.torch_old({}, {}).removesuffix(make.pickled([])) + make.pickled(payload)


def in_tar(payload: Any) -> bytes:
    return make.torch_tar({"a": payload}, make.tar_tables({}))


def in_tar_storages(payload: Any) -> bytes:
    tables = make.tar_tables({})
    return make.torch_tar({}, tables | {"storages": make.pickled(payload) + tables["storages"]})


def in_tar_tensors(payload: Any) -> bytes:
    tables = make.tar_tables({})
    return make.torch_tar({}, tables | {"tensors": make.pickled(payload) + tables["tensors"]})


def in_torchscript(payload: Any) -> bytes:
    return make.torchscript(module({"a": payload}), {}, CODE)


def in_torchscript_root(payload: Any) -> bytes:
    return make.torchscript(payload, {}, CODE)


Holder = Callable[[Any], bytes]
HOLDERS: list[Holder] = [
    *(in_zip, in_old, in_old_magic, in_old_keys),
    *(in_tar, in_tar_storages, in_tar_tensors, in_torchscript, in_torchscript_root),
]
EVERYWHERE = pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: holder.__name__)


def shell(canary: Path) -> tuple[str]:
    return (f"touch {canary}",)


def expression(canary: Path) -> tuple[str]:
    return (f"open({str(canary)!r}, 'w')",)


def text(value: str) -> bytes:
    return make.pickled(value)[2:-1]


# Each runs its command when an unrestricted reader loads it, as `test_the_payloads_are_live` proves.
LIVE: dict[str, Callable[[Path], Any]] = {
    "os.system": lambda canary: Call("os.system", shell(canary)),
    "posix.system": lambda canary: Call("posix.system", shell(canary)),
    "eval": lambda canary: Call("builtins.eval", expression(canary)),
    "exec": lambda canary: Call("builtins.exec", expression(canary)),
    "eval under its name in Python 2": lambda canary: Call("__builtin__.eval", expression(canary)),
    "open for writing": lambda canary: Call("builtins.open", (str(canary), "w")),
    "subprocess": lambda canary: Call("subprocess.check_output", (["touch", str(canary)],)),
    "Path.touch by a dotted name": lambda canary: Call(
        Raw(b"\x80\x04" + text("pathlib") + text("Path.touch") + b"\x93"), (Call("pathlib.Path", (str(canary),)),)
    ),
    "getattr of a module": lambda canary: Call(
        Call("builtins.getattr", (Call("importlib.import_module", ("os",)), "system")), shell(canary)
    ),
    "call inside an allowed call": lambda canary: Call(
        "collections.OrderedDict", ([["a", Call("os.system", shell(canary))]],)
    ),
    "call as an argument of a call": lambda canary: Call(
        "collections.OrderedDict", (Call("builtins.dict", ([("a", Call("os.system", shell(canary)))],)),)
    ),
    "call inside the state of BUILD": lambda canary: Build(ITEMS, {"a": Call("os.system", shell(canary))}),
    "a process": lambda canary: Call("subprocess.Popen", (["touch", str(canary)],)),
    "INST": lambda canary: Raw(b"(" + text(f"touch {canary}") + b"ios\nsystem\n"),
    "OBJ": lambda canary: Raw(b"(cos\nsystem\n" + text(f"touch {canary}") + b"o"),
    "STACK_GLOBAL": lambda canary: Raw(
        text("os") + text("system") + b"\x93" + make.pickled(shell(canary))[2:-1] + b"R"
    ),
    "EXT1": lambda canary: Raw(b"\x82\xf0" + make.pickled(shell(canary))[2:-1] + b"R"),
    "pickle in a pickle": lambda canary: Call(
        "pickle.loads", (Call("_codecs.encode", ("\x80\x02cos\nsystem\n" + text_of(canary) + "\x85R.", "latin1")),)
    ),
    "torch's own loader of bytes": lambda canary: Call(
        "torch.storage._load_from_bytes", (Call("_codecs.encode", (old_pickle_of(canary), "latin1")),)
    ),
    "partial": lambda canary: Call(Call("functools.partial", (Name("os.system"),)), shell(canary)),
    "numpy's runstring": lambda canary: Call("numpy.testing._private.utils.runstring", (*expression(canary), {})),
    "map, consumed by a list": lambda canary: Call(
        "builtins.list", (Call("builtins.map", (Name("os.system"), [f"touch {canary}"])),)
    ),
}  # fmt: skip


def text_of(canary: Path) -> str:
    return text(f"touch {canary}").decode("latin1")


def old_pickle_of(canary: Path) -> str:
    return make.torch_old(Call("os.system", shell(canary)), {}).decode("latin1")


def read_all(path: Path) -> None:
    with open_checkpoint(path) as checkpoint:
        for name in checkpoint:
            checkpoint.read(name)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.mark.parametrize("name", LIVE)
def test_the_payloads_are_live(name: str, canary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copyreg.add_extension("os", "system", 0xF0)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    try:
        pickle.loads(make.pickled(LIVE[name](canary)))  # noqa: S301 -- it shows what an unrestricted reader does
    finally:
        copyreg.remove_extension("os", "system", 0xF0)
    deadline = time.monotonic() + 10  # one payload does not wait for its process
    while not canary.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert canary.exists()


@EVERYWHERE
@pytest.mark.parametrize("name", LIVE)
def test_nothing_runs(name: str, holder: Holder, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # must not weaken anything
    path = make.write(tmp_path / "model.pt", holder(LIVE[name](canary)))
    known_opcodes = name not in {"INST", "OBJ", "STACK_GLOBAL", "EXT1", "Path.touch by a dotted name"}
    with pytest.raises(UnsafeFileError if known_opcodes else CheckpointError, match=r"model\.pt: ") as caught:
        read_all(path)
    assert not canary.exists()
    assert str(caught.value).isprintable()


STORED = make.tensor(make.storage("0", 1), (1,))
# Structures that misuse what is allowed. Each must end in a typed error, wherever it stands.
TRICKS: dict[str, Any] = {
    "persistent id of a module": Persistent(("module", Name("torch.nn.modules.linear.Linear"), "f.py", "import os")),
    "persistent id of a class that is not torch's": Persistent((Name("os.system"), "f.py", "source")),
    "persistent id of three texts": Persistent(("a class", "f.py", "source")),
    "persistent id that is text": Persistent("os.system"),
    "persistent id that is a list": Persistent(["storage"]),
    "persistent id that is nothing": Persistent(None),
    "storage of a type that is a function": Persistent(("storage", Name("os.system"), "0", "cpu", 1)),
    "storage of a type that is a constructor": Persistent(("storage", Name("collections.OrderedDict"), "0", "cpu", 1)),
    "storage with a path as its key": Persistent(("storage", Name("torch.FloatStorage"), "../version", "cpu", 1)),
    "storage with a number as its key": Persistent(("storage", Name("torch.FloatStorage"), 0, "cpu", 1)),
    "storage of negative size": Persistent(("storage", Name("torch.FloatStorage"), "0", "cpu", -1)),
    "storage of fractional size": Persistent(("storage", Name("torch.FloatStorage"), "0", "cpu", 1.5)),
    "storage class called": Call("torch.FloatStorage", (2**40,)),
    "untyped storage called": Call("torch.storage.UntypedStorage", (2**40,)),
    "tensor class called": Call("torch.FloatTensor", (2**40,)),
    "torch.Tensor called": Call("torch.Tensor", (2**40,)),
    "dtype called": Call("torch.float32", ()),
    "text called": Call(make.Raw(text("os.system")), ("true",)),
    "dictionary called": Call({}, ()),
    "arguments that are not a tuple": Call("collections.OrderedDict", "text"),
    "tensor of something that is not a storage": make.tensor({"a": 1}, (1,)),
    "tensor with sizes that are text": make.tensor(make.storage("0", 1), ("1",), (1,)),  # type: ignore[arg-type]
    "tensor with negative strides": make.tensor(make.storage("0", 4), (2, 2), (-1, 2)),
    "tensor with too few strides": make.tensor(make.storage("0", 4), (2, 2), (1,)),
    "tensor rebuilt by a function": Call(
        "torch._tensor._rebuild_from_type_v2", (Name("os.system"), 1, ("true",), None)
    ),
    "tensor rebuilt by text": Call("torch._tensor._rebuild_from_type_v2", ("os.system", 1, ("true",), None)),
    "parameter of text": Call("torch._utils._rebuild_parameter", ("os.system", True, None)),
    "state of a constructor set": Build(Name("torch._utils._rebuild_tensor_v2"), (None, {"__defaults__": ()})),
    "state of a list set": Build([], {"append": 1}),
    "state of a tensor set": Build(STORED, {"__class__": Name("torch.Tensor")}),
    "items appended to a constructor": Raw(make.pickled(Name("collections.OrderedDict"))[2:-1] + b"Na"),
    "items set on a list": Raw(b"]" + text("key") + b"Ns"),
    "an odd number of items": Raw(b"}(Nu"),
    "key that cannot be hashed": Raw(b"}]Ns"),
    "ordered dictionary of text": Call("collections.OrderedDict", ("text",)),
    "memo never written": Raw(b"h\x07"),
    "mark never set": Raw(b"t"),
    "more taken than there is": Raw(b"\x87"),
    "bytes of a declared size": Call("builtins.bytearray", (2**40,)),
    "bytes in an encoding of their choice": Call("_codecs.encode", ("text", "rot13")),
    "name with a terminal's escape codes": Name("os.\x1b[2Jsystem"),
}


@EVERYWHERE
@pytest.mark.parametrize("name", TRICKS)
def test_misuse_is_a_typed_error(name: str, holder: Holder, tmp_path: Path) -> None:
    path = make.write(tmp_path / "model.pt", holder(TRICKS[name]))
    with pytest.raises(CheckpointError, match=r"model\.pt: ") as caught:
        read_all(path)
    assert str(caught.value).isprintable()


def test_state_set_on_an_ordered_dictionary_is_dropped(tmp_path: Path) -> None:
    """`_metadata` of a state dict; a name like `items` must not replace the method."""
    tree = Build(Call("collections.OrderedDict", ([["a", STORED]],)), {"items": 1, "_metadata": {}, "__class__": 2})
    path = make.write(tmp_path / "model.pt", make.torch_zip(tree, {"0": struct.pack("<f", 1.5)}))
    assert open_checkpoint(path).read("a").tolist() == [1.5]


def deep(levels: int, opcode: bytes) -> Raw:
    return Raw(b")" + opcode * levels)


def laughs(levels: int, innermost: Any = None) -> Raw:
    """A list of ten times a list of ten times ...: tiny in the file, 10^levels when walked."""
    body = make.pickled([innermost])[2:-1] + b"q\0"
    for level in range(levels):
        body += b"](" + bytes([ord("h"), level]) * 10 + b"eq" + bytes([level + 1])
    return Raw(b"(" + body + b"t")


COSTLY: dict[str, Callable[[], bytes]] = {
    "bytearray of a declared size": partial(in_zip, Call("builtins.bytearray", (2**36,))),
    "bytearray of a declared size, old": partial(in_old, Call("builtins.bytearray", (2**36,))),
    "tensor of a declared size": partial(in_zip, Call("torch.FloatTensor", (2**36,))),
    "tuple as a key, nested 200,000 deep": lambda: in_zip(Raw(b"}" + deep(200_000, b"\x85").opcodes + b"Ns")),
    "set of a tuple nested 200,000 deep": lambda: in_zip(Call("builtins.set", ([deep(200_000, b"\x85")],))),
    "deep tuple among the storages, old": lambda: make.torch_old({}, {}).removesuffix(make.pickled([]))
    + make.pickled([deep(200_000, b"\x85")]),
    "deep tuple as a tensor's key, tar": lambda: make.torch_tar(
        {}, make.tar_tables({1: np.zeros(1, np.float32)}) | {"tensors": make.pickled(1) + make.pickled(
            (deep(200_000, b"\x85"), 1, None)) + struct.pack("<iiq", 0, 0, 0)},
    ),
    "deep tuple as a tensor's storage, tar": lambda: make.torch_tar(
        {}, make.tar_tables({}) | {"tensors": make.pickled(1) + make.pickled(
            (1, deep(200_000, b"\x85"), None)) + struct.pack("<iiq", 0, 0, 0)},
    ),
    "deep tuple as a view's key, tar": lambda: make.torch_tar(
        {}, make.tar_tables({1: np.zeros(1, np.float32)}, [(deep(200_000, b"\x85"), 1, 0, 1)])
    ),
    "deep tuple as a view's storage, tar": lambda: make.torch_tar(
        {}, make.tar_tables({}, [(1, deep(200_000, b"\x85"), 0, 1)])
    ),
    "list nested 100,000 deep": lambda: in_old(Raw(b"]" * 100_000 + b"a" * 99_999)),
    "lists that multiply the tensors in them": lambda: make.torch_zip({"a": laughs(30, STORED)}, {"0": b"\0" * 4}),
    "lists that multiply nothing": lambda: in_zip(laughs(30)),
    "dictionary that holds itself": lambda: in_zip(Raw(b"}q\0" + text("a") + b"h\0s")),
    "memo index of 2^32 - 1": lambda: in_zip(Raw(b"Nr\xff\xff\xff\xff")),
    "text of 4 GB declared": lambda: in_old(Raw(b"X\xff\xff\xff\xff")),
    "storage of 4 TB declared": lambda: make.torch_zip(
        {"a": make.tensor(make.storage("0", 2**40), (2**40,))}, {"0": b""}
    ),
    "storage of 4 TB declared, old": lambda: make.torch_old(
        {"a": make.tensor(make.storage("0", 2**40, old=True), (2**40,))}, {"0": b""}
    ),
    "storage of 4 TB counted, old": lambda: make.torch_old(
        {"a": make.tensor(make.storage("0", 2**40, old=True), (2**40,))}, {"0": b""}
    )[:-8] + struct.pack("<q", 2**40),
    "storage of 4 TB counted, tar": lambda: make.torch_tar(
        {"a": Persistent("101")},
        {"tensors": make.tar_tables({1: np.zeros(1, np.float32)})["tensors"],
         "storages": make.pickled(1) + make.pickled((1, "cpu", Name("torch.FloatStorage"))) + struct.pack("<q", 2**40)},
    ),
    "10^12 storages counted, tar": lambda: make.torch_tar({}, make.tar_tables({}) | {"storages": make.pickled(10**12)}),
    "tensor of 4 TB over four bytes": lambda: make.torch_zip(
        {"a": make.tensor(make.storage("0", 1), (2**40,), (0,))}, {"0": b"\0" * 4}
    ),
    "quantized tensor of 4 TB, without a name": lambda: make.torch_zip(
        Build(ITEMS, {"_metadata": Call("torch._utils._rebuild_qtensor", (make.storage("0", 1), 0, (2**40,), (0,)))}),
        {"0": b"\0" * 4},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    folder = tmp_path_factory.mktemp("costly")
    files = [make.write(folder / f"{number}.pt", content()) for number, content in enumerate(COSTLY.values())]
    return dict(zip(COSTLY, measure(files), strict=True))


@pytest.mark.parametrize("name", COSTLY)
def test_a_pickle_cannot_ask_for_more_than_its_file_holds(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert outcome.error in {"CheckpointError", "UnsafeFileError"}
    assert outcome.process_bytes < 50e6
    assert outcome.python_bytes < 50e6
