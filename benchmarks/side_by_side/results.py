"""What was measured, kept: benchmarks/results.json, and the tables and pictures of docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import marked
from benchmarks.checkout import ROOT, commit
from benchmarks.side_by_side.costs import Cost
from benchmarks.side_by_side.findings import Curve, Findings
from benchmarks.side_by_side.pictures import draw_curve, draw_headroom
from benchmarks.side_by_side.rows import Row, table, table_of_costs
from models.durable import write_bytes

RESULTS = ROOT / "benchmarks" / "results.json"
DOCUMENT = ROOT / "docs" / "benchmarks.md"


def record(section: str, found: Findings) -> None:
    """Keep a section's rows and curves in place of those it had, and show them where the document has its place."""
    before = load()
    here = {"section": section, "commit": commit(), "measured": time.strftime("%Y-%m-%d")}
    rows = [row for row in before["rows"] if row["section"] != section]
    curves = [curve for curve in before["curves"] if curve["section"] != section]
    content = {
        "machine": machine(),
        "commit": here["commit"],
        "rows": rows + [asdict(row) | here for row in found.rows],
        "curves": curves + [asdict(curve) | {"section": section} for curve in found.curves],
    }
    write_bytes(RESULTS, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    _show(section, found)
    draw_headroom([_row(row) for row in content["rows"]], DOCUMENT.parent / "img" / "bench-bars.svg")


def load() -> dict[str, Any]:
    """What is recorded; nothing when there is no record yet."""
    if not RESULTS.exists():
        return {"rows": [], "curves": []}
    content: dict[str, Any] = json.loads(RESULTS.read_text())
    return content


def recorded_row(id: str) -> Row | None:
    """One row of the record, by its name."""
    found = next((row for row in load()["rows"] if row["id"] == id), None)
    return _row(found) if found else None


def _row(content: Mapping[str, Any]) -> Row:
    fields = {name: value for name, value in content.items() if name in Row.__dataclass_fields__}
    costs = {who: Cost(**cost) for who, cost in content["costs"].items()}
    return Row(**fields | {"costs": costs, "spread": content["spread"] and tuple(content["spread"])})


def _show(section: str, found: Findings) -> None:
    """Put a section's tables between its two marks in the document, and draw its curves.

    Raises ValueError when the document has no place for it.
    """
    parts = [f"{machine()}, commit {commit()}.", table(found.rows), *(_drawn(curve) for curve in found.curves)]
    if any(row.costs for row in found.rows):
        parts.append(f"What each took:\n\n{table_of_costs(found.rows)}")
    marked.write(DOCUMENT, {section: "\n\n".join(part.strip() for part in parts)})


def _drawn(curve: Curve) -> str:
    path = DOCUMENT.parent / "img" / f"bench-{curve.id}.svg"
    draw_curve(curve, path)
    return f"![{curve.title}](img/{path.name})"


def machine() -> str:
    """What it was measured on, in words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2].strip() for line in lines if "model name" in line), platform.machine())
    return f"{os.cpu_count()} virtual cores of {model}, Python {platform.python_version()}"
