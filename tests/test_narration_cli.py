"""The verb `narrate` as pipelines use it: processes, progress, tracks, audits, and models that do not fit."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from cli_room import run
from small_narration import RATE, TEXTS, job, write_narrator

from pytorch_to_mlx import Audio, convert
from pytorch_to_mlx.cli import narrate as verb
from pytorch_to_mlx.errors import UsageError
from pytorch_to_mlx.models.qwen3_tts import guard
from pytorch_to_mlx.service import memory
from pytorch_to_mlx.service.cache import ResultCache
from pytorch_to_mlx.service.job import Result
from pytorch_to_mlx.service.narration import narrate
from pytorch_to_mlx.service.script import as_segments
from pytorch_to_mlx.service.speaking import Speaker

DOCS = Path(__file__).parent.parent / "docs" / "narration.md"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_narrator(tmp_path_factory.mktemp("narrate"))


@pytest.fixture
def given(room: Path, tmp_path: Path) -> list[str | Path]:
    """A script of five segments, and what every narration of it needs."""
    (tmp_path / "s.json").write_text(json.dumps(TEXTS))
    words = [tmp_path / "s.json", "-m", room / "model", "--voice", room / "anna.wav", "-o", tmp_path / "out"]
    return [*words, "--cache", tmp_path / "c", "--setting", "max_tokens=5"]


def stdin(text: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(text.encode()))


def test_json_in_and_out(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("-m", room / "model", "--voice", room / "anna.wav", "--cache", tmp_path / "c", "--setting", "max_tokens=5")
    monkeypatch.setattr(sys, "stdin", stdin('["One.", {"id": "two", "text": "Two."}]'))
    assert run(monkeypatch, "narrate", "-", *given, "-o", tmp_path / "out", "--track", tmp_path / "all.flac") == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["id"] for each in told["segments"]] == ["001", "two"] and told["failed"] == []
    assert told["track"]["subtitles"].endswith("all.srt") and len(told["track"]["chapters"]) == 2
    monkeypatch.setattr(sys, "stdin", stdin('["One.", {"text": "Two.", "voice": "nobody.wav"}]'))
    assert run(monkeypatch, "narrate", "-", *given, "-o", tmp_path / "out") == 1
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["failed"] == ["002"] and told["segments"][0]["from_cache"]
    assert "segment 002: nobody.wav: cannot be read" in err
    assert run(monkeypatch, "cache", "list", "--cache", tmp_path / "c") == 0
    listed = capsys.readouterr().out
    assert "2 entries" in listed and "One." in listed
    assert run(monkeypatch, "cache", "verify", "--cache", tmp_path / "c") == 0
    assert "2 of 2 entries are whole" in capsys.readouterr().out
    assert run(monkeypatch, "cache", "prune", "--cache", tmp_path / "c", "--cache-limit", "1kB") == 0
    assert run(monkeypatch, "cache", "clear", "--cache", tmp_path / "c") == 0
    assert "0 entries removed" in capsys.readouterr().out


def test_a_dry_run_shows_what_would_be_said(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "s.txt"
    script.write_text("The speed is 3.4 m/s.\n\nE = mc²")
    assert run(monkeypatch, "narrate", script, "-m", "absent", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == [
        "001  The speed is three point four meters per second.",
        "002  E equals m c squared",
    ]
    assert run(monkeypatch, "narrate", script, "-m", "absent", "--dry-run", "--no-normalize") == 0
    assert "3.4 m/s" in capsys.readouterr().out


REFUSED = {
    "no output": ((), "--output names the folder"),
    "no model": (("-o", "out", "-m", "absent"), "absent: holds no converted model"),
    "share": (("-o", "out", "--audit", "0%"), "--audit 0%: write a share such as 5%"),
    "speed": (("-o", "out", "--speed", "9"), "--speed 9 is not within 0.5 to 2"),
    "setting": (("-o", "out", "--setting", "temperature"), "write name=value"),
    "threshold": (("-o", "out", "--check", "speaker", "--threshold", "2"), "--threshold 2 is not within -1 to 1"),
    "format": (("-o", "out", "--format", "m4a"), "--format m4a is none of wav, flac, ogg, mp3"),
    "reserved": (("-o", "out", "--setting", "seed=3"), "--setting seed is no setting of a model"),
    "cache": (("-o", "out", "--cache", "s.txt/c"), "cannot hold a cache"),
    "limit": (("-o", "out", "--cache-limit", "big"), "--cache-limit big: write a size such as 500MB"),
    "scheduler": (("-o", "out", "--dask", "tcp://127.0.0.1:1"), "no scheduler answers there"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    from pytorch_to_mlx.service import distributed

    monkeypatch.setattr(distributed, "SECONDS_TO_CONNECT", 2)
    monkeypatch.chdir(tmp_path)
    Path("s.txt").write_text("Hello.")
    given, message = REFUSED[case]
    assert run(monkeypatch, "narrate", "s.txt", "--cache", "cache", "-m", room / "model", *given) == 2
    assert message in capsys.readouterr().err


def test_as_a_subprocess_with_json_on_both_ends(room: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pytorch_to_mlx", "narrate", "-", "-m", room / "model", "-o", tmp_path / "out"]
    words += ["--voice", room / "anna.wav", "--cache", tmp_path / "c", "--setting", "max-tokens=5"]
    script = json.dumps([{"id": "über", "text": "One – ¡sí!"}, "Two."], ensure_ascii=False)
    done = subprocess.run(list(map(str, words)), input=script.encode(), capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)  # which would fail if there were anything else
    assert [each["id"] for each in told["segments"]] == ["über", "002"] and told["failed"] == []
    assert all(Path(each["path"]).is_file() and each["duration"] > 0 for each in told["segments"])
    assert done.stderr.decode().startswith("pytorch-to-mlx: 2 of 2 segments in ")


def test_the_example_of_the_documentation(room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.setenv("PYTORCH_TO_MLX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(guard, "SECONDS_PER_TOKEN", 0.0)  # seeded weights would babble
    monkeypatch.setattr(guard, "FIRST_SECONDS", 0.5)
    monkeypatch.chdir(tmp_path)
    Path("qwen-mlx").symlink_to(room / "model")
    Path("anna.wav").symlink_to(room / "anna.wav")
    printed: list[Any] = []
    with pytest.warns(UserWarning, match="was ended there"):
        exec(compile(code, str(DOCS), "exec"), {"print": printed.append})
    (told,) = printed
    assert [each["path"] for each in told["segments"]] == ["out/001.wav", "out/bye.wav"] and not told["failed"]
    assert all(Path(each["path"]).is_file() for each in told["segments"])
    first, bye = (each["duration"] for each in told["segments"])
    assert bye == pytest.approx(first / 1.2, rel=0.05), "both were cut after half a second, one is faster"


def test_progress_of_a_pipeline_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(verb, "monotonic", lambda: now)
    segments = as_segments(["ten letter"] * 8)
    with verb._progress(segments) as progress:
        for number, segment in enumerate(segments):
            now += 0 if number == 0 else 4
            error = "no" if number == 4 else ""
            progress(Result(segment.id, from_cache=number == 0, seconds=4.0, error=error), segment)
    assert capsys.readouterr().err.splitlines() == [
        "pytorch-to-mlx: 4 of 8 segments in 00:12, 00:16 left",
        "pytorch-to-mlx: 7 of 8 segments in 00:24, 00:04 left, 1 failed",
        "pytorch-to-mlx: 8 of 8 segments in 00:28, 1 failed",
    ]


def test_progress_of_many_workers_goes_by_the_clock(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(verb, "monotonic", lambda: now)
    segments = as_segments(["Hello."] * 4)
    with verb._progress(segments) as progress:
        now = 10.0
        progress(Result("001", seconds=40.0), segments[0])
    assert capsys.readouterr().err == "pytorch-to-mlx: 1 of 4 segments in 00:10, 00:30 left\n"


def test_where_all_fails_no_track_is_written(
    room: Path,
    given: list[str | Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "s.json").write_text('["(...)", {"text": "Hi.", "voice": "absent.wav"}]')
    assert run(monkeypatch, "narrate", *given, "--track", tmp_path / "all.flac") == 1
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["failed"] == ["001", "002"] and "track" not in told and not (tmp_path / "all.flac").exists()
    assert f"--track {tmp_path / 'all.flac'} was not written: no segment could be said" in err


def test_a_model_that_cannot_fit_is_not_tried(
    room: Path,
    given: list[str | Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On the CPU of Linux nothing raises when memory is gone: the process would be gone too."""
    small = tmp_path / "small"
    convert(room / "source", small, quantize=True, q_bits=4, q_group_size=32)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (small, room / "model")]
    monkeypatch.setattr(memory, "free_bytes", lambda: sum(sizes) // 2)
    assert run(monkeypatch, "narrate", *given) == 1
    out, err = capsys.readouterr()
    assert len(json.loads(out)["failed"]) == 5 and "of memory are free" in err and "--fallback-model" in err
    assert err.count("of memory are free") == 1, "in one line, of all five"
    assert run(monkeypatch, "narrate", *given, "--fallback-model", small) == 0
    told = json.loads(capsys.readouterr().out)
    assert all(each["fallback"] and Path(each["path"]).is_file() for each in told["segments"])


def test_free_memory_is_what_linux_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "meminfo"
    table.write_text("MemTotal:       900 kB\nMemFree:        100 kB\nMemAvailable:   500 kB\nSwapFree:         7 kB\n")
    monkeypatch.setattr(memory, "MEMORY", table)
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    for platform, device, free in (("linux", "cpu", 507 * 1024), ("linux", "gpu", None), ("darwin", "cpu", None)):
        monkeypatch.setattr(sys, "platform", platform)
        told = SimpleNamespace(type=getattr(mx.DeviceType, device))
        monkeypatch.setattr(mx, "default_device", lambda told=told: told)
        assert memory.free_bytes() == free


@pytest.mark.parametrize(("most", "free"), [("400000", 300000), ("max", 507 * 1024), ("9000000", 507 * 1024)])
def test_a_container_may_leave_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: str, free: int) -> None:
    (tmp_path / "meminfo").write_text("MemAvailable:   500 kB\nSwapFree:         7 kB\n")
    (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text("100000\n")
    monkeypatch.setattr(memory, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(mx, "default_device", lambda: SimpleNamespace(type=mx.DeviceType.cpu))
    assert memory.free_bytes() == free


def test_an_audit_is_of_a_share_that_the_seed_chooses(
    given: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.json").write_text(json.dumps([f"Line {n}." for n in range(8)]))

    def audited(share: str, seed: int) -> list[str]:
        assert run(monkeypatch, "narrate", *given, "--audit", share, "--seed", str(seed)) == 0
        return [each["id"] for each in json.loads(capsys.readouterr().out)["audit"]["segments"]]

    first = audited("50%", 1)
    assert len(set(first)) == 4 and audited("50%", 1) == first
    assert set(audited("50%", 2)) != set(first)
    assert len(audited("1%", 1)) == 1


def test_a_verification_tells_of_broken_entries(
    given: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "narrate", *given) == 0
    entry = ResultCache(tmp_path / "c").entries()[0]
    (tmp_path / "c" / "entries" / entry.key[:2] / entry.key).write_bytes(b"other bytes")
    capsys.readouterr()
    assert run(monkeypatch, "cache", "verify", "--cache", tmp_path / "c") == 1
    assert capsys.readouterr().out.splitlines() == [
        f"broken, and removed: {entry.key[:12]}",
        "4 of 5 entries are whole",
    ]
    assert run(monkeypatch, "cache", "verify", "--cache", tmp_path / "c") == 0
    assert capsys.readouterr().out == "4 of 4 entries are whole\n"
    assert run(monkeypatch, "narrate", *given) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["from_cache"] for each in told["segments"]].count(False) == 1


def test_speech_too_short_to_tell_is_named(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tone = np.sin(np.arange(1200) / 5).astype(np.float32)
    monkeypatch.setattr(Speaker, "_sounds", lambda self, utterances: [Audio(tone, RATE) for _ in utterances])
    (tmp_path / "s.txt").write_text("Hi.")
    given = ("-m", room / "model", "--voice", room / "anna.wav", "--cache", tmp_path / "c", "-o", tmp_path / "o")
    assert run(monkeypatch, "narrate", tmp_path / "s.txt", *given, "--check", "speaker") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["unchecked"] == ["001"] and "segment 001: too short to tell whose voice it is" in err


def test_an_audit_that_fails_spoils_nothing(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def short(self: Speaker) -> None:
        raise RuntimeError("[malloc] out of memory")

    monkeypatch.setattr(Speaker, "as_float32", short)
    (tmp_path / "s.txt").write_text("Hi.")
    given = ("-m", room / "model", "--voice", room / "anna.wav", "--cache", tmp_path / "c", "-o", tmp_path / "o")
    given = (*given, "--setting", "max_tokens=5", "--track", tmp_path / "t.wav", "--audit", "100%")
    assert run(monkeypatch, "narrate", tmp_path / "s.txt", *given) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["track"] and (tmp_path / "t.wav").exists()
    (told,) = json.loads(out)["audit"]["segments"]
    assert (told["distance"], told["duration_ratio"]) == (None, None), "which would be the best there can be"
    assert "audit of segment 001: [malloc] out of memory" in err
    with pytest.raises(UsageError, match="--audit 500% is not within"):
        narrate(["Hi."], tmp_path / "o", job(room), audit_share=5)
