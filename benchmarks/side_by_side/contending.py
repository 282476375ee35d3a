"""What waits for what: points where people, researchers and processes stand in one line, each measured by itself."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.checkout import ROOT
from benchmarks.side_by_side.contended import AT_ONCE, FEW, MANY, TAKEN, Contended
from benchmarks.side_by_side.findings import Effort, Findings
from benchmarks.side_by_side.rows import Row, alone, compared
from tests.with_postgres import initialised

FLUSHES = 300
#: Bytes: a page of PostgreSQL's log.
PAGE = b"\0" * 8192


def measure(effort: Effort) -> Findings:
    """All rows about what waits. Needs PostgreSQL."""
    flushes = [flush_times_ms(effort.folder) for _ in range(effort.rounds)]
    rounds = []
    with initialised(durable=True) as cluster:
        cluster.start()
        try:
            environment = {**os.environ, "DATABASE_URL": cluster.url, "BLINDSPOT_VAR": str(effort.folder / "var")}
            environment |= {"LOG_LEVEL": "WARNING"}
            environment.pop("REDIS_URL", None)
            command = [sys.executable, "-m", "benchmarks.side_by_side.contended", str(effort.rounds)]
            done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        finally:
            cluster.stop()
    for line in done.stdout.splitlines():
        effort.tell(line)
        rounds.append(Contended(**json.loads(line)))
    return Findings(rows(rounds, flushes))


def flush_times_ms(folder: Path, times: int = FLUSHES) -> list[float]:
    """How long the disk of this folder takes to make a page durable, again and again, ms."""
    found = []
    with (folder / "flushed").open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(PAGE)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            found.append(1000 * (time.perf_counter() - began))
    return found


def rows(rounds: Sequence[Contended], flushes: Sequence[Sequence[float]]) -> list[Row]:
    """flushes: of each round, ms."""

    def each(name: str) -> list[float]:
        return [getattr(found, name) for found in rounds]

    return [
        alone("contending.flush_ms", "the disk makes a page durable", [*map(statistics.median, flushes)], "ms"),
        alone(
            "contending.flush_p99_ms", "99 % of such flushes within",
            [statistics.quantiles(one, n=100)[98] for one in flushes], "ms",
        ),
        compared(
            "contending.places", f"first page of a study of {MANY:,} places, against {FEW:,}",
            each("page_many_ms"), each("page_few_ms"), "ms",
        ),
        compared(
            "contending.claims", f"a place is claimed after {TAKEN:,} others with an older snapshot open, against none",
            each("claim_snapshot_ms"), each("claim_ms"), "ms",
        ),
        compared(
            "contending.audit", f"entries of the audit log, by {AT_ONCE} writers, against one",
            each("audit_four"), each("audit_one"), "1/s",
        ),
        alone("contending.live_s", "the live view counts a million answers", each("live_s"), "s"),
        alone(
            "contending.multixacts", f"shared row locks (multixacts) of a start, {AT_ONCE} at once",
            each("multixacts"), "",
        ),
        alone("contending.broker_us", "the broker counts a request", each("broker_us"), "µs"),
    ]  # fmt: skip
