"""What serves the participants, and how much of it they use: the load of each part at a day's busiest moment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.scaling.crowd import ANSWER, IMAGE, START, Work
from benchmarks.scaling.days import Demand, Profile, Visit, demand
from benchmarks.scaling.measured import Measured
from study.database import USUAL_POOL

#: Above this a queue is no longer short; above 1 it grows.
FULL: Final = 0.7
BITS, GBIT, MB = 8, 1e9, 1e6
#: Hosts are bought in these sizes, processors.
WEB_HOST, SMALL_DATABASE = 16, 4
#: Connections that PostgreSQL takes unless it is told otherwise.
USUAL_CONNECTIONS: Final = 100


@dataclass(frozen=True)
class Layout:
    """What serves. database: processors of PostgreSQL's own; 0: SQLite, beside the web processes on theirs.

    network_gbit, disk_gb: assumed, as is that the processors are like those that were measured on.
    """

    name: str
    what: str
    web: int
    database: int
    network_gbit: float
    disk_gb: float
    hosts: int = 1

    @property
    def on_sqlite(self) -> bool:
        return self.database == 0


DEFAULT = Layout("default", "`make serve` on one machine of 2 processors: SQLite, 2 web processes", 2, 0, 1.0, 50)
SERVER = Layout("one server", "one machine of 8 processors: PostgreSQL with 2 of them, 4 web processes", 4, 2, 1.0, 500)


def work(layout: Layout, measured: Measured) -> dict[str, Work]:
    """What each kind of request takes there, on average; of a start, with the page and the plan that follow it.

    Of page and plan the web process is taken to do all. On SQLite a start holds the one writer for as long as it
    computes, and an answer for as long as answers follow each other at the most.
    """
    m = measured
    if layout.on_sqlite:
        start = m.start_sqlite_ms / 1000
        return {
            START: Work(start + (m.page_sqlite_ms + m.plan_sqlite_ms) / 1000, 0.0, writer_s=start),
            IMAGE: Work(m.pair_sqlite_ms / 2000, 0.0, stores=False),
            ANSWER: Work(m.answer_sqlite_ms / 1000, 0.0, writer_s=1 / m.rate_sqlite),
        }
    start = m.start_ms - m.start_database_ms + m.page_ms + m.plan_ms
    return {
        START: Work(start / 1000, m.start_database_ms / 1000),
        IMAGE: Work((m.pair_ms - m.pair_database_ms) / 2000, m.pair_database_ms / 2000, stores=False),
        ANSWER: Work((m.answer_ms - m.answer_database_ms) / 1000, m.answer_database_ms / 1000),
    }


@dataclass(frozen=True)
class Use:
    """How much of a part is used at its busiest moment; 1: all of it.

    people: of the day that it was computed for. Every use is in proportion to them.
    """

    part: str
    share: float
    people: float

    def people_at(self, share: float) -> float:
        """How many people a day use so much of it."""
        return math.inf if self.share == 0 else self.people * share / self.share


def uses(layout: Layout, profile: Profile, people: float, visit: Visit, measured: Measured) -> list[Use]:
    """The parts that queue, the one that is used most first."""
    asked = demand(profile, people, visit)
    return sorted(
        (Use(part, share, people) for part, share in _shares(layout, asked, measured)), key=lambda use: -use.share
    )


def _shares(layout: Layout, asked: Demand, measured: Measured) -> list[tuple[str, float]]:
    each = work(layout, measured)

    def share(per: Mapping[str, float], capacity: float) -> float:
        return asked.busiest(per[START], per[IMAGE], per[ANSWER])[1] / capacity

    web = {kind: one.web_s for kind, one in each.items()}
    network = {START: 0.0, IMAGE: BITS * measured.pair_bytes / 2, ANSWER: 0.0}
    found = [
        ("web processors", share(web, layout.web)),
        ("network", share(network, layout.network_gbit * GBIT)),
        ("broker's counting", share(dict.fromkeys(each, measured.broker_us / 1e6), 1)),
        ("threads", share({kind: _held_s(one, layout, measured) for kind, one in each.items()}, _threads(layout))),
    ]
    if layout.on_sqlite:
        return [*found, ("SQLite's one writer", share({kind: one.writer_s for kind, one in each.items()}, 1))]
    return [*found, ("PostgreSQL's processors", share({k: one.database_s for k, one in each.items()}, layout.database))]


def _held_s(one: Work, layout: Layout, measured: Measured) -> float:
    """How long a request holds a thread when nobody is in its way. A commit waits for one flush and a half."""
    flushing = 1.5 * measured.flush_ms / 1000 if one.stores and not layout.on_sqlite else 0.0
    return one.web_s + one.database_s + one.writer_s + flushing


def _threads(layout: Layout) -> int:
    return layout.web * USUAL_POOL


def busiest_moment(layout: Layout, profile: Profile, visit: Visit, measured: Measured) -> float:
    """s of the day: when the web processors have most to do."""
    web = {kind: one.web_s for kind, one in work(layout, measured).items()}
    return demand(profile, 1.0, visit).busiest(web[START], web[IMAGE], web[ANSWER])[0]


def sized(profile: Profile, people: float, visit: Visit, measured: Measured) -> Layout:
    """As many hosts as keep everything that queues at FULL or below."""
    like = Layout("", "", 1, 1, 1.0, 0)
    needed = {use.part: use.share / FULL for use in uses(like, profile, people, visit, measured)}
    web_hosts = math.ceil(needed["web processors"] / WEB_HOST)
    database = SMALL_DATABASE * math.ceil(needed["PostgreSQL's processors"] / SMALL_DATABASE)
    gbit = next(size for size in (1, 10, 25, 100, 400) if size >= needed["network"])
    terabytes = math.ceil(30 * people * visit.trials / 1e6 * measured.mb_per_million / 1e6)
    what = (
        f"{web_hosts} web host{'s' if web_hosts > 1 else ''} of {WEB_HOST} processors, PostgreSQL on {database} of its "
        f"own, {gbit} Gbit/s"
    )
    return Layout(f"{web_hosts} + 1 hosts", what, web_hosts * WEB_HOST, database, gbit, 1000 * terabytes, web_hosts)


def first_to_carry(
    candidates: Sequence[Layout], profile: Profile, people: float, visit: Visit, measured: Measured
) -> Layout:
    """The first of which nothing is used above FULL; else one of the right size."""
    for layout in candidates:
        if uses(layout, profile, people, visit, measured)[0].share <= FULL:
            return layout
    return sized(profile, people, visit, measured)


def connections(layout: Layout) -> int:
    """That the web processes keep to PostgreSQL, at the most."""
    return 0 if layout.on_sqlite else layout.web * USUAL_POOL


def gb_a_day(people: float, visit: Visit, measured: Measured) -> float:
    """That PostgreSQL's files grow by."""
    return people * visit.trials / 1e6 * measured.mb_per_million / 1000


def image_gb_a_day(people: float, visit: Visit, measured: Measured) -> float:
    return people * visit.trials * measured.pair_bytes / 1e9


def requests_a_day(people: float, visit: Visit) -> float:
    return people * (1 + visit.images + visit.trials)
