"""Ours and what people would use instead, in alternation: `python -m benchmarks.side_by_side [SECTION ...]`.

Writes benchmarks/results.json and the tables and pictures of docs/benchmarks.md; rows of sections not asked for stay as
they were recorded. Wall-clock figures mean something on a machine that has nothing else to do; ratios and
CPU times also elsewhere.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.side_by_side import (
    analysing,
    answers,
    arrivals,
    attacking,
    contending,
    growing,
    images,
    rendering,
    results,
    starting,
    training,
    warping,
)
from benchmarks.side_by_side.findings import Effort, Findings
from benchmarks.side_by_side.rows import table

#: In the order of the document.
SECTIONS: Mapping[str, Callable[[Effort], Findings]] = {
    "answers": answers.measure,
    "arrivals": arrivals.measure,
    "images": images.measure,
    "warping": warping.measure,
    "training": training.measure,
    "attacking": attacking.measure,
    "rendering": rendering.measure,
    "analysing": analysing.measure,
    "starting": starting.measure,
    "growing": growing.measure,
    "contending": contending.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.side_by_side", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"what to measure: {', '.join(SECTIONS)} (default: all of it)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of every contender (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one run (default: %(default)g)")
    parser.add_argument("--keep", action="store_true", help="print only; leave the recorded results as they are")
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"There is no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}.")
    missed = False
    for name in options.sections or SECTIONS:
        with tempfile.TemporaryDirectory(prefix="blindspot-bench-") as folder:
            found = SECTIONS[name](Effort(Path(folder), options.rounds, options.seconds, _tell, options.keep))
        print(f"\n{name}\n{table(found.rows)}", flush=True)
        missed |= any(row.ok is False for row in found.rows)
        if not options.keep:
            results.record(name, found)
    return 1 if missed else 0


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
