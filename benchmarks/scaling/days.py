"""A day of participants: when they come, what their pages ask for, and how much of it there is at the busiest moment.

What is here is assumed, not measured; docs/scaling.md prints it beside the results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.scaling.queues import Times, lognormal

DAY_S, HOUR_S, MINUTE_S = 86_400.0, 3_600.0, 60.0
#: s: between two moments at which the load of a day is looked at.
STEP_S = 10.0


@dataclass(frozen=True)
class Profile:
    """When people come. density: how the arrivals of one day lie over its seconds, up to a factor."""

    name: str
    what: str
    density: Callable[[Times], Times]

    def rates(self, people: float) -> tuple[Times, Times]:
        """(moments of the day, s; arrivals a second then), together `people`."""
        at = np.arange(0.0, DAY_S, STEP_S)
        shape = self.density(at)
        return at, people * shape / (shape.sum() * STEP_S)


def _over_the_day(at: Times) -> Times:
    """Nobody before six; then a hill with its top at three in the afternoon."""
    awake = (at >= 6 * HOUR_S) & (at < 24 * HOUR_S)
    return np.where(awake, np.sin(np.pi * (at - 6 * HOUR_S) / (18 * HOUR_S)) ** 2, 0.0)


def _at_once(at: Times) -> Times:
    """From noon on, all within an hour, most of them at first."""
    since = at - 12 * HOUR_S
    return np.where((since >= 0) & (since < HOUR_S), np.exp(-since / (20 * MINUTE_S)), 0.0)


SPREAD = Profile("spread", "over eighteen hours, most in the afternoon, as people come by themselves", _over_the_day)
BURST = Profile(
    "burst", "everybody within an hour, most at first, as when a recruiter releases all places at once", _at_once
)
PROFILES = (SPREAD, BURST)


@dataclass(frozen=True)
class Visit:
    """What one participant does.

    Attributes:
        trials: of a session.
        think_s, think_variation: from one answer to the next: the mean, and the coefficient of variation.
        reading_s: the least and the most that the first pages are read for; meanwhile the images are fetched.
        at_once: images that a page asks for at a time (study/trials/static/trials/loader.js).
        block: trials whose images are needed before the first of them is shown (a study's `break_every`).
        network_s: from the server to the page and back.
    """

    trials: int = 200
    think_s: float = 2.5
    think_variation: float = 0.5
    reading_s: tuple[float, float] = (60.0, 120.0)
    at_once: int = 6
    block: int = 40
    network_s: float = 0.05

    @property
    def images(self) -> int:
        return 2 * self.trials

    @property
    def mean_s(self) -> float:
        """How long it takes from the start to the last answer, on average."""
        return sum(self.reading_s) / 2 + self.trials * self.think_s


@dataclass(frozen=True)
class Demand:
    """What a day asks for, moment by moment, each a second: runs started, images and answers."""

    at: Times
    starts: Times
    images: Times
    answers: Times

    def busiest(self, per_start: float, per_image: float, per_answer: float) -> tuple[float, float]:
        """(moment, s; how much then, a second) of something of which each request takes so much."""
        load = per_start * self.starts + per_image * self.images + per_answer * self.answers
        top = int(np.argmax(load))
        return float(self.at[top]), float(load[top])


def demand(profile: Profile, people: float, visit: Visit) -> Demand:
    """The means, moment by moment: what the server is asked for however slowly it replies."""
    at, starts = profile.rates(people)
    lasts = visit.trials * visit.think_s
    answering = _within(starts, sum(visit.reading_s) / 2, lasts) / lasts
    return Demand(at, starts, visit.images * starts, visit.trials * answering)


def _within(rates: Times, after_s: float, for_s: float) -> Times:
    """How many came from `after_s + for_s` to `after_s` ago, at each moment; those of yesterday are left out."""
    came = np.concatenate(([0.0], np.cumsum(rates * STEP_S)))
    moments = np.arange(len(rates))

    def by(seconds: float) -> Times:
        return np.interp(moments - seconds / STEP_S, np.arange(len(came)), came, left=0.0)

    return by(after_s) - by(after_s + for_s)


@dataclass(frozen=True)
class Window:
    """Some seconds of a day from when it `began`, s of the day."""

    began: float
    seconds: float

    def inside(self, times: Times) -> Times:
        """Those within it, s from its beginning."""
        return times[(times >= self.began) & (times < self.began + self.seconds)] - self.began


@dataclass(frozen=True)
class Drawn:
    """What comes during `seconds`: when runs start, and when answers come of all who are there, rising, s."""

    seconds: float
    starts: Times
    answers: Times


def draw(profile: Profile, people: float, visit: Visit, window: Window, seed: int) -> Drawn:
    """The arrivals of one day, and of them what falls into the window."""
    rng = np.random.default_rng(seed)
    at, rates = profile.rates(people)
    expected = rates * STEP_S
    earliest = window.began - 2 * visit.mean_s  # whoever came before has left
    near = (at >= earliest - STEP_S) & (at < window.began + window.seconds)
    counts = rng.poisson(expected[near])
    came = np.sort(np.repeat(at[near], counts) + rng.uniform(0.0, STEP_S, counts.sum()))
    first = came + rng.uniform(*visit.reading_s, len(came))
    gaps = lognormal(rng, visit.think_s, visit.think_variation, len(came) * visit.trials)
    answers = (first[:, None] + np.cumsum(gaps.reshape(len(came), visit.trials), axis=1)).ravel()
    return Drawn(window.seconds, window.inside(came), window.inside(np.sort(answers)))
