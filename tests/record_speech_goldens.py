"""Record tests/goldens/speech.json from silero-vad's rules: `python tests/record_speech_goldens.py`.

Spans are in samples. It imports torch, since silero_vad does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speech_curves import drawn

from pytorch_to_mlx import environments

GOLDEN = Path(__file__).parent / "goldens" / "speech.json"
DRAWN = 300


def upstream() -> Any:
    """The package silero_vad, of the environment that holds it."""
    environment = environments.get("capture-files")
    environments.install(environment)
    sys.path += [str(path) for path in environment.site_packages if str(path) not in sys.path]
    import silero_vad  # pyright: ignore[reportMissingImports]

    return silero_vad


def spans_of(silero_vad: Any) -> Callable[[int], list[list[int]]]:
    """Upstream's rules on what is drawn of a seed."""

    def spans(seed: int) -> list[list[int]]:
        probabilities, samples, rules = drawn(seed)
        found = silero_vad.get_speech_timestamps_from_probs(probabilities, audio_length_samples=samples, **rules)
        return [[span["start"], span["end"]] for span in found]

    return spans


def main() -> None:
    rows = map(json.dumps, map(spans_of(upstream()), range(DRAWN)))
    GOLDEN.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
