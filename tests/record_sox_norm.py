"""Records what sox makes of peaks, which the 25 Hz tokenizer's voices go through: run with pysox and sox 14.4.2.

python tests/record_sox_norm.py    # in an environment with `sox` of PyPI, and the program
"""

import json
from pathlib import Path

import numpy as np
import sox  # pyright: ignore[reportMissingImports]

COUNT = 1600  # a tenth of a second


def main() -> None:
    draw = np.random.default_rng(0)
    inputs = {
        "plain": draw.normal(0, 0.1, COUNT),
        "too loud": np.clip(draw.normal(0, 0.4, COUNT), -1.3, 1.2),
        "a negative peak": np.append(draw.normal(0, 0.05, COUNT - 1), -0.9),
        "silent": np.zeros(COUNT),
    }
    transformer = sox.Transformer()
    transformer.norm(db_level=-6)
    told = []
    for name, samples in inputs.items():
        given = np.round(samples, 4).astype(np.float32)
        left = transformer.build_array(input_array=given, sample_rate_in=16000)
        told.append({"name": name, "given": _listed(given), "left": _listed(left)})
    (Path(__file__).parent / "goldens" / "sox_norm.json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


def _listed(samples: np.ndarray) -> list[float]:
    return [round(float(sample), 7) for sample in samples]


if __name__ == "__main__":
    main()
