"""Calls of `pytorch_to_mlx.hub` in another process, for huggingface_hub reads its environment at import."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import pytorch_to_mlx
from pytorch_to_mlx import errors, hub


def client_environment(url: str, home: Path, **extra: str) -> dict[str, str]:
    """The environment of a process whose Hub is `url` and whose cache lies under `home`."""
    foreign = re.compile(r"(HF|HUGGINGFACE|TRANSFORMERS)_.*|.*_PROXY", re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if not foreign.fullmatch(name)}
    python_path = [str(Path(*pytorch_to_mlx.__path__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(python_path),
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",  # the local server keeps large files, but knows no Xet
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **extra,
    }


class HubClient:
    """`hub.resolve`, `hub.hub_files` and `hub.upload`, carried out by one process in a given environment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def resolve(self, source: str, **options: Any) -> hub.Source:
        self.begin("resolve", source, **options)
        answer = self._receive()
        return hub.Source(**{**answer, "path": Path(answer["path"])})

    def hub_files(self, repo_id: str, **options: Any) -> list[str]:
        self.begin("hub_files", repo_id, **options)
        return self._receive()

    def upload(self, folder: Path, repo_id: str, **options: Any) -> str:
        self.begin("upload", str(folder), repo_id, **options)
        return self._receive()

    def begin(self, function: str, *arguments: Any, **options: Any) -> None:
        """Start a call without waiting for its end."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([function, arguments, options]) + "\n")
        self.process.stdin.flush()

    def _receive(self) -> Any:
        """What the call returned, or raise what it raised: an AssertionError for what is not ours."""
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise getattr(errors, answer["error"], AssertionError)(answer["message"])
        return answer["value"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def _serve_calls() -> None:
    functions = {
        "resolve": lambda *arguments, **options: asdict(hub.resolve(*arguments, **options)),
        "hub_files": hub.hub_files,
        "upload": lambda folder, *arguments, **options: hub.upload(Path(folder), *arguments, **options),
    }
    for line in sys.stdin:
        function, arguments, options = json.loads(line)
        try:
            answer = {"value": functions[function](*arguments, **options)}
        except Exception as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    _serve_calls()
