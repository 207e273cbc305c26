"""Environments are really built, from wheels made here: no test reaches a package index."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pytorch_to_mlx import environments
from pytorch_to_mlx.environments import Environment
from pytorch_to_mlx.errors import UpstreamError

ANY_PYTHON = ">=3.11"
SCRIPT = """
import json, os, sys
from pathlib import Path
import toy
if sys.argv[1] == "fail":
    print("Warning: an error may follow", file=sys.stderr)
    sys.exit("toy.pt: tensors missing: stem.weight")
told = {"argv": sys.argv[1:], "python": sys.prefix, "environ": dict(os.environ), "toy": toy.VERSION}
Path(sys.argv[1]).write_text(json.dumps(told))
"""


def wheel(
    folder: Path, name: str, version: str, source: str, requires: str | None = None, extra: str | None = None
) -> None:
    """A wheel of one module, `name.py`, and perhaps an empty `extra` file."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": metadata + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    } | ({extra: ""} if extra else {})
    record = "".join(f"{path},{_hash(text)},{len(text)}\n" for path, text in files.items()) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


def _hash(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def fake_torch(folder: Path, version: str, cuda: str | None) -> None:
    wheel(folder, "torch", version, f"class version:\n    cuda = {cuda!r}\n__version__ = {version!r}\n")


@dataclass(frozen=True)
class Built:
    """Where the toy environment was built from and to."""

    wheels: Path
    scripts: Path
    cache: Path

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Makes it the only environment, its wheels the only place that pip looks in, and this machine a Linux one."""
        patch.setattr(environments, "SCRIPTS", self.scripts)
        patch.setattr(sys, "platform", "linux")
        patch.setenv("PYTORCH_TO_MLX_CACHE", str(self.cache))
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(self.wheels))
        patch.setenv("PIP_CONFIG_FILE", os.devnull)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An environment built as the real ones are, on the remains of a build that did not end."""
    wheels, scripts = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("references")
    fake_torch(wheels, "9.9+cpu", cuda=None)
    fake_torch(wheels, "9.8", cuda="13.0")
    wheel(wheels, "toydep", "1.0", "")
    wheel(wheels, "toydep", "1.1", "")
    wheel(wheels, "toy", "2.0", "VERSION = '2.0'", requires="not-to-be-had", extra="toylib/for_cuda.so")
    (scripts / "judge.py").write_text(SCRIPT)
    (scripts / "environments.toml").write_text(
        '[toy]\nreferences = ["judge"]\npython = ">=3.11"\n'
        'requires = ["torch==9.9", "toydep==1.0; python_version >= \'3.11\'", '
        '"toydep==1.1; python_version < \'3.11\'"]\nno-deps = ["toy==2.0"]\nremove = ["toylib/*.so"]\n'
    )
    built = Built(wheels, scripts, tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        built.use(patch)
        environment = environments.get("toy")
        environment.folder.mkdir(parents=True)
        (environment.folder / "remains").touch()
        environments.install(environment, lambda line: None)
    return built


@pytest.fixture
def toy(built: Built, monkeypatch: pytest.MonkeyPatch) -> Environment:
    built.use(monkeypatch)
    return environments.get("toy")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTORCH_TO_MLX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def declared(name: str = "made", requires: tuple[str, ...] = (), python: str = ANY_PYTHON) -> Environment:
    return Environment(name, (), python, requires, ())


def freeze(environment: Environment) -> set[str]:
    command = [environment.interpreter, "-m", "pip", "freeze"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


# Building


def test_an_environment_holds_exactly_its_pins(toy: Environment) -> None:
    assert toy.installed and toy.folder.parent.parent == environments.cache_folder()
    assert freeze(toy) == {"torch==9.9+cpu", "toydep==1.0", "toy==2.0"}  # newer ones and toy's own needs stay away
    assert [path.parent.parent.parent for path in environments.search_paths()] == [toy.folder]
    assert (environments.search_paths()[0] / "toy.py").exists()


def test_what_is_to_be_removed_is_gone_and_nothing_else(toy: Environment) -> None:
    assert [path.name for path in (toy.site_packages[0] / "toylib").iterdir()] == []
    assert (toy.site_packages[0] / "toy.py").exists()


def test_an_installed_environment_is_not_touched(toy: Environment) -> None:
    notes: list[str] = []
    before = (toy.folder / ".complete").stat().st_mtime_ns
    assert environments.install(toy, notes.append) == toy.interpreter
    assert notes == [] and (toy.folder / ".complete").stat().st_mtime_ns == before


def test_what_is_half_built_is_built_anew(toy: Environment) -> None:
    assert toy.installed and not (toy.folder / "remains").exists()


def test_a_build_that_fails_leaves_nothing_installed(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = declared(requires=("nowhere==1.0",))

    def call(command: Sequence[str], what: str) -> None:
        if "pip" in command:
            raise UpstreamError(f"{what} failed")
        environment.interpreter.parent.mkdir(parents=True)
        environment.interpreter.symlink_to(sys.executable)

    monkeypatch.setattr(environments, "_call", call)
    with pytest.raises(UpstreamError, match=r"pip install nowhere==1\.0 failed"):
        environments.install(environment, lambda line: None)
    assert environment.interpreter.exists() and not environment.installed


def test_a_second_process_waits_for_the_first_and_uses_what_it_built(empty_cache: Path) -> None:
    environment = declared(requires=("never==1.0",))  # building it here would fail
    environment.folder.parent.mkdir(parents=True)
    waiting, notes, built = threading.Event(), [], []

    def note(line: str) -> None:
        notes.append(line)
        waiting.set()

    with environment.folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=lambda: built.append(environments.install(environment, note)))
        second.start()
        assert waiting.wait(10)
        environment.interpreter.parent.mkdir(parents=True)
        environment.interpreter.symlink_to(sys.executable)
        (environment.folder / ".complete").touch()
    second.join(10)
    assert built == [environment.interpreter]
    assert len(notes) == 1 and "waiting" in notes[0]


def test_an_environment_whose_python_is_gone_is_not_installed(empty_cache: Path, tmp_path: Path) -> None:
    environment = declared()
    environment.interpreter.parent.mkdir(parents=True)
    environment.interpreter.symlink_to(tmp_path / "python-that-was-removed")
    (environment.folder / ".complete").touch()
    assert not environment.installed


def test_an_environment_that_lost_its_packages_is_no_place_to_search(empty_cache: Path) -> None:
    environment = environments.get("speech")
    environment.interpreter.parent.mkdir(parents=True)
    environment.interpreter.symlink_to(sys.executable)
    (environment.folder / ".complete").touch()
    assert environment.installed and environments.search_paths() == []


def test_a_changed_pin_is_another_environment() -> None:
    one = Environment("e", ("a",), ">=3.11", ("x==1",), ("y==1",))
    assert one.digest == replace(one, scripts=("a", "b")).digest
    changed = [replace(one, python=">=3.12"), replace(one, requires=("x==2",)), replace(one, no_deps=("y==2",))]
    changed.append(replace(one, remove=("y/*.so",)))
    assert len({e.digest for e in (one, *changed)}) == 5


# torch


def test_a_cuda_build_of_torch_is_refused(toy: Environment) -> None:
    with pytest.raises(UpstreamError, match=r"torch 9.8 is a CUDA build"):
        environments.install_torch(toy.interpreter, "9.8")
    environments.install_torch(toy.interpreter, "9.9")
    assert "torch==9.9+cpu" in freeze(toy)


def test_a_torch_that_is_nowhere_is_named(toy: Environment) -> None:
    with pytest.raises(UpstreamError, match=r"No matching distribution found for torch==7\.7") as failure:
        environments.install_torch(toy.interpreter, "7.7")
    assert "\n" not in str(failure.value)


# Python versions


def test_the_running_python_is_used_if_it_fits() -> None:
    major, minor = sys.version_info[:2]
    assert environments._find_python(f">={major}.{minor},<{major}.{minor + 1}") == sys.executable


def test_another_python_is_found_on_the_path_but_no_shim_of_an_absent_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in (("python3.30", 127), ("python3.29", 0), ("python3.28", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert environments._find_python(">=3.28,<3.31") == str(tmp_path / "python3.29")


def test_no_fitting_python_is_an_error_that_says_which(empty_cache: Path) -> None:
    with pytest.raises(UpstreamError, match=re.escape("needs Python >=3.1,<3.2")):
        environments.install(declared(python=">=3.1,<3.2"), lambda line: None)


# Running


def test_a_script_runs_in_its_environment_and_sees_nothing_of_ours(
    toy: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/nowhere")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("LD_PRELOAD", "")
    out = tmp_path / "told.json"
    environments.run(toy, "judge.py", [str(out), "a b"])
    told = json.loads(out.read_text())
    assert told["argv"] == [str(out), "a b"] and told["toy"] == "2.0"
    assert Path(told["python"]).resolve() == toy.folder.resolve()
    assert told["environ"].keys().isdisjoint(environments.LEAKS) and told["environ"]["OMP_NUM_THREADS"] == "1"


def test_a_failed_script_says_its_last_line(toy: Environment) -> None:
    with pytest.raises(UpstreamError) as failure:
        environments.run(toy, "judge.py", ["fail"])
    assert str(failure.value) == "the reference judge.py failed: toy.pt: tensors missing: stem.weight"


def test_running_what_is_not_installed_is_a_typed_error(empty_cache: Path) -> None:
    with pytest.raises(UpstreamError, match="does not start"):
        environments.run(declared(), "crepe.py", [])


# What is declared


MARKER = r"(; python_version (<|>=) '3\.\d+')?"


def test_every_pin_is_exact_and_every_script_belongs_to_one_environment() -> None:
    all_environments = environments.list_environments()
    for environment in all_environments:
        for pin in (*environment.requires, *environment.no_deps):
            assert re.fullmatch(rf"[A-Za-z0-9._-]+(\[\w+\])?==[\w.+!]+{MARKER}", pin), f"{environment.name}: {pin}"
    scripts = sorted(p.stem for p in environments.SCRIPTS.glob("[!_]*.py"))
    assert scripts == sorted(script for e in all_environments for script in e.scripts)


def test_environments_are_found_by_name_and_by_script() -> None:
    assert environments.of_script("crepe.py") == environments.get("speech")
    with pytest.raises(UpstreamError, match=r"nobody.*known: .*speech"):
        environments.get("nobody")
    with pytest.raises(UpstreamError, match="nothing"):
        environments.of_script("nothing.py")


def test_what_a_recording_depends_on_is_what_the_script_imports_from_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [path.name for path in environments.script_files("crepe.py")] == ["crepe.py", "_recording.py", "_seed.py"]
    monkeypatch.setattr(environments, "SCRIPTS", tmp_path)
    (tmp_path / "judge.py").write_text("import _one\nimport __future__\n\ndef run():\n    from _two import it\n")
    (tmp_path / "_one.py").write_text("import _shared, sys\nimport _one\n")
    (tmp_path / "_two.py").write_text("from _shared import x\nlate = 'import _other'\n")
    (tmp_path / "_shared.py").write_text("")
    (tmp_path / "_other.py").write_text("")
    names = [path.name for path in environments.script_files("judge.py")]
    assert names == ["judge.py", "_one.py", "_two.py", "_shared.py"]


# The module itself


def test_it_imports_without_any_array_library() -> None:
    code = "import sys, pytorch_to_mlx.environments; print(*{'numpy', 'mlx', 'torch', 'pydantic'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_its_command_installs_torch_only() -> None:
    command = [sys.executable, "-m", "pytorch_to_mlx.environments", "numpy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "torch [VERSION]" in done.stderr


def test_what_the_system_ended_says_so() -> None:
    """The last line on standard error would be about something else."""
    code = "import os, sys; print('a warning', file=sys.stderr, flush=True); os.kill(os.getpid(), {})"
    with pytest.raises(UpstreamError, match="the script was ended by SIGKILL; memory did not suffice"):
        environments._call([sys.executable, "-c", code.format(9)], "the script")
    with pytest.raises(UpstreamError, match=r"the script was ended by SIGTERM$"):
        environments._call([sys.executable, "-c", code.format(15)], "the script")
