"""Whether this host can serve participants: the database answers, its tables are of this code, the images are here.

The broker is not asked: answers are stored without it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from study.bounded import TookTooLong, bounded

logger = logging.getLogger(__name__)

LIMIT_S = 2.0
KEEP_S = 1.0


class NotReady(Exception):  # noqa: N818
    """What is missing, in one sentence that strangers may read."""


@dataclass(frozen=True)
class Check:
    """One thing that serving needs. ms: how long it took to find out; detail: what is wrong, empty when nothing is."""

    name: str
    ok: bool
    ms: float
    detail: str = ""


def database() -> None:
    """Raises a database error unless it answers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def migrations() -> None:
    """Raises NotReady unless all migrations of this code are applied. Those of newer code do no harm."""
    if missing := missing_migrations():
        raise NotReady(f"Migrations not applied: {len(missing)}; run manage.py migrate.")


def files() -> None:
    """Raises NotReady unless the files of all open studies are on this host.

    What is only in the storage is fetched first: a host that joins has everything before it is sent anybody.
    """
    from study.lab import files
    from study.trials.models import Study

    studies = Study.objects.filter(state=Study.State.OPEN)
    for study in studies:
        files.bring(study)
    if missing := sum(files.missing_locally(study) for study in studies):
        raise NotReady(f"Files of open studies that are not on this host: {missing}.")


def missing_migrations() -> set[tuple[str, str]]:
    """(app, name) of the migrations of this code that the database does not have."""
    return set(_migrations_of_this_code()) - set(MigrationRecorder(connection).applied_migrations())


@cache
def _migrations_of_this_code() -> frozenset[tuple[str, str]]:
    return frozenset(MigrationLoader(None).disk_migrations)


def readiness() -> list[Check]:
    """What serving needs, up to the first thing that is amiss, found out at most once in KEEP_S."""
    try:
        checks = _examine()
    except TookTooLong:
        checks = [*_found, Check(CHECKS[len(_found)].__name__, False, 1000 * LIMIT_S, f"No result in {LIMIT_S:g} s.")]
    _log_change(checks[-1])
    return checks


CHECKS = (database, migrations, files)
#: What the examination that is under way has found so far.
_found: list[Check] = []
_amiss: set[str] = set()


@bounded(limit_s=LIMIT_S, keep_s=KEEP_S)
def _examine() -> list[Check]:
    _found.clear()
    for check in CHECKS:
        _found.append(_outcome(check))
        if not _found[-1].ok:
            break
    return [*_found]


def _outcome(check: Callable[[], None]) -> Check:
    began, detail = time.perf_counter(), ""
    try:
        check()
    except NotReady as reason:
        detail = str(reason)
    except Exception as error:  # noqa: BLE001 (whatever it is, this host cannot serve)
        logger.info("The check of %s fails: %s", check.__name__, " ".join(str(error).split()))
        detail = f"It fails: {type(error).__name__}."  # the log has the rest, which is not for strangers
    return Check(check.__name__, not detail, round(1000 * (time.perf_counter() - began), 2), detail)


def _log_change(last: Check) -> None:
    """A host that can no longer serve says so once, and once when it can again: probes come every few seconds."""
    if not last.ok and last.name not in _amiss:
        logger.error("Not ready: %s. %s", last.name, last.detail)
        _amiss.add(last.name)
    if last.ok and _amiss:
        logger.warning("Ready again: %s.", ", ".join(sorted(_amiss)))
        _amiss.clear()
