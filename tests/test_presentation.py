"""Plots and HTML reports: complete, self-contained, escaped, and true to the numbers."""

from __future__ import annotations

import base64
import re
import struct
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pytorch_to_mlx.audio import Audio
from pytorch_to_mlx.errors import MissingDependencyError, ParityError
from pytorch_to_mlx.presentation import pieces, plots
from pytorch_to_mlx.presentation.html import Section, page, parity_html
from pytorch_to_mlx.report import CaseResult, Controls, ParityReport, TapResult
from pytorch_to_mlx.tasks import PitchTrack

NASTY = "<script src=https://evil.example/x.js></script>\"'&"
VOID = {"meta", "img", "rect", "line", "circle"}


def tap(name: str, error: float, limit: float = 1e-5, kind: str = "relative", **more) -> TapResult:
    fields = {"shape": (301, 360), "passed": error <= limit, "max_abs": 2 * error, "correlation": 0.99999998}
    return TapResult(name, kind, error=error, limit=limit, **{**fields, **more})


def report(*, failing: bool = False, name: str = "crepe") -> ParityReport:
    """Values as crepe's: relative, cents, exact and unjudged taps, floors, ties and partly recorded taps."""

    def case(title: str, scale: float) -> CaseResult:
        taps = (
            tap("frames", 1.2e-7 * scale, shape=(301, 1024), floor=9.1e-8),
            tap("conv1", 4.4e-7 * scale, shape=(4, 256, 128), floor=3.9e-7, compared="first 4 of 301"),
            tap("conv6_BN", 1.1e-6 * scale, shape=(4, 8, 64), floor=8.2e-7, compared="first 4 of 301"),
            tap("probabilities", (3e-3 if failing else 2.3e-6) * scale, floor=1.9e-6),
            tap("viterbi/bins", 0.0, 0.0, "exact", shape=(301,), correlation=1.0, ties=(17,)),
            tap("viterbi/pitch", 0.0031 * scale, 0.1, "cents", shape=(301,), floor=4e-6),
            tap("viterbi/periodicity", 0.0, shape=(301,), floor=1.2e-7),
            tap("embedding", 4e-6, float("inf"), "info", shape=(301, 8, 64)),
        )
        return CaseResult(title, taps, {"voiced_fraction": 0.62, "distinct_bins": 71.0})

    return ParityReport(
        model_type=name,
        variant="tiny",
        mode="float32",
        reference="torchcrepe 0.0.24",
        upstream={"torchcrepe": "0.0.24", "torch": "2.13.0+cpu"},
        checkpoint="4f3c" * 16,
        system={"mlx": "0.32.4", "device": "cpu", "on": "x86_64"},
        cases=(case("speechlike", 1.0), case("quiet", 1.7), case("short", 0.4)),
        controls=None if failing else Controls(40, ()),
    )


