"""service/cache: entries are whole or not at all, made once, noticed when broken, and removed by use."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytorch_to_mlx.errors import CacheError, FolderError
from pytorch_to_mlx.service import cache as service_cache
from pytorch_to_mlx.service.cache import ResultCache, key_of

KEY = key_of(text="hello")


def obtain(cache: ResultCache, key: str, target: Path, write: Callable[[Path], object]) -> bool:
    """As narrations go about it. Whether it was there already."""
    if cache.fetch(key, target) is not None:
        return True
    with cache.claimed([key], wait=True) as free:
        assert free == {key}
        if cache.fetch(key, target) is not None:
            return True
        cache.store(key, write, {"made": "here"})
    assert cache.fetch(key, target) == {"made": "here"}
    return False


def writing(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def failing(path: Path) -> None:
    path.write_bytes(b"half of")
    raise RuntimeError("out of ideas")


def test_what_was_made_once_is_there(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cache")
    out = tmp_path / "out.wav"
    assert cache.fetch(KEY, out) is None and not out.exists()
    assert not obtain(cache, KEY, out, writing(b"sound")) and out.read_bytes() == b"sound"
    out.unlink()
    assert obtain(cache, KEY, out, failing) and out.read_bytes() == b"sound"
    assert ResultCache(tmp_path / "cache").fetch(KEY, out) is not None, "it outlives the object"
    (entry,) = cache.entries()
    assert (entry.key, entry.bytes, entry.about) == (KEY, 5, {"made": "here"})


def test_keys_are_of_everything() -> None:
    parts = {"text": "hello", "seed": 1, "settings": {"top_k": 5, "top_p": 1}}
    assert key_of(**parts) == key_of(**dict(reversed(parts.items())))
    changed = [{**parts, "seed": 2}, {**parts, "settings": {"top_k": 5}}, {**parts, "text": "hello "}]
    assert len({key_of(**each) for each in (parts, *changed)}) == 4


def test_failures_leave_nothing(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cache")
    with pytest.raises(RuntimeError, match="out of ideas"):
        obtain(cache, KEY, tmp_path / "out.wav", failing)
    assert not cache.entries() and not (tmp_path / "out.wav").exists()
    assert not list((tmp_path / "cache" / "drafts").iterdir())
    assert not obtain(cache, KEY, tmp_path / "out.wav", writing(b"sound"))


@pytest.mark.parametrize("damage", ["changed", "shorter", "gone"])
def test_broken_entries_are_noticed_and_made_again(tmp_path: Path, damage: str) -> None:
    cache, out = ResultCache(tmp_path / "cache"), tmp_path / "out.wav"
    obtain(cache, KEY, out, writing(b"sound"))
    path = tmp_path / "cache" / "entries" / KEY[:2] / KEY
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"sounx" if damage == "changed" else b"so")
    out.write_bytes(b"what was there")
    assert cache.fetch(KEY, out) is None and out.read_bytes() == b"what was there"
    assert not obtain(cache, KEY, out, writing(b"sound")) and out.read_bytes() == b"sound"
    if damage != "gone":
        path.write_bytes(b"sounx")
        assert cache.verify() == [KEY] and not cache.verify()


def test_what_was_used_least_recently_goes(tmp_path: Path) -> None:
    cache, out = ResultCache(tmp_path / "cache", limit=25), tmp_path / "out.wav"
    keys = [key_of(n=n) for n in range(4)]
    for key in keys[:2]:
        obtain(cache, key, out, writing(b"0123456789"))
        time.sleep(0.01)
    cache.fetch(keys[0], out)
    time.sleep(0.01)
    obtain(cache, keys[2], out, writing(b"0123456789"))
    assert {entry.key for entry in cache.entries()} == {keys[0], keys[2]}
    obtain(cache, keys[3], out, writing(b"x" * 100))
    assert [entry.key for entry in cache.entries()] == [keys[3]], "one that is larger than all stays until the next"
    assert out.read_bytes() == b"x" * 100
    assert cache.clear() == 1 and not cache.entries() and not list((tmp_path / "cache" / "entries").glob("*/*"))


def counted(folder: Path, key: str, tally: Path, target: Path) -> None:
    def make(path: Path) -> None:
        with tally.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        path.write_bytes(key.encode())

    obtain(ResultCache(folder), key, target, make)


def test_eight_processes_make_each_key_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    keys, processes = [key_of(n=n) for n in range(2)], []
    for number in range(8):
        for key in keys:
            given = (tmp_path / "cache", key, tmp_path / f"tally-{key}", tmp_path / f"{number}-{key}")
            processes.append(context.Process(target=counted, args=given))
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    for key in keys:
        assert len((tmp_path / f"tally-{key}").read_text().splitlines()) == 1
        assert all((tmp_path / f"{number}-{key}").read_text() == key for number in range(8))


def stuck(folder: Path, started: Path) -> None:
    def make(path: Path) -> None:
        path.write_bytes(b"half of")
        started.touch()
        time.sleep(60)

    obtain(ResultCache(folder), KEY, folder / "never.wav", make)


def test_a_killed_writer_leaves_no_entry_and_no_lock(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=stuck, args=(tmp_path / "cache", tmp_path / "started")
    )
    process.start()
    while not (tmp_path / "started").exists():
        time.sleep(0.01)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    cache = ResultCache(tmp_path / "cache")
    assert not cache.entries()
    assert not obtain(cache, KEY, tmp_path / "out.wav", writing(b"sound"))
    drafts = tmp_path / "cache" / "drafts"
    assert list(drafts.iterdir())
    cache.prune()
    assert [entry.key for entry in cache.entries()] == [KEY] and not list(drafts.iterdir())


def test_a_file_without_a_row_is_removed(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cache")
    orphan = tmp_path / "cache" / "entries" / "ab" / ("ab" * 32)
    orphan.parent.mkdir()
    orphan.write_bytes(b"moved, and then killed")
    cache.prune()
    assert not orphan.exists()


def test_folders_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CacheError, match="cannot hold a cache"):
        ResultCache(tmp_path / "file" / "cache")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "index.sqlite").write_bytes(b"no database at all, but longer than a header of one is" * 20)
    with pytest.raises(CacheError, match=r"index\.sqlite.*remove the folder"):
        ResultCache(tmp_path / "cache")


def test_claims_are_of_one_process_and_do_not_wait(tmp_path: Path) -> None:
    first, second = (ResultCache(tmp_path / "cache") for _ in range(2))
    with first.claimed([KEY]) as held, second.claimed([KEY, key_of(other=1)]) as free:
        assert held == {KEY} and free == {key_of(other=1)}
    with second.claimed([KEY]) as free:
        assert free == {KEY}


def test_checksums_of_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, file = ResultCache(tmp_path / "cache"), tmp_path / "file"
    file.write_bytes(b"weights")
    first = cache.checksum(file)
    monkeypatch.setattr(service_cache, "_checksum", lambda path: "read again")
    assert cache.checksum(file) == first and ResultCache(tmp_path / "cache").checksum(file) == first
    file.write_bytes(b"changed")
    assert cache.checksum(file) == "read again"
    with pytest.raises(FolderError, match="absent: cannot be read"):
        cache.checksum(tmp_path / "absent")
