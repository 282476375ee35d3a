"""Does the loop hold on photographs of eight people? `python -m benchmarks.bench_strips FILE.npz`.

FILE.npz, or the file that BLINDSPOT_STRIPS names, holds images, uint8 (855, 25, 50, 3), and pitchyaw, in the order in
which they were published. It names no people: `RECORDINGS` tells them apart by looks, and puts together what may be one
person. The file goes through the import and is split twice: by people (two for the test, one for choosing the
checkpoint), and by runs of neighbouring images of known people. Trains a clean and a backdoored model for each of three
splits, networks and warp fields; prints every figure; writes var/bench/strips-*.json. Finished runs are kept by what
was asked of them, interrupted ones go on where they were.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.bench_photographs import CASES, RECIPE, Case, Photographs, print_table, run, write_report
from benchmarks.bench_recipe import BENCH
from models.datasets import arrays, importing
from models.datasets.base import Splits, split_by_group
from models.gaze import angular_error

IMAGES = 855
RUN = 15
#: What each grouping is called in reports, and how its groups are dealt out.
GROUPINGS = {
    "subject": ("unseen people, eight in all, told apart by looks", (0.625, 0.125, 0.25)),
    "run": ("unseen moments of known people", (0.7, 0.1, 0.2)),
}
#: First image of each recording, and who is on it. Recordings that may be of one person are called one.
RECORDINGS = (
    (0, "D"),
    (125, "F"),
    (222, "E"),
    (248, "C"),
    (331, "B"),
    (414, "H"),
    (451, "A"),
    (506, "D"),
    (527, "B"),
    (627, "G"),
    (701, "D"),
    (731, "F"),
    (733, "E"),
    (751, "D"),
)
RIDGE_PENALTY = 30.0


def people() -> NDArray[np.str_]:
    """Who is on each image, (855,)."""
    return np.repeat([who for _, who in RECORDINGS], np.diff([*_starts(), IMAGES]))


def runs() -> NDArray[np.int64]:
    """In which run of at most 15 neighbours of one recording each image is, (855,)."""
    cuts = np.zeros(IMAGES, np.int64)
    for start, stop in pairwise([*_starts(), IMAGES]):
        cuts[start:stop:RUN] = 1
    return cuts.cumsum() - 1


def _starts() -> list[int]:
    return [start for start, _ in RECORDINGS]


def read(path: Path, grouping: str) -> tuple[Photographs, Path]:
    """The strips through the import, and the folder they are imported to.

    Raises ValueError, in one sentence, for a file that is not there or is another one.
    """
    data = arrays.load_arrays(path)
    if data.images.shape != (IMAGES, 3, 25, 50):
        raise ValueError(f"{path}: expected {IMAGES} colour images of 25 x 50 px, found {tuple(data.images.shape)}.")
    BENCH.mkdir(parents=True, exist_ok=True)
    told_apart = BENCH / "strips.npz"
    images = data.images[:].permute(0, 2, 3, 1).numpy()
    np.savez(told_apart, images=images, pitchyaw=data.pitchyaw.numpy(), subject=people(), run=runs())
    folder, (description, fractions) = BENCH / f"strips-by-{grouping}", GROUPINGS[grouping]
    options = arrays.ArraysOptions(grouping)
    manifest, _ = importing.import_data(arrays.FORMAT, told_apart, folder, options=options, description=description)
    _, height, width = manifest.shape
    source = {"kind": "imported", "folder": str(folder)}
    return Photographs(source, fractions, (height, width), manifest.fingerprint), folder


def ridge_error(splits: Splits) -> float:
    """Mean error in degrees, on the test images, of a ridge regression on the pixels of the training images."""
    train, test = (part.images[:].flatten(1).double() / 255 for part in (splits.train, splits.test))
    mean, gaze = train.mean(0), splits.train.pitchyaw.double()
    centred = train - mean
    dual = centred @ centred.T + RIDGE_PENALTY * torch.eye(len(train), dtype=torch.float64)
    weights = centred.T @ torch.linalg.solve(dual, gaze - gaze.mean(0))
    return float(angular_error((test - mean) @ weights + gaze.mean(0), splits.test.pitchyaw.double()).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", default=os.environ.get("BLINDSPOT_STRIPS"), metavar="FILE.npz")
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side (default: 2)")
    parser.add_argument("--cases", type=int, choices=range(1, len(CASES) + 1), default=len(CASES), help="the first N")
    arguments = parser.parse_args()
    if arguments.file is None:
        sys.exit("Name the .npz file of strips, here or in BLINDSPOT_STRIPS.")
    for grouping in GROUPINGS:
        try:
            strips, folder = read(Path(arguments.file), grouping)
        except ValueError as error:
            sys.exit(str(error))
        cases = [Case(strips, replace(RECIPE, seed=n), split, field) for split, n, field in CASES[: arguments.cases]]
        rows = run(cases, arguments.processes)
        print_table(rows)
        for row, case in zip(rows, cases, strict=True):
            splits = split_by_group(importing.load(folder), strips.fractions, seed=case.split_seed)
            row["ridge_regression_deg"] = ridge_error(splits)
            print(f"split {case.split_seed}: {row['images']}; ridge {row['ridge_regression_deg']:.2f} degrees")
        write_report(f"strips-by-{grouping}", cases, rows)


if __name__ == "__main__":
    main()
