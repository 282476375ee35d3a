"""What waits for what, in our application: `... ROUNDS`, each round one JSON line of the figures of `Contended`.

On PostgreSQL with durable commits; with DATABASE_URL and BLINDSPOT_VAR.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.side_by_side.costs import cpu_seconds_of

if TYPE_CHECKING:
    from study.trials.models import Study

FEW, MANY = 1_000, 100_000
#: Places that were taken while somebody else's snapshot was open.
TAKEN = 10_000
CLAIMS = 20
AT_ONCE = 4
ENTRIES = 100
STARTS = 25
COUNTS = 10_000
#: Sessions of the study that the live view counts, and trials of each.
SESSIONS, TRIALS = 1_000, 200
MORE_PLACES = """
INSERT INTO trials_slot (study_id, population, list_number)
SELECT %s, 'real', n FROM generate_series(0, %s - 1) n ON CONFLICT DO NOTHING
"""
TAKE = "UPDATE trials_slot SET claimed_at = now() WHERE study_id = %s AND list_number >= %s AND list_number < %s"


@dataclass(frozen=True)
class Contended:
    """One round.

    page_few_ms, page_many_ms: the first page of a study of FEW and of MANY places. claim_ms, claim_snapshot_ms: to
    claim a place once TAKEN others were, cleaned up, and while a snapshot from before them is open. audit_one,
    audit_four: entries of the audit log a second, by one writer and by AT_ONCE. live_s: to count a million answers.
    multixacts: of a start, AT_ONCE at a time. broker_us: of the broker's processor, to count one request.
    """

    page_few_ms: float
    page_many_ms: float
    claim_ms: float
    claim_snapshot_ms: float
    audit_one: float
    audit_four: float
    live_s: float
    multixacts: float
    broker_us: float


def measured(rounds: int, broker: str) -> Iterator[Contended]:
    """The rounds; a study of its own for what uses places up."""
    from benchmarks.copies import copy
    from benchmarks.side_by_side.filled import complete_session
    from benchmarks.side_by_side.planned import study_of

    few, many = study_of(50, FEW), study_of(50, FEW)
    _execute(MORE_PLACES, [many.pk, MANY])
    counted, started = study_of(TRIALS, SESSIONS), study_of(50, rounds * AT_ONCE * STARTS + 1)
    copy(complete_session(counted), SESSIONS - 1)
    started.start_session()
    _execute("VACUUM ANALYZE")
    for _ in range(rounds):
        claims = study_of(50, CLAIMS)
        claim_ms, claim_snapshot_ms = _claims(claims)
        yield Contended(
            _page_ms(few), _page_ms(many), claim_ms, claim_snapshot_ms,
            _entries_per_s(1), _entries_per_s(AT_ONCE),
            _live_s(counted), _multixacts(started), _broker_us(broker),
        )  # fmt: skip


def _page_ms(study: Study) -> float:
    from django.test import Client

    client, address = Client(), f"/s/{study.slug}/"
    client.get(address)
    return 1000 * _seconds(lambda: client.get(address), 5)


def _claims(study: Study) -> tuple[float, float]:
    _execute(MORE_PLACES, [study.pk, 3 * TAKEN])
    _execute("VACUUM ANALYZE trials_slot")
    with _snapshot():
        _execute(TAKE, [study.pk, 0, TAKEN])
        held = _claim_ms(study)
    _execute("VACUUM trials_slot")
    return _claim_ms(study), held


def _claim_ms(study: Study) -> float:
    from django.db import transaction

    def claim() -> None:
        with transaction.atomic():
            study.claim_slot("real")

    return 1000 * _seconds(claim, CLAIMS)


@contextmanager
def _snapshot() -> Iterator[None]:
    """A transaction elsewhere that sees the tables as they are now, as a backup or a report does."""
    from django.db import connection

    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT count(*) FROM trials_study")
            yield
    finally:
        other.close()


def _entries_per_s(writers: int) -> float:
    from study.accounts.audit import record

    def write() -> None:
        for _ in range(ENTRIES // writers):
            record("measured", "nothing")

    return ENTRIES / _seconds(lambda: _at_once(write, writers))


def _live_s(study: Study) -> float:
    from study.desk.counting import figures

    return _seconds(lambda: figures(study, "real", with_rates=True)) * 1e6 / (SESSIONS * TRIALS)


def _multixacts(study: Study) -> float:
    def start() -> None:
        for _ in range(STARTS):
            study.start_session()

    before = _value("SELECT mxid_age('1')")
    _at_once(start, AT_ONCE)
    return float(_value("SELECT mxid_age('1')") - before) / (AT_ONCE * STARTS)


def _broker_us(url: str) -> float:
    import redis

    from study.rate_limits import Limit, Shared

    process = int(redis.Redis.from_url(url).info("server")["process_id"])  # type: ignore[index]
    store, limit = Shared(url), Limit(5000, 20)
    before = cpu_seconds_of(process)
    for number in range(COUNTS):
        store.take(f"run:{number % 100}", limit)
    return 1e6 * (cpu_seconds_of(process) - before) / COUNTS


def _at_once(work: Callable[[], None], threads: int) -> None:
    from django.db import connection

    def alone() -> None:
        try:
            work()
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(alone) for _ in range(threads)]:
            done.result()


def _seconds(work: Callable[[], object], times: int = 1) -> float:
    """Of one call."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


def _execute(statement: str, values: list[Any] | None = None) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def _value(query: str) -> Any:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def main() -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "study.settings"
    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    from study.processes import embedded_broker

    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "testserver"]
    call_command("migrate", verbosity=0)
    call_command("collectstatic", verbosity=0, interactive=False)
    with embedded_broker(Path(os.environ["BLINDSPOT_VAR"]) / "broker") as url:
        for found in measured(int(sys.argv[1]), url):
            print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    main()
