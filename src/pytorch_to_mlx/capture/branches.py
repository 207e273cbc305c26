"""Branches on values: answered once for all inputs, where one of the two ways is right for both.

A model that skips its mask when nothing is masked computes the same with it; a check that raises has one way only.
"""

from __future__ import annotations

import linecache
import sys
import traceback
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from pytorch_to_mlx.capture.examples import Example, other_values
from pytorch_to_mlx.capture.observe import copied, undisturbed
from pytorch_to_mlx.capture.places import is_torchs

SAME = 1e-5
"""Of the largest magnitude: a branch that changes nothing changes the last bits at most."""
LINES = 16
TIMES = 1000  # that one line may ask: a loop that ends when values say so never does where they are not asked


class Answers(TorchFunctionMode):
    """Answers `if tensor` by the line that asks.

    Attributes:
        met: line -> what the values themselves answered, in order of the first time.
        calls: how many functions of torch's were called.
    """

    def __init__(self, given: Mapping[str, bool]) -> None:
        super().__init__()
        self._given = given
        self._asked: Counter[str] = Counter()
        self.met: dict[str, set[bool]] = {}
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        asks = func is torch.Tensor.__bool__ or (func is torch.Tensor.item and args[0].dtype == torch.bool)
        self.calls += 1
        if not asks:
            return func(*args, **(kwargs or {}))
        line = _asking()
        if line in self._given:
            self._asked[line] += 1
            if self._asked[line] > TIMES:
                raise RuntimeError(f"{line} asks without end")
            return self._given[line]
        answer = func(*args)
        if isinstance(answer, bool):
            self.met.setdefault(line, set()).add(answer)
        return answer


def settled(module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, bool]:
    """Each line that branches on values, and its answer for all inputs, as far as there is one.

    An answer holds if giving it where the values say otherwise does more and yet changes no result, as a mask does that
    masks nothing, or if the other one raises. To do less is never taken to be right: clipping may be needed elsewhere.
    """
    given = Example("", args, dict(kwargs))
    examples = [given, other_values(given)]
    answers: dict[str, bool] = {}
    refused: set[str] = set()
    truth = plain = [_outcome(module, each, answers) for each in examples]
    while len(answers) + len(refused) < LINES:
        met = {line: found for _, asked, _ in plain[:1] for line, found in asked.items()}
        line = next((line for line in met if line not in refused), None)
        if line is None:
            return answers
        for answer in (True, False):
            if _holds(module, examples, truth, plain, answers, line, answer):
                answers[line] = answer
                plain = [_outcome(module, each, answers) for each in examples]
                break
        else:
            refused.add(line)
    return answers


def told(answers: Mapping[str, bool]) -> tuple[str, ...]:
    """For people; files by their names in a package, since notes travel with what is captured."""
    why = "since the other branch raises or computes the same"
    return tuple(
        f"{_portable(line)}: `{_source(line)}` is taken to be {answer}, {why}" for line, answer in answers.items()
    )


def _portable(line: str) -> str:
    before, found, inside = line.rpartition("site-packages/")
    return inside if found else Path(before or line).name


Outcome = tuple[Any, dict[str, set[bool]], int]
"""What a module gives, the lines that asked with their answers, and how many functions were called."""


def _holds(
    module: torch.nn.Module,
    examples: list[Example],
    truth: list[Outcome],
    plain: list[Outcome],
    answers: Mapping[str, bool],
    line: str,
    answer: bool,
) -> bool:
    """Whether `answer` at `line` is right for values that say otherwise, or nothing else is possible there.

    `truth` is what the examples give by themselves, `plain` what they give with the `answers` so far.
    """
    shown = False
    for example, (wanted, _, _), (_, asked, before) in zip(examples, truth, plain, strict=True):
        if wanted is None or line not in asked:
            continue
        found, _, after = _outcome(module, example, {**answers, line: answer})
        if not _same(found, wanted):
            return False
        shown = shown or (asked[line] != {answer} and after > before)
    return shown or _raises(module, examples[0], {**answers, line: not answer}, line)


def _outcome(module: torch.nn.Module, example: Example, answers: Mapping[str, bool]) -> Outcome:
    """What the module gives, None where it raises, and the lines that asked beside those of `answers`."""
    mode = Answers(answers)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), undisturbed(module), mode:
            torch.manual_seed(0)
            args, kwargs = copied((example.args, example.kwargs))
            return pytree.tree_leaves(module(*args, **kwargs)), mode.met, mode.calls
    except Exception:  # whatever the model raises where it is sent the other way
        return None, mode.met, mode.calls


def _raises(module: torch.nn.Module, example: Example, answers: Mapping[str, bool], line: str) -> bool:
    """Whether the answers lead to a `raise` or `assert` of the function that asks: a check."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), undisturbed(module), Answers(answers):
            args, kwargs = copied((example.args, example.kwargs))
            module(*args, **kwargs)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        check = (last.line or "").startswith(("raise", "assert"))
        return check and last.filename == line.rpartition(":")[0]
    return False


def _same(found: Any, wanted: Any) -> bool:
    if found is None or len(found) != len(wanted):
        return False
    for a, b in zip(found, wanted, strict=True):
        if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
            if type(a) is not type(b):
                return False
            continue
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        if not b.is_floating_point():
            if not torch.equal(a, b):
                return False
            continue
        scale = float(torch.nan_to_num(b, posinf=0, neginf=0).abs().max()) if b.numel() else 0.0
        if not torch.allclose(a, b, rtol=0, atol=SAME * scale, equal_nan=True):
            return False
    return True


def _asking() -> str:
    """`file:line` outside of torch and of this file."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file != __file__ and not is_torchs(file):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _source(line: str) -> str:
    file, _, number = line.rpartition(":")
    return linecache.getline(file, int(number)).strip() if number.isdigit() else line
