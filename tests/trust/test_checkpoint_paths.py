"""Sharded checkpoints: paths that leave the folder, and shards that do not agree with their index."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import checkpoint_files as make
import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import save_file

from pytorch_to_mlx.checkpoint import open_checkpoint
from pytorch_to_mlx.errors import CheckpointError, UnsafeFileError

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def save_shard(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ones(2, np.float32) for name in names}, path)


def save_index(folder: Path, weight_map: Mapping[str, object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return make.write(folder / INDEX, json.dumps({"weight_map": weight_map}).encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint folder with a sound file beside it that no index may reach."""
    save_shard(tmp_path / "outside.safetensors", "a")
    save_shard(tmp_path / "model" / FIRST, "a")
    return tmp_path / "model"


ESCAPES = {
    "parent": "../outside.safetensors",
    "parent further in": "sub/../../outside.safetensors",
    "parent and back": f"../model/{FIRST}",
    "parent the Windows way": "..\\outside.safetensors",
    "absolute": "{root}/outside.safetensors",
    "absolute with two slashes": "//{root}/outside.safetensors",
    "absolute the Windows way": "C:\\outside.safetensors",
    "drive without a slash": "C:outside.safetensors",
    "network share": "\\\\server\\share\\outside.safetensors",
    "empty": "",
    "zero byte": f"{FIRST}\0.txt",
}


@pytest.mark.parametrize("name", ESCAPES)
def test_an_index_cannot_name_a_file_outside(folder: Path, name: str) -> None:
    (folder / "sub").mkdir()
    escape = ESCAPES[name].format(root=folder.parent)
    index = save_index(folder, {"a": escape})
    for path in (index, folder):
        with pytest.raises(UnsafeFileError, match=r"index\.json: names the file"):
            open_checkpoint(path)


@pytest.mark.parametrize("name", [5, None, ["x"], {"x": 1}])
def test_an_index_with_something_else_than_names(folder: Path, name: object) -> None:
    with pytest.raises(CheckpointError, match="other than file names"):
        open_checkpoint(save_index(folder, {"a": name}))


@pytest.mark.parametrize("target", ["relative", "absolute", "folder"])
def test_a_link_cannot_lead_outside(folder: Path, target: str) -> None:
    outside = folder.parent / "outside.safetensors"
    if target == "folder":
        (folder / "sub").symlink_to(folder.parent)
        index = save_index(folder, {"a": "sub/outside.safetensors"})
    else:
        (folder / SECOND).symlink_to("../outside.safetensors" if target == "relative" else outside)
        index = save_index(folder, {"a": SECOND})
    with pytest.raises(UnsafeFileError, match="link that leaves the folder"):
        open_checkpoint(index)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", INDEX, "ve.safetensors"])
def test_a_folders_own_file_cannot_be_a_link_outside(tmp_path: Path, name: str) -> None:
    save_shard(tmp_path / "secret", "a")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).symlink_to("../secret")
    with pytest.raises(UnsafeFileError, match="link that leaves the folder"):
        open_checkpoint(tmp_path / "model")


def test_a_file_that_the_user_names_may_be_a_link(folder: Path) -> None:
    link = folder / "linked.safetensors"
    link.symlink_to("../outside.safetensors")
    assert list(open_checkpoint(link)) == ["a"]


def test_links_and_shards_inside_the_folder_work(folder: Path) -> None:
    save_shard(folder / "parts" / "one.safetensors", "b")
    (folder / SECOND).symlink_to("parts/one.safetensors")
    index = save_index(folder, {"a": FIRST, "b": SECOND})
    assert list(open_checkpoint(index)) == ["a", "b"]
    index = save_index(folder, {"a": FIRST, "b": "parts/one.safetensors"})
    assert list(open_checkpoint(index)) == ["a", "b"]


def test_a_loop_of_links(folder: Path) -> None:
    (folder / SECOND).symlink_to(SECOND)
    with pytest.raises(CheckpointError, match=r"index\.json: "):
        open_checkpoint(save_index(folder, {"a": SECOND}))


