"""Plots of a race whose names and items are not what one hopes for."""

from __future__ import annotations

import base64
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_presentation import Document

from pytorch_to_mlx.benchmark import figures
from pytorch_to_mlx.benchmark.page import benchmark_html
from pytorch_to_mlx.benchmark.results import (
    AUDIO,
    COLD,
    FIRST,
    IMPORT,
    LATENCY,
    LOAD,
    PEAK,
    SPEED,
    Measured,
    Race,
    Reading,
)
from pytorch_to_mlx.presentation.plots import DPI

NASTY = "$\\frac{a_b^{$ and a name that is so long that there is no room for it"


def race(items: list[str]) -> Race:
    """Two contenders whose names differ at the end, at so many items."""
    found = Race("a $model$", "fakes", "text to speech", "first audio", items)
    for name in ("pytorch-to-mlx", NASTY):
        measured = Measured(name, 1000, {"gflops": [100.0], "device": "cpu", "preload": "", "about": NASTY})
        measured.add(Reading(m, item, 1.0) for m in (LATENCY, SPEED, FIRST, AUDIO) for item in items)
        measured.add(Reading(NASTY, item, 0.5, stage=True) for item in items)
        measured.add(Reading(m, "", 2.0) for m in (COLD, IMPORT, LOAD, PEAK))
        found.entrants.append(measured)
    return found


def size(png: bytes | None) -> tuple[int, int]:
    """Width and height of a PNG."""
    assert png
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.mark.filterwarnings("error")
def test_names_are_text_and_no_formulas() -> None:
    found = race([NASTY])
    for draw in (figures.speed, figures.start, figures.memory, figures.stages):
        assert size(draw(found))[0] == 12 * DPI
    assert NASTY in Document(benchmark_html(NASTY, [found], {}, {})).text


def test_many_items_stand_in_lines_of_four() -> None:
    one, two, three = (size(figures.speed(race([f"text {i}" for i in range(count)])))[1] for count in (4, 5, 9))
    assert one < two < three and two - one == pytest.approx(three - two, abs=2)


def test_names_lose_their_middle() -> None:
    short = figures._short(NASTY)
    assert len(short) == figures.NAME and short.startswith("$\\frac{a_b") and short.endswith("room for it")


def test_the_page_plays_at_the_rate_that_was_said(tmp_path: Path) -> None:
    found = race(["short"])
    soundfile.write(tmp_path / "said.wav", np.full(24000, 0.1), 24000)
    found.entrants[0].audio["short"] = tmp_path / "said.wav"
    (player,) = Document(benchmark_html("A page", [found], {}, {})).all("audio")
    decoded, rate = soundfile.read(BytesIO(base64.b64decode((player["src"] or "").partition(",")[2])))
    assert (rate, len(decoded)) == (24000, 24000)
