"""What grows with what is stored: an answer's cost, the place it takes, and the start of a session.

Two installations of ours, one with a thousand answered trials of a study and one with a million, are asked in turn, as
`answers` asks. Every run begins with a copy of what was filled, so that no run finds what another has added.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.checkout import ROOT
from benchmarks.side_by_side.answers import OURS, READY, WARM_UP
from benchmarks.side_by_side.contenders import Django, Load, installed, load, served
from benchmarks.side_by_side.costs import Cost, of_command
from benchmarks.side_by_side.findings import Curve, Effort, Findings
from benchmarks.side_by_side.ours import TRIALS
from benchmarks.side_by_side.planned import SESSIONS, TRIALS_EACH, USUAL, Batch
from benchmarks.side_by_side.rows import Row, alone, compared
from tests.with_postgres import Cluster, initialised

AT_ONCE = 50
#: s: of a run that is meant; shorter ones are for a look, and find a twentieth of what they should in the database.
MEANT = 5.0
SMALL, LARGE, LARGE_SQLITE = 1000, 1_000_000, 200_000
MOST = 1.2
STARTS = 25
#: The tables that a million trials are told of.
STORED = {
    "sessions": ("trials_session", "trials_slot", "trials_sessionevent"),
    "trials": ("trials_trial",),
    "answers": ("trials_answer",),
    "traces": ("trials_trialtrace",),
}


@dataclass(frozen=True)
class Filled:
    """What `filled` says that it has put into a database."""

    trials: int
    bytes: Mapping[str, int]

    def mb_per_million(self, tables: Sequence[str]) -> float:
        """Millions of bytes that a million trials would take of these tables with their indexes."""
        return sum(self.bytes[table] for table in tables) / self.trials


class Stores(Protocol):
    """Where databases lie, each by its name."""

    @property
    def name(self) -> str:
        """Of the software."""

    @property
    def server(self) -> int | None:
        """Process id of what works beside the web processes, if anything does."""

    def made(self, name: str) -> str:
        """URL of a new database."""

    def copied(self, name: str) -> str:
        """URL of a copy of the database, which nobody is using, in place of the last one."""


@dataclass(frozen=True)
class OnPostgresql:
    """The databases of one cluster."""

    cluster: Cluster
    name: str = "PostgreSQL"

    @property
    def server(self) -> int | None:
        return self.cluster.postmaster

    def made(self, name: str) -> str:
        self.cluster.do(f"CREATE DATABASE {name}")
        return self._url(name)

    def copied(self, name: str) -> str:
        copy = f"{name}_again"
        self.cluster.do(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)")
        self.cluster.do(f"CREATE DATABASE {copy} TEMPLATE {name}")
        self.cluster.do("CHECKPOINT")
        return self._url(copy)

    def _url(self, name: str) -> str:
        return f"{self.cluster.url.rpartition('/')[0]}/{name}"


@dataclass(frozen=True)
class OnSqlite:
    """The database files in one folder."""

    folder: Path
    name: str = "SQLite"
    server: int | None = None

    def made(self, name: str) -> str:
        return f"sqlite:///{self._path(name)}"

    def copied(self, name: str) -> str:
        copy = f"{name}-again"
        for leftover in self.folder.glob(f"{copy}.sqlite3*"):
            leftover.unlink()
        shutil.copy(self._path(name), self._path(copy))
        return self.made(copy)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.sqlite3"


def measure(effort: Effort) -> Findings:
    """All rows about growth. Needs PostgreSQL."""
    with quiet_cluster() as cluster:
        stores = OnPostgresql(cluster)
        rows = [
            *_of_answers("answers.growth", stores, LARGE, effort, most=MOST),
            *_of_answers("answers.growth.sqlite", OnSqlite(effort.folder), LARGE_SQLITE, effort),
        ]
        batches = _batches(stores, effort)
    return Findings((*rows, *rows_of_starts(batches)), curves_of_starts(batches))


@contextmanager
def quiet_cluster() -> Iterator[Cluster]:
    """PostgreSQL with durable commits that tidies up when it is told to, and so never in one of two runs."""
    with initialised(durable=True) as cluster:
        cluster.start()
        try:
            cluster.do("ALTER SYSTEM SET autovacuum = off")
            cluster.do("SELECT pg_reload_conf()")
            yield cluster
        finally:
            cluster.stop()


# -- answers, and the place that they take


def _of_answers(id: str, stores: Stores, large: int, effort: Effort, most: float | None = None) -> list[Row]:
    sizes = {"small": SMALL, "large": large if effort.seconds >= MEANT else large // 20}
    filled = {name: _filled(stores, name, trials, effort) for name, trials in sizes.items()}
    loads: dict[str, list[Load]] = {name: [] for name in sizes}
    for number in range(effort.rounds):
        for name in sorted(sizes, reverse=number % 2 == 0):
            found = _asked(
                installed(name, OURS, stores.copied(name), effort.folder / stores.name / name), stores, effort
            )
            loads[name].append(found)
            effort.tell(f"round {number + 1}, {stores.name}, {name}: {found.cpu_ms:.2f} ms CPU, {found.faults} faults")
    title = f"{stores.name}, {filled['large'].trials:,} trials stored against {filled['small'].trials:,}"
    return [
        *rows_of_answers(id, title, loads["large"], loads["small"], most),
        *rows_of_place(stores.name, filled["large"]),
    ]


def _filled(stores: Stores, name: str, trials: int, effort: Effort) -> Filled:
    """A new database with so many answered trials, less those that would be no whole session."""
    made = installed(name, OURS, stores.made(name), effort.folder / stores.name / name)
    made.ask("prepare")
    command = [sys.executable, "-m", "benchmarks.side_by_side.filled", str(trials - trials % TRIALS)]
    _, printed = of_command(command, made.environment, ROOT)
    filled = Filled(**json.loads(printed))
    effort.tell(f"{stores.name}: {filled.trials:,} trials stored")
    return filled


def _asked(installation: Django, stores: Stores, effort: Effort) -> Load:
    with served(installation):
        load(installation, effort.folder, WARM_UP, 10, 1.0, database=stores.server)
        people = max(AT_ONCE, round(READY * effort.seconds / 10))
        return load(installation, effort.folder, people, AT_ONCE, effort.seconds, database=stores.server)


def rows_of_answers(id: str, title: str, large: Sequence[Load], small: Sequence[Load], most: float | None) -> list[Row]:
    """What an answer costs and takes in the large database, to what it does in the small one."""
    cpu = compared(
        id, f"CPU of an answer, web and database: {title}",
        [each.cpu_ms for each in large], [each.cpu_ms for each in small], "ms", most=most, to_the_limit=True,
    )  # fmt: skip
    faults = float(sum(each.faults for each in (*large, *small)))
    return [
        cpu.costing(ours=[each.cost for each in large], limit=[each.cost for each in small]),
        *(
            compared(
                f"{id}.{name}_ms", f"{what} of the answers within: {title}",
                [each.latency_ms(share) for each in large], [each.latency_ms(share) for each in small], "ms",
                to_the_limit=True,
            )
            for name, what, share in (("p50", "half", 0.5), ("p99", "99 %", 0.99))
        ),
        alone(f"{id}.faults", f"replies that were no 2xx, and answers that are not there once: {title}", [faults], "",
              most=0),
    ]  # fmt: skip


def rows_of_place(database: str, filled: Filled) -> list[Row]:
    """What a million trials with all that belongs to them take on disk, and which part is whose."""
    id, counted = f"storage.mb_per_million.{database.lower()}", f"counted at {filled.trials:,}"
    whole = filled.mb_per_million([table for tables in STORED.values() for table in tables])
    return [
        alone(id, f"{database}: a million answered trials on disk, indexes included, {counted}", [whole], "MB"),
        *(
            alone(f"{id}.{part}", f"{database}: of it the {part}", [filled.mb_per_million(tables)], "MB")
            for part, tables in STORED.items()
        ),
    ]


# -- starts of sessions


def _batches(stores: OnPostgresql, effort: Effort) -> list[Batch]:
    """What `planned` measures, in a database of its own."""
    environment = installed("starts", OURS, stores.made("starts"), effort.folder / "starts").environment
    words = map(str, (effort.rounds, STARTS, stores.server))
    command = [sys.executable, "-m", "benchmarks.side_by_side.planned", *words]
    _, printed = of_command(command, environment, ROOT)
    effort.tell("starts of sessions: measured")
    return [Batch.read(said) for said in json.loads(printed)]


def rows_of_starts(batches: Sequence[Batch]) -> list[Row]:
    """How a start grows with the trials of its plan, for each of them, and with the sessions that are there."""
    some, many = (_costs(batches, trials, 0) for trials in (100, 400))
    first, late = (_costs(batches, USUAL, sessions) for sessions in (SESSIONS[0], SESSIONS[-1]))
    return [
        compared(
            "plans.growth", "CPU of a start for each trial of its plan: 400 trials against 100",
            _cpu_ms(many, 400), _cpu_ms(some, 100), "ms", most=MOST, to_the_limit=True,
        ).costing(ours=many, limit=some),
        compared(
            "plans.growth.sessions", f"CPU of a start of {USUAL} trials: {SESSIONS[-1]:,} sessions there at first"
            f" against {SESSIONS[0]}", _cpu_ms(late), _cpu_ms(first), "ms", most=MOST, to_the_limit=True,
        ).costing(ours=late, limit=first),
    ]  # fmt: skip


def curves_of_starts(batches: Sequence[Batch]) -> tuple[Curve, ...]:
    """CPU and wall time of a start against the trials of its plan, and against the sessions there."""
    return (
        Curve(
            "plans-by-trials", "The start of a session, by the trials of its plan", "trials", "ms",
            _lines([(trials, _costs(batches, trials, 0)) for trials in TRIALS_EACH]),
        ),
        Curve(
            "plans-by-sessions", f"The start of a session of {USUAL} trials, by the sessions there", "sessions", "ms",
            _lines([(sessions, _costs(batches, USUAL, sessions)) for sessions in SESSIONS]),
        ),
    )  # fmt: skip


def _lines(points: Sequence[tuple[int, Sequence[Cost]]]) -> dict[str, list[tuple[float, float]]]:
    return {
        name: [(x, 1000 * statistics.median(getattr(cost, figure) for cost in costs)) for x, costs in points]
        for name, figure in (("until it is stored", "wall_s"), ("CPU, with the database's", "cpu_s"))
    }


def _costs(batches: Sequence[Batch], trials: int, sessions: int) -> list[Cost]:
    return [batch.cost for batch in batches if (batch.trials, batch.sessions) == (trials, sessions)]


def _cpu_ms(costs: Sequence[Cost], units: int = 1) -> list[float]:
    return [1000 * cost.cpu_s / units for cost in costs if cost.cpu_s is not None]
