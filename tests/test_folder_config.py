"""config.json: written plainly, read strictly, every bad one told in one line."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from folders import CONFIG, write_folder

from pytorch_to_mlx.errors import ConfigError
from pytorch_to_mlx.folder import FolderConfig, read_config

GOOD: dict[str, Any] = json.loads(CONFIG.to_bytes())


def changed(**changes: Any) -> bytes:
    """A good config with fields replaced, or left out where the change is None."""
    return json.dumps({key: value for key, value in {**GOOD, **changes}.items() if value is not None}).encode()


def test_written_in_the_documented_form(tmp_path: Path) -> None:
    write_folder(tmp_path / "model")
    text = (tmp_path / "model/config.json").read_text()
    assert text.endswith("}\n") and text.splitlines()[1] == '  "format_version": 1,'
    assert json.loads(text) == {
        "format_version": 1,
        "model_type": "toy",
        "variant": "tiny",
        "task": "pitch tracker",
        "dtype": "float32",
        "config": {"hidden": 3, "scale": None},
        "source": {
            "kind": "hub",
            "location": "somebody/toy",
            "revision": "abc",
            "files": [{"name": "toy.pt", "bytes": 1234}],
        },
        "converter": {"name": "pytorch-to-mlx", "version": "0.1.0"},
    }
    assert read_config(tmp_path / "model") == CONFIG


def test_quantization_is_kept(tmp_path: Path) -> None:
    quantization = {
        "bits": 4,
        "group_size": 64,
        "layers": {"a.b": {"bits": 4}},
        "kept": {"a.c": "it is small"},
    }
    config = FolderConfig.model_validate({**GOOD, "quantization": quantization})
    write_folder(tmp_path / "model", config=config)
    assert read_config(tmp_path / "model").quantization == quantization


BAD = {
    "empty": (b"", "is no valid JSON"),
    "cut": (CONFIG.to_bytes()[:-20], "is no valid JSON"),
    "not text": (b"\xff\xfe{}", "is no valid JSON"),
    "a list": (b"[]", "is no JSON object"),
    "not a number": (changed(config={"a": float("nan")}), "NaN is no JSON number"),
    "a key twice": (b'{"format_version": 1, "format_version": 2}', "a key occurs twice"),
    "nested deeply": (b'{"a":' * 100_000, "is no valid JSON"),
    "nested deeply and closed": (b'{"a":' * 900 + b"1" + b"}" * 900, "has no format_version"),
    "a number of many digits": (b'{"a": ' + b"1" * 10_000 + b"}", "is no valid JSON"),
    "large": (b" " * (4 * 2**20 + 1), "is larger than 4194304 bytes"),
    "of another program": (b'{"model_type": "llama"}', "has no format_version"),
    "version as text": (changed(format_version="1"), "has no format_version"),
    "version true": (changed(format_version=True), "has no format_version"),
    "newer": (
        changed(format_version=2, surprise=1),
        "has format_version 2, which is newer: upgrade pytorch-to-mlx",
    ),
    "older": (changed(format_version=0), "has format_version 0: convert the model again"),
    "model_type a list": (changed(model_type=["toy"]), "config.json: model_type: "),
    "an unknown field": (changed(trust_remote_code=True), "config.json: trust_remote_code: "),
    "config no object": (changed(config=[1]), "config.json: config: "),
    "config nested deeply": (
        changed(config={"a": 7}).replace(b"7", b"[" * 700 + b"]" * 700),
        "config.json: config",
    ),
    "another converter": (
        changed(converter={"name": "mlx-lm", "version": "1"}),
        "config.json: converter.name: ",
    ),
    "unknown source": (changed(source={"kind": "ftp", "location": "x"}), "config.json: source.kind: "),
    "negative size": (
        changed(source={"kind": "hub", "location": "x", "files": [{"name": "a", "bytes": -1}]}),
        "config.json: source.files.0.bytes: ",
    ),
    "size as text": (
        changed(source={"kind": "hub", "location": "x", "files": [{"name": "a", "bytes": "1"}]}),
        "config.json: source.files.0.bytes: ",
    ),
    "a field missing": (changed(task=None), "config.json: task: Field required"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_configs_are_told_in_one_line(tmp_path: Path, case: str) -> None:
    text, message = BAD[case]
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path / "config.json") in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is missing"):
        read_config(tmp_path / "absent")
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigError, match="is missing"):
        read_config(tmp_path)
    (tmp_path / "config.json").rmdir()
    os.mkfifo(tmp_path / "config.json")  # opening it would wait for ever
    with pytest.raises(ConfigError, match="is missing"):
        read_config(tmp_path)
