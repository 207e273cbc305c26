"""WeightMap: every rule, and complete accounting on both sides."""

from typing import Literal

import ml_dtypes
import numpy as np
import pytest
from held import Held

from pytorch_to_mlx.errors import WeightMapError
from pytorch_to_mlx.weights import Drop, FoldWeightNorm, Fuse, Layout, Means, Rename, Split, Tied, WeightMap


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def converted(weight_map: WeightMap, tensors: Held, expected: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return dict(weight_map.plan(tensors, expected).apply(tensors))


def refused(weight_map: WeightMap, tensors: Held, expected: dict[str, tuple[int, ...]]) -> str:
    with pytest.raises(WeightMapError) as error:
        weight_map.plan(tensors, expected, where="model.pt")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_rename_with_fields() -> None:
    tensors = Held({"h.0.fc.weight": numbers(2, 3), "h.11.fc.weight": numbers(2, 3, seed=1)})
    out = converted(
        WeightMap(Rename("h.{n}.fc.weight", "layers.{n}.up.weight")),
        tensors,
        {f"layers.{n}.up.weight": (2, 3) for n in (0, 11)},
    )
    np.testing.assert_array_equal(out["layers.11.up.weight"], tensors["h.11.fc.weight"])


def test_field_stands_for_one_part_and_starred_field_for_several() -> None:
    tensors = Held({"a.b.c": numbers(1)})
    assert "left over a.b.c" in refused(WeightMap(Rename("a.{x}", "{x}", optional=True)), tensors, {})
    assert list(converted(WeightMap(Rename("a.{x*}", "{x}")), tensors, {"b.c": (1,)})) == ["b.c"]


@pytest.mark.parametrize(
    ("layout", "shape", "axes"),
    [
        ("OIK->OKI", (4, 3, 5), (0, 2, 1)),
        ("IOK->OKI", (4, 3, 5), (1, 2, 0)),
        ("OIHW->OHWI", (2, 3, 4, 5), (0, 2, 3, 1)),
        ("OI->IO", (2, 3), (1, 0)),
    ],
)
def test_layouts_transpose_as_declared(layout: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    array = numbers(*shape)
    out = converted(WeightMap(Rename("w", "w", layout)), Held({"w": array}), {"w": tuple(shape[a] for a in axes)})
    np.testing.assert_array_equal(out["w"], array.transpose(axes))


def test_layout_drops_axes_of_size_one_only() -> None:
    array = numbers(4, 3, 5, 1)
    out = converted(WeightMap(Rename("w", "w", "OIK1->OKI")), Held({"w": array}), {"w": (4, 5, 3)})
    np.testing.assert_array_equal(out["w"], array[..., 0].transpose(0, 2, 1))
    message = refused(WeightMap(Rename("w", "w", "OIK1->OKI")), Held({"w": numbers(4, 3, 5, 2)}), {"w": (4, 5, 3)})
    assert "w: shape (4, 3, 5, 2) does not have the declared layout OIK1" in message


@pytest.mark.parametrize("layout", ["OIK", "OIK->OK", "OOK->OKO", "OI->OIK"])
def test_nonsense_layouts_are_refused(layout: str) -> None:
    with pytest.raises(WeightMapError, match="layout"):
        Layout(layout)


def test_fuse_concatenates_stacks_and_sums() -> None:
    a, b = numbers(2, 3), numbers(2, 3, seed=1)
    tensors = Held({"l.0.a": a, "l.0.b": b})
    sources = ("l.{n}.a", "l.{n}.b")
    cases = {
        "concat": (WeightMap(Fuse(sources, "m.{n}.ab", axis=1)), np.concatenate([a, b], 1)),
        "stack": (WeightMap(Fuse(sources, "m.{n}.ab", how="stack")), np.stack([a, b])),
        "sum": (WeightMap(Fuse(sources, "m.{n}.ab", how="sum")), a + b),
    }
    for weight_map, wanted in cases.values():
        np.testing.assert_array_equal(converted(weight_map, tensors, {"m.0.ab": wanted.shape})["m.0.ab"], wanted)


def test_sum_of_bfloat16_keeps_the_dtype() -> None:
    a = numbers(8).astype(ml_dtypes.bfloat16)
    out = converted(WeightMap(Fuse(("a", "b"), "c", how="sum")), Held(a=a, b=a), {"c": (8,)})
    assert out["c"].dtype == a.dtype
    np.testing.assert_array_equal(out["c"].astype(np.float32), 2 * a.astype(np.float32))


@pytest.mark.parametrize("how", ["concat", "stack", "sum"])
def test_fuse_of_two_dtypes_is_refused(how: Literal["concat", "stack", "sum"]) -> None:
    tensors = Held(a=numbers(2), b=numbers(2).astype(np.float16))
    shape = {"concat": (4,), "stack": (2, 2), "sum": (2,)}[how]
    message = refused(WeightMap(Fuse(("a", "b"), "c", how=how)), tensors, {"c": shape})
    assert "a, b: dtypes float16, float32 differ" in message


def test_negative_axes_count_from_the_back() -> None:
    a, b = numbers(2, 3), numbers(2, 3, seed=1)
    tensors = Held(a=a, b=b)
    for rule, wanted in (
        (Fuse(("a", "b"), "ab", axis=-1), np.concatenate([a, b], -1)),
        (Fuse(("a", "b"), "ab", axis=-2), np.concatenate([a, b], -2)),
        (Fuse(("a", "b"), "ab", how="stack", axis=-1), np.stack([a, b], -1)),
    ):
        np.testing.assert_array_equal(converted(WeightMap(rule), tensors, {"ab": wanted.shape})["ab"], wanted)
    out = converted(WeightMap(Split("a", ("x", "y", "z"), axis=-1)), Held(a=a), dict.fromkeys("xyz", (2, 1)))
    np.testing.assert_array_equal(out["y"], a[:, 1:2])


@pytest.mark.parametrize("axis", [2, 3, -3, -4])
def test_axes_that_a_tensor_lacks_are_refused(axis: int) -> None:
    tensors = Held(a=numbers(2, 3), b=numbers(2, 3))
    fuse = refused(WeightMap(Fuse(("a", "b"), "c", axis=axis)), tensors, {"c": (4, 3)})
    assert f"a, b: concatenate axis {axis} of 2: there is no axis {axis} of 2" in fuse
    split = refused(WeightMap(Split("a", ("x", "y"), axis=axis)), Held(a=numbers(2, 3)), {"x": (1, 3), "y": (1, 3)})
    assert f"a: split axis {axis} in 2: there is no axis {axis} of 2" in split
    if axis not in (2, -3):  # stacking adds an axis
        stack = refused(WeightMap(Fuse(("a", "b"), "c", how="stack", axis=axis)), tensors, {"c": (2, 2, 3)})
        assert f"a, b: stack axis {axis} of 2: there is no axis {axis} of 3" in stack


def test_tensors_of_unlike_rank_are_not_concatenated() -> None:
    tensors = Held(a=numbers(2, 3), b=numbers(2))
    assert "cannot be concatenated" in refused(WeightMap(Fuse(("a", "b"), "c", axis=1)), tensors, {"c": (2, 4)})


def test_fuse_names_the_missing_partner() -> None:
    message = refused(WeightMap(Fuse(("x.q", "x.k"), "x.qk")), Held({"x.q": numbers(2)}), {"x.qk": (4,)})
    assert "missing x.k (it belongs with x.q)" in message


def test_split_equal_and_sized() -> None:
    qkv = numbers(9, 4)
    out = converted(WeightMap(Split("qkv", ("q", "k", "v"))), Held(qkv=qkv), dict.fromkeys("qkv", (3, 4)))
    np.testing.assert_array_equal(out["k"], qkv[3:6])
    out = converted(WeightMap(Split("qkv", ("q", "kv"), sizes=(5, 4))), Held(qkv=qkv), {"q": (5, 4), "kv": (4, 4)})
    np.testing.assert_array_equal(out["kv"], qkv[5:])
    assert "cannot be split" in refused(WeightMap(Split("qkv", ("q", "k"))), Held(qkv=qkv), {})


@pytest.mark.parametrize(
    "names",
    [
        ("c.weight_g", "c.weight_v"),
        ("c.parametrizations.weight.original0", "c.parametrizations.weight.original1"),
    ],
)
@pytest.mark.parametrize("dim", [0, 1])
def test_weight_norm_folds_as_torch_computes_it(names: tuple[str, str], dim: int) -> None:
    import torch
    from torch.nn.utils.parametrizations import weight_norm

    v = numbers(4, 3, 5)
    g = numbers(*(n if i == dim else 1 for i, n in enumerate(v.shape)), seed=1)
    conv = weight_norm(torch.nn.Conv1d(3, 4, 5), dim=dim)
    state = {"bias": conv.bias, "parametrizations.weight.original0": torch.from_numpy(g)}
    conv.load_state_dict({**state, "parametrizations.weight.original1": torch.from_numpy(v)})
    weight_map = WeightMap(FoldWeightNorm("c", "c.weight", "OIK->OKI", dim))
    out = converted(weight_map, Held(zip(names, (g, v), strict=True)), {"c.weight": (4, 5, 3)})
    assert isinstance(conv.weight, torch.Tensor)
    np.testing.assert_allclose(out["c.weight"], conv.weight.detach().numpy().transpose(0, 2, 1), rtol=3e-7)


def test_sums_become_means() -> None:
    sums, usage = numbers(4, 3), np.array([2, 0, 1e-9, 0.5], np.float32)
    weight_map = WeightMap(Means("{x}.sum", "{x}.usage", "{x}.mean", 1e-5)).under("c.", "d.")
    out = converted(weight_map, Held({"c.v.sum": sums, "c.v.usage": usage}), {"d.v.mean": (4, 3)})
    np.testing.assert_array_equal(out["d.v.mean"], sums / np.maximum(usage, np.float32(1e-5))[:, None])
    short = Held({"c.v.sum": sums, "c.v.usage": usage[:3]})
    assert "usage (3,) does not fit sums (4, 3)" in refused(weight_map, short, {"d.v.mean": (4, 3)})


def test_drop_counts_and_reasons() -> None:
    tensors = Held({"a.steps": numbers(1), "b.steps": numbers(1), "w": numbers(2)})
    plan = WeightMap(Rename("w", "w"), Drop("{m}.steps", "counts steps", count=2)).plan(tensors, {"w": (2,)})
    dropped = {row.source: row.action for row in plan.table() if not row.target}
    assert dropped == {"a.steps": "drop: counts steps", "b.steps": "drop: counts steps"}
    assert "2 tensors match {m}.steps to drop, not 3" in refused(
        WeightMap(Rename("w", "w"), Drop("{m}.steps", "", count=3)), tensors, {"w": (2,)}
    )


def test_tied_weights_must_be_equal() -> None:
    embedding = numbers(3, 2)
    weight_map = WeightMap(Rename("embed", "embed"), Tied("head", "embed"))
    assert list(converted(weight_map, Held(embed=embedding, head=embedding.copy()), {"embed": (3, 2)})) == ["embed"]
    assert list(converted(weight_map, Held(embed=embedding), {"embed": (3, 2)})) == ["embed"]
    with pytest.raises(WeightMapError, match="head should be tied to embed"):
        converted(weight_map, Held(embed=embedding, head=embedding + 1), {"embed": (3, 2)})


def test_every_problem_is_named_at_once() -> None:
    weight_map = WeightMap(Rename("a", "a"), Rename("b", "b"), Rename("absent", "c"))
    message = refused(weight_map, Held(a=numbers(2), b=numbers(3), extra=numbers(7)), {"a": (2,), "b": (4,), "c": (1,)})
    assert message.startswith("model.pt does not fit: ")
    for part in (
        "missing absent",
        "left over extra (7,)",
        "b gives b shape (3,), the model has (4,)",
        "nothing fills c (1,)",
    ):
        assert part in message


def test_a_tensor_that_two_rules_claim_is_refused() -> None:
    message = refused(WeightMap(Rename("a", "a"), Rename("{x}", "{x}2")), Held(a=numbers(1)), {"a": (1,), "a2": (1,)})
    assert "a matches two rules" in message


def test_a_parameter_filled_twice_is_refused() -> None:
    message = refused(WeightMap(Rename("a", "w"), Rename("b", "w")), Held(a=numbers(1), b=numbers(1)), {"w": (1,)})
    assert "w is filled twice, from a and b" in message


def test_a_map_moves_under_prefixes() -> None:
    part = WeightMap(
        Rename("w", "w"),
        Fuse(("a", "b"), "ab", how="sum"),
        Split("s", ("s1", "s2")),
        FoldWeightNorm("c", "c.weight"),
        Tied("t", "w"),
        Drop("d", "unused"),
    )
    w = numbers(2)
    source = Held(w=w, a=w, b=w, s=w, t=w, d=w) | {
        "c.weight_g": numbers(2, 1),
        "c.weight_v": numbers(2, 3),
    }
    tensors = Held({f"model.{name}": array for name, array in source.items()})
    out = converted(
        part.under("model.", "ve."),
        tensors,
        {"ve.w": (2,), "ve.ab": (2,), "ve.s1": (1,), "ve.s2": (1,), "ve.c.weight": (2, 3)},
    )
    np.testing.assert_array_equal(out["ve.ab"], 2 * w)


def test_table_has_a_row_for_every_source_and_target() -> None:
    tensors = Held(a=numbers(2), b=numbers(2), qkv=numbers(6), d=numbers(1))
    plan = WeightMap(Fuse(("a", "b"), "ab", how="sum"), Split("qkv", ("q", "k", "v")), Drop("d", "unused")).plan(
        tensors, {"ab": (2,), "q": (2,), "k": (2,), "v": (2,)}
    )
    table = plan.table()
    assert {row.source for row in table} == set(tensors)
    assert {row.target for row in table} == {"ab", "q", "k", "v", ""}
    assert next(row for row in table if row.source == "d").action == "drop: unused"