class Document(HTMLParser):
    """Elements with their attributes, text, and whether tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def assert_self_contained(text: str) -> None:
    for tag_name, attributes in Document(text).elements:
        assert tag_name not in ("script", "link", "iframe", "object", "embed", "base")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert not re.search(r"url\(|@import", text)


def test_parity_page_names_every_tap_and_case_with_its_numbers() -> None:
    text = parity_html(report())
    document = Document(text)
    for result in report().cases:
        assert result.name in document.text
        for each in result.taps:
            # Once among the worst cases and once in each case.
            assert text.count(f'<th scope="row">{each.name}</th>') == 1 + len(report().cases)
    for expected in (
        report().summary(),
        "torchcrepe 0.0.24, torch 2.13.0+cpu",
        "mlx 0.32.4",
        "4f3c" * 16,
        "40 parameters perturbed in turn: each moved a tap past its limit",
        "0.0053 cents",  # 0.0031 x 1.7, the worst case
        "0.1 cents",
        "equal (1 ties)",
        "301 × 360",
        "4 × 256 × 128, first 4 of 301",
        "voiced fraction 0.62",
    ):
        assert expected in document.text
    assert "differs" not in document.text
    assert_self_contained(text)


def test_a_failure_is_told_in_words_and_its_case_unfolded() -> None:
    document = Document(parity_html(report(failing=True)))
    assert "✗ crepe tiny (float32): first divergence in case speechlike at probabilities" in document.text
    assert document.text.count("✗ differs") == 4
    assert all("open" in attributes for attributes in document.all("details"))
    assert "open" not in Document(parity_html(report())).all("details")[0]


def bar_of(name: str, text: str) -> tuple[float, float, float | None]:
    """Bar's end, limit's and floor's place in a tap's first row."""
    row = text[text.index(f'<th scope="row">{name}</th>') :].split("</tr>")[0]
    end = float(re.findall(r'<rect class="(?:good|bad)" y="4" width="([\d.]+)"', row)[0])
    floor = re.findall(r'<circle class="floor" cx="([\d.]+)"', row)
    return end, float(re.findall(r'<line class="limit" x1="([\d.]+)"', row)[0]), float(floor[0]) if floor else None


def test_bars_end_at_the_logarithm_of_error_over_limit() -> None:
    text = parity_html(report())
    end, limit, floor = bar_of("probabilities", text)
    decade = (limit - end) / np.log10(1e-5 / (2.3e-6 * 1.7))
    assert decade == pytest.approx(32, abs=0.5)
    assert floor is not None and limit - floor == pytest.approx(decade * np.log10(1e-5 / 1.9e-6), abs=0.5)
    assert bar_of("viterbi/periodicity", text)[0] == 0
    assert bar_of("viterbi/pitch", text)[2] is None  # its floor is no number of cents
    failing = parity_html(report(failing=True))
    assert bar_of("probabilities", failing)[0] > limit
    with pytest.raises(IndexError):
        bar_of("viterbi/bins", text)


@pytest.mark.parametrize("error", [float("inf"), float("nan")])
def test_an_error_that_is_no_number_fills_the_bar(error: float) -> None:
    bad = ParityReport(
        **{**vars(report()), "cases": (CaseResult("c", (tap("x", error, passed=False, correlation=error),)),)}
    )
    assert bar_of("x", parity_html(bad))[0] == 160


def test_every_text_is_escaped() -> None:
    evil = TapResult(NASTY, "relative", (1,), 1.0, 1e-5, False, 1.0, 0.0, compared=NASTY)
    fields = {**vars(report(name=NASTY)), "cases": (CaseResult(NASTY, (evil,), {NASTY: 1.0}),)}
    fields |= {"variant": NASTY, "upstream": {NASTY: NASTY}, "checkpoint": NASTY, "reference": NASTY}
    audio = Audio(np.zeros(160, np.float32), 16000)
    sections = [
        Section(NASTY, pieces.paragraph(NASTY) + pieces.verdict(NASTY, True) + pieces.definitions({NASTY: NASTY})),
        Section("a", pieces.table((NASTY, NASTY), [(NASTY, NASTY)]) + pieces.image(b"", NASTY)),
        Section("b", pieces.heat_table([NASTY, "x"], np.eye(2), [NASTY, "x"], NASTY)),
        Section("c", pieces.players([(NASTY, NASTY, audio)])),
    ]
    for text in (parity_html(ParityReport(**fields)), page(NASTY, sections)):
        assert_self_contained(text)
        assert NASTY in Document(text).text
        assert "<script" not in text


def test_a_page_links_to_its_sections() -> None:
    document = Document(page("t", [Section("one", ""), Section("two", "")], lead="<p>lead</p>"))
    targets = {attributes["id"] for attributes in document.all("h2")}
    assert {(a["href"] or "").removeprefix("#") for a in document.all("a")} == targets
    assert len(targets) == 2 and "lead" in document.text
    policy = next(m["content"] for m in document.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'")


def test_heat_table_shows_numbers_and_frames_pairs_of_a_group() -> None:
    matrix = np.array([[1.0, 0.91, 0.33], [0.91, 1.0, 0.42], [0.33, 0.42, 1.0]])
    text = pieces.heat_table(["a 1", "a 2", "b"], matrix, ["a", "a", "b"], "who")
    document = Document(text)
    cells = document.all("td")[1:]
    assert [c.get("class") for c in cells] == ["self", "same", None, "same", "self", None, None, None, "self"]
    assert re.findall(r">(\d\.\d\d)</td>", text) == [f"{v:.2f}" for v in matrix.flatten()]
    least, greatest = cells[2], cells[1]
    assert (least["style"], greatest["style"]) == ("--cell:#f7fbff;color:#000", "--cell:#08306b;color:#fff")
    assert len([h for h in document.all("th") if h["scope"] == "col"]) == 3


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
    channels = np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_cells_of_every_level_are_readable() -> None:
    matrix = np.linspace(0, 1, 400).reshape(20, 20)
    text = pieces.heat_table([str(i) for i in range(20)], matrix, [str(i) for i in range(20)], "levels")
    shades = re.findall(r"--cell:(#\w+);color:(#\w+)", text)
    assert len(shades) == 380
    for background, colour in shades:
        pair = sorted((luminance(background), luminance(colour)))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5  # WCAG AA


def test_audio_in_the_page_decodes_to_the_samples() -> None:
    samples = 0.4 * np.sin(2 * np.pi * 220 * np.arange(8000) / 16000).astype(np.float32)
    source = Document(pieces.audio_player(Audio(samples, 16000), "tone")).all("audio")[0]["src"]
    assert source and source.startswith("data:audio/flac;base64,")
    decoded, rate = soundfile.read(BytesIO(base64.b64decode(source.partition(",")[2])), dtype="float32")
    assert rate == 16000
    assert np.abs(decoded - samples).max() <= 1 / 32768
    resampled = Document(pieces.audio_player(Audio(np.repeat(samples, 2), 32000), "tone")).all("audio")[0]["src"] or ""
    decoded, rate = soundfile.read(BytesIO(base64.b64decode(resampled.partition(",")[2])))
    assert (rate, len(decoded)) == (16000, 8000)


def track(voiced: list[bool]) -> PitchTrack:
    frames = len(voiced)
    return PitchTrack(np.arange(frames) * 0.01, np.linspace(100, 200, frames), np.where(voiced, 0.9, 0.05))


def test_pitch_is_drawn_in_voiced_frames_only_on_a_logarithmic_axis() -> None:
    audio = Audio(np.sin(np.arange(16000)).astype(np.float32), 16000)
    voiced = [False] * 20 + [True] * 60 + [False] * 20
    figure = plots.pitch_figure(audio, track(voiced), title="Anna", threshold=0.21)
    wave, strip, contour = figure.axes
    line = contour.lines[-1]
    assert np.isfinite(np.asarray(line.get_ydata())).tolist() == voiced
    assert contour.get_yscale() == "log"
    low, high = contour.get_ylim()
    assert low < 120 and high > 180
    assert wave.get_title(loc="left") == "Anna"
    assert {contour.get_ylabel(), wave.get_ylabel(), strip.get_ylabel(), strip.get_xlabel()} == {
        "pitch in Hz",
        "amplitude",
        "periodicity",
        "time in seconds",
    }
    assert strip.lines[0].get_ydata()[0] == 0.21  # type: ignore[index]


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">II", png[16:24])


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match="pip install matplotlib"):
        plots.pitch_plot(Audio(np.ones(9, np.float32), 9), track([True]), tmp_path / "p.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", [False, True])
def test_a_saved_report_reads_back_equal(failing: bool) -> None:
    assert ParityReport.from_json(report(failing=failing).to_json()) == report(failing=failing)


NEWER = report().to_json().replace(b'"format": 1', b'"format": 2')


@pytest.mark.parametrize("text", [b"", b"[]", NEWER, b'{"format": 1, "cases": 3}'])
def test_a_damaged_report_is_refused(text: bytes) -> None:
    with pytest.raises(ParityError, match=r"no parity report .* run pytorch-to-mlx validate"):
        ParityReport.from_json(text)


def test_plots_are_written_to_files_and_buffers(tmp_path: Path) -> None:
    audio = Audio(np.ones(200, np.float32), 16000)
    plots.pitch_plot(audio, track([False] * 3), tmp_path / "p.png", title="silence")
    buffer = BytesIO()
    plots.pitch_plot(audio, track([True] * 3), buffer)
    for png in ((tmp_path / "p.png").read_bytes(), buffer.getvalue()):
        assert size(png) == (1920, 800)


def test_tiles_show_figures_with_names_and_notes() -> None:
    text = pieces.tiles([("speed", "1.5", NASTY), ("memory", "2 GB", "at most")])
    document = Document(text)
    assert len(document.all("li")) == 2 and document.text == f"speed1.5{NASTY}memory2 GBat most"
    assert "<script" not in text
