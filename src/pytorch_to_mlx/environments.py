"""Isolated virtual environments on demand: for the references, and for what benchmarks compare with.

`references/environments.toml` pins each. An environment lies in the user's cache folder under its name and the hash of
its pins, so that a changed pin builds another. `python -m pytorch_to_mlx.environments torch` installs a CPU build of
torch into the interpreter that runs it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pytorch_to_mlx.errors import UpstreamError

SCRIPTS = Path(__file__).parent / "references"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# What would make one environment's interpreter see another's packages or libraries.
LEAKS = (
    "LD_PRELOAD",
    "DYLD_INSERT_LIBRARIES",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "VIRTUAL_ENV",
    "__PYVENV_LAUNCHER__",
)

Note = Callable[[str], None]


@dataclass(frozen=True)
class Environment:
    """Pins of one environment.

    Attributes:
        scripts: the references that run in it, without `.py`.
        python: range of Python versions, such as ">=3.11,<3.13".
        requires: exact pins, installed with their dependencies; each may carry an environment marker.
        no_deps: exact pins, installed alone.
        remove: patterns of files to delete from its site-packages afterwards, which their package works without.
    """

    name: str
    scripts: tuple[str, ...]
    python: str
    requires: tuple[str, ...]
    no_deps: tuple[str, ...]
    remove: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Hash of the pins."""
        return hashlib.sha256(repr((self.python, self.requires, self.no_deps, *self.remove)).encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """Where it is built."""
        return cache_folder() / "environments" / f"{self.name}-{self.digest}"

    @property
    def interpreter(self) -> Path:
        """Its Python."""
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> list[Path]:
        """Where its packages are: one folder once it is built."""
        return sorted(self.folder.glob("lib/python*/site-packages"))

    @property
    def installed(self) -> bool:
        """Whether it was built to the end, and the Python it was built on is still there."""
        return (self.folder / ".complete").exists() and self.interpreter.exists()


def cache_folder() -> Path:
    """Where environments and recordings are kept: `$PYTORCH_TO_MLX_CACHE`, else the system's cache folder."""
    given = os.environ.get("PYTORCH_TO_MLX_CACHE")
    if given:
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "pytorch-to-mlx"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytorch-to-mlx"


def list_environments() -> list[Environment]:
    """Every environment that is declared."""
    tables = tomllib.loads((SCRIPTS / "environments.toml").read_text(encoding="utf-8"))
    return [
        Environment(
            name,
            tuple(table.get("references", ())),
            table["python"],
            tuple(table["requires"]),
            tuple(table.get("no-deps", ())),
            tuple(table.get("remove", ())),
        )
        for name, table in tables.items()
    ]


def get(name: str) -> Environment:
    """The environment called `name`. Raises `UpstreamError` if none is."""
    found = next((e for e in list_environments() if e.name == name), None)
    if found is None:
        raise UpstreamError(f"no environment is called {name}; known: {', '.join(e.name for e in list_environments())}")
    return found


def of_script(script: str) -> Environment:
    """The environment that the reference `script` (a file name) runs in. Raises `UpstreamError` if none declares it."""
    stem = script.removesuffix(".py")
    found = next((e for e in list_environments() if stem in e.scripts), None)
    if found is None:
        raise UpstreamError(f"no environment in references/environments.toml declares the reference {stem}")
    return found


def script_files(script: str) -> list[Path]:
    """The files whose content decides what a reference records: the script, and what it imports from beside it."""
    files = [SCRIPTS / script]
    for file in files:  # grows as imports of imports are found
        imported = re.findall(r"^\s*(?:from|import) (_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        found = [SCRIPTS / f"{name}.py" for name in imported]
        files += sorted(path for path in set(found) if path.exists() and path not in files)
    return files


def search_paths() -> list[Path]:
    """The site-packages of every installed environment: where packages that ship checkpoints may be found."""
    return [path for e in list_environments() if e.installed for path in e.site_packages]


def install(environment: Environment, note: Note = print) -> Path:
    """Build an environment unless it is there; returns its interpreter.

    Raises:
        UpstreamError: no fitting Python, no network, or pip failed. What was half built is built anew next time.
    """
    if environment.installed:
        return environment.interpreter
    folder = environment.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock"), note):
        if environment.installed:
            return environment.interpreter
        python = _find_python(environment.python)
        note(f"building the environment {environment.name} (once; a few minutes) in {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        _call([python, "-m", "venv", str(folder)], f"python -m venv {folder}")
        torch = next((r for r in environment.requires if r.startswith("torch==")), None)
        if torch:
            note(f"installing {torch} for the CPU")
            install_torch(environment.interpreter, torch.removeprefix("torch=="))
        note(f"installing {len(environment.requires) + len(environment.no_deps)} pinned packages")
        if requires := [r for r in environment.requires if r != torch]:
            _pip(environment.interpreter, requires)
        if environment.no_deps:
            _pip(environment.interpreter, ["--no-deps", *environment.no_deps])
        for path in [p for f in environment.site_packages for pattern in environment.remove for p in f.glob(pattern)]:
            path.unlink()
        with (folder / ".complete").open("w") as marker:
            os.fsync(marker.fileno())
    return environment.interpreter


def run(environment: Environment, script: str | Path, arguments: Sequence[str]) -> None:
    """Run a script, a reference's unless it is a path, in an installed environment.

    Raises:
        UpstreamError: the script failed; the message ends with its last line.
    """
    what = "the reference" if isinstance(script, str) else "the script"
    _call([str(environment.interpreter), str(SCRIPTS / script), *arguments], f"{what} {Path(script).name}")


def run_script(script: str, arguments: Sequence[str], note: Note = print) -> None:
    """Run a reference script in the environment that declares it, which is built first if it is not there.

    Raises:
        UpstreamError: no environment declares it, building one failed, or the script did.
    """
    environment = of_script(script)
    install(environment, note)
    run(environment, script, arguments)


def install_torch(python: str | Path, version: str) -> None:
    """Install torch into an interpreter's environment; on Linux a CPU build, never gigabytes of CUDA libraries.

    Raises:
        UpstreamError: pip failed, or what it installed is a CUDA build.
    """
    if sys.platform != "linux":
        _pip(python, [f"torch=={version}"])
        return
    try:  # a configured index or a local wheel may have the CPU build
        _pip(python, [f"torch=={version}+cpu"])
    except UpstreamError:
        _pip(python, ["--index-url", CPU_INDEX, f"torch=={version}"])
    check = "import sys, torch; torch.version.cuda and sys.exit(f'torch {torch.__version__} is a CUDA build')"
    _call([str(python), "-c", check], "the check for a CPU build of torch")


def environment_of_children() -> dict[str, str]:
    """The variables that programs started here get: without those that are meant for this process."""
    return {name: value for name, value in os.environ.items() if name not in LEAKS}


def why_ended(status: int, said: str) -> str:
    """Why a program failed: the signal that ended it, or else the error that it named last, or its last line."""
    if status < 0:
        name = signal.Signals(-status).name
        hint = "; memory did not suffice, most likely" if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # pip goes on after its own, and Python's exit after a traceback
    errors = [line for line in lines if re.match(r"ERROR:|[\w.]*(Error|Exception): ", line)]
    return f"failed: {(errors or lines or [f'exit {status}'])[-1]}"


def _pip(python: str | Path, arguments: Sequence[str]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    _call(command, f"pip install {' '.join(arguments)[:80]}")


def _call(command: Sequence[str], what: str) -> None:
    try:
        done = subprocess.run(command, env=environment_of_children(), capture_output=True, text=True, check=False)
    except OSError as error:
        raise UpstreamError(f"{what} failed: {command[0]} does not start: {error.strerror}") from error
    if done.returncode:
        raise UpstreamError(f"{what} {why_ended(done.returncode, done.stderr or done.stdout)}")


def _find_python(versions: str) -> str:
    """An interpreter within `versions`: the running one if it fits, else one on the path."""
    bounds = [(op, (int(major), int(minor))) for op, major, minor in re.findall(r"(>=|<)(\d+)\.(\d+)", versions)]
    fits = [
        (3, minor)
        for minor in range(30, 0, -1)
        if all((3, minor) >= bound if op == ">=" else (3, minor) < bound for op, bound in bounds)
    ]
    if sys.version_info[:2] in fits:
        return sys.executable
    for major, minor in fits:
        found = shutil.which(f"python{major}.{minor}")
        # A version manager's shim may stand for a Python that is not there.
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return found
    raise UpstreamError(f"the reference needs Python {versions}; install one, so that it is on the PATH")


@contextmanager
def _locked(path: Path, note: Note) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"waiting for another process that builds {path.stem}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> None:
    """`python -m pytorch_to_mlx.environments torch [VERSION]`."""
    if sys.argv[1:2] != ["torch"]:
        sys.exit("usage: python -m pytorch_to_mlx.environments torch [VERSION]")
    pinned = next(r.removeprefix("torch==") for e in list_environments() for r in e.requires if r.startswith("torch=="))
    try:
        install_torch(sys.executable, sys.argv[2] if len(sys.argv) > 2 else pinned)
    except UpstreamError as error:
        print(f"pytorch-to-mlx: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
