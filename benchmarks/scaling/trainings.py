"""A year of trainings: when researchers submit them, and how long each waits in the queue `gpu` for a worker."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.scaling.crowd import percentile
from benchmarks.scaling.days import DAY_S, HOUR_S
from benchmarks.scaling.queues import Times, lognormal, waits

WEEKS = 52
WEEK_S = 7 * DAY_S
#: The first weeks, in which the queue finds its length, do not count.
SETTLING = 4
FEW, MANY = 10, 1_000
#: h: that 95 % of the trainings may wait at the most.
PATIENCE_H = 12.0

# How researchers submit, assumed: on five days a week between these hours; many as grids of attacks and seeds are, at
# once; and how far trainings differ in what they take, of their mean.
OPENS_H, CLOSES_H = 9.0, 18.0
SWEEP = 20
VARIATION = 0.5


@dataclass(frozen=True)
class Year:
    """What came of it. load: the share of the time that workers are busy; waits: s, of each training."""

    workers: int
    load: float
    waits: Times

    def hours(self, share: float) -> float:
        """That this share of the trainings wait at the most."""
        return percentile(self.waits, share) / HOUR_S


def submitted(a_week: float, seed: int) -> Times:
    """When the trainings of a year are submitted, rising, s: one by one where they are few, else in sweeps."""
    rng = np.random.default_rng(seed)
    sweep = 1 if a_week <= FEW else SWEEP
    sweeps = rng.poisson(a_week * WEEKS / sweep)
    days = 7 * rng.integers(0, WEEKS, sweeps) + rng.integers(0, 5, sweeps)
    return np.sort(np.repeat(days * DAY_S + HOUR_S * rng.uniform(OPENS_H, CLOSES_H, sweeps), sweep))


def year(a_week: float, takes_s: float, workers: int, seed: int) -> Year:
    """Serve a year's trainings, each of which takes so long on average, first come, first served."""
    came = submitted(a_week, seed)
    takes = lognormal(np.random.default_rng(seed + 1), takes_s, VARIATION, len(came))
    waited = waits(came, takes, workers)[came >= SETTLING * WEEK_S]
    return Year(workers, a_week * takes_s / (WEEK_S * workers), waited)


def workers_for(a_week: float, takes_s: float, seed: int) -> Year:
    """With the fewest workers, or nearly, of which 95 % of the trainings wait at most PATIENCE_H."""
    workers = max(1, math.ceil(a_week * takes_s / WEEK_S))
    while (found := year(a_week, takes_s, workers, seed)).hours(0.95) > PATIENCE_H:
        workers += max(1, workers // 8)
    return found
