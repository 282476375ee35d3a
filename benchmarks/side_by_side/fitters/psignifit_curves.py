"""psignifit's Weibull function of each attack: `... FILE [ATTACK=LAPSE ...]`, in an environment that has it.

psignifit's functions are linear in what they are given, so that a Weibull function wants log strength. A lapse rate
that is not given is free, as psignifit has it.
"""

from __future__ import annotations

import csv
import json
import math
import sys
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.side_by_side.costs import of_call


def counts(path: str) -> dict[str, Any]:
    """{attack: (strengths, 3) of log strength, right answers, answers}, of the main trials with an alteration."""
    right: Counter[tuple[str, float]] = Counter()
    answers: Counter[tuple[str, float]] = Counter()
    with open(path, newline="", encoding="utf-8") as text:
        for row in csv.DictReader(text):
            place = row["attack"], float(row["strength"])
            if row["is_catch"] == "0" and place[1] > 0:
                answers[place] += 1
                right[place] += int(row["correct"])
    rows = {attack: sorted(strength for of, strength in answers if of == attack) for attack, _ in answers}
    return {
        attack: np.array([[math.log(s), right[attack, s], answers[attack, s]] for s in strengths])
        for attack, strengths in sorted(rows.items())
    }


def fit(data: Mapping[str, Any], lapses: Mapping[str, float]) -> dict[str, float]:
    """{attack: strength at which F is one half}."""
    from psignifit import psignifit  # type: ignore[import-not-found]

    figures = {}
    for attack, rows in data.items():
        fixed = {"lambda": lapses[attack]} if attack in lapses else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an interval is at an edge of its grid
            found = psignifit(
                rows, experiment_type="2AFC", sigmoid="weibull", thresh_PC=0.5, fixed_parameters=fixed or {}
            )
        figures[attack] = math.exp(found.parameter_estimate_MAP["threshold"])
    return figures


def main(path: str, *given: str) -> None:
    data = counts(path)
    lapses = {attack: float(lapse) for attack, _, lapse in (word.rpartition("=") for word in given)}
    fit(data, lapses)  # what is loaded at first use is no part of a curve
    figures: dict[str, float] = {}
    cost = of_call(lambda: figures.update(fit(data, lapses)))
    print(json.dumps({"figures": figures, "versions": {"psignifit": version("psignifit")}, **asdict(cost)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
