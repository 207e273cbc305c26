"""Every operator that torch's operator database has, as MLX source, against torch."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

from operator_cases import assert_same, run
from operator_samples import DRAWN, DTYPES, EXCEPTIONS, LIMITED, LIMITS, UNDEFINED, chosen, identifier
from operators import NOT_YET, is_core, overloads, status

from pytorch_to_mlx.errors import CaptureError

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

IDS = [identifier(info) for info in op_db]


@pytest.mark.parametrize("info", op_db, ids=IDS)
def test_operator(info: Any) -> None:
    """Shapes, dtypes and values of samples are torch's; those that are excepted fail, and in the way that is told."""
    name = identifier(info)
    held, limits, failures = 0, [], []
    for dtype in DTYPES:
        for place, sample in chosen(info, dtype) if dtype in info.dtypes else ():
            try:
                _compare(info, sample, name in DRAWN | UNDEFINED)
                held += 1
            except Exception as error:
                told = f"{dtype} #{place}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
                limited = isinstance(error, CaptureError) and any(re.search(each, told) for each in LIMITS)
                (limits if limited else failures).append(told)
    if name in EXCEPTIONS:
        reason, expected = EXCEPTIONS[name]
        assert failures, f"{name} holds: it is no exception any more ({reason})"
        failures = [each for each in failures if not re.search(expected, each)]
    assert not failures, "\n".join(failures)
    declared = all("no form of" in each for each in limits)
    assert (name in LIMITED) == (bool(limits) and not held and not declared), "\n".join(limits)
    if not held:
        pytest.skip(limits[0] if limits else EXCEPTIONS.get(name, ("no sample",))[0])


def _compare(info: Any, sample: Any, drawn: bool) -> None:
    got, want, _ = run(lambda kwargs, *args: info.op(*args, **kwargs), [sample.kwargs, sample.input, *sample.args])
    if not drawn:
        assert_same(got, want)
        return
    assert [each.shape for each in got] == [tuple(each.shape) for each in want]
    narrow = {torch.float64: torch.float32}
    kinds = [torch.empty(0, dtype=narrow.get(each.dtype, each.dtype)).numpy().dtype for each in want]
    assert [each.dtype for each in got] == kinds


def test_exceptions_exist() -> None:
    """Every name that is told of is one of the database's."""
    assert not (set(EXCEPTIONS) | DRAWN | UNDEFINED | LIMITED) - set(IDS)


def test_core_is_complete() -> None:
    """Each operator of ATen's core set has a lowering, or it is told what MLX lacks for it."""
    assert not [str(each) for each in overloads() if is_core(each) and status(each) == NOT_YET]


def test_drawn_values() -> None:
    """What MLX draws lies where torch's draws lie, with the same mean."""

    def draw(function: Any, *args: Any) -> np.ndarray:
        return run(function, args)[0][0]

    x = torch.ones(40_000)
    uniform = draw(torch.rand_like, x)
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.02
    normal = draw(torch.randn_like, x)
    assert abs(normal.mean()) < 0.02 and abs(normal.std() - 1) < 0.02
    whole = draw(lambda x: torch.randint_like(x, 3, 7), x)
    assert set(np.unique(whole)) == {3, 4, 5, 6}
    assert sorted(draw(lambda x: torch.randperm(50) + 0 * x[:50].long(), x)) == list(range(50))
    assert abs(draw(torch.bernoulli, 0.25 * x).mean() - 0.25) < 0.02
    kept = draw(lambda x: torch.nn.functional.dropout(x, 0.5), x)
    assert set(np.unique(kept)) == {0, 2} and abs(kept.mean() - 1) < 0.03
    assert abs(draw(lambda x: x.clone().exponential_(2.0), x).mean() - 0.5) < 0.02
    assert abs(draw(lambda x: x.clone().geometric_(0.25), x).mean() - 4) < 0.1
    places = draw(lambda x: torch.multinomial(x[:10], 10), x)
    assert sorted(places) == list(range(10))
