"""What it costs to store answers: ours, oTree as pages and live, and a bare Django view that stores only what it must.

Each round asks every contender in turn, on a database of its own; all share the machine with the process that plays the
participants, which is not counted.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from benchmarks.side_by_side.contenders import Contender, Load, django, load, otree
from benchmarks.side_by_side.costs import Cost
from benchmarks.side_by_side.findings import Curve, Effort, Findings
from benchmarks.side_by_side.rows import Row, alone, compared
from tests.with_postgres import Cluster, initialised

OURS, BARE = "study.wsgi", "benchmarks.side_by_side.bare.wsgi"
NORMAL = quote("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;")
POSTGRESQL, BARE_POSTGRESQL = "ours, PostgreSQL", "bare view, PostgreSQL"
SQLITE, RELAXED, BARE_SQLITE = "ours, SQLite", "ours, SQLite NORMAL", "bare view, SQLite"
PAGES, LIVE = "oTree, pages", "oTree, live"
#: People who get ready for a run, so that nobody is missing before its seconds are over.
READY = 240
WARM_UP = 20


@dataclass(frozen=True)
class Run:
    """How a contender is asked: so many at once, for so long, each pausing so long on average."""

    at_once: int
    seconds: float
    think_s: float = 0.0
    people: int = READY


@dataclass
class Told:
    """Every load of every contender, by its name and run."""

    loads: dict[tuple[str, Run], list[Load]] = field(default_factory=dict)

    def add(self, name: str, run: Run, found: Load) -> None:
        self.loads.setdefault((name, run), []).append(found)

    def cpu(self, name: str, run: Run) -> list[float]:
        return [found.cpu_ms for found in self.loads[name, run]]

    def rate(self, name: str, run: Run) -> list[float]:
        return [found.rate for found in self.loads[name, run]]

    def database_cpu(self, name: str, run: Run) -> list[float]:
        """Of an answer, ms."""
        return [found.database_cpu_ms for found in self.loads[name, run]]

    def latency(self, name: str, run: Run, share: float) -> list[float]:
        return [found.latency_ms(share) for found in self.loads[name, run]]

    def cost(self, name: str, run: Run) -> list[Cost]:
        return [found.cost for found in self.loads[name, run]]

    def waits(self, name: str, run: Run) -> list[tuple[float, float]]:
        """What share of all answers, per cent, took longer than so many ms."""
        latencies = [latency for found in self.loads[name, run] for latency in found.latencies_ms]
        points = statistics.quantiles(latencies, n=1000)
        return [(points[n - 1], 100 - n / 10) for n in (*range(10, 990, 20), *range(990, 1000))]

    @property
    def faults(self) -> int:
        return sum(found.faults for loads in self.loads.values() for found in loads)


def measure(effort: Effort) -> Findings:
    """All rows about answers. Needs PostgreSQL, and the network once, for oTree's environment."""
    fifty, many = Run(50, effort.seconds), Run(200, effort.seconds)
    thinking = Run(50, max(effort.seconds, 20.0), think_s=1.0, people=50)
    told = Told()
    with initialised(durable=True) as cluster:
        cluster.start()
        try:
            for number in range(effort.rounds):
                for name, runs, entered in _contenders(effort.folder / str(number), cluster, (fifty, many, thinking)):
                    with entered as contender:
                        for run in runs:
                            found = _asked(contender, effort.folder, run, cluster if "PostgreSQL" in name else None)
                            told.add(name, run, found)
                            effort.tell(f"round {number + 1}, {name}, {run.at_once} at once: {_said(found)}")
        finally:
            cluster.stop()
    return Findings(tuple(_rows(told, fifty, many, thinking)), tuple(_curves(told, fifty, thinking)))


def _contenders(
    folder: Path, cluster: Cluster, runs: Sequence[Run]
) -> Iterator[tuple[str, Sequence[Run], AbstractContextManager[Contender]]]:
    fifty, many, thinking = runs
    folder.mkdir(parents=True)
    for name, application in ((POSTGRESQL, OURS), (BARE_POSTGRESQL, BARE)):
        yield name, (thinking, fifty, many), _on_postgresql(name, application, cluster, folder)
    for name, application, query in (
        (SQLITE, OURS, ""),
        (RELAXED, OURS, f"?init_command={NORMAL}"),
        (BARE_SQLITE, BARE, ""),
    ):
        place = folder / name.replace(" ", "-").replace(",", "")
        place.mkdir()
        yield name, (fifty,), django(name, application, f"sqlite:///{place}/database.sqlite3{query}", place)
    for name, mode in ((PAGES, "pages"), (LIVE, "live")):
        yield name, (fifty,), otree(mode, folder / f"otree-{mode}")


@contextmanager
def _on_postgresql(name: str, application: str, cluster: Cluster, folder: Path) -> Iterator[Contender]:
    place = folder / name.replace(" ", "-").replace(",", "")
    with empty_database(cluster) as url, django(name, application, url, place) as contender:
        yield contender


@contextmanager
def empty_database(cluster: Cluster, name: str = "bench") -> Iterator[str]:
    """The URL of a database that is empty at first and gone afterwards."""
    psql(cluster, f"CREATE DATABASE {name}")
    try:
        yield f"{cluster.url.rpartition('/')[0]}/{name}"
    finally:
        psql(cluster, f"DROP DATABASE {name} WITH (FORCE)")


