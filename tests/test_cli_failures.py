"""Failures of the command line: one line that names the culprit and the way out, status 2, and nothing left behind."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli_room import RATE, Arguments, Done, Room, at_once, command, make_room
from small_ports import safetensors_file


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return make_room(tmp_path_factory.mktemp("room"))


def wrong_checkpoint(room: Room, name: str, **changes: np.ndarray | None) -> Path:
    tensors = {**room.tensors, **{key.replace("__", "."): value for key, value in changes.items()}}
    return safetensors_file(room.path / name, {key: value for key, value in tensors.items() if value is not None})


def newer(room: Room) -> Path:
    folder = room.path / "newer"
    folder.mkdir()
    config = json.loads((room.crepe / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format_version": 2}))
    return folder


def several(room: Room) -> Path:
    for variant in ("tiny", "full"):
        safetensors_file(room.path / "several" / "assets" / f"{variant}.pth", {"any": np.ones(1)})
    return room.path / "several"


def text(room: Room) -> Path:
    (room.path / "letter.wav").write_text("Dear Sir or Madam, this is no recording.")
    return room.path / "letter.wav"


def silence(room: Room, samples: int) -> Path:
    path = room.path / f"silence{samples}.wav"
    soundfile.write(path, np.zeros(samples, np.float32), RATE)
    return path


FAILURES: dict[str, tuple[Callable[[Room], Arguments], str]] = {
    "no such verb": (lambda r: ("transmogrify",), "No such command 'transmogrify'"),
    "no such flag": (lambda r: ("list", "--loud"), "No such option: --loud"),
    "no source": (lambda r: ("inspect",), "name a source, or --module package.module:factory"),
    "no output": (lambda r: ("convert", r.checkpoint), "Missing option '--output'"),
    "bits in words": (
        lambda r: ("convert", r.checkpoint, "-o", "x", "--q-bits", "four"),
        "Invalid value for '--q-bits': ",
    ),
    "package": (lambda r: ("inspect", "package:no-such-package"), "package:no-such-package: not installed; run `pip"),
    "file": (lambda r: ("inspect", r.path / "absent.pt"), "absent.pt: no such file or folder"),
    "model": (
        lambda r: ("convert", r.checkpoint, "--model", "wav2vec"),
        "no port is called 'wav2vec'; known: voice_enc",
    ),
    "variant": (
        lambda r: ("convert", r.checkpoint, "--variant", "x"),
        "--variant x: no such variant; known: resemblyzer",
    ),
    "several": (lambda r: ("convert", several(r)), "choose one with --variant: tiny (crepe), full (crepe)"),
    "part": (lambda r: ("convert", r.checkpoint, "--include-hair"), "--include-hair: no such optional part"),
    "dtype": (
        lambda r: ("convert", r.checkpoint, "--dtype", "int8"),
        "--dtype int8 is not float32, float16 or bfloat16",
    ),
    "several, inspected": (
        lambda r: ("inspect", r.path / "several"),
        "choose one with --variant: tiny (crepe), full (crepe)",
    ),
    "another variant": (
        lambda r: ("convert", r.path / "tiny.safetensors", "--variant", "full"),
        "tiny.safetensors holds tiny (crepe), not full (crepe); choose another --variant",
    ),
    "private": (lambda r: ("convert", r.checkpoint, "--private"), "--private is for uploads; add --upload-repo"),
    "bits alone": (lambda r: ("convert", r.checkpoint, "--q-bits", "8"), "--q-bits 8 is for quantizing; add -q"),
    "bits": (
        lambda r: ("convert", r.path / "tiny.safetensors", "-q", "--q-bits", "7"),
        "--q-bits 7 is not one of 2, 3",
    ),
    "group": (
        lambda r: ("convert", r.path / "tiny.safetensors", "-q", "--q-group-size", "9"),
        "--q-group-size 9 is not",
    ),
    "never quantized": (lambda r: ("convert", r.checkpoint, "-q"), "nothing in this model may be quantized"),
    "exists": (lambda r: ("convert", r.checkpoint, "-o", r.voices), "exists: replace it with --force"),
    "parent": (
        lambda r: ("convert", r.checkpoint, "-o", r.path / "a" / "b"),
        "there is no such folder: create it first",
    ),
    "revision": (lambda r: ("convert", r.checkpoint, "--revision", "v1"), "--revision v1 is for Hub repositories"),
    "missing": (
        lambda r: ("convert", wrong_checkpoint(r, "missing.safetensors", proj__bias=None)),
        "missing.safetensors does not fit: nothing fills proj.bias (256,)",
    ),
    "extra": (
        lambda r: ("convert", wrong_checkpoint(r, "extra.safetensors", momentum=np.ones(3, np.float32))),
        "left over momentum (3,)",
    ),
    "shape": (
        lambda r: ("convert", wrong_checkpoint(r, "shape.safetensors", proj__bias=np.ones(255, np.float32))),
        "proj.bias gives proj.bias shape (255,), the model has (256,)",
    ),
    "too large": (
        lambda r: (
            *("convert", wrong_checkpoint(r, "large.safetensors", proj__bias=np.full(256, 1e6, np.float32))),
            *("--dtype", "float16"),
        ),
        "proj.bias has values too large for float16; use --dtype bfloat16 or float32",
    ),
    "no folder": (lambda r: ("pitch", r.path / "absent", r.wav(1)), "absent/config.json: is missing"),
    "no model folder": (lambda r: ("pitch", r.path, r.wav(1)), "config.json: is missing: is this a folder that"),
    "newer": (lambda r: ("pitch", newer(r), r.wav(1)), "format_version 2, which is newer: upgrade pytorch-to-mlx"),
    "no tracker": (
        lambda r: ("pitch", r.voices, r.wav(1)),
        "voices holds no pitch tracker; convert one with: pytorch-to",
    ),
    "no encoder": (
        lambda r: ("embed", r.crepe, r.wav(1)),
        "crepe holds no speaker encoder; convert one with: pytorch-to",
    ),
    "no recording": (lambda r: ("pitch", r.crepe, r.path / "absent.wav"), "absent.wav"),
    "not audio": (lambda r: ("pitch", r.crepe, text(r)), "letter.wav as audio"),
    "empty": (lambda r: ("pitch", r.crepe, silence(r, 0)), "silence0.wav: the recording is empty"),
    "silent": (lambda r: ("embed", r.voices, silence(r, 9)), "the recording is silent or too short"),
    "decoder": (
        lambda r: ("pitch", r.crepe, r.wav(1), "--decoder", "greedy"),
        "--decoder greedy is not argmax, weighted",
    ),
    "range": (lambda r: ("pitch", r.crepe, r.path / "short.wav", "--fmin", "600"), "between --fmin 600 and --fmax 550"),
    "hop": (lambda r: ("pitch", r.crepe, r.path / "short.wav", "--hop", "0"), "a hop of 0 samples is too small"),
    "suffix": (lambda r: ("embed", r.voices, r.wav(1), "-o", "x.txt"), "--output x.txt: write .npy or .json"),
    "one recording": (lambda r: ("similarity", r.voices, r.wav(1)), "similarity needs at least two recordings"),
    "no checkpoint": (
        lambda r: ("validate", r.voices),
        "the model comes from the local file ve.safetensors; say where",
    ),
    "no csv folder": (
        lambda r: ("pitch", r.crepe, r.path / "short.wav", "-o", r.path / "a" / "b.csv: there is no folder"),
        "b.csv: there is no folder",
    ),
}


# Runs a command for each line of stdin, in a forked process: the imports are paid for once.
SERVER = """
import json, os, sys, tempfile, traceback
import soundfile
from pytorch_to_mlx import cli, conversion, loading, tasks, validation

