"""What it costs to store answers: ours, oTree as pages and live, and a bare Django view that stores only what it must.

Each round asks every contender in turn, on a database of its own; all share the machine with the process that plays the
participants, which is not counted.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from benchmarks.side_by_side.contenders import Contender, Load, django, load, otree
from benchmarks.side_by_side.rows import Row, alone, compared
from tests.with_postgres import Cluster, initialised

OURS, BARE = "study.wsgi", "benchmarks.side_by_side.bare.wsgi"
NORMAL = quote("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;")
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

    def percentile(self, name: str, run: Run, share: float) -> list[float]:
        return [
            statistics.quantiles(found.latencies_ms, n=1000)[round(1000 * share) - 1] for found in self.loads[name, run]
        ]

    @property
    def faults(self) -> int:
        return sum(found.faults for loads in self.loads.values() for found in loads)


def measure(folder: Path, rounds: int, seconds: float, tell: Callable[[str], None]) -> list[Row]:
    """All rows about answers. Needs PostgreSQL, and the network once, for oTree's environment."""
    fifty, many = Run(50, seconds), Run(200, seconds)
    thinking = Run(50, max(seconds, 20.0), think_s=1.0, people=50)
    told = Told()
    with initialised(durable=True) as cluster:
        cluster.start()
        try:
            for number in range(rounds):
                for name, runs, entered in _contenders(folder / str(number), cluster, (fifty, many, thinking)):
                    with entered as contender:
                        for run in runs:
                            found = _asked(contender, folder, run, cluster if "PostgreSQL" in name else None)
                            told.add(name, run, found)
                            tell(f"round {number + 1}, {name}, {run.at_once} at once: {_said(found)}")
        finally:
            cluster.stop()
    return _rows(told, fifty, many, thinking)


def _contenders(
    folder: Path, cluster: Cluster, runs: Sequence[Run]
) -> Iterator[tuple[str, Sequence[Run], AbstractContextManager[Contender]]]:
    fifty, many, thinking = runs
    folder.mkdir(parents=True)
    for name, application in (("ours, PostgreSQL", OURS), ("bare view, PostgreSQL", BARE)):
        asked = (fifty, many, thinking) if application == OURS else (fifty, many)
        yield name, asked, _on_postgresql(name, application, cluster, folder)
    for name, application, query in (
        ("ours, SQLite", OURS, ""),
        ("ours, SQLite NORMAL", OURS, f"?init_command={NORMAL}"),
        ("bare view, SQLite", BARE, ""),
    ):
        place = folder / name.replace(" ", "-").replace(",", "")
        place.mkdir()
        yield name, (fifty,), django(name, application, f"sqlite:///{place}/database.sqlite3{query}", place)
    for mode in ("pages", "live"):
        yield f"oTree, {mode}", (fifty,), otree(mode, folder / f"otree-{mode}")


@contextmanager
def _on_postgresql(name: str, application: str, cluster: Cluster, folder: Path) -> Iterator[Contender]:
    """On a database that is empty at first and gone afterwards."""
    database = "bench"
    _psql(cluster, f"CREATE DATABASE {database}")
    place = folder / name.replace(" ", "-").replace(",", "")
    try:
        with django(name, application, cluster.url.rpartition("/")[0] + f"/{database}", place) as contender:
            yield contender
    finally:
        _psql(cluster, f"DROP DATABASE {database} WITH (FORCE)")


def _psql(cluster: Cluster, statement: str) -> None:
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


def _rows(told: Told, fifty: Run, many: Run, thinking: Run) -> list[Row]:
    cpu, rate = told.cpu, told.rate
    postgresql, bare = "ours, PostgreSQL", "bare view, PostgreSQL"
    return [
        compared(
            "answers.cpu_ms.vs_otree_page", "CPU of an answer, SQLite (FULL), against oTree's pages",
            cpu("ours, SQLite", fifty), cpu("oTree, pages", fifty), "ms", most=1 / 6,
        ),
        compared(
            "answers.cpu_ms.vs_otree_live", "the same against oTree's live_method",
            cpu("ours, SQLite", fifty), cpu("oTree, live", fifty), "ms", most=1 / 3,
        ),
        compared(
            "answers.cpu_ms.sqlite_normal", "CPU of an answer, SQLite synchronous=NORMAL, against oTree's live_method",
            cpu("ours, SQLite NORMAL", fifty), cpu("oTree, live", fifty), "ms", most=1 / 3,
        ),
        compared(
            "answers.cpu_ms.vs_bare_view", "CPU of an answer, web and PostgreSQL, against the bare view",
            cpu(postgresql, fifty), cpu(bare, fifty), "ms", most=1.25, to_the_limit=True,
        ),
        compared(
            "answers.rate.vs_bare_view", "answers a second on PostgreSQL, 50 at once, against the bare view",
            rate(postgresql, fifty), rate(bare, fifty), "1/s", least=0.8, to_the_limit=True,
        ),
        compared(
            "answers.rate_200.vs_bare_view", "the same, 200 at once",
            rate(postgresql, many), rate(bare, many), "1/s", least=0.8, to_the_limit=True,
        ),
        alone(
            "answers.p99_ms.postgresql", "99 % of answers within, 50 people who think for 1 s",
            told.percentile(postgresql, thinking, 0.99), "ms", most=80,
        ),
        alone(
            "answers.p50_ms.postgresql", "half of the answers within, the same people",
            told.percentile(postgresql, thinking, 0.5), "ms", most=80,
        ),
        alone(
            "answers.faults", "replies that were no 2xx, and acknowledged answers that are not there once",
            [float(told.faults)], "", most=0,
        ),
    ]  # fmt: skip
