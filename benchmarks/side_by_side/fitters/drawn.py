"""Simulated studies as CSV files: `... FOLDER TRIALS [TRIALS ...]`.

People see two attacks at four strengths and as the same image twice, six times each, and four catch trials. Two studies
of each size: `study-TRIALS.csv` has so many main trials, and `crossed-TRIALS.csv` so many with an alteration, which are
those that the crossed models are fitted to.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.calibrate.scenarios import SCENARIOS
from study.analysis import frames

SEED = 8
#: Main trials of one person, and those of them with an alteration.
MAIN, ALTERED = 60, 48


def draw(people: int) -> bytes:
    """The trial table of a study whose truth is that of the golden data, as CSV."""
    scenario = next(each for each in SCENARIOS if each.name == "threshold")
    return frames.to_csv(replace(scenario, participants=people).draw(0, SEED, 1).table(0))


def main(folder: Path, sizes: list[int]) -> None:
    for trials in sizes:
        (folder / f"study-{trials}.csv").write_bytes(draw(trials // MAIN))
        (folder / f"crossed-{trials}.csv").write_bytes(draw(trials // ALTERED))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(trials) for trials in sys.argv[2:]])
