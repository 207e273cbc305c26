"""cli/output: a bar for what is counted now."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from pytorch_to_mlx.cli.output import count_progress


def test_a_bar_goes_on_where_another_was_between(monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[Any] = []

    class Bar:
        def __init__(self, desc: str = "", total: int = 0, initial: int = 0, **_: Any) -> None:
            self.desc, self.total, self.n, self.closed = desc, total, initial, False
            bars.append(self)

        def update(self, count: int) -> None:
            assert not self.closed, "a closed bar shows nothing"
            self.n += count

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr("tqdm.tqdm", Bar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with count_progress() as progress:
        progress("runs", 1, 4)
        progress("runs", 2, 4)
        progress("files", 1, 2)
        progress("runs", 3, 9)
    shown = [(bar.desc, bar.n, bar.total) for bar in bars if bar.desc]
    assert shown == [("runs", 2, 4), ("files", 1, 2), ("runs", 3, 9)] and all(bar.closed for bar in bars)
