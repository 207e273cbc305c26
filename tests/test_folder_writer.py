"""Model folders appear whole or not at all, replace only what is theirs, and leave nothing lying about."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from folders import CONFIG, TENSORS, content, names, specs_of, write_folder

from pytorch_to_mlx.errors import FolderError
from pytorch_to_mlx.folder import FolderWriter, read_config, replace_file, workspace

OTHER = CONFIG.model_copy(update={"variant": "other"})


class SourceFailedError(Exception):
    """Some failure of a source."""


@contextmanager
def one_line(text: str) -> Iterator[None]:
    """Expects a FolderError of one line with `text` in it."""
    with pytest.raises(FolderError) as caught:
        yield
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_files_and_subfolders(tmp_path: Path) -> None:
    with FolderWriter(tmp_path / "model", force=False) as writer:
        writer.write_bytes("config.json", CONFIG.to_bytes())
        writer.write_bytes("voices/en/one.txt", b"one")
        writer.write_bytes("voices/empty", b"")
        writer.write_bytes("tokenizer.json", bytes(range(256)) * 5000)
        assert not (tmp_path / "model").exists()
    assert content(tmp_path / "model") == {
        "config.json": CONFIG.to_bytes(),
        "tokenizer.json": bytes(range(256)) * 5000,
        "voices/empty": b"",
        "voices/en/one.txt": b"one",
    }
    assert names(tmp_path) == ["model"]


def test_permissions_are_the_users(tmp_path: Path) -> None:
    """A temporary folder for one's own eyes would stay that when it becomes the model folder."""
    write_folder(tmp_path / "model")
    (tmp_path / "usual").mkdir()
    (tmp_path / "usual/file").touch()
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "model/config.json").stat().st_mode == (tmp_path / "usual/file").stat().st_mode


