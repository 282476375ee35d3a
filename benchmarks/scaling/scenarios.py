"""The days that are looked at, and the simulation of each day's busiest minutes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from benchmarks.scaling import theory
from benchmarks.scaling.crowd import ANSWER, Found, Loop, Servers, Work, closed_loop, simulate
from benchmarks.scaling.days import HOUR_S, MINUTE_S, Profile, Visit, Window, demand, draw
from benchmarks.scaling.layouts import Layout, work
from benchmarks.scaling.measured import Measured
from benchmarks.scaling.queues import Times, lognormal, waits

PEOPLE: Final = (10, 1_000, 100_000)
SEED: Final = 20_261_123
#: Requests a second that are simulated at the most: a larger day is cut into equal parts, one of which is simulated
#: with as large a part of the servers.
MOST_A_SECOND: Final = 1_500
#: s: how much of the day is simulated at the least and at the most, and how much of it before the busiest moment; and
#: how many requests are enough.
SHORTEST_S, LONGEST_S, LEAD_S = 15 * MINUTE_S, 8 * HOUR_S, MINUTE_S
ENOUGH: Final = 100_000


@dataclass(frozen=True)
class Scenario:
    """So many people, who come so, at these servers."""

    people: float
    profile: Profile
    layout: Layout


@dataclass(frozen=True)
class Simulated:
    """parts: into how many equal ones the day was cut, one of which was simulated."""

    scenario: Scenario
    parts: int
    found: Found


def run(scenario: Scenario, visit: Visit, measured: Measured) -> Simulated:
    """The busiest quarter of an hour of the day, or more where few come."""
    each = work(scenario.layout, measured)
    moment, rate = _busiest(scenario, visit, each)
    parts = max(1, math.ceil(rate / MOST_A_SECOND))
    window = Window(moment - LEAD_S, min(LONGEST_S, max(SHORTEST_S, ENOUGH / rate)))
    drawn = draw(scenario.profile, scenario.people / parts, visit, window, SEED)
    return Simulated(scenario, parts, simulate(drawn, visit, part_of(scenario.layout, parts, measured), SEED))


def _busiest(scenario: Scenario, visit: Visit, each: Mapping[str, Work]) -> tuple[float, float]:
    """(moment of the day at which the web processors have most to do, s; requests a second then)."""
    asked = demand(scenario.profile, scenario.people, visit)
    moment, _ = asked.busiest(*(one.web_s for one in each.values()))
    step = int((asked.at == moment).argmax())
    return moment, float(asked.starts[step] + asked.images[step] + asked.answers[step])


def part_of(layout: Layout, parts: int, measured: Measured) -> Servers:
    """One of so many equal parts of the servers; where that is no whole number, as much slower: the load stays."""
    web, slower_web = _whole(layout.web / parts)
    database, slower_database = (0, 1.0) if layout.on_sqlite else _whole(layout.database / parts)
    slower = {
        kind: replace(one, web_s=one.web_s * slower_web, database_s=one.database_s * slower_database)
        for kind, one in work(layout, measured).items()
    }
    return Servers(slower, web, database, None if layout.on_sqlite else measured.flush_ms / 1000, measured.variation)


def _whole(servers: float) -> tuple[int, float]:
    n = max(1, round(servers))
    return n, n / servers


@dataclass(frozen=True)
class Check:
    """A figure of the benchmark beside what the simulation says of the same run."""

    what: str
    unit: str
    measured: float
    simulated: float

    @property
    def ratio(self) -> float:
        return self.simulated / self.measured


def checks(measured: Measured) -> list[Check]:
    """The runs of `make bench`: web and database on two processors, whose share for the participants is left out."""
    one = Work(measured.answer_ms / 1000, 0.0)
    servers = Servers({ANSWER: one}, 2, 0, measured.flush_ms / 1000, measured.variation)
    hurry = Loop(50, 30.0)
    rate = len(closed_loop(hurry, servers, SEED).latencies[ANSWER]) / hurry.seconds
    found = closed_loop(Loop(50, 120.0, think_s=1.0), servers, SEED)
    half, most = (1000 * found.percentile(ANSWER, share) for share in (0.5, 0.99))
    return [
        Check("answers of 50 people who do not pause, PostgreSQL", "a second", measured.rate, rate),
        Check("half of the answers of 50 who think, within", "ms", measured.p50_ms, half),
        Check("99 % of them, within", "ms", measured.p99_ms, most),
    ]


def by_theory(n: int = 300_000) -> list[tuple[str, float, float]]:
    """(queue, mean wait by theory, simulated), in units of the mean service."""
    rng = np.random.default_rng(SEED)

    def simulated(load: float, services: Times, servers: int = 1) -> float:
        return float(waits(np.cumsum(rng.exponential(1 / (load * servers), n)), services, servers).mean())

    return [
        ("M/M/1, load .7", theory.mean_wait_mm1(0.7, 1), simulated(0.7, rng.exponential(1, n))),
        ("M/D/1, load .7", theory.mean_wait_md1(0.7, 1), simulated(0.7, np.ones(n))),
        ("M/G/1, lognormal, load .7", theory.mean_wait_mg1(0.7, 1, 0.5), simulated(0.7, lognormal(rng, 1, 0.5, n))),
        ("M/M/8, load .8", theory.mean_wait_mmc(6.4, 1, 8), simulated(0.8, rng.exponential(1, n), 8)),
    ]
