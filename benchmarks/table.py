"""Results as Markdown tables, and their place in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from measure import Measurement

START, END = "<!-- benchmarks/{} -->", "<!-- end of benchmarks/{} -->"


@dataclass(frozen=True)
class Row:
    """One contender's measurements, one a round; `counts_memory` is false for tools that hold nothing."""

    name: str
    rounds: list[Measurement]
    counts_memory: bool = True


@dataclass(frozen=True)
class Section:
    """Contenders at one task. The first is the yardstick of time; `unit` of so many bytes is that of memory."""

    title: str
    rows: list[Row]
    unit: str
    unit_bytes: int

    def ratios(self, row: Row) -> list[float]:
        """Each round's time as a multiple of the yardstick's in the same round."""
        pairs = zip(row.rounds, self.rows[0].rounds, strict=True)
        return [one.seconds / yardstick.seconds for one, yardstick in pairs]

    def memory(self, row: Row) -> float | None:
        """The most memory of any round, in `unit`."""
        peaks = [one.memory for one in row.rounds if one.memory is not None]
        return max(peaks) / self.unit_bytes if peaks and row.counts_memory else None

    def markdown(self) -> str:
        """The section as a table."""
        yardstick = self.rows[0].name
        head = [self.title, f"time / {yardstick}", "lowest and highest", f"peak memory / {self.unit}", "s", "import, s"]
        return "\n".join(map(line, [head, ["---", *["---:"] * 5], *self._cells()]))

    def _cells(self) -> Iterator[list[str]]:
        for row in self.rows:
            ratios, memory = self.ratios(row), self.memory(row)
            seconds = median(one.seconds for one in row.rounds)
            imports = median(one.import_seconds for one in row.rounds)
            yield [
                row.name,
                f"{median(ratios):.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                "" if memory is None else f"{memory:.2f}",
                f"{seconds:.2f}",
                f"{imports:.1f}" if row.counts_memory else "",
            ]


def update(document: Path, script: str, text: str) -> None:
    """Put what a script found between its markers in a document."""
    before, start, rest = document.read_text().partition(START.format(script))
    _, end, after = rest.partition(END.format(script))
    if not end:
        raise SystemExit(f"{document} has no {START.format(script)} and {END.format(script)}")
    document.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}")


def line(cells: Sequence[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"