def psql(cluster: Cluster, statement: str) -> None:
    command = ["psql", "--quiet", "--dbname", cluster.url, "--command", statement]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _asked(contender: Contender, folder: Path, run: Run, cluster: Cluster | None) -> Load:
    database = cluster.postmaster if cluster else None
    load(contender, folder, WARM_UP, 10, 1.0, database=database)
    return load(contender, folder, run.people, run.at_once, run.seconds, run.think_s, database)


def _said(found: Load) -> str:
    return (
        f"{found.rate:.0f} answers/s, {1000 * found.cpu_s / found.acknowledged:.2f} ms CPU"
        f" + {1000 * found.database_cpu_s / found.acknowledged:.2f} of the database, {found.faults} faults"
    )


def _rows(told: Told, fifty: Run, many: Run, thinking: Run) -> Iterator[Row]:
    cpu, rate, cost, latency = told.cpu, told.rate, told.cost, told.latency
    yield compared(
        "answers.cpu_ms.vs_otree_page", "CPU of an answer, SQLite (FULL), against oTree's pages",
        cpu(SQLITE, fifty), cpu(PAGES, fifty), "ms", most=1 / 6,
    ).costing(ours=cost(SQLITE, fifty), peer=cost(PAGES, fifty))  # fmt: skip
    yield compared(
        "answers.cpu_ms.vs_otree_live", "the same against oTree's live_method",
        cpu(SQLITE, fifty), cpu(LIVE, fifty), "ms", most=1 / 3,
    ).costing(ours=cost(SQLITE, fifty), peer=cost(LIVE, fifty))  # fmt: skip
    yield compared(
        "answers.cpu_ms.sqlite_normal", "CPU of an answer, SQLite synchronous=NORMAL, against oTree's live_method",
        cpu(RELAXED, fifty), cpu(LIVE, fifty), "ms", most=1 / 3,
    ).costing(ours=cost(RELAXED, fifty), peer=cost(LIVE, fifty))  # fmt: skip
    yield compared(
        "answers.cpu_ms.vs_bare_view", "CPU of an answer, web and PostgreSQL, against the bare view",
        cpu(POSTGRESQL, fifty), cpu(BARE_POSTGRESQL, fifty), "ms", most=1.25, to_the_limit=True,
    ).costing(ours=cost(POSTGRESQL, fifty), limit=cost(BARE_POSTGRESQL, fifty))  # fmt: skip
    yield alone(
        "answers.database_cpu_ms.postgresql", "of that of ours, what PostgreSQL takes",
        told.database_cpu(POSTGRESQL, fifty), "ms",
    )  # fmt: skip
    yield compared(
        "answers.cpu_ms.sqlite_vs_bare_view", "CPU of an answer, SQLite (FULL), against the bare view",
        cpu(SQLITE, fifty), cpu(BARE_SQLITE, fifty), "ms", to_the_limit=True,
    ).costing(ours=cost(SQLITE, fifty), limit=cost(BARE_SQLITE, fifty))  # fmt: skip
    for id, run in (("answers.rate.vs_bare_view", fifty), ("answers.rate_200.vs_bare_view", many)):
        yield compared(
            id, f"answers a second on PostgreSQL, {run.at_once} at once, against the bare view",
            rate(POSTGRESQL, run), rate(BARE_POSTGRESQL, run), "1/s", least=0.8, to_the_limit=True,
        ).costing(ours=cost(POSTGRESQL, run), limit=cost(BARE_POSTGRESQL, run))  # fmt: skip
    for id, peer in (("answers.rate.vs_otree_page", PAGES), ("answers.rate.vs_otree_live", LIVE)):
        yield compared(
            id, f"answers a second on SQLite (FULL), 50 at once, against {peer}",
            rate(SQLITE, fifty), rate(peer, fifty), "1/s",
        )  # fmt: skip
    yield alone(
        "answers.p99_ms.postgresql", "99 % of answers within, 50 people who think for 1 s",
        latency(POSTGRESQL, thinking, 0.99), "ms", most=80,
    ).costing(ours=cost(POSTGRESQL, thinking))  # fmt: skip
    for run, people in ((thinking, "50 people who think for 1 s"), (fifty, "50 at once"), (many, "200 at once")):
        for share in (0.5, 0.95, 0.99):
            if run is thinking and share == 0.99:
                continue
            yield compared(
                f"answers.p{100 * share:.0f}_ms.{'think' if run is thinking else run.at_once}",
                f"{100 * share:.0f} % of answers within, {people}, PostgreSQL, beside the bare view",
                latency(POSTGRESQL, run, share), latency(BARE_POSTGRESQL, run, share), "ms", to_the_limit=True,
            )  # fmt: skip
    yield alone(
        "answers.faults", "replies that were no 2xx, and acknowledged answers that are not there once",
        [float(told.faults)], "", most=0,
    )  # fmt: skip


def _curves(told: Told, fifty: Run, thinking: Run) -> Iterator[Curve]:
    for id, run, names in (
        ("answers-think", thinking, (POSTGRESQL, BARE_POSTGRESQL)),
        ("answers-fifty", fifty, (POSTGRESQL, BARE_POSTGRESQL, SQLITE, RELAXED, PAGES, LIVE)),
    ):
        people = "who think for 1 s" if run is thinking else "without a pause"
        yield Curve(
            id, f"How long 50 people {people} wait", "ms", "% of answers that took longer",
            {name: told.waits(name, run) for name in names},
        )  # fmt: skip
