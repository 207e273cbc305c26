"""The conversion benchmark at a tiny size: it runs, and what it times is a true conversion."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import conversion
import numpy as np
import pytest
import table
from measure import Measurement
from synthetic import LlamaShape

SHAPE = LlamaShape.of(20e6)


def stored(folder: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Every tensor of a folder's safetensors files, read by the format's definition."""
    found = {}
    for file in folder.glob("*.safetensors"):
        content = file.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        for name, entry in json.loads(content[8:start]).items():
            if name != "__metadata__":
                begin, end = (start + offset for offset in entry["data_offsets"])
                found[name] = entry["dtype"], entry["shape"], content[begin:end]
    return found


def test_what_is_timed_is_a_conversion(tmp_path: Path) -> None:
    found = list(conversion.sections(tmp_path, SHAPE, 1, None))
    assert [section.title for section in found] == ["convert safetensors", "convert .bin", "load"]
    assert [len(section.rows) for section in found] == [3, 2, 2]
    with conversion.checkpoint(tmp_path, SHAPE, "safetensors") as source:
        wanted = stored(source)
        assert len(wanted) == len(SHAPE.tensors()) and len(list(source.glob("*.safetensors"))) > 1
    assert stored(tmp_path / "ours") == wanted
    assert all(np.frombuffer(data, np.uint16).any() for _, _, data in wanted.values())
    if sys.platform == "linux":
        memory = {(s.title, row.name): s.memory(row) for s in found for row in s.rows}
        assert memory["convert safetensors", "cp"] is None
        # The interpreter gives back a few MB meanwhile, a fifth of these 20: this asks whether the meter sees at all.
        assert 0.5 < (memory["load", "pytorch-to-mlx"] or 0) < 3, "the meter sees what MLX holds"


def test_another_bit_is_noticed(tmp_path: Path) -> None:
    with (
        conversion.checkpoint(tmp_path / "one", SHAPE, "safetensors") as one,
        conversion.checkpoint(tmp_path / "other", SHAPE, "safetensors") as other,
    ):
        conversion.check_same(one, other)
        with next(other.glob("*.safetensors")).open("r+b") as file:
            file.seek(-1, 2)
            last = file.read()
            file.seek(-1, 2)
            file.write(bytes([last[0] ^ 1]))
        with pytest.raises(SystemExit, match="holds another"):
            conversion.check_same(one, other)


def test_the_table(tmp_path: Path) -> None:
    rows = {
        "cp": [Measurement(0.0, seconds, 0) for seconds in (1.0, 2.0, 4.0)],
        "ours": [Measurement(0.5, seconds, memory) for seconds, memory in ((3.0, 10), (2.0, 30), (6.0, 20))],
    }
    section = table.Section(
        "convert", [table.Row(n, r, counts_memory=n != "cp") for n, r in rows.items()], "tensor", 20
    )
    assert section.markdown().splitlines()[-1] == "| ours | 1.50 | 1.00 to 3.00 | 1.50 | 3.00 | 0.5 |"
    document = tmp_path / "document.md"
    start, end = (marker.format("conversion.py") for marker in (table.START, table.END))
    document.write_text(f"before\n{start}\nold\n{end}\nafter\n")
    table.update(document, "conversion.py", "new")
    assert document.read_text() == f"before\n{start}\n\nnew\n\n{end}\nafter\n"


def test_a_full_disk_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=17.9e9))
    with pytest.raises(SystemExit, match="2"):
        conversion.main(["--size-gb", "4", "--work", str(tmp_path)])
    assert "has not the 18 GB that are needed" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
