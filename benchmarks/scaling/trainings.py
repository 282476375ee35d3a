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


@dataclass(frozen=True)
class Habits:
    """How researchers submit, assumed.

    sweep: trainings that are submitted at once, as a grid of attacks and seeds is. hours: of a working day, of which a
    week has five. variation: of how long trainings take, of their mean.
    """

    sweep: int
    hours: tuple[float, float] = (9.0, 18.0)
    variation: float = 0.5


@dataclass(frozen=True)
class Year:
    """What came of it. load: the share of the time that workers are busy; waits: s, of each training."""

    workers: int
    load: float
    waits: Times

    def hours(self, share: float) -> float:
        """That this share of the trainings wait at the most."""
        return percentile(self.waits, share) / HOUR_S


def submitted(a_week: float, habits: Habits, seed: int) -> Times:
    """When the trainings of a year are submitted, rising, s."""
    rng = np.random.default_rng(seed)
    sweeps = rng.poisson(a_week * WEEKS / habits.sweep)
    opens, closes = (HOUR_S * hour for hour in habits.hours)
    days = 7 * rng.integers(0, WEEKS, sweeps) + rng.integers(0, 5, sweeps)
    return np.sort(np.repeat(days * DAY_S + rng.uniform(opens, closes, sweeps), habits.sweep))


def year(a_week: float, takes_s: float, workers: int, habits: Habits, seed: int) -> Year:
    """Serve a year's trainings, each of which takes so long on average, first come, first served."""
    came = submitted(a_week, habits, seed)
    takes = lognormal(np.random.default_rng(seed + 1), takes_s, habits.variation, len(came))
    waited = waits(came, takes, workers)[came >= SETTLING * WEEK_S]
    return Year(workers, a_week * takes_s / (WEEK_S * workers), waited)


def workers_for(a_week: float, takes_s: float, most_h: float, habits: Habits, seed: int) -> Year:
    """With the fewest workers of which 95 % of the trainings wait at most so many hours."""
    workers = max(1, math.ceil(a_week * takes_s / WEEK_S))
    while (found := year(a_week, takes_s, workers, habits, seed)).hours(0.95) > most_h:
        workers += max(1, workers // 8)
    return found
