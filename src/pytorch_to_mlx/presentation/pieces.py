"""Pieces of HTML. Each escapes the text that it is given, and none loads anything from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO

import numpy as np

from pytorch_to_mlx.audio import Audio

PLAYER_RATE = 16000


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def verdict(text: str, good: bool) -> str:
    """A line that stands out: its mark tells good from bad without its colour."""
    return f'<p class="verdict {"good" if good else "bad"}">{"✓" if good else "✗"} {escape(text)}</p>'


def definitions(values: Mapping[str, str]) -> str:
    """Names and what they are, as plain text."""
    return f"<dl>{''.join(f'<dt>{escape(k)}</dt><dd>{escape(v)}</dd>' for k, v in values.items())}</dl>"


def tiles(items: Iterable[tuple[str, str, str]]) -> str:
    """The few figures that matter most, large: each with its name and a note."""
    return (
        '<ul class="tiles">'
        + "".join(
            f"<li><span>{escape(name)}</span><strong>{escape(figure)}</strong><span>{escape(note)}</span></li>"
            for name, figure, note in items
        )
        + "</ul>"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text; the first column names the rows, the others are numbers."""
    first, *rest = head
    names = f'<th scope="col">{escape(first)}</th>' + "".join(
        f'<th scope="col" class="number">{escape(cell)}</th>' for cell in rest
    )
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f'<td class="number">{escape(cell)}</td>' for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    return scrolling(f"<table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table>", first)


def heat_table(labels: Sequence[str], matrix: np.ndarray, groups: Sequence[str], caption: str) -> str:
    """A symmetric matrix as a table whose cells are coloured by value; pairs within a group are framed.

    Args:
        labels: of rows and columns.
        matrix: (n, n); its diagonal is trivial and shown without colour.
        groups: which group each label belongs to.
        caption: plain text above the table.
    """
    off_diagonal = matrix[~np.eye(len(labels), dtype=bool)]
    low, high = (float(off_diagonal.min()), float(off_diagonal.max())) if off_diagonal.size else (0.0, 1.0)
    columns = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
    rows = []
    for i, label in enumerate(labels):
        cells = []
        for j, value in enumerate(matrix[i]):
            if i == j:
                cells.append(f'<td class="self">{value:.2f}</td>')
                continue
            background, text = _shade((float(value) - low) / max(high - low, 1e-9))
            kind = ' class="same"' if groups[i] == groups[j] else ""
            hint = escape(f"{label}, {labels[j]}: {value:.4f}")
            style = f"--cell:{background};color:{text}"
            cells.append(f'<td{kind} style="{style}" title="{hint}">{value:.2f}</td>')
        rows.append(f'<tr><th scope="row">{escape(label)}</th>{"".join(cells)}</tr>')
    return scrolling(
        f'<table class="heat"><caption>{escape(caption)}</caption><thead><tr><td></td>{columns}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>",
        caption,
    )


def _shade(level: float) -> tuple[str, str]:
    """Background and text colour of a level in [0, 1]: one hue, light to dark."""
    stops = np.array([[247, 251, 255], [158, 202, 225], [49, 130, 189], [8, 48, 107]], dtype=float)
    place = min(max(level, 0.0), 1.0) * (len(stops) - 1)
    below = min(int(place), len(stops) - 2)
    red, green, blue = (stops[below] + (place - below) * (stops[below + 1] - stops[below])).round().astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}", "#fff" if level > 0.7 else "#000"


def players(items: Iterable[tuple[str, str, Audio]], rate: int | None = PLAYER_RATE) -> str:
    """Recordings to listen to at a rate, or each at its own if None; each with a name and a note."""
    return (
        '<ul class="players">'
        + "".join(
            f"<li><strong>{escape(name)}</strong>{audio_player(audio, name, rate)}<p>{escape(note)}</p></li>"
            for name, note, audio in items
        )
        + "</ul>"
    )


def audio_player(audio: Audio, name: str, rate: int | None = PLAYER_RATE) -> str:
    """A player of the recording at a rate, or its own if None, which is inside the page as 16-bit FLAC."""
    import soundfile

    buffer = BytesIO()
    played = audio if rate is None else audio.resampled(rate)
    soundfile.write(buffer, played.samples.clip(-1, 1), played.rate, format="FLAC", subtype="PCM_16")
    source = _data_uri("audio/flac", buffer.getvalue())
    return f'<audio controls preload="metadata" aria-label="{escape(name)}" src="{source}"></audio>'


def image(png: bytes, description: str) -> str:
    """A picture, which is inside the page."""
    return f'<img src="{_data_uri("image/png", png)}" alt="{escape(description)}">'


def scrolling(body: str, label: str) -> str:
    """HTML that scrolls sideways by itself where the screen is narrow, with the keyboard too."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">{body}</div>'


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"
