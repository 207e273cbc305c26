"""Reports as one self-contained HTML file each: the page, and the section that shows a parity report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from pytorch_to_mlx.presentation.pieces import definitions, paragraph, scrolling, verdict
from pytorch_to_mlx.report import CaseResult, ParityReport, TapResult, error_text, limit_text, worst_taps

# The bars show error over limit, from a ten-thousandth of the limit to ten times it.
DECADES_BELOW, DECADES_ABOVE = 4, 1
BAR_WIDTH, BAR_HEIGHT, FLOOR_RADIUS = 160, 16, 3.5

_KEYS = {
    '<rect class="good" y="4" width="16" height="8"/>': "our error, on a scale of powers of ten",
    '<line class="limit" x1="8" x2="8" y1="0" y2="16"/>': "what is allowed",
    '<circle class="floor" cx="8" cy="8" r="4"/>': "upstream in float32 against itself in float64",
}
LEGEND = "".join(
    f'<span><svg class="bar" viewBox="0 0 16 16" aria-hidden="true">{shape}</svg>{text}</span>'
    for shape, text in _KEYS.items()
)


@dataclass(frozen=True)
class Section:
    """A part of a page. `title` is text; `body` is HTML, made of `pieces`."""

    title: str
    body: str


def page(title: str, sections: Sequence[Section], *, lead: str = "") -> str:
    """A whole page: title, `lead` (HTML), links to the sections if there are several, and the sections."""
    style = (files("pytorch_to_mlx.presentation") / "style.css").read_text(encoding="utf-8")
    links = "".join(f'<li><a href="#s{i}">{escape(s.title)}</a></li>' for i, s in enumerate(sections))
    nav = f'<nav aria-label="Contents"><ul>{links}</ul></nav>' if len(sections) > 1 else ""
    body = "".join(
        f'<section aria-labelledby="s{i}"><h2 id="s{i}">{escape(s.title)}</h2>{s.body}</section>\n'
        for i, s in enumerate(sections)
    )
    # The policy makes the browser itself refuse whatever would load something.
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>{lead}{nav}</header>
<main>
{body}</main>
</body>
</html>
"""


def parity_html(report: ParityReport) -> str:
    """The page of one parity report."""
    return page(f"{report.model_type} {report.variant} in MLX", [parity_section(report)])


def parity_section(report: ParityReport) -> Section:
    """Verdict, each tap's worst case with its distance to the limit, then every case to unfold."""
    worst = worst_taps(report)
    barred = any(_has_bar(tap) for _, tap in worst)
    parts = [
        verdict(report.summary(), report.passed),
        definitions(
            {
                "reference": report.reference,
                "judged by": _pairs(report.upstream),
                "computed with": _pairs(report.system),
                "checkpoint": f"sha256 {report.checkpoint}",
                "controls": _controls_text(report),
            }
        ),
        f'<p class="legend">{LEGEND}</p>' if barred else "",
        _tap_table(worst, "each tap's worst case"),
        *(_case(case) for case in report.cases),
    ]
    return Section(f"Parity of {report.model_type} {report.variant}", "".join(parts))


def _pairs(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _controls_text(report: ParityReport) -> str:
    if report.controls is None:
        return "not run"
    unmoved = report.controls.unmoved
    found = f"NO TAP NOTICED {', '.join(unmoved)}" if unmoved else "each moved a tap past its limit"
    rest = f"; {report.controls.left_alone} left alone" if report.controls.left_alone else ""
    return f"{report.controls.perturbed} parameters perturbed in turn: {found}{rest}"


def _case(case: CaseResult) -> str:
    state = f"first divergence at {case.first_divergence}" if case.first_divergence else "all hold"
    alive = ""
    if case.alive:
        measures = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in case.alive.items())
        alive = paragraph(f"How much this input exercises: {measures}.")
    rows = [(case.name, tap) for tap in case.taps]
    taps = _tap_table(rows, "in order of execution", detail=True) if rows else ""
    summary = f"<strong>{escape(case.name)}</strong>: {len(rows)} taps, {escape(state)}"
    unfolded = " open" if case.first_divergence else ""
    return f"<details{unfolded}><summary>{summary}</summary>{alive}{taps}</details>"


def _tap_table(taps: Iterable[tuple[str, TapResult]], caption: str, *, detail: bool = False) -> str:
    """One row a tap. `detail` tells shapes and absolute errors where the case need not be told."""
    last = ["shape", "largest difference"] if detail else ["worst case"]
    head = ["tap", "error", "allowed", "error / allowed", "verdict", "upstream's own", "correlation", *last]
    rows = []
    for case, tap in taps:
        shape = (" × ".join(map(str, tap.shape)) or "scalar") + (f", {tap.compared}" if tap.compared else "")
        state, mark = _mark(tap)
        cells = [
            escape(error_text(tap)),
            escape(limit_text(tap)),
            _bar(tap) if _has_bar(tap) else "",
            f'<span class="{state}">{mark}</span>',
            "" if tap.floor is None else f"{tap.floor:.1e}",
            f"{tap.correlation:.7f}",
            *map(escape, (shape, f"{tap.max_abs:.1e}") if detail else (case,)),
        ]
        body = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row">{escape(tap.name)}</th>{body}</tr>')
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    title = f"<caption>{escape(caption)}</caption><thead><tr>{columns}</tr></thead>"
    return scrolling(f"<table>{title}<tbody>{''.join(rows)}</tbody></table>", caption)


def _mark(tap: TapResult) -> tuple[str, str]:
    """Class and words of a tap's verdict."""
    if tap.kind == "info":
        return "quiet", "not judged"
    return ("good", "✓ holds") if tap.passed else ("bad", "✗ differs")


def _has_bar(tap: TapResult) -> bool:
    return tap.kind in ("relative", "cents") and tap.limit > 0


def _bar(tap: TapResult) -> str:
    """Error over limit as a bar that ends at the limit's line if it is just allowed."""
    ratio, limit = tap.error / tap.limit, _place(1)
    told, floor = f"error {_times(ratio)} the limit", ""
    if tap.floor is not None and tap.kind == "relative":
        told += f"; upstream's own {_times(tap.floor / tap.limit)} the limit"
        place = max(_place(tap.floor / tap.limit), FLOOR_RADIUS)
        floor = f'<circle class="floor" cx="{place:.1f}" cy="{BAR_HEIGHT / 2:g}" r="{FLOOR_RADIUS}"/>'
    state = "good" if tap.passed else "bad"
    return (
        f'<svg class="bar" viewBox="0 0 {BAR_WIDTH} {BAR_HEIGHT}" role="img" aria-label="{escape(told)}">'
        f"<title>{escape(told)}</title>"
        f'<rect class="track" x="0.5" y="3.5" width="{BAR_WIDTH - 1}" height="9"/>'
        f'<rect class="{state}" y="4" width="{_place(ratio):.1f}" height="8"/>'
        f'<line class="limit" x1="{limit:g}" x2="{limit:g}" y1="0" y2="{BAR_HEIGHT}"/>{floor}</svg>'
    )


def _place(ratio: float) -> float:
    """Where a multiple of the limit lies on the bar, from 0 to its width."""
    if not ratio > 0:
        return 0.0 if ratio == 0 else BAR_WIDTH
    decades = DECADES_BELOW + math.log10(ratio) if math.isfinite(ratio) else math.inf
    return BAR_WIDTH * min(max(decades / (DECADES_BELOW + DECADES_ABOVE), 0.0), 1.0)


def _times(ratio: float) -> str:
    return "not a number beside" if math.isnan(ratio) else f"{ratio:.2g} times"
