"""Mutations of JSON by its structure, and of any bytes."""

from __future__ import annotations

import json
from random import Random
from typing import Any, NamedTuple


def mutate_bytes(rng: Random, content: bytes) -> tuple[bytes, str]:
    changed = bytearray(content or b"\0")
    at = rng.randrange(len(changed) + 1)
    end = min(len(changed), at + rng.choice((1, 2, 4, 8, 64, 1000)))
    match rng.randrange(6):
        case 0:
            for _ in range(rng.choice((1, 1, 3, 16))):
                changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            return bytes(changed), "bits flipped"
        case 1:
            changed[at:end] = bytes([rng.choice((0, 0xFF, 0x20, 0x7F, rng.randrange(256)))]) * (end - at)
            return bytes(changed), "bytes overwritten"
        case 2:
            changed[at:at] = rng.randbytes(rng.choice((1, 2, 8, 100)))
            return bytes(changed), "bytes inserted"
        case 3:
            del changed[at:end]
            return bytes(changed), "bytes removed"
        case 4:
            changed[at:at] = changed[at:end]
            return bytes(changed), "bytes repeated"
        case _:
            del changed[at:]
            return bytes(changed), "cut"


class Pairs(list[list[Any]]):
    """A JSON object as [key, value] lists: keys may repeat."""


class Raw(str):
    """Text that stands in JSON as it is."""

    __slots__ = ()


class Slot(NamedTuple):
    """Where a value stands: in an array or an object."""

    holder: list[Any]
    position: int

    @property
    def value(self) -> Any:
        held = self.holder[self.position]
        return held[1] if isinstance(self.holder, Pairs) else held

    @value.setter
    def value(self, new: Any) -> None:
        if isinstance(self.holder, Pairs):
            self.holder[self.position][1] = new
        else:
            self.holder[self.position] = new


def parse(text: bytes) -> Any:
    """JSON as Pairs, lists and plain values."""
    return json.loads(text, object_pairs_hook=lambda pairs: Pairs([list(pair) for pair in pairs]))


def render(value: Any) -> bytes:
    """JSON text of what `parse` gives and mutations leave."""
    return _text(value).encode("utf-8", "surrogatepass")


def _text(value: Any) -> str:
    if isinstance(value, Raw):
        return value
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{_text(key)}:{_text(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value)


_POWERS = (2**31 - 1, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63, -(2**63), 2**64, 10**30, -1e300)
ODD_NUMBERS = (0, -1, 1, 2, 3, 7, 1.5, *_POWERS)
_PATHS = ("../x", "/etc/hostname", "..\\x", "C:\\x", "a\0b")
ODD_TEXTS = (*_PATHS, "", " ", "x", "Ω≈ç√", "\n", "$(id)", "{0}", "%s", "x" * 70_000)
_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "-0", "1E5", "0.1e-400", "9" * 5000)
ODD_TOKENS = (*_NUMBERS, '"\\ud800"', "tru", "", "'x'")


def odd(rng: Random) -> Any:
    """A value that few would expect."""
    match rng.randrange(5):
        case 0:
            return rng.choice(ODD_NUMBERS)
        case 1:
            return rng.choice(ODD_TEXTS)
        case 2:
            return Raw(rng.choice(ODD_TOKENS))
        case 3:
            return rng.choice((None, True, False, Pairs(), [], [[]], [None] * 3, Pairs([["a", 1]])))
        case _:
            depth = rng.choice((1, 3, 60, 900, 30_000))
            return Raw(rng.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth)))


def _slots(value: Any) -> list[Slot]:
    found: list[Slot] = []
    if isinstance(value, list):
        for position in range(len(value)):
            slot = Slot(value, position)
            found.append(slot)
            found += _slots(slot.value)
    return found


def _object(rng: Random, tree: Any) -> Pairs:
    """One of the objects in the tree that hold anything."""
    found = [slot.value for slot in _slots(tree) if isinstance(slot.value, Pairs) and slot.value]
    if isinstance(tree, Pairs) and tree:
        found += [tree] * (1 + len(found) // 3)
    if not found:
        raise ValueError("no object")
    return rng.choice(found)


def _replace(rng: Random, tree: Any) -> None:
    slot = rng.choice(_slots(tree))
    slot.value = odd(rng)


def _nudge(rng: Random, tree: Any) -> None:
    slot = rng.choice([slot for slot in _slots(tree) if not isinstance(slot.value, list)])
    value = slot.value
    if isinstance(value, bool) or value is None:
        new: Any = rng.choice((not value, 0, "true"))
    elif isinstance(value, int | float):
        new = rng.choice((value + 1, value - 1, -value, 2 * value, value * 2**20, value / 2, float(value), str(value)))
    else:
        cut = rng.randrange(len(value) + 1)
        accented = f"{value[:cut]}\u00e9{value[cut:]}"
        new = rng.choice((accented, value[:cut], value.upper(), f"../{value}", f"./{value}", f"{value}\0"))
    slot.value = new


def _drop(rng: Random, tree: Any) -> None:
    slot = rng.choice(_slots(tree))
    del slot.holder[slot.position]


def _twice(rng: Random, tree: Any) -> None:
    pairs = _object(rng, tree)
    key, value = rng.choice(pairs)
    pairs.insert(rng.randrange(len(pairs) + 1), [key, rng.choice((value, odd(rng)))])


def _rename(rng: Random, tree: Any) -> None:
    pair = rng.choice(_object(rng, tree))
    pair[0] = rng.choice(
        (pair[0] + "_", pair[0].upper(), pair[0][:-1], rng.choice(ODD_TEXTS), Raw(rng.choice(ODD_TOKENS)))
    )


def _add(rng: Random, tree: Any) -> None:
    _object(rng, tree).append([rng.choice(("extra", "__metadata__", "layers", rng.choice(ODD_TEXTS))), odd(rng)])


def _swap(rng: Random, tree: Any) -> None:
    slots = [slot for slot in _slots(tree) if not isinstance(slot.value, list)]
    first, second = rng.choice(slots), rng.choice(slots)
    one, two = first.value, second.value
    first.value = two
    second.value = one


def _shuffle(rng: Random, tree: Any) -> None:
    rng.shuffle(_object(rng, tree))


_JSON_MUTATORS = (_replace, _nudge, _nudge, _drop, _twice, _rename, _add, _swap, _shuffle)


def mutate_json(rng: Random, text: bytes) -> tuple[bytes, str]:
    if rng.random() < 0.12:
        return mutate_bytes(rng, text)
    if rng.random() < 0.03:
        return render(odd(rng)), "odd root"
    tree = parse(text)
    how = rng.choice(_JSON_MUTATORS)
    how(rng, tree)
    return render(tree), how.__name__.strip("_")
