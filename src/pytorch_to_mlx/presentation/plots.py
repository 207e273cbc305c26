"""Plots. matplotlib is optional and imported when something is drawn; it needs no display here."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.errors import MissingDependencyError
from pytorch_to_mlx.tasks import PitchTrack

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Target = str | Path | IO[bytes]

# From the palette of Okabe and Ito (2008), which colour-blind people can tell apart.
PITCH, PERIODICITY, WAVE, FAINT = "#D55E00", "#0072B2", "#B8C4CE", "#DDE3E8"
COLUMNS = 1600
TICKS = (30, 40, 50, 60, 80, 100, 125, 150, 200, 250, 300, 400, 500, 600, 800, 1000, 1500, 2000)
MIN_OCTAVES = 1.2
DPI = 160


def pitch_plot(audio: Audio, track: PitchTrack, path: Target, *, title: str = "", threshold: float = 0.21) -> None:
    """Draw a pitch contour over its waveform, with the periodicity below, as a PNG of 1920 x 800 pixels.

    Args:
        audio: the recording.
        track: its pitch. Frames whose periodicity is below `threshold` are unvoiced and not drawn.
        path: a file to write, or an open binary file.
        title: above the plot.
        threshold: periodicity in [0, 1].

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    pitch_figure(audio, track, title=title, threshold=threshold).savefig(path, format="png", dpi=DPI)


def pitch_figure(audio: Audio, track: PitchTrack, *, title: str, threshold: float) -> Figure:
    """The figure that `pitch_plot` writes."""
    figure = new_figure(12, 5)
    wave, strip = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    voiced = track.voiced(threshold)
    _draw_wave(wave, audio)
    contour = wave.twinx()  # drawn above the waveform; it comes with its ticks on the right
    for axes, side in ((wave, "right"), (contour, "left")):
        axes.yaxis.set_ticks_position(side)
        axes.yaxis.set_label_position(side)
    _draw_contour(contour, track, voiced)
    wave.set_title(title, loc="left", fontsize=13)
    _draw_periodicity(strip, track, voiced, threshold)
    strip.set_xlim(0, audio.seconds)
    strip.set_xlabel("time in seconds")
    return figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches; pyplot would keep it alive and look for a display.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    FigureCanvasAgg(figure)
    return figure


def _draw_wave(axes: Axes, audio: Audio) -> None:
    """The envelope: each column's least and greatest sample, scaled to fill the height."""
    step = max(1, audio.samples.size // COLUMNS)
    starts = np.arange(0, audio.samples.size, step)
    low, high = np.minimum.reduceat(audio.samples, starts), np.maximum.reduceat(audio.samples, starts)
    times = (starts + step / 2) / audio.rate
    axes.fill_between(times, low, high, color=WAVE, linewidth=0.4, edgecolor=WAVE)
    reach = 1.08 * max(float(np.abs(audio.samples).max()), 1e-6)
    axes.set_ylim(-reach, reach)
    axes.set_ylabel("amplitude", color="#5E6B76")
    axes.tick_params(axis="y", colors="#5E6B76")
    axes.tick_params(axis="x", length=0)


def _draw_contour(axes: Axes, track: PitchTrack, voiced: np.ndarray) -> None:
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

    axes.set_yscale("log")
    axes.set_ylabel("pitch in Hz", color=PITCH)
    axes.tick_params(axis="y", colors=PITCH)
    axes.yaxis.set_major_locator(FixedLocator(TICKS))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%d"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    pitch = np.where(voiced, track.pitch, np.nan)
    # A white rim lifts the line off the waveform; the dots keep single voiced frames visible.
    axes.plot(track.times, pitch, color="white", linewidth=5, solid_capstyle="round")
    axes.plot(track.times, pitch, color=PITCH, linewidth=2.4, marker="o", markersize=2.4, solid_capstyle="round")
    if not voiced.any():
        axes.set_ylim(50, 500)
        axes.text(0.5, 0.5, "no voiced frame", transform=axes.transAxes, ha="center", color=PITCH, fontsize=13)
        return
    low, high = np.log2([pitch[voiced].min(), pitch[voiced].max()])
    centre, reach = (low + high) / 2, max(high - low + 0.3, MIN_OCTAVES) / 2
    axes.set_ylim(2 ** (centre - reach), 2 ** (centre + reach))


def _draw_periodicity(axes: Axes, track: PitchTrack, voiced: np.ndarray, threshold: float) -> None:
    shown = np.where(voiced, track.periodicity, 0)
    axes.fill_between(track.times, track.periodicity, step="mid", color=FAINT, linewidth=0)
    axes.fill_between(track.times, shown, step="mid", color=PERIODICITY, linewidth=0)
    axes.axhline(threshold, color="black", linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_ylim(0, 1)
    axes.set_yticks([0, threshold, 1], ["0", f"{threshold:g}", "1"])
    axes.set_ylabel("periodicity", color=PERIODICITY)
