"""What it costs to show pictures: ours, looked up and dressed for each session, and whitenoise with the plain files.

The same pictures of the same trials, asked for by 50 people at once over kept connections, by turns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.answers import OURS, empty_database
from benchmarks.side_by_side.contenders import Django, Load, installed, sent, served
from benchmarks.side_by_side.costs import Cost
from benchmarks.side_by_side.findings import Effort, Findings
from benchmarks.side_by_side.rows import Row, alone, compared
from tests.with_postgres import initialised

SHOWN, FILES = "benchmarks.side_by_side.shown", "benchmarks.side_by_side.bare.files"
SQLITE, POSTGRESQL, WHITENOISE = "ours, SQLite", "ours, PostgreSQL", "whitenoise"
AT_ONCE = 50
WARM_UP_S = 1.0
A_PAIR = 2
#: s: how long somebody is busy with a trial who hurries.
A_TRIAL_S = 2.0


@dataclass(frozen=True)
class Served:
    """A running server and what is asked of it. database: process id of the database's server, if it has one."""

    server: Django
    participants: list[dict[str, Any]]
    pair_bytes: float
    database: int | None = None


@dataclass
class Told:
    """Every load of every contender."""

    loads: dict[str, list[Load]] = field(default_factory=dict)

    def add(self, name: str, found: Load) -> None:
        self.loads.setdefault(name, []).append(found)

    def pairs_per_s(self, name: str) -> list[float]:
        return [found.rate / A_PAIR for found in self.loads[name]]

    def cpu_ms(self, name: str) -> list[float]:
        """Of a pair, web and database."""
        return [A_PAIR * found.cpu_ms for found in self.loads[name]]

    def database_cpu_ms(self, name: str) -> list[float]:
        """Of a pair."""
        return [A_PAIR * found.database_cpu_ms for found in self.loads[name]]

    def bytes(self, name: str) -> list[float]:
        """Of a pair's two replies, heads included."""
        return [A_PAIR * found.received / found.acknowledged for found in self.loads[name]]

    def cost(self, name: str) -> list[Cost]:
        """Of a pair whose pictures are asked for one after the other."""
        return [_doubled(found.cost) for found in self.loads[name]]

    @property
    def faults(self) -> int:
        return sum(found.faults for loads in self.loads.values() for found in loads)


def _doubled(cost: Cost) -> Cost:
    assert cost.wall_s is not None
    assert cost.cpu_s is not None
    return replace(cost, wall_s=A_PAIR * cost.wall_s, cpu_s=A_PAIR * cost.cpu_s)


def measure(effort: Effort) -> Findings:
    """All rows about pictures. Needs PostgreSQL."""
    told = Told()
    with ExitStack() as stack:
        contenders = _contenders(effort.folder, stack)
        for number in range(effort.rounds):
            for name in list(contenders)[:: -1 if number % 2 else 1]:
                found = _asked(contenders[name], effort)
                told.add(name, found)
                effort.tell(f"round {number + 1}, {name}: {_said(found)}")
        file_bytes = contenders[SQLITE].pair_bytes
    return Findings(tuple(_rows(told, file_bytes)))


def _contenders(folder: Path, stack: ExitStack) -> Mapping[str, Served]:
    """All of them running; whoever is not asked costs nothing."""
    cluster = stack.enter_context(initialised(durable=True))
    cluster.start()
    stack.callback(cluster.stop)
    on_sqlite, on_postgresql = folder / "sqlite", folder / "postgresql"
    sqlite = installed(SQLITE, OURS, f"sqlite:///{on_sqlite}/database.sqlite3", on_sqlite)
    postgresql = installed(POSTGRESQL, OURS, stack.enter_context(empty_database(cluster)), on_postgresql)
    asked = {server.name: _prepared(server) for server in (sqlite, postgresql)}
    plain = Django(WHITENOISE, SHOWN, sqlite.environment, FILES)
    for server in (sqlite, postgresql, plain):
        stack.enter_context(served(server))
    size = asked[SQLITE]["pair_bytes"]
    return {
        SQLITE: Served(sqlite, asked[SQLITE]["run"], size),
        WHITENOISE: Served(plain, asked[SQLITE]["plain"], size),
        POSTGRESQL: Served(postgresql, asked[POSTGRESQL]["run"], size, cluster.postmaster),
    }


def _prepared(server: Django) -> Any:
    server.module = SHOWN
    server.ask("prepare")
    return json.loads(server.ask("participants", str(AT_ONCE)))


def _asked(contender: Served, effort: Effort) -> Load:
    def load(seconds: float) -> Load:
        return sent(
            contender.server, effort.folder, contender.participants, AT_ONCE, seconds, database=contender.database,
            again=True,
        )  # fmt: skip

    load(WARM_UP_S)
    return load(effort.seconds)


def _said(found: Load) -> str:
    return (
        f"{found.rate / A_PAIR:.0f} pairs/s, {A_PAIR * found.cpu_ms:.2f} ms CPU a pair, {found.memory_mb:.0f} MB,"
        f" {found.faults} faults"
    )


def _rows(told: Told, file_bytes: float) -> Iterator[Row]:
    rate, cpu, cost = told.pairs_per_s, told.cpu_ms, told.cost
    for id, name in (("images.rate", SQLITE), ("images.rate.postgresql", POSTGRESQL)):
        yield compared(
            id, f"pairs of pictures shown a second, {name}, against whitenoise's plain files",
            rate(name), rate(WHITENOISE), "1/s",
        ).costing(ours=cost(name), peer=cost(WHITENOISE))  # fmt: skip
    for id, name in (("images.cpu_ms", SQLITE), ("images.cpu_ms.postgresql", POSTGRESQL)):
        yield compared(
            id, f"CPU of a pair, {name}, against whitenoise's plain files", cpu(name), cpu(WHITENOISE), "ms"
        )  # fmt: skip
    yield alone(
        "images.database_cpu_ms.postgresql", "of that of ours, what PostgreSQL takes",
        told.database_cpu_ms(POSTGRESQL), "ms",
    )  # fmt: skip
    yield compared(
        "images.bytes", "bytes of a pair as sent, heads included, against whitenoise's",
        told.bytes(SQLITE), told.bytes(WHITENOISE), "B",
    )  # fmt: skip
    yield compared(
        "images.bytes.vs_files", "the same against what the two files take",
        told.bytes(SQLITE), [file_bytes] * len(told.loads[SQLITE]), "B", to_the_limit=True,
    )  # fmt: skip
    for id, name in (("images.people_a_core", SQLITE), ("images.people_a_core.postgresql", POSTGRESQL)):
        yield alone(
            id, f"people at a trial every {A_TRIAL_S:g} s whom one core can show pictures, {name}",
            people_a_core(cpu(name)), "",
        )  # fmt: skip
    yield alone("images.faults", "replies that were no pictures", [float(told.faults)], "", most=0)


def people_a_core(cpu_ms: Sequence[float]) -> list[float]:
    """So many pairs that cost so many ms of CPU each are shown in the time of a trial, one core being busy with it."""
    return [1000 * A_TRIAL_S / each for each in cpu_ms]
