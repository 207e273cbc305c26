"""docs/capture.md: its files are written and its commands are run, in order, as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "capture.md"
BLOCK = re.compile(r"```(python|bash)\n(.*?)```", re.DOTALL)


def test_every_command_of_the_page_holds(tmp_path: Path) -> None:
    environment = os.environ | {"PYTORCH_TO_MLX_TRUSTED": str(tmp_path / "trusted")}
    printed: list[str] = []
    written = []
    for language, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        named = re.match(r"# (\w+\.py)\n", text)
        if language == "python" and named is None:
            assert text in (tmp_path / "tagger-mlx" / "model.py").read_text(), "the source that the page shows"
            continue
        if named is not None:
            (tmp_path / named[1]).write_text(text, encoding="utf-8")
            written.append(named[1])
        commands = [line.split() for line in text.splitlines()] if language == "bash" else [["python", *written[-1:]]]
        for command in commands:
            line = [sys.executable, *(["-m", "pytorch_to_mlx"] if command[0] == "pytorch-to-mlx" else []), *command[1:]]
            done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (command, done.stderr)
            printed.append(done.stdout)
    assert written == ["mymodel.py", "use.py"]
    assert printed[1].endswith("\n") and "aten.linear.default" in printed[1]
    assert (tmp_path / "tagger-fn-mlx" / "model.mlxfn").is_file()
    assert "(1, 3, 10)\n(1, 3, 10)\n" in printed
