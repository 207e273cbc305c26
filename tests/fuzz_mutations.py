"""Mutations of model folders and checkpoints: JSON by its structure, safetensors headers by their meaning, bytes.

Every choice comes from the given random generator, so a case is its number and seed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, NamedTuple

from fuzz_json import ODD_NUMBERS, ODD_TEXTS, mutate_bytes, mutate_json, parse, render

Region = Literal["config", "index", "header", "data", "file"]
STRUCTURED: tuple[Region, ...] = ("config", "index", "header")


@dataclass(frozen=True)
class Special:
    """Something other than a regular file: a "link" to `target`, a "hard link" to it, a "folder" or a "pipe"."""

    kind: Literal["link", "hard link", "folder", "pipe"]
    target: str = ""


Files = Mapping[str, bytes | Special]


class Place(NamedTuple):
    """What a mutation hits: a region of a file. The region "file" is the file as a whole."""

    file: str
    region: Region


def places(files: Files) -> list[Place]:
    """Every region of every regular file that a mutation can hit."""
    found = []
    for name, content in files.items():
        if isinstance(content, Special) or name == "README.md":
            continue
        if name == "config.json":
            found.append(Place(name, "config"))
        elif name.endswith(".index.json"):
            found.append(Place(name, "index"))
        elif name.endswith(".safetensors"):
            found += [Place(name, "header"), Place(name, "data")]
        else:
            found.append(Place(name, "data"))
    return found


def mutate(rng: Random, files: Files, place: Place) -> tuple[Files, Region, str]:
    """The files with one of them damaged, or merely changed; where it was hit, and what was done."""
    if rng.random() < 0.04:
        special, what = _misplaced(rng, place.file, files)
        rest = {name: content for name, content in files.items() if name != place.file}
        return (rest if special is None else {**rest, place.file: special}), "file", what
    content, done = files[place.file], []
    assert isinstance(content, bytes)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        try:
            content, what = _MUTATORS[place.region](rng, content)
        except Exception:  # an earlier mutation left nothing that this one understands
            start, what = mutate_bytes(rng, content[:128])
            content = start + content[128:]
        done.append(what)
    return {**files, place.file: content}, place.region, f"{place.file} {place.region}: {', '.join(done)}"


def _misplaced(rng: Random, name: str, files: Files) -> tuple[bytes | Special | None, str]:
    other = files[rng.choice(list(files))]
    choices: dict[str, bytes | Special | None] = {
        "missing": None,
        "empty": b"",
        "a folder": Special("folder"),
        "a named pipe": Special("pipe"),
        "a link out of the folder": Special("link", "/etc/hostname"),
        "a link to itself": Special("link", name),
        "a link to nothing": Special("link", "../absent"),
        "another file": other if isinstance(other, bytes) else b"{}",
    }
    what = rng.choice(list(choices))
    return choices[what], f"{name} is {what}"


# --- An index ---------------------------------------------------------------------------------------------------------


def _index(rng: Random, text: bytes) -> tuple[bytes, str]:
    if rng.random() < 0.4:
        return mutate_json(rng, text)
    tree = parse(text)
    weight_map = next(value for key, value in tree if key == "weight_map")
    entry = rng.choice(weight_map)
    files = sorted({file for _, file in weight_map})
    other = rng.choice(weight_map)
    match rng.randrange(5):
        case 0:
            entry[1] = rng.choice((*files, "config.json", "README.md", "absent.safetensors", ".", ".."))
        case 1:
            prefix = rng.choice(("./", "../", "/", "x/../", "//", "\\", "C:", "file://", "a\0/", ".//"))
            entry[1] = prefix + entry[1]
        case 2:
            entry[0], other[0] = other[0], entry[0]
        case 3:
            old, new = entry[1], rng.choice((*files, rng.choice(ODD_TEXTS)))
            for each in weight_map:
                each[1] = new if each[1] == old else each[1]
        case _:
            weight_map.append([f"{entry[0]}{rng.choice(('', '_', '.x'))}", rng.choice(files)])
    return render(tree), "weight_map"


# --- A safetensors header ---------------------------------------------------------------------------------------------

DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL", "C64")
SAME_SIZE = {"F32": ("I32", "U32"), "F16": ("BF16", "I16"), "BF16": ("F16", "I16"), "U32": ("I32", "F32")}
ODD_DTYPES = ("F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F33", "f32", "", "U128")


def _header(rng: Random, content: bytes) -> tuple[bytes, str]:
    (length,) = struct.unpack_from("<Q", content)
    text, data = content[8 : 8 + length], content[8 + length :]
    match rng.randrange(9):
        case 0:
            sizes = (0, 1, length - 1, length + 1, length + 8, len(content), len(content) - 8, 2**31, 2**63, 2**64 - 1)
            return struct.pack("<Q", rng.choice((*sizes, rng.getrandbits(64)))) + content[8:], "header length"
        case 1:
            behind = [text + more for more in (b" " * 7, b"\n", b"\0", b"{}")]
            text = rng.choice((*behind, text[:-1], b" " + text, b"\xef\xbb\xbf" + text))
            return _joined(text, data), "header padding"
        case 2:
            text, what = mutate_bytes(rng, text)
            return _joined(text, data), what
        case 3 | 4:
            text, what = mutate_json(rng, text)
            return _joined(text, data), what
        case _:
            tree = parse(text)
            what = _entries(rng, tree, len(data))
            return _joined(render(tree), data), what


def _joined(text: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text + data


def _entries(rng: Random, tree: Any, data_bytes: int) -> str:
    """Change what a header says of one tensor or two, often so that the file stays valid and is another one."""
    tensors = [pair for pair in tree if pair[0] != "__metadata__"]
    one, two = rng.choice(tensors), rng.choice(tensors)
    fields = {key: i for i, (key, _) in enumerate(one[1])}
    dtype, shape, offsets = (one[1][fields[key]] for key in ("dtype", "shape", "data_offsets"))
    match rng.randrange(8):
        case 0:
            dtype[1] = rng.choice((*DTYPES, *ODD_DTYPES))
            return "dtype"
        case 1:
            dtype[1] = rng.choice(SAME_SIZE.get(dtype[1], DTYPES))
            return "dtype of the same size"
        case 2:
            sizes = list(shape[1])
            shape[1] = rng.choice(
                (sizes[::-1], [1, *sizes], [*sizes, 1], sizes[:-1], [0, *sizes], [*sizes, 2**40, 0], sizes * 2)
            )
            return "shape"
        case 3:
            at = rng.randrange(len(shape[1]))
            shape[1][at] = rng.choice((*ODD_NUMBERS, shape[1][at] * 2, shape[1][at] + 1))
            return "size"
        case 4:
            shift = rng.choice((-8, -4, -1, 1, 4, 8, data_bytes, 2**32, -data_bytes))
            offsets[1] = [end + shift for end in offsets[1]]
            return "offsets moved"
        case 5:
            offsets[1][rng.randrange(2)] = rng.choice((*ODD_NUMBERS, data_bytes, data_bytes + 1))
            return "offset"
        case 6:
            one[0], two[0] = two[0], one[0]
            return "two names exchanged"
        case _:
            one[1], two[1] = two[1], one[1]
            one[0] = rng.choice((one[0], two[0], f"{one[0]}.x", rng.choice(ODD_TEXTS)))
            return "entries exchanged, perhaps renamed"


# --- Data -------------------------------------------------------------------------------------------------------------


def _data(rng: Random, content: bytes) -> tuple[bytes, str]:
    """Bytes behind a safetensors header, or anywhere in a pickle, zip, tar or ONNX file."""
    (length,) = struct.unpack_from("<Q", content)
    if length + 8 >= len(content):
        return mutate_bytes(rng, content)
    data, what = mutate_bytes(rng, content[8 + length :])
    return content[: 8 + length] + data, what


_MUTATORS: Mapping[Region, Callable[[Random, bytes], tuple[bytes, str]]] = {
    "config": mutate_json,
    "index": _index,
    "header": _header,
    "data": _data,
}
