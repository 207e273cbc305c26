"""docs/chatterbox.md: every symbol that its tables name exists, and every tap was found equal to upstream's.

The live test hands `unproven` the reports it has just written; here it gets those of the last live run, which are
committed.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "chatterbox.md"
EVIDENCE = sorted((ROOT / "docs" / "parity").glob("chatterbox-*.json"))
VARIANTS = ("english", "turbo", "multilingual")
HEADER = ["upstream", "here", "proven by", "note"]
CHECKLIST = 182
"""Rows of the checklist that the project started from; some are one row here, some several."""

_TAP = re.compile(rf"(?:({'|'.join(VARIANTS)}) )?(\w+/\S+): (\S+)")


@dataclass(frozen=True)
class Row:
    """One component.

    Attributes:
        section: the heading above its table.
        upstream: its name there.
        here: import paths `package.module:Symbol.method`.
        proofs: `[VARIANT] CASE: TAP`, each of the last two perhaps a pattern, or `tests/FILE.py::TEST`.
    """

    section: str
    upstream: str
    here: tuple[str, ...]
    proofs: tuple[str, ...]

    @property
    def taps(self) -> list[str]:
        return [proof for proof in self.proofs if "::" not in proof]


def table_rows(text: str) -> list[Row]:
    """The components of all tables with the header `HEADER`; other tables and code blocks are passed over."""
    rows: list[Row] = []
    section, inside = "", False
    for line in re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if line.startswith("#"):
            section = line.lstrip("# ")
        if not cells:
            inside = False
        elif cells == HEADER:
            inside = True
        elif inside and not set(line) <= set("|- "):
            assert len(cells) == len(HEADER), f"{section}: {line}"
            rows.append(Row(section, cells[0], _quoted(cells[1]), _quoted(cells[2])))
    return rows


def _quoted(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", cell))


def unproven(table_rows: Iterable[Row], parity_json_paths: Sequence[Path]) -> list[str]:
    """What no report bears out, one line for each tap: it is not there, has no bar, or does not hold.

    Args:
        table_rows: of the page.
        parity_json_paths: reports as `validate` writes them, of any number of variants. A tap that names no variant
            must be in one of them, and hold wherever it is.
    """
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in parity_json_paths]
    lines = []
    for row in table_rows:
        for proof in row.taps:
            if (lack := _lack(proof, reports)) is not None:
                lines.append(f"{row.section}, {row.upstream}: {proof} {lack}")
    return lines


def _lack(proof: str, reports: Sequence[dict[str, Any]]) -> str | None:
    matched = _TAP.fullmatch(proof)
    if matched is None:
        return "is no tap ([VARIANT] CASE: TAP)"
    variant, case_pattern, tap_pattern = matched.groups()
    found = [
        tap
        for report in reports
        if variant in (None, report["variant"])
        for case in report["cases"]
        if fnmatchcase(case["name"], case_pattern)
        for tap in case["taps"]
        if fnmatchcase(tap["name"], tap_pattern)
    ]
    if not found:
        return f"is in no report of {', '.join(report['variant'] for report in reports) or 'none'}"
    if any(tap["kind"] == "info" for tap in found):
        return "has no bar"
    return None if all(tap["passed"] for tap in found) else "does not hold"


ROWS = table_rows(PAGE.read_text(encoding="utf-8"))


def test_every_component_has_a_place_and_a_proof() -> None:
    assert len(ROWS) >= CHECKLIST
    assert [row for row in ROWS if not re.search(r"\w", row.upstream)] == []
    assert [row.upstream for row in ROWS if not row.here or not row.proofs] == []


def test_no_row_is_there_twice() -> None:
    named = Counter((row.section, row.upstream) for row in ROWS)
    assert [key for key, count in named.items() if count > 1] == []


def exists(path: str) -> bool:
    """Whether an import path `module:Symbol.method` leads anywhere."""
    module, _, symbol = path.partition(":")
    found: Any = importlib.import_module(module)
    for name in symbol.split("."):
        if not hasattr(found, name):
            return name in getattr(found, "__annotations__", {})  # a field of a dataclass
        found = getattr(found, name)
    return True


def test_every_symbol_exists() -> None:
    assert [path for row in ROWS for path in row.here if not exists(path)] == []
    assert exists("pytorch_to_mlx.report:ParityReport.cases")
    assert not exists("pytorch_to_mlx.report:ParityReport.case") and not exists("pytorch_to_mlx.report:")


def test_every_named_test_exists() -> None:
    named = sorted({proof for row in ROWS for proof in row.proofs if "::" in proof})
    for file in {path.partition("::")[0] for path in named}:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        tests = {f"{file}::{node.name}" for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert [path for path in named if path.startswith(f"{file}::") and path not in tests] == []


def test_every_tap_is_in_a_report_and_holds() -> None:
    """Reports are those that the live test (`make parity`) wrote last."""
    assert {path.stem.removeprefix("chatterbox-") for path in EVIDENCE} == set(VARIANTS)
    assert unproven(ROWS, EVIDENCE) == []


def test_a_claim_without_evidence_is_told(tmp_path: Path) -> None:
    taps = [
        {"name": "mel", "kind": "relative", "passed": True},
        {"name": "wav", "kind": "info", "passed": True},
        {"name": "encoder", "kind": "relative", "passed": False},
    ]
    report = tmp_path / "parity.json"
    report.write_text(json.dumps({"variant": "turbo", "cases": [{"name": "flow/short", "taps": taps}]}))

    def told(proof: str) -> list[str]:
        row = Row("Flow", "`flow`", ("pytorch_to_mlx:load",), (proof, "tests/test_flow.py::test_nothing"))
        return [line.removeprefix(f"Flow, `flow`: {proof} ") for line in unproven([row], [report])]

    assert told("flow/short: mel") == told("turbo flow/*: me?") == []
    assert told("flow/short: wav") == ["has no bar"]
    assert told("flow/short: encoder") == told("flow/short: *[lr]") == ["does not hold"]
    assert told("flow/short: decoder") == told("english flow/short: mel") == ["is in no report of turbo"]
    assert told("mel") == ["is no tap ([VARIANT] CASE: TAP)"]


def test_tables_are_read_as_they_are_written() -> None:
    text = "\n".join(
        [
            "## Flow",
            "```",
            "| upstream | here | proven by | note |",
            "| `inside a code block` | `a:b` | `flow/short: mel` | |",
            "```",
            "| model | size |",
            "| --- | --- |",
            "| another table | 3 |",
            "",
            "| upstream | here | proven by | note |",
            "| --- | --- | --- | --- |",
            "| `Flow` | `a.b:C.d` `a.b:E` | `turbo flow/short: mel` `tests/test_flow.py::test_x` | one of `two` |",
        ]
    )
    proofs = ("turbo flow/short: mel", "tests/test_flow.py::test_x")
    assert table_rows(text) == [Row("Flow", "`Flow`", ("a.b:C.d", "a.b:E"), proofs)]
