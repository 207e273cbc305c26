"""TorchScript as plain modules: equal to what torch's own interpreter does, and exportable."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as symbolic
from torch.nn import functional as F  # noqa: N812

from pytorch_to_mlx.capture.recurrent_shapes import any_number_of_steps
from pytorch_to_mlx.capture.torchscript import module_of_script
from pytorch_to_mlx.errors import CaptureError


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, x: Tensor, scale: float = 0.5) -> Tensor:
        return x + F.gelu(self.linear(self.norm(x))) * scale


class Everything(nn.Module):
    """Loops, branches, lists, dicts, tuples, strings, optional values, methods and functions."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(8) for _ in range(3)])
        self.conv, self.lstm = nn.Conv1d(8, 8, 3, padding=1), nn.LSTM(8, 8, batch_first=True)
        self.register_buffer("offset", torch.randn(8))
        self.names = ["first", "second"]

    def mixed(self, x: Tensor, weights: list[float]) -> Tensor:
        total = torch.zeros_like(x)
        for place, weight in enumerate(weights):
            if place % 2 == 0:
                total = total + weight * x
            else:
                total -= weight * x.flip(1)
        return total

    def forward(self, x: Tensor, mode: str = "long", mask: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        batch, steps, width = x.shape
        outs: dict[str, Tensor] = {}
        kept = []
        for block in self.blocks:
            x = block(x, 0.25)
            kept.append(x)
        if mode == "long" and steps > 2:
            x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        if mask is not None:
            x = x.masked_fill(mask, 0.0)
        x = self.mixed(x, [1.0, 0.5, 0.25])
        y, (h, _) = self.lstm(x)
        while len(kept) > 1:
            last = kept.pop()
            kept[0] = kept[0] + last
        outs[self.names[0]] = kept[0].to(torch.float32).view(batch, -1, width // 2)
        outs["size"] = torch.cat([h[0], self.offset.expand(batch, -1)], dim=-1).softmax(-1)  # pyright: ignore
        return y + self.offset, outs


def flat(result: tuple[Tensor, dict[str, Tensor]]) -> list[Tensor]:
    return [result[0], *result[1].values()]


@pytest.mark.parametrize("steps", [2, 5])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_script_does_the_same(steps: int, frozen: bool) -> None:
    torch.manual_seed(0)
    script = torch.jit.script(Everything().eval())
    if frozen:
        script = torch.jit.freeze(script)
    module, x = module_of_script(script), torch.randn(2, steps, 8)
    for more in ((), ("short",), ("long", torch.rand(2, steps, 1) > 0.5)):
        for mine, theirs in zip(flat(module(x, *more)), flat(script(x, *more)), strict=True):
            torch.testing.assert_close(mine, theirs)


def test_a_script_is_exported_with_its_modules() -> None:
    torch.manual_seed(0)
    script = torch.jit.script(Everything().eval())
    module, x = module_of_script(script), torch.randn(2, 5, 8)
    assert dict(module.state_dict()).keys() == dict(script.state_dict()).keys()
    auto = torch.export.Dim.AUTO
    limit: Any = symbolic
    with limit.patch(backed_size_oblivious=True), any_number_of_steps():
        exported = torch.export.export(module, (x,), dynamic_shapes=((auto, auto, auto),))
    longer = torch.randn(3, 9, 8)
    for mine, theirs in zip(flat(exported.module()(longer)), flat(script(longer)), strict=True):
        torch.testing.assert_close(mine, theirs)
    stacks = [node.meta.get("nn_module_stack", {}) for node in exported.graph.nodes]
    kinds = {path: kind for stack in stacks for path, kind in stack.values()}
    assert kinds["blocks.1"].endswith("Block") and kinds["blocks.1.norm"] == "torch.nn.modules.normalization.LayerNorm"


def test_a_trace_keeps_its_sizes_symbolic() -> None:
    class Folded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(x.shape[0] * 2, x.shape[1] // 2, -1).sum(-1) / x.shape[1]

    x = torch.randn(3, 4, 6)
    script: Any = torch.jit.trace(Folded(), (x,))
    module = module_of_script(script)
    auto = torch.export.Dim.AUTO
    exported = torch.export.export(module, (x,), dynamic_shapes=((auto, auto, auto),))
    other = torch.randn(5, 8, 6)
    torch.testing.assert_close(exported.module()(other), script(other))


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.state = torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        if len(self.state) == 0:
            self.state = torch.zeros_like(x)
        before = self.state
        self.state = before * 0.5 + x
        return before + self.state


def test_state_is_kept_from_call_to_call() -> None:
    script = torch.jit.script(Counter())
    module, x = module_of_script(script), torch.randn(4)
    for _ in range(3):
        torch.testing.assert_close(module(x), script(x))
    exported = torch.export.export(module, (x,)).module()
    for _ in range(3):
        torch.testing.assert_close(exported(x), script(x))


def test_a_branch_on_data_is_told_with_its_line() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if bool(x.sum() > 0):
                return x
            return -x

    module = module_of_script(torch.jit.script(Branch()))
    with pytest.raises(Exception, match=r"data-dependent|Could not guard") as raised:
        torch.export.export(module, (torch.ones(3),))
    assert "test_torchscript.py" in "".join(getattr(raised.value, "__notes__", []))


def test_what_a_script_raises_is_told() -> None:
    class Strict(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.dim() != 2:
                raise ValueError("two axes, please")
            return x

    with pytest.raises(CaptureError, match=r"two axes, please.*test_torchscript.py"):
        module_of_script(torch.jit.script(Strict()))(torch.ones(3))
