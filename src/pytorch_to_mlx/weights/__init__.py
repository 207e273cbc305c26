"""The rules by which source tensors become MLX parameters.

A `WeightMap` is declared once per port. `WeightMap.plan` matches it against a checkpoint's names and shapes and against
the parameters that the model expects, without reading data, and accounts for every name on both sides: each source
tensor is used or dropped with a reason, each parameter is filled once. `Plan.apply` then computes one output at a time.

Names in rules are templates: `{n:d}` stands for digits, `{x}` for one part of a dotted name or a piece of one, `{p*}`
for any number of parts. Layouts are declared, never guessed: `"OIK->OKI"` permutes axes, a `1` on the left names an
axis of size one that goes.
"""

from pytorch_to_mlx.weights.plan import Plan, Row, TensorSpec, WeightMap, numpy_dtype
from pytorch_to_mlx.weights.rules import Drop, FoldWeightNorm, Fuse, Layout, Means, Rename, Rule, Shape, Split, Tied

__all__ = [
    "Drop",
    "FoldWeightNorm",
    "Fuse",
    "Layout",
    "Means",
    "Plan",
    "Rename",
    "Row",
    "Rule",
    "Shape",
    "Split",
    "TensorSpec",
    "Tied",
    "WeightMap",
    "numpy_dtype",
]
