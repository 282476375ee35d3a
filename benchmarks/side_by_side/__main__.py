"""Ours and what people would use instead, in alternation: `python -m benchmarks.side_by_side [--rounds 3]`.

Writes benchmarks/results.json and the table of docs/benchmarks.md. Wall-clock figures mean something on a machine that
has nothing else to do; ratios and CPU times also elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.checkout import ROOT, commit
from benchmarks.side_by_side import answers
from benchmarks.side_by_side.rows import Row, table
from models.durable import write_bytes

RESULTS = ROOT / "benchmarks" / "results.json"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.side_by_side", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=3, help="of every contender (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one run (default: %(default)g)")
    parser.add_argument("--keep", action="store_true", help="print only; leave the recorded results as they are")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="blindspot-bench-") as folder:
        rows = answers.measure(Path(folder), options.rounds, options.seconds, print)
    print(table(rows))
    if not options.keep:
        record(rows)
    return 0 if all(row.ok for row in rows) else 1


def record(rows: Sequence[Row]) -> None:
    """Keep the rows, and put their table where the document has its place for it."""
    content = {"machine": machine(), "commit": commit(), "rows": [asdict(row) for row in rows]}
    write_bytes(RESULTS, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    text = DOCUMENT.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    measured = f"{BEGIN}\n{machine()}, commit {content['commit']}.\n\n{table(rows)}{END}"
    write_bytes(DOCUMENT, (before + measured + after).encode())


def machine() -> str:
    """What it was measured on, in words."""
    model = next(
        (
            line.partition(": ")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} virtual cores of {model}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
