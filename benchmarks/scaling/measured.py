"""What one of each costs, as `make bench` measured it: benchmarks/results.json, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

#: See Source: what of `costs` is meant.
CPU, MEMORY = "cpu_s", "peak_mb"


class Missing(Exception):  # noqa: N818 (a fact about the record)
    """A row that is not recorded; says which, and what to run."""


@dataclass(frozen=True)
class Source:
    """Where a figure is: the row's id, what it is in words, its unit, and what it is multiplied by to be in that.

    of: whose figure of the row; CPU, MEMORY: what the row keeps beside ours of the costs, in seconds or MB.
    """

    row: str
    what: str
    unit: str
    times: float = 1.0
    of: str = "ours"

    def read(self, rows: Mapping[str, Mapping[str, Any]]) -> float:
        if self.row not in rows:
            raise Missing(
                f"benchmarks/results.json has no row {self.row!r} ({self.what}): run `make bench`, or the section of "
                "`python -m benchmarks.side_by_side` that measures it."
            )
        row = rows[self.row]
        value = row["costs"].get("ours", {}).get(self.of) if self.of in (CPU, MEMORY) else row[self.of]
        if value is None:
            raise Missing(f"The row {self.row!r} of benchmarks/results.json says nothing of {self.what}.")
        return float(value) * self.times


@dataclass(frozen=True)
class Measured:
    """Each figure in the unit that SOURCES names."""

    answer_ms: float
    answer_database_ms: float
    answer_sqlite_ms: float
    pair_ms: float
    pair_database_ms: float
    pair_sqlite_ms: float
    pair_bytes: float
    start_ms: float
    start_database_ms: float
    page_ms: float
    plan_ms: float
    start_sqlite_ms: float
    page_sqlite_ms: float
    plan_sqlite_ms: float
    rate: float
    rate_sqlite: float
    p50_ms: float
    p99_ms: float
    flush_ms: float
    broker_us: float
    web_mb: float
    mb_per_million: float
    report_s: float
    report_mb: float
    training_s: float
    live_s: float
    places_ms: float
    few_places_ms: float
    claim_ms: float
    claim_snapshot_ms: float
    audit_per_s: float
    multixacts: float

    @property
    def variation(self) -> float:
        """Coefficient of variation of a request's time, from how far its 99th percentile is from its median."""
        sigma = math.log(max(self.p99_ms / self.p50_ms, 1.0)) / NormalDist().inv_cdf(0.99)
        return math.sqrt(math.expm1(sigma**2))


SOURCES: Final[Mapping[str, Source]] = {
    "answer_ms": Source("answers.cpu_ms.vs_bare_view", "an answer, web and PostgreSQL", "ms of CPU"),
    "answer_database_ms": Source("answers.database_cpu_ms.postgresql", "of that, PostgreSQL", "ms of CPU"),
    "answer_sqlite_ms": Source("answers.cpu_ms.vs_otree_page", "an answer on SQLite", "ms of CPU"),
    "pair_ms": Source("images.cpu_ms.postgresql", "a pair of images, web and PostgreSQL", "ms of CPU"),
    "pair_database_ms": Source("images.database_cpu_ms.postgresql", "of that, PostgreSQL", "ms of CPU"),
    "pair_sqlite_ms": Source("images.cpu_ms", "a pair of images on SQLite", "ms of CPU"),
    "pair_bytes": Source("images.bytes", "a pair of images as sent", "bytes"),
    "start_ms": Source("arrivals.cpu_ms", "a start with its plan of 200 trials, web and PostgreSQL", "ms of CPU"),
    "start_database_ms": Source("arrivals.database_cpu_ms", "of that, PostgreSQL", "ms of CPU"),
    "page_ms": Source("arrivals.cpu_ms.page", "the page of a run", "ms of CPU"),
    "plan_ms": Source("arrivals.cpu_ms.plan", "the plan that it asks for", "ms of CPU"),
    "start_sqlite_ms": Source("arrivals.cpu_ms.sqlite", "a start on SQLite", "ms of CPU"),
    "page_sqlite_ms": Source("arrivals.cpu_ms.page.sqlite", "its page", "ms of CPU"),
    "plan_sqlite_ms": Source("arrivals.cpu_ms.plan.sqlite", "its plan", "ms of CPU"),
    "rate": Source("answers.rate.vs_bare_view", "answers of 50 people who do not pause, PostgreSQL", "a second"),
    "rate_sqlite": Source("answers.rate.vs_otree_page", "the same on SQLite, which has one writer", "a second"),
    "p50_ms": Source("answers.p50_ms.think", "half of the answers of 50 people who think for 1 s, within", "ms"),
    "p99_ms": Source("answers.p99_ms.postgresql", "99 % of them, within", "ms"),
    "flush_ms": Source("contending.flush_ms", "the disk makes a page durable", "ms"),
    "broker_us": Source("contending.broker_us", "the broker counts a request", "µs of CPU"),
    "web_mb": Source("web.rss_mb", "a web process", "MB"),
    "mb_per_million": Source("storage.mb_per_million.postgresql", "a million answered trials, PostgreSQL", "MB"),
    "report_s": Source("report.240k.seconds", "a report on 240,000 trials", "s"),
    "report_mb": Source("report.240k.seconds", "its memory at the most", "MB", of=MEMORY),
    "training_s": Source("attack.s050.success", "a training by the default recipe", "s of CPU", 1, CPU),
    "live_s": Source("contending.live_s", "the live view counts a million answers", "s"),
    "places_ms": Source("contending.places", "the first page of a study of 100,000 places", "ms"),
    "few_places_ms": Source("contending.places", "the first page of a study of 1,000 places", "ms", of="peer"),
    "claim_ms": Source("contending.claims", "a place is claimed", "ms", of="peer"),
    "claim_snapshot_ms": Source("contending.claims", "the same, 10,000 claims into an older snapshot", "ms"),
    "audit_per_s": Source("contending.audit", "entries of the audit log, four writers", "a second"),
    "multixacts": Source("contending.multixacts", "row locks that a start shares", ""),
}


def read(rows: Sequence[Mapping[str, Any]]) -> Measured:
    """From the rows of benchmarks/results.json. Raises Missing, in one sentence, for the first that is not there."""
    by_id = {row["id"]: row for row in rows}
    return Measured(**{name: source.read(by_id) for name, source in SOURCES.items()})
