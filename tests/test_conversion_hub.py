"""convert and inspect with the Hub, by the command line: huggingface_hub reads its environment at import."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from described import write_source
from folders import content
from hub_client import client_environment
from hub_server import TOKEN, HubServer
from small_ports import SEED, Tensors, safetensors_file, sharded_files, toy_tensors, voice_encoder_tensors

from pytorch_to_mlx import Audio, load


def command_line(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytorch_to_mlx", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_from_the_hub_and_back(hub_server: HubServer, tmp_path: Path) -> None:
    """Only what the port names is fetched; the commit is recorded; what is uploaded loads."""
    tensors = voice_encoder_tensors()
    file = safetensors_file(tmp_path / "ve.safetensors", tensors).read_bytes()
    others = {"t3_cfg.safetensors": bytes(10**6), "conds.pt": bytes(10**6), "README.md": b"# Chatterbox"}
    old = hub_server.commit("acme/chatterbox", {**others, "ve.safetensors": file}, ref="v1")
    hub_server.commit("acme/chatterbox", {**others, "ve.safetensors": b"something else"})
    environment = client_environment(hub_server.url, tmp_path / "home", HF_TOKEN=TOKEN)
    arguments = ("convert", "acme/chatterbox", "--revision", "v1")

    done = command_line(environment, *arguments, "-o", str(tmp_path / "made"), "--upload-repo", "acme/ve-mlx")
    assert done.returncode == 0, done.stderr
    assert f"uploaded to {hub_server.url}/acme/ve-mlx" in done.stdout
    assert hub_server.downloaded("acme/chatterbox") == ["ve.safetensors"]
    source = json.loads((tmp_path / "made" / "config.json").read_text())["source"]
    assert source == {
        "kind": "hub",
        "location": "acme/chatterbox",
        "revision": old,
        "files": [{"name": "ve.safetensors", "bytes": len(file)}],
    }

    uploaded = hub_server.repositories["acme/ve-mlx"]
    files = uploaded.commits[uploaded.refs["main"]]
    assert {name: data for name, data in files.items() if name != ".gitattributes"} == content(tmp_path / "made")
    (tmp_path / "fetched").mkdir()
    for name, data in files.items():
        (tmp_path / "fetched" / name).write_bytes(data)
    embedding = load(tmp_path / "fetched").embed(Audio(SEED.speechlike(1, 2.0, 16000), 16000))
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)

    hub_server.log.clear()
    done = command_line(environment, *arguments, "-o", str(tmp_path / "again"), "--offline")
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "again") == content(tmp_path / "made")
    assert hub_server.log == []


def test_a_model_that_its_own_configuration_tells(hub_server: HubServer, tmp_path: Path) -> None:
    """The configuration comes first, and of one commit with the weights."""
    source = write_source("qwen3_tts_tokenizer-12hz", tmp_path / "source")
    files = {file.name: file.read_bytes() for file in source.iterdir()}
    commit = hub_server.commit("acme/codec", {**files, "other.safetensors": bytes(10**6)})
    environment = client_environment(hub_server.url, tmp_path / "home")
    done = command_line(environment, "convert", "acme/codec", "-o", str(tmp_path / "made"))
    assert done.returncode == 0, done.stderr
    assert sorted(hub_server.downloaded("acme/codec")) == sorted(files)
    config = json.loads((tmp_path / "made" / "config.json").read_text())
    assert (config["source"]["revision"], config["config"]["decoder"]["channels"]) == (commit, 64)


def test_a_repository_without_a_known_model(hub_server: HubServer, tmp_path: Path) -> None:
    hub_server.commit("acme/stranger", {"unknown.safetensors": bytes(10**6)})
    environment = client_environment(hub_server.url, tmp_path / "home")
    done = command_line(environment, "convert", "acme/stranger", "-o", str(tmp_path / "made"))
    assert done.returncode == 2
    assert done.stderr.startswith("pytorch-to-mlx: acme/stranger is none of the models known by name: voice_encoder")
    assert done.stderr.count("\n") == 1
    assert hub_server.downloaded("acme/stranger") == []
    assert not (tmp_path / "made").exists()


def test_inspect_an_unknown_repository(hub_server: HubServer, tmp_path: Path) -> None:
    unknown: Tensors = {"encoder.weight": np.ones((2, 3), np.float32)}
    shards = sharded_files(tmp_path / "sharded", toy_tensors()).parent
    hub_server.commit("acme/odd-shards", {file.name: file.read_bytes() for file in shards.iterdir()})
    file = safetensors_file(tmp_path / "weights.safetensors", unknown).read_bytes()
    hub_server.commit("acme/odd", {"weights.safetensors": file, "pytorch_model.bin": b"0", "README.md": b"# Odd"})
    environment = client_environment(hub_server.url, tmp_path / "home")
    for repository, names in (("acme/odd", {"encoder.weight"}), ("acme/odd-shards", set(toy_tensors()))):
        done = command_line(environment, "inspect", repository, "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert {tensor["name"] for tensor in found["tensors"]} == names
        assert found["model"] is None
        assert found["problems"][0].startswith(f"{repository} is none of the models known by name")
        assert "inspect" not in found["problems"][0]
    assert hub_server.downloaded("acme/odd") == ["weights.safetensors"]
