"""Which method looks at which studies, in parts that are kept once they are done."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pandas as pd

from benchmarks.calibrate import closed, fitted
from benchmarks.calibrate.rows import Bar, Found
from benchmarks.calibrate.scenarios import BLOCK, SCALES, SCENARIOS, Question, Scenario
from benchmarks.checkout import ROOT
from study.analysis.synthetic import Studies

_COMMON = ("benchmarks/calibrate/scenarios.py", "benchmarks/calibrate/rows.py", "study/analysis/synthetic.py")
_CLOSED = ("benchmarks/calibrate/closed.py", "study/analysis/power.py", "study/analysis/equivalence.py")
_GLMM = ("benchmarks/calibrate/fitted.py", "study/analysis/glmm.py", "study/analysis/laplace.py")
_MEDIAN = ("study/analysis/crossed.py",)
_CURVES = ("study/analysis/psychometric.py", "study/analysis/likelihood.py")
_SHIFT = ("study/analysis/error_shift.py", "study/analysis/mixed.py")


@dataclass(frozen=True)
class Group:
    """Methods that are run together.

    Attributes:
        methods: gives what each finds in the studies of a block.
        questions: that they answer.
        studies: of each scenario; in a quick run `quick`.
        code: files on which the result depends.
    """

    methods: Callable[[Scenario, Studies], Iterator[Found]]
    questions: tuple[Question, ...]
    studies: int
    quick: int
    code: tuple[str, ...]


GROUPS: Final[dict[str, Group]] = {
    "closed": Group(closed.methods, ("difference", "contrast", "below", "hidden"), 2000, 200, _CLOSED),
    "gee": Group(fitted.gee, ("difference", "contrast"), 500, 50, _GLMM),
    "crossed": Group(fitted.crossed, ("difference", "contrast"), 2000, 50, _GLMM),
    "curves": Group(fitted.thresholds, ("threshold",), 500, 50, (*_GLMM, *_MEDIAN)),
    "pooled": Group(fitted.pooled, ("threshold",), 200, 50, (*_GLMM, *_CURVES)),
    "shift": Group(fitted.shifts, ("shift",), 500, 50, (*_GLMM, *_SHIFT)),
}

_TYPE_1, _BOTH, _BOUNDARY = Bar(0.03, 0.07), Bar(0.03, 0.08), Bar(0.0, 0.07)
_HIDDEN, _COVERAGE = Bar(0.0, 0.07, by_interval=False), Bar(0.90, 1.0, by_interval=False)
BARS: Final[dict[tuple[str, str], Bar]] = {
    ("participants", "two-way t"): _TYPE_1,
    ("twelve", "two-way t"): _TYPE_1,
    ("both", "two-way t"): _BOTH,
    ("nested", "two-way t"): _BOTH,
    **{
        (f"boundary-{spread}", f"two-way {test}"): _BOUNDARY
        for spread in ("participants", "both")
        for test in ("t", "TOST")
    },
    **{(f"hidden-{trials}", "verdict: TOST and spread"): _HIDDEN for trials in (6, 12)},
    ("shift", "two-way GLM, strength-adjusted"): _BOTH,
    ("shift", "GLMM logit, strength-adjusted"): _BOTH,
    **{("threshold", f"headline, half of F: {attack}"): _COVERAGE for attack in SCALES},
}


@dataclass(frozen=True)
class Part:
    """One block of one scenario's studies, looked at by one group of methods.

    `name` is its file's: other code, another scenario or another seed make another part.
    """

    scenario: Scenario
    group: str
    block: int
    seed: int
    name: str

    @classmethod
    def of(cls, scenario: Scenario, group: str, block: int, seed: int) -> Part:
        digest = hashlib.sha256(repr((scenario, block, seed)).encode() + _code(group)).hexdigest()[:12]
        return cls(scenario, group, block, seed, f"{scenario.name}-{group}-{block}-{digest}.csv")

    def done(self, folder: Path) -> bool:
        return (folder / self.name).exists()

    def make(self, folder: Path) -> None:
        """Write the part's rows; a part that was cut short leaves nothing that could be taken for one."""
        drawn = self.scenario.draw(self.block, self.seed)
        found = GROUPS[self.group].methods(self.scenario, drawn)
        rows = pd.concat([one.table(self.scenario.name, self.block * BLOCK) for one in found])
        unfinished = folder / f"{self.name}.{os.getpid()}"
        rows.to_csv(unfinished, index=False, float_format="%.8g", lineterminator="\n")
        unfinished.replace(folder / self.name)

    def read(self, folder: Path) -> pd.DataFrame:
        return pd.read_csv(folder / self.name)


@cache
def _code(group: str) -> bytes:
    """Hash of the files that decide a group's results, as they were when the run began."""
    digest = hashlib.sha256()
    for path in (*_COMMON, *GROUPS[group].code):
        digest.update((ROOT / path).read_bytes())
    return digest.digest()


def parts(seed: int, quick: bool, only: Iterable[str] = ()) -> list[Part]:
    """All parts of a run, of these scenarios or of all, by scenario."""
    names = set(only)
    return [
        Part.of(scenario, name, block, seed)
        for scenario in SCENARIOS
        if not names or scenario.name in names
        for name, group in GROUPS.items()
        if scenario.question in group.questions
        for block in range((group.quick if quick else group.studies) // BLOCK)
    ]
