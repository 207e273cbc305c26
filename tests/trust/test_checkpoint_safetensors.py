"""Malformed safetensors files: each class is refused by a typed error, in under a second and under 50 MB."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from checkpoint_files import entry, safetensors_bytes
from checkpoint_meter import Outcome, measure

ONE = entry("F32", [1], 0, 4)
FOUR = b"\0\0\x80?"
NESTED = 2_000_000


def one(**changes: Any) -> dict[str, Any]:
    """The header of one float32 tensor, with something wrong in it."""
    return {"a": ONE | changes}


MALFORMED: dict[str, bytes] = {
    "empty file": b"",
    "shorter than a header length": b"\x10\0\0",
    "header longer than the file": safetensors_bytes(one(), FOUR, declared=10_000),
    "header length of 2^64 - 1": safetensors_bytes(one(), FOUR, declared=2**64 - 1),
    "header length of 2^63": safetensors_bytes(one(), FOUR, declared=2**63),
    "header length of zero": safetensors_bytes(b"", FOUR),
    "header length beyond the limit": safetensors_bytes(one(), FOUR, declared=100 * 2**20),
    "header cut in the middle": safetensors_bytes(json.dumps(one()).encode()[:-9], FOUR),
    "header not UTF-8": safetensors_bytes(b'{"\xff\xfe":' + json.dumps(ONE).encode() + b"}", FOUR),
    "header not JSON": safetensors_bytes(b"{'a': None}", FOUR),
    "header an array": safetensors_bytes([ONE], FOUR),
    "header a string": safetensors_bytes("a", FOUR),
    "header with leading spaces": safetensors_bytes(b"    " + json.dumps(one()).encode(), FOUR),
    "header with text behind it": safetensors_bytes(json.dumps(one()).encode() + b"{}", FOUR),
    "header nested without end": safetensors_bytes(b'{"a":' + b"[" * NESTED),
    "header with a lone surrogate": safetensors_bytes(b'{"\\ud800":' + json.dumps(ONE).encode() + b"}", FOUR),
    "tensor name twice": safetensors_bytes(
        b'{"a":%b,"a":%b}' % (json.dumps(ONE).encode(), json.dumps(ONE).encode()), FOUR
    ),
    "dtype twice in one tensor": safetensors_bytes(
        b'{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}', FOUR
    ),
    "metadata key twice": safetensors_bytes(
        b'{"__metadata__":{"k":"1","k":"2"},"a":%b}' % json.dumps(ONE).encode(), FOUR
    ),
    "metadata not text": safetensors_bytes({"__metadata__": {"k": 1}} | one(), FOUR),
    "metadata an array": safetensors_bytes({"__metadata__": ["k"]} | one(), FOUR),
    "tensor entry not an object": safetensors_bytes({"a": 5}, FOUR),
    "dtype missing": safetensors_bytes({"a": {"shape": [1], "data_offsets": [0, 4]}}, FOUR),
    "dtype unknown": safetensors_bytes(one(dtype="F33"), FOUR),
    "dtype of four bits": safetensors_bytes(one(dtype="F4", shape=[8]), FOUR),
    "dtype not text": safetensors_bytes(one(dtype=32), FOUR),
    "shape missing": safetensors_bytes({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, FOUR),
    "shape negative": safetensors_bytes(one(shape=[-1]), FOUR),
    "shape fractional": safetensors_bytes(one(shape=[1.0]), FOUR),
    "shape boolean": safetensors_bytes(one(shape=[True]), FOUR),
    "shape text": safetensors_bytes(one(shape="1"), FOUR),
    "shape overflowing 64 bits": safetensors_bytes(one(shape=[2**62, 2**62]), FOUR),
    "shape larger than its bytes": safetensors_bytes(one(shape=[2]), FOUR),
    "shape smaller than its bytes": safetensors_bytes(one(shape=[]), FOUR * 2, None),
    "shape of 70 dimensions": safetensors_bytes(one(shape=[1] * 70), FOUR),
    "offsets missing": safetensors_bytes({"a": {"dtype": "F32", "shape": [1]}}, FOUR),
    "offsets reversed": safetensors_bytes(one(data_offsets=[4, 0]), FOUR),
    "offsets negative": safetensors_bytes(one(data_offsets=[-4, 0]), FOUR),
    "offsets beyond the file": safetensors_bytes(one(data_offsets=[0, 4]), FOUR[:2]),
    "offsets far beyond the file": safetensors_bytes(one(shape=[2**40], data_offsets=[0, 2**42]), FOUR),
    "offsets of one number": safetensors_bytes(one(data_offsets=[0]), FOUR),
    "tensors overlapping": safetensors_bytes({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, FOUR * 3),
    "hole between tensors": safetensors_bytes({"a": ONE, "b": entry("F32", [1], 8, 12)}, FOUR * 3),
    "hole before the first tensor": safetensors_bytes(one(data_offsets=[4, 8]), FOUR * 2),
    "bytes behind the last tensor": safetensors_bytes(one(), FOUR + b"\0"),
    "no tensors": safetensors_bytes({}),
    "a zip archive": b"PK\3\4" + b"\0" * 60,
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4\n",
    "an HTML page": b"<!DOCTYPE html><html><title>404</title></html>" * 10,
}  # fmt: skip
SPARSE = {"data missing behind a true header": (one(shape=[2**28], data_offsets=[0, 2**30]), 2**30 - 1)}
SPECIAL = ("a directory", "a named pipe", *SPARSE)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    folder = tmp_path_factory.mktemp("malformed")
    files = {name: folder / f"{number}.safetensors" for number, name in enumerate([*MALFORMED, *SPECIAL])}
    for name, content in MALFORMED.items():
        files[name].write_bytes(content)
    (files["a directory"] / "model.safetensors").mkdir(parents=True)
    os.mkfifo(files["a named pipe"])
    for name, (header, data_bytes) in SPARSE.items():
        files[name].write_bytes(safetensors_bytes(header))
        os.truncate(files[name], files[name].stat().st_size + data_bytes)
    return dict(zip(files, measure(list(files.values())), strict=True))


@pytest.mark.parametrize("name", [*MALFORMED, *SPECIAL])
def test_refused_at_once(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert outcome.error == "CheckpointError"
    assert ".safetensors: " in outcome.message
    assert "\n" not in outcome.message
    assert outcome.seconds < 1
    assert outcome.python_bytes < 50e6
    assert outcome.process_bytes < 50e6


def test_the_meter_can_fail(tmp_path: Path) -> None:
    """A well-formed file opens, and one with a header of 15 MB, allowed but costly, is seen to cost."""
    fine = tmp_path / "fine.safetensors"
    fine.write_bytes(safetensors_bytes(one(), FOUR))
    costly = tmp_path / "costly.safetensors"
    text = {"a note": "\N{SNAKE}" + "s" * 15_000_000}  # four bytes a character once it is decoded
    header = json.dumps({"__metadata__": text} | one(), ensure_ascii=False).encode()
    costly.write_bytes(safetensors_bytes(header, FOUR))
    opened, seen = measure([fine, costly])
    assert (opened.error, seen.error) == (None, None)
    assert opened.process_bytes < 50e6 < seen.process_bytes
    assert opened.python_bytes < 50e6 < seen.python_bytes
