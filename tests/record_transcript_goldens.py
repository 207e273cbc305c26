"""Record tests/goldens/transcripts.json from openai-whisper's writers: `python tests/record_transcript_goldens.py`.

Of `RICH`, each file as it is without options, and subtitles with a few of them; of all options, and of 200 results
drawn by chance, a hash of the files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

from transcripts import OPTIONS, RICH, drawn

from pytorch_to_mlx import environments
from pytorch_to_mlx.presentation.transcripts import FORMATS

GOLDEN = Path(__file__).parent / "goldens" / "transcripts.json"
DRAWN = 200
SHOWN: list[dict[str, Any]] = [
    {"max_line_width": 16, "max_line_count": 2, "highlight_words": False},
    {"max_words_per_line": 3, "highlight_words": True},
]
Writer = Callable[[dict, str, dict[str, Any]], str]


def upstream() -> Writer:
    """What writes a file's content of a result, a format and options. It needs no torch, and is loaded by path."""
    environment = environments.get("openai-whisper")
    environments.install(environment)
    path = next(folder / "whisper" / "utils.py" for folder in environment.site_packages)
    spec = importlib.util.spec_from_file_location("whisper_utils", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def write(result: dict, kind: str, options: dict[str, Any]) -> str:
        file = StringIO(newline="\n")
        module.get_writer(kind, "").write_result(result, file, options)
        return file.getvalue()

    return write


def digest(texts: list[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def main() -> None:
    write = upstream()
    plain = {name: {kind: write(result, kind, {}) for kind in FORMATS} for name, result in RICH.items()}
    shown = [{"options": options, "srt": write(RICH["words"], "srt", options)} for options in SHOWN]
    every = [digest([write(RICH["words"], kind, options) for kind in ("srt", "vtt")]) for options in OPTIONS]
    chance = [
        digest([write(drawn(seed), kind, OPTIONS[seed % len(OPTIONS)]) for kind in FORMATS]) for seed in range(DRAWN)
    ]
    golden = {"plain": plain, "shown": shown, "options": every, "drawn": chance}
    GOLDEN.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