@pytest.mark.parametrize("failure", [SourceFailedError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_leaves_the_target_as_it_was(tmp_path: Path, failure: type[BaseException], existing: bool) -> None:
    """Also the source's own OSError: it passes through, not told as a failure to write."""
    if existing:
        write_folder(tmp_path / "model")
    before = content(tmp_path)

    def tensors() -> Iterator[tuple[str, np.ndarray]]:
        yield from list(TENSORS.items())[:2]
        raise failure("of the source")

    target = tmp_path / "model"
    with pytest.raises(failure, match="of the source"), FolderWriter(target, force=True) as writer:
        writer.write_bytes("config.json", OTHER.to_bytes())
        writer.write_tensors(specs_of(TENSORS), tensors())
    assert content(tmp_path) == before
    assert names(tmp_path) == (["model"] if existing else [])


def test_existing_folders_need_force(tmp_path: Path) -> None:
    write_folder(tmp_path / "model")
    with one_line("model: exists: replace it with --force"):
        write_folder(tmp_path / "model", config=OTHER)
    assert read_config(tmp_path / "model") == CONFIG
    write_folder(tmp_path / "model", config=OTHER, force=True)
    assert read_config(tmp_path / "model") == OTHER
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("config", [None, b"", b"{}", b'{"model_type": "llama"}', b'{"converter": "mlx"}', b"[1]"])
def test_what_is_not_ours_is_never_replaced(tmp_path: Path, config: bytes | None) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter").write_text("years of work")
    if config is not None:
        (tmp_path / "thesis/config.json").write_bytes(config)
    before = content(tmp_path)
    with one_line("thesis: is no model folder, so never replaced"):
        write_folder(tmp_path / "thesis", force=True)
    assert content(tmp_path) == before and names(tmp_path) == ["thesis"]


def test_targets_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("text")
    with one_line("file: is a file"):
        write_folder(tmp_path / "file", force=True)
    with one_line("missing: there is no such folder: create it first"):
        write_folder(tmp_path / "missing/model")
    with one_line("file: there is no such folder"):
        write_folder(tmp_path / "file/model")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", denied)
    with one_line("cannot be written (Permission denied): write to a folder that is yours"):
        write_folder(tmp_path / "model")
    monkeypatch.undo()
    assert names(tmp_path) == ["file"]


def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on file sizes stands in for it: the write takes a part, and then nothing more."""
    write_folder(tmp_path / "model")
    before = content(tmp_path)
    large = {"large": np.zeros(1 << 20, np.float32)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with one_line("model.safetensors: cannot be written (File too large): raise the limit"):
            write_folder(tmp_path / "model", large, force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert content(tmp_path) == before and names(tmp_path) == ["model"]


def test_two_writers_of_one_target(tmp_path: Path) -> None:
    with FolderWriter(tmp_path / "model", force=True) as first:
        first.write_bytes("config.json", CONFIG.to_bytes())
        with one_line("model: is being written by another process"):
            write_folder(tmp_path / "model", config=OTHER, force=True)
        write_folder(tmp_path / "another", config=OTHER)
    assert read_config(tmp_path / "model") == CONFIG and read_config(tmp_path / "another") == OTHER
    assert names(tmp_path) == ["another", "model"]


@pytest.mark.parametrize("interloper", ["removed", "made anew", "locked"])
def test_a_lock_that_goes_while_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interloper: str) -> None:
    """Between our open and our lock, the last holder removes the file; somebody else may have made it anew."""
    import fcntl

    path, real = tmp_path / "lock", fcntl.flock
    other: list[int] = []

    def flock(descriptor: int, flags: int) -> None:
        monkeypatch.undo()
        path.unlink()
        if interloper != "removed":
            other.append(os.open(path, os.O_CREAT | os.O_RDWR))
        if interloper == "locked":
            real(other[0], fcntl.LOCK_EX)
        real(descriptor, flags)

    monkeypatch.setattr(fcntl, "flock", flock)
    descriptor = workspace.lock(path)
    assert (descriptor is None) == (interloper == "locked")
    if descriptor is not None:
        assert os.path.samestat(os.fstat(descriptor), path.stat())
        assert workspace.lock(path) is None
    for one in [*other, *([descriptor] if descriptor is not None else [])]:
        os.close(one)


def test_remains_of_a_dead_writer_are_removed(tmp_path: Path) -> None:
    remains = tmp_path / ".model.converting"
    (remains / "new/voices").mkdir(parents=True)
    (remains / "new/voices/file").touch()
    (remains / "lock").touch()
    write_folder(tmp_path / "model")
    assert names(tmp_path) == ["model"]


def test_a_failed_swap_in_steps_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "model")
    before = content(tmp_path)
    monkeypatch.setattr(workspace, "_exchange", lambda first, second: False)
    real = Path.rename

    def rename(path: Path, to: Path) -> Path:
        if path.name == "new":
            raise OSError(5, "Input/output error")
        return real(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    with one_line("model: cannot be written (Input/output error)"):
        write_folder(tmp_path / "model", config=OTHER, force=True)
    assert content(tmp_path) == before and names(tmp_path) == ["model"]


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "a/../../escaped", "", "."])
def test_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    with (
        one_line("is not a path inside a model folder"),
        FolderWriter(tmp_path / "model", force=False) as writer,
    ):
        writer.write_bytes(name, b"")
    assert names(tmp_path) == []


def test_a_name_is_written_once(tmp_path: Path) -> None:
    with one_line("notes: cannot be written (File exists)"), FolderWriter(tmp_path / "model", force=False) as writer:
        writer.write_bytes("notes", b"one")
        writer.write_bytes("notes", b"two")


def test_a_folder_needs_its_config(tmp_path: Path) -> None:
    with one_line("needs a config.json"), FolderWriter(tmp_path / "model", force=False) as writer:
        writer.write_bytes("notes", b"one")
    assert names(tmp_path) == []


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    write_folder(tmp_path / "disk/model")
    (tmp_path / "link").symlink_to("disk/model")
    write_folder(tmp_path / "link", config=OTHER, force=True)
    assert (tmp_path / "link").is_symlink() and read_config(tmp_path / "disk/model") == OTHER
    assert names(tmp_path) == ["disk", "link"] and names(tmp_path / "disk") == ["model"]


def test_replacing_one_file(tmp_path: Path) -> None:
    write_folder(tmp_path / "model")
    before = content(tmp_path / "model")
    (tmp_path / "model/.parity.json.writing").write_bytes(b"the longer remains of a dead writer")
    for text in (b"first", b"second"):
        replace_file(tmp_path / "model", "parity.json", text)
        assert content(tmp_path / "model") == {**before, "parity.json": text}


def test_replacing_one_file_fails_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "model")
    replace_file(tmp_path / "model", "parity.json", b"first")
    before = content(tmp_path / "model")
    descriptor = workspace.lock(tmp_path / "model/.parity.json.writing")
    assert descriptor is not None
    with one_line("parity.json: is being written by another process"):
        replace_file(tmp_path / "model", "parity.json", b"second")
    os.close(descriptor)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with one_line("parity.json: cannot be written (No space left on device): free some space"):
        replace_file(tmp_path / "model", "parity.json", b"second")
    monkeypatch.undo()
    assert content(tmp_path / "model") == before
