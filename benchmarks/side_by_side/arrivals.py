"""What it costs when everybody comes at once: the signed consent form, the page that it leads to, and the page's plan.

500 people, 50 at a time, each on a connection of its own, against ours and a bare view that stores as many rows, on
PostgreSQL and SQLite; and oTree, which makes a session for so many people first and then opens a page for each.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.answers import BARE, OURS, empty_database
from benchmarks.side_by_side.contenders import Django, Load, installed, otree, sent, served
from benchmarks.side_by_side.costs import Cost, cpu_seconds_of
from benchmarks.side_by_side.findings import Effort, Findings
from benchmarks.side_by_side.rows import Row, alone, compared
from benchmarks.side_by_side.shown import TRIALS
from tests.with_postgres import Cluster, initialised

POSTGRESQL, BARE_POSTGRESQL = "ours, PostgreSQL", "bare view, PostgreSQL"
SQLITE, BARE_SQLITE, OTREE = "ours, SQLite", "bare view, SQLite", "oTree"
MODULES = {OURS: "benchmarks.side_by_side.arriving", BARE: "benchmarks.side_by_side.bare.arriving"}
#: What somebody asks for who arrives, in order. The bare view has the first alone.
STEPS = ("start", "page", "plan")
AT_ONCE = 50
WARM_UP = 10
#: s: of a run that is meant; shorter ones are for a look.
MEANT = 5.0
PEOPLE, FEW = 500, 60
#: s: everybody is through long before.
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Arrived:
    """What it took to let people in: a load for each step, of as many people each."""

    steps: Mapping[str, Load]

    @property
    def people(self) -> int:
        return self.steps["start"].acknowledged

    @property
    def cpu_ms(self) -> float:
        """Of one person, all steps together, web and database."""
        return 1000 * sum(load.cpu_s + load.database_cpu_s for load in self.steps.values()) / self.people

    @property
    def rate(self) -> float:
        """People a second who are through all steps, where everybody takes the first before anybody the next."""
        return self.people / sum(load.seconds for load in self.steps.values())

    @property
    def cost(self) -> Cost:
        """Of one person, all steps together."""
        waits = (statistics.fmean(load.latencies_ms) for load in self.steps.values())
        return Cost(sum(waits) / 1000, self.cpu_ms / 1000, max(load.memory_mb for load in self.steps.values()))

    @property
    def faults(self) -> int:
        return sum(load.faults for load in self.steps.values())


@dataclass
class Told:
    """Every round of every contender."""

    rounds: dict[str, list[Arrived]] = field(default_factory=dict)

    def add(self, name: str, found: Arrived) -> None:
        self.rounds.setdefault(name, []).append(found)

    def each(self, name: str, figure: Callable[[Load], float], step: str = "start") -> list[float]:
        return [figure(found.steps[step]) for found in self.rounds[name]]

    def rate(self, name: str) -> list[float]:
        return self.each(name, lambda load: load.rate)

    def cpu_ms(self, name: str, step: str = "start") -> list[float]:
        return self.each(name, lambda load: load.cpu_ms, step)

    def latency_ms(self, name: str, share: float, step: str = "start") -> list[float]:
        return self.each(name, lambda load: load.latency_ms(share), step)

    def cost(self, name: str) -> list[Cost]:
        """Of a start alone."""
        return [found.steps["start"].cost for found in self.rounds[name]]

    @property
    def faults(self) -> int:
        return sum(found.faults for rounds in self.rounds.values() for found in rounds)


def measure(effort: Effort) -> Findings:
    """All rows about arrivals. Needs PostgreSQL, and the network once, for oTree's environment."""
    people = PEOPLE if effort.seconds >= MEANT else FEW
    told = Told()
    with _cluster() as cluster:
        asked = _contenders(cluster, people)
        for number in range(effort.rounds):
            for name in list(asked)[:: -1 if number % 2 else 1]:
                folder = effort.folder / f"{number}-{name.replace(' ', '-').replace(',', '')}"
                folder.mkdir()
                found = asked[name](folder)
                told.add(name, found)
                effort.tell(f"round {number + 1}, {name}: {_said(found)}")
    return Findings(tuple(_rows(told, people)))


@contextmanager
def _cluster() -> Iterator[Cluster]:
    with initialised(durable=True) as cluster:
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


def _contenders(cluster: Cluster, people: int) -> Mapping[str, Callable[[Path], Arrived]]:
    """Each lets so many people into an installation of its own in an empty folder."""

    def ours(application: str, on: Cluster | None) -> Callable[[Path], Arrived]:
        return lambda folder: _let_in(application, folder, people, on)

    return {
        POSTGRESQL: ours(OURS, cluster),
        BARE_POSTGRESQL: ours(BARE, cluster),
        SQLITE: ours(OURS, None),
        BARE_SQLITE: ours(BARE, None),
        OTREE: lambda folder: _let_in_by_otree(folder, people),
    }


