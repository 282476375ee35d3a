"""Which part breaks first, at how many participants and trainings: `python -m benchmarks.scaling`.

Reads benchmarks/results.json, as `make bench` wrote it; computes, simulates, and writes the tables and pictures of
docs/scaling.md. The seeds are fixed: the same results give the same document. Takes about a minute.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import marked
from benchmarks.checkout import ROOT
from benchmarks.scaling import measured, pictures, scenarios
from benchmarks.scaling.days import PROFILES, Visit
from benchmarks.scaling.document import LONGER, Blocks
from benchmarks.scaling.layouts import DEFAULT, SERVER, first_to_carry

RESULTS = ROOT / "benchmarks" / "results.json"
DOCUMENT = ROOT / "docs" / "scaling.md"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="what was measured (default: %(default)s)")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="what is written (default: %(default)s)")
    options = parser.parse_args(arguments)
    rows = json.loads(options.results.read_text())["rows"]
    try:
        found = measured.read(rows)
    except measured.Missing as error:
        print(error, file=sys.stderr)
        return 1
    visit = Visit()
    blocks = Blocks(found, {row["id"]: row for row in rows}, visit, _simulated(found, visit), scenarios.checks(found))
    marked.write(options.document, {name: make() for name, make in blocks.makers().items()})
    takes_s = {"the default recipe, on one processor": found.training_s, **LONGER}
    pictures.draw(found, visit, takes_s, options.document.parent / "img")
    return 0


def _simulated(found: measured.Measured, visit: Visit) -> list[scenarios.Simulated]:
    return [
        scenarios.run(scenarios.Scenario(n, profile, layout), visit, found)
        for n in scenarios.PEOPLE
        for profile in PROFILES
        for layout in [first_to_carry((DEFAULT, SERVER), profile, n, visit, found)]
    ]


if __name__ == "__main__":
    sys.exit(main())