@pytest.mark.parametrize("special", ["named pipe", "folder"])
def test_a_shard_that_is_not_a_file(folder: Path, special: str) -> None:
    os.mkfifo(folder / SECOND) if special == "named pipe" else (folder / SECOND).mkdir()
    with pytest.raises(CheckpointError, match=f"{SECOND}: not a regular file"):
        open_checkpoint(save_index(folder, {"a": SECOND}))


def hub_cache(cache: Path, repository: str = "models--me--model", sub: str = "") -> Path:
    """Two shards and an index as huggingface_hub keeps them: links from the snapshot to blobs."""
    blobs, snapshot = cache / repository / "blobs", cache / repository / "snapshots" / "0123abc" / sub
    snapshot.mkdir(parents=True)
    save_shard(blobs / "b1", "a")
    save_shard(blobs / "b2", "b")
    make.write(blobs / "b3", json.dumps({"weight_map": {"a": FIRST, "b": SECOND}}).encode())
    up = "../../.." if sub else "../.."
    for name, blob in ((FIRST, "b1"), (SECOND, "b2"), (INDEX, "b3")):
        (snapshot / name).symlink_to(f"{up}/blobs/{blob}")
    return snapshot


@pytest.mark.parametrize("sub", ["", "text_encoder"])
def test_the_hub_cache_works(tmp_path: Path, sub: str) -> None:
    snapshot = hub_cache(tmp_path, sub=sub)
    for path in (snapshot, snapshot / INDEX):
        checkpoint = open_checkpoint(path)
        assert list(checkpoint) == ["a", "b"]
        assert checkpoint.files[1].name == FIRST


def test_the_hub_cache_works_where_it_is_itself_a_link(tmp_path: Path) -> None:
    hub_cache(tmp_path / "disk")
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    assert len(open_checkpoint(tmp_path / "cache/models--me--model/snapshots/0123abc")) == 2


def share_blob(cache: Path, snapshot: Path, marked: bool) -> None:
    """Move a blob where huggingface_hub 2 keeps what several repositories of a cache have in common."""
    blob, shared = snapshot.parent.parent / "blobs" / "b1", cache / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(f"../../blobs/ab/{shared.name}")
    if marked:
        make.write(cache / "blobs" / ".huggingface-shared-blobs", b"1\n")


def test_the_hub_cache_with_shared_blobs_works(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path)
    share_blob(tmp_path, snapshot, marked=True)
    assert len(open_checkpoint(snapshot)) == 2


def test_a_blob_that_leads_out_of_the_hub_cache(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path)
    share_blob(tmp_path, snapshot, marked=False)
    with pytest.raises(UnsafeFileError, match="link that leaves"):
        open_checkpoint(snapshot)


def test_a_snapshot_cannot_lead_into_another_repository(tmp_path: Path) -> None:
    hub_cache(tmp_path, "models--other--secret")
    snapshot = hub_cache(tmp_path)
    (snapshot / FIRST).unlink()
    (snapshot / FIRST).symlink_to("../../../models--other--secret/blobs/b1")
    with pytest.raises(UnsafeFileError, match="link that leaves"):
        open_checkpoint(snapshot)


def test_a_folder_cannot_pose_as_a_hub_cache(tmp_path: Path) -> None:
    """`blobs` as a link to anywhere, and a folder that merely is called `snapshots`."""
    snapshot = hub_cache(tmp_path)
    blobs = snapshot.parent.parent / "blobs"
    blobs.rename(tmp_path / "secrets")
    blobs.symlink_to(tmp_path / "secrets")
    with pytest.raises(UnsafeFileError, match="link that leaves"):
        open_checkpoint(snapshot)
    with pytest.raises(UnsafeFileError, match="link that leaves"):
        open_checkpoint(hub_cache(tmp_path, "home"))