def _let_in(application: str, folder: Path, people: int, cluster: Cluster | None) -> Arrived:
    database = empty_database(cluster) if cluster else nullcontext(f"sqlite:///{folder}/database.sqlite3")
    with database as url:
        server = installed(application, application, url, folder)
        server.module = MODULES[application]
        server.ask("prepare")
        with served(server):
            postmaster = cluster.postmaster if cluster else None
            _asked(server, folder, WARM_UP, postmaster)
            return _asked(server, folder, people, postmaster)


def _asked(server: Django, folder: Path, people: int, postmaster: int | None) -> Arrived:
    arriving = server.participants(people)
    there = server.stored()
    steps = {}
    for step in STEPS:
        if step in arriving[0]:
            participants = [{"requests": [person[step]]} for person in arriving]
            steps[step] = sent(server, folder, participants, AT_ONCE, PATIENCE_S, database=postmaster)
    steps["start"] = replace(steps["start"], stored=server.stored() - there)
    return Arrived(steps)


def _let_in_by_otree(folder: Path, people: int) -> Arrived:
    """What a start is here is made for all together, by one request of the researcher's."""
    with otree("pages", folder / "app", TRIALS) as server:
        _open(server, folder, server.participants(WARM_UP))
        began, cpu = time.perf_counter(), cpu_seconds_of(server.process)
        participants = server.participants(people)
        made_s, made_cpu_s = time.perf_counter() - began, cpu_seconds_of(server.process) - cpu
        page = _open(server, folder, participants)
    made = replace(
        page, seconds=made_s, latencies_ms=(1000 * made_s / people,) * people, cpu_s=made_cpu_s, acknowledged=people,
        stored=people, statuses={"200": people},
    )  # fmt: skip
    return Arrived({"start": made, "page": page})


def _open(server: Any, folder: Path, participants: Sequence[Mapping[str, Any]]) -> Load:
    opening = [{"requests": person["before"]} for person in participants]
    return sent(server, folder, opening, AT_ONCE, PATIENCE_S)


def _said(found: Arrived) -> str:
    steps = (f"{name} {load.rate:.0f}/s at {load.cpu_ms:.1f} ms CPU" for name, load in found.steps.items())
    return f"{', '.join(steps)}, {found.faults} faults"


def _rows(told: Told, people: int) -> Iterator[Row]:
    for suffix, name, bare in (("", POSTGRESQL, BARE_POSTGRESQL), (".sqlite", SQLITE, BARE_SQLITE)):
        yield compared(
            f"arrivals.rate{suffix}", f"starts a second, {people} people, {TRIALS} trials each, {name}, against {bare}",
            told.rate(name), told.rate(bare), "1/s", to_the_limit=True,
        ).costing(ours=told.cost(name), limit=told.cost(bare))  # fmt: skip
        yield compared(
            f"arrivals.cpu_ms{suffix}", f"CPU of a start, web and database, {name}",
            told.cpu_ms(name), told.cpu_ms(bare), "ms", to_the_limit=True,
        )  # fmt: skip
        for share in (0.5, 0.95):
            yield compared(
                f"arrivals.p{100 * share:.0f}_ms{suffix}", f"{100 * share:.0f} % of starts within, {name}",
                told.latency_ms(name, share), told.latency_ms(bare, share), "ms", to_the_limit=True,
            )  # fmt: skip
        for step, what in (("page", "the page of the run"), ("plan", "its plan")):
            yield alone(f"arrivals.cpu_ms.{step}{suffix}", f"CPU of {what}, {name}", told.cpu_ms(name, step), "ms")
            yield alone(
                f"arrivals.p95_ms.{step}{suffix}", f"{what}: 95 % within, {AT_ONCE} at once, {name}",
                told.latency_ms(name, 0.95, step), "ms",
            )  # fmt: skip
    yield alone(
        "arrivals.database_cpu_ms", "of the CPU of a start, what PostgreSQL takes",
        told.each(POSTGRESQL, lambda load: load.database_cpu_ms), "ms",
    )  # fmt: skip
    ours, peer = told.rounds[SQLITE], told.rounds[OTREE]
    yield compared(
        "arrivals.cpu_ms.vs_otree", "CPU of an arrival, from the start to the first page with its plan, beside oTree",
        [found.cpu_ms for found in ours], [found.cpu_ms for found in peer], "ms",
    ).costing(ours=[found.cost for found in ours], peer=[found.cost for found in peer])  # fmt: skip
    yield compared(
        "arrivals.rate.vs_otree", "arrivals a second, the same", [found.rate for found in ours],
        [found.rate for found in peer], "1/s",
    )  # fmt: skip
    yield alone(
        "arrivals.faults", "starts that were refused, without their session, or whose plan is not whole or balanced",
        [float(told.faults)], "", most=0,
    )  # fmt: skip