for line in sys.stdin:
    printed = [tempfile.TemporaryFile("w+") for _ in range(2)]
    child = os.fork()
    if not child:
        for descriptor, file in enumerate(printed, 1):
            os.dup2(file.fileno(), descriptor)
        sys.argv = ["pytorch-to-mlx", *json.loads(line)]
        try:
            cli.main()
        except SystemExit as exit:
            status = exit.code
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([status, *(file.seek(0) or file.read() for file in printed)]), flush=True)
"""


def one_by_one(calls: dict[str, Arguments]) -> dict[str, Done]:
    lines = "".join(json.dumps([str(word) for word in arguments]) + "\n" for arguments in calls.values())
    done = subprocess.run([sys.executable, "-c", SERVER], input=lines, stdout=-1, text=True, timeout=300, check=True)
    answers = map(json.loads, done.stdout.splitlines())
    return {name: subprocess.CompletedProcess((), *answer) for name, answer in zip(calls, answers, strict=True)}


@pytest.fixture(scope="module")
def failures(room: Room) -> dict[str, Done]:
    calls = {name: arguments(room) for name, (arguments, _) in FAILURES.items()}
    for name, arguments in calls.items():
        if arguments[0] == "convert" and "-o" not in arguments and name != "no output":
            calls[name] = (*arguments, "-o", room.path / f"made {name}")
    alone = ("file", "missing", "not audio")
    return one_by_one(calls) | at_once({name: calls[name] for name in alone})


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_one_line_and_status_2(room: Room, failures: dict[str, Done], name: str) -> None:
    done = failures[name]
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("pytorch-to-mlx: ") and done.stderr.count("\n") == 1
    assert FAILURES[name][1] in done.stderr
    assert "unexpected" not in done.stderr
    assert not (room.path / f"made {name}").exists()
    assert not list(room.path.glob(".*converting"))


@pytest.fixture
def without_backend(tmp_path: Path) -> dict[str, str]:
    """An environment where MLX is as after a plain `pip install mlx` on Linux."""
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "__init__.py").touch()
    missing = "libmlx.so: cannot open shared object file: No such file or directory"
    (tmp_path / "mlx" / "core.py").write_text(f"raise ImportError({missing!r})", encoding="utf-8")
    (tmp_path / "mlx" / "nn.py").write_text("import mlx.core", encoding="utf-8")
    paths = filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_without_a_backend(room: Room, without_backend: dict[str, str]) -> None:
    calls: list[Arguments] = [
        ("convert", room.checkpoint, "-o", room.path / "backend"),
        ("embed", room.voices, room.wav(1)),
        ("validate", room.voices),
    ]
    for arguments in calls:
        done = command(*arguments, env=without_backend)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("pytorch-to-mlx: MLX has no backend here") and done.stderr.count("\n") == 1
        assert "pip install 'mlx[cpu]'" in done.stderr and "mlx[cuda13]" in done.stderr
    done = command("doctor", env=without_backend)
    assert done.returncode == 0, done.stderr
    assert "numpy" in done.stdout and "pip install 'mlx[cpu]'" in done.stdout


def test_debug_shows_the_traceback(room: Room) -> None:
    done = command("--debug", "inspect", room.path / "absent.pt")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "SourceError" in done.stderr.splitlines()[-1]


def test_a_reader_that_has_seen_enough(room: Room) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = command("inspect", room.checkpoint, stdout=closed)
    assert done.stderr == ""