@pytest.mark.parametrize("location", ["../outside.data", "{root}/outside.data", "link.data", "..\\outside.data", ""])
def test_external_data_of_onnx_stays_in_its_folder(tmp_path: Path, location: str) -> None:
    make.write(tmp_path / "outside.data", b"\0" * 8)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "link.data").symlink_to("../outside.data")
    proto = onnx.TensorProto(name="a", dims=[2], data_type=onnx.TensorProto.FLOAT)
    proto.data_location = onnx.TensorProto.EXTERNAL
    proto.external_data.add(key="location", value=location.format(root=tmp_path))
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [proto]))
    path = make.write(tmp_path / "model" / "m.onnx", model.SerializeToString())
    with pytest.raises(UnsafeFileError, match=r"m\.onnx: "):
        open_checkpoint(path)


def test_a_missing_shard_is_named(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{INDEX}: the file '{SECOND}' is missing"):
        open_checkpoint(save_index(folder, {"a": FIRST, "b": SECOND}))


def test_tensors_that_their_shard_lacks_are_named(folder: Path) -> None:
    save_shard(folder / SECOND, "c")
    index = save_index(folder, {"a": FIRST, "b": SECOND, "c": SECOND, "d": SECOND})
    with pytest.raises(CheckpointError, match=f"{INDEX}: .*lack 'b', 'd'"):
        open_checkpoint(index)


def test_tensors_in_another_shard_than_the_index_says_are_named(folder: Path) -> None:
    save_shard(folder / SECOND, "b")
    with pytest.raises(CheckpointError, match=r"'a', 'b'.*elsewhere"):
        open_checkpoint(save_index(folder, {"a": SECOND, "b": FIRST}))


def test_tensors_that_the_index_lacks_are_named(folder: Path) -> None:
    save_shard(folder / SECOND, "b", "c", *(f"extra.{i}" for i in range(9)))
    index = save_index(folder, {"a": FIRST, "b": SECOND})
    with pytest.raises(CheckpointError, match=r"does not mention 'c', 'extra\.0'.* and 5 more"):
        open_checkpoint(index)


def test_a_tensor_in_two_shards_is_named_with_both(folder: Path) -> None:
    save_shard(folder / SECOND, "a", "b")
    with pytest.raises(CheckpointError, match=f"'a' is in two shards: '{FIRST}' and '{SECOND}'"):
        open_checkpoint(save_index(folder, {"a": FIRST, "b": SECOND}))


def test_a_name_twice_in_the_index(folder: Path) -> None:
    save_shard(folder / SECOND, "b")
    text = f'{{"weight_map": {{"a": "{FIRST}", "b": "{SECOND}", "a": "{SECOND}"}}}}'
    with pytest.raises(CheckpointError, match=f"{INDEX}: the name 'a' occurs twice"):
        open_checkpoint(make.write(folder / INDEX, text.encode()))


def test_shards_of_different_formats(folder: Path) -> None:
    torch.save({"b": torch.ones(2)}, folder / "second.bin")
    with pytest.raises(CheckpointError, match="different formats"):
        open_checkpoint(save_index(folder, {"a": FIRST, "b": "second.bin"}))


def test_a_damaged_shard_is_named_once(folder: Path) -> None:
    make.write(folder / SECOND, b"\xff" * 40)
    with pytest.raises(CheckpointError, match=f"{SECOND}: ") as caught:
        open_checkpoint(save_index(folder, {"a": FIRST, "b": SECOND}))
    assert INDEX not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"[]", b"null", b"5", b'"a"', b"{}", b"\xff\xfe", b"[" * 200_000, b'{"a":' * 200_000),
        *(b'{"weight_map": {}}', b'{"weight_map": []}', b'{"weight_map": null}', b'{"weight_map": "model"}'),
        b'{"metadata": [1], "weight_map": {"a": "%b"}}' % FIRST.encode(),
    ],
    ids=lambda text: text[:40].decode(errors="replace") or "empty",
)
def test_a_damaged_index(folder: Path, text: bytes) -> None:
    with pytest.raises(CheckpointError, match=rf"{INDEX}: "):
        open_checkpoint(make.write(folder / INDEX, text))
