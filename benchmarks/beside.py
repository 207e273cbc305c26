"""A benchmark's script in another environment, with this one's MLX and package beside that environment's own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parent


def last_line(
    interpreter: str | Path, arguments: Sequence[str], paths: Sequence[Path] = (), timeout: float | None = None
) -> Any:
    """What the script prints last, as JSON.

    Args:
        interpreter: of the environment; it needs no package of ours.
        arguments: the script and what it gets.
        paths: searched before the environment's packages.
        timeout: in seconds.

    Raises:
        RuntimeError: the script failed; the message is the last line of what it complained.
        TimeoutError: it took longer.
    """
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # ruff
    variables = os.environ | {"OWN_PACKAGES": own_packages(), "PATH": tools}
    variables["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    try:
        done = subprocess.run(
            [str(interpreter), *arguments], env=variables, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"took more than {timeout:g} s") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return json.loads(lines[-1])


def own_packages() -> str:
    """The folder of the MLX that this process has."""
    found = importlib.util.find_spec("mlx")
    assert found is not None and found.submodule_search_locations
    return str(Path(next(iter(found.submodule_search_locations))).parent)


def enter() -> None:
    """In the other environment: our packages behind its own, and no benchmark hiding a package of its name."""
    sys.path[:] = [path for path in sys.path if path != str(BENCHMARKS)]
    if (own := os.environ.get("OWN_PACKAGES")) and own not in sys.path:
        sys.path.append(own)
