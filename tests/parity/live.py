"""What live tests of seeded checkpoints share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from pytorch_to_mlx import environments
from pytorch_to_mlx.parity import Recording
from pytorch_to_mlx.port import Reference
from pytorch_to_mlx.validation import compare


def exported(reference: Reference, variant: str, path: Path) -> Path:
    """A checkpoint of seeded weights in upstream's format, a file or a folder, written by its reference."""
    environments.run_script(reference.script, ["export", "--variant", variant, "--out", str(path)])
    return path


def assert_diverges_first(
    model: Any, recorded: Recording, reference: Reference, *, parameter: str, case: str, tap: str
) -> None:
    """A change of 1 % of one parameter is noticed in the case, first at the tap; without it all taps hold."""
    alone = replace(recorded, cases=tuple(each for each in recorded.cases if each.name == case))
    weight = dict(tree_flatten(model.network.parameters()))[parameter]
    changed = weight * (1 + 0.01 * mx.random.normal(weight.shape, key=mx.random.key(1)))
    for value, expected in ((weight, None), (changed, tap), (weight, None)):
        model.network.load_weights([(parameter, value)], strict=False)
        assert [result.first_divergence for result in compare(model, alone, reference, "float32")] == [expected]
