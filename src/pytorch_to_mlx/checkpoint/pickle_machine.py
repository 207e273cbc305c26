"""A pickle machine that imports nothing: it knows plain values, and builds all else through one given table.

It accepts the opcodes that torch's own restricted reader accepts, and serves two ends. Tar and TorchScript
archives, for which torch has no restricted reader, are read with it. Zip and old pickles pass through it
before torch sees them: `weights_only` stops code, but neither allocation (`bytearray(2**40)`, a storage of
any declared size) nor a crash (hashing a tuple nested 200,000 deep overflows the C stack).
"""

from collections.abc import Callable, Mapping
from typing import Any

from pytorch_to_mlx.checkpoint.cursor import Cursor
from pytorch_to_mlx.errors import CheckpointError, UnsafeFileError

# About 30 opcodes a tensor; a million of them cost a second and at most 100 MB.
MAX_OPCODES = 8_000_000


class Global:
    """A name that a pickle refers to. It stands for itself: nothing is ever imported."""

    __slots__ = ("build", "name")

    def __init__(self, name: str, build: Callable[..., Any] | None) -> None:
        self.name = name
        self.build = build

    def __call__(self, args: object) -> Any:
        if self.build is None or not isinstance(args, tuple):
            raise UnsafeFileError(f"the pickle calls {self.name!r}, which is not a constructor of plain data")
        return self.build(*args)


class Buildable:
    """An object of the class called `kind`, whose state a pickle may set, once."""

    __slots__ = ("kind", "state")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.state: Any = None


class Items(dict[Any, Any]):
    """An OrderedDict or Counter; the attributes that a pickle sets on one (`_metadata`) are dropped."""

    __slots__ = ()


class Opaque:
    """A value that no tensor depends on."""

    __slots__ = ()


class PickleMachine:
    """Runs one pickle.

    Args:
        cursor: stands at the pickle's first byte, and after `load` behind its last.
        find: full name of a global -> what stands for it; raises UnsafeFileError for what is not allowed.
        persistent: persistent id -> object.
    """

    def __init__(self, cursor: Cursor, find: Callable[[str], Global], persistent: Callable[[Any], Any]) -> None:
        self.cursor = cursor
        self.find = find
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The pickled value: plain values and containers, and what `find` and `persistent` made.

        Raises:
            UnsafeFileError: the pickle names or calls something else.
            CheckpointError: it is damaged.
        """
        for _ in range(MAX_OPCODES):
            code = self.cursor.take(1)
            if code == b".":
                return self.stack.pop()
            step = _STEPS.get(code)
            if step is None:
                raise CheckpointError(f"the pickle holds the unsupported opcode {code!r}")
            step(self)
        raise CheckpointError(f"the pickle takes more than {MAX_OPCODES} steps")

    def push_mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def last(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise CheckpointError("the pickle takes more values than it made")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def push_tuple(self, items: list[Any]) -> None:
        self.stack.append(tuple(items))

    def push_text(self, length: int) -> None:
        self.stack.append(self.cursor.take(length).decode())

    def push_long(self) -> None:
        (length,) = self.cursor.unpack("<B")
        self.stack.append(int.from_bytes(self.cursor.take(length), "little", signed=True))

    def push_global(self) -> None:
        module, name = self.cursor.line(), self.cursor.line()
        self.stack.append(self.find(f"{module}.{name}"))

    def push_persistent(self) -> None:
        (saved,) = self.last(1)
        self.stack.append(self.persistent(saved))

    def call(self) -> None:
        function, args = self.last(2)
        if not isinstance(function, Global):
            raise UnsafeFileError("the pickle calls something that is not a constructor of plain data")
        self.stack.append(function(args))

    def build(self) -> None:
        (state,) = self.last(1)
        target = self.stack[-1]
        if isinstance(target, Buildable) and target.state is None:
            target.state = state
        elif not isinstance(target, Items):
            raise UnsafeFileError(f"the pickle sets the state of a {type(target).__name__}")

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise CheckpointError(f"the pickle appends to a {type(target).__name__}")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise CheckpointError(f"the pickle sets items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value


def checked_key(key: object) -> object:
    """A key that can be hashed without running deep into nested tuples."""
    parts = key if isinstance(key, tuple) else (key,)
    if not all(part is None or isinstance(part, (bool, int, float, str)) for part in parts):
        raise CheckpointError(f"the pickle uses a {type(key).__name__} of other than plain values as a key")
    return key


_Step = Callable[[PickleMachine], object]


def _push(value: Callable[[], Any]) -> _Step:
    return lambda machine: machine.stack.append(value())


def _push_read(layout: str) -> _Step:
    return lambda machine: machine.stack.append(machine.cursor.unpack(layout)[0])


def _remember(layout: str) -> _Step:
    return lambda machine: machine.memo.__setitem__(machine.cursor.unpack(layout)[0], machine.stack[-1])


def _recall(layout: str) -> _Step:
    return lambda machine: machine.stack.append(machine.memo[machine.cursor.unpack(layout)[0]])


_STEPS: Mapping[bytes, _Step] = {
    b"\x80": lambda machine: machine.cursor.take(1),  # PROTO: the opcodes decide, not the number
    b"N": _push(lambda: None),
    b"\x88": _push(lambda: True),
    b"\x89": _push(lambda: False),
    b"J": _push_read("<i"),
    b"K": _push_read("<B"),
    b"M": _push_read("<H"),
    b"G": _push_read(">d"),
    b"\x8a": PickleMachine.push_long,
    b"X": lambda machine: machine.push_text(machine.cursor.unpack("<I")[0]),
    b"U": lambda machine: machine.push_text(machine.cursor.unpack("<B")[0]),
    b")": _push(tuple),
    b"]": _push(list),
    b"}": _push(dict),
    b"\x8f": _push(Opaque),  # EMPTY_SET
    b"(": PickleMachine.push_mark,
    b"t": lambda machine: machine.push_tuple(machine.since_mark()),
    b"\x85": lambda machine: machine.push_tuple(machine.last(1)),
    b"\x86": lambda machine: machine.push_tuple(machine.last(2)),
    b"\x87": lambda machine: machine.push_tuple(machine.last(3)),
    b"a": lambda machine: machine.append(machine.last(1)),
    b"e": lambda machine: machine.append(machine.since_mark()),
    b"s": lambda machine: machine.set_items(machine.last(2)),
    b"u": lambda machine: machine.set_items(machine.since_mark()),
    b"q": _remember("<B"),
    b"r": _remember("<I"),
    b"h": _recall("<B"),
    b"j": _recall("<I"),
    b"c": PickleMachine.push_global,
    b"Q": PickleMachine.push_persistent,
    b"R": PickleMachine.call,
    b"\x81": PickleMachine.call,  # NEWOBJ: only constructors of plain data have a stand-in
    b"b": PickleMachine.build,
}
