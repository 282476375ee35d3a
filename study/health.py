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


class Degraded(Exception):  # noqa: N818
    """What is amiss, likewise, on a host that participants are better sent to than to none."""


@dataclass(frozen=True)
class Check:
    """One thing that serving needs. ok: enough to serve; ms: how long it took to find out; detail: what is wrong or,
    with `ok`, degraded; empty when nothing is.
    """

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
    """Raises unless the files of all open studies are on this host: NotReady when they may still come from the storage.

    What is only in the storage is fetched first: a host that joins has everything before it is sent anybody. A file
    that is lost for good keeps nobody from the other trials and studies, and is most likely lost on every host: then
    it is only Degraded.
    """
    from study.lab import files
    from study.lab.images import DamagedFile
    from study.trials.models import Study

    missing = 0
    for study in Study.objects.filter(state=Study.State.OPEN):
        try:
            files.bring(study)
        except files.StorageFailed as error:
            logger.info("The files of study %s are not here yet: %s", study.slug, error)
            raise NotReady("Files of open studies are still in the storage alone.") from error
        except DamagedFile as error:
            logger.info("The files of study %s are not whole: %s", study.slug, error)
        missing += files.missing_locally(study)
    if missing:
        raise Degraded(f"Files of open studies that are lost: {missing}; `manage.py verify` names them.")


def missing_migrations() -> set[tuple[str, str]]:
    """(app, name) of the migrations of this code that the database does not have."""
    return set(migrations_of_this_code()) - set(MigrationRecorder(connection).applied_migrations())


@cache
def migrations_of_this_code() -> frozenset[tuple[str, str]]:
    """(app, name) of each."""
    return frozenset(MigrationLoader(None).disk_migrations)


def readiness() -> list[Check]:
    """What serving needs, up to the first thing that is amiss, found out at most once in KEEP_S."""
    try:
        checks = _examine()
    except TookTooLong:
        checks = [*_found]
        late = [check.__name__ for check in CHECKS[len(checks) :]]  # none, when it has come to its end by now
        checks += [Check(name, False, 1000 * LIMIT_S, f"No result in {LIMIT_S:g} s.") for name in late[:1]]
    _log_change(checks)
    return checks


CHECKS = (database, migrations, files)
#: What the examination that is under way has found so far.
_found: list[Check] = []
#: What the log was told last: names of checks, and whether the host is ready all the same.
_amiss: dict[str, bool] = {}


@bounded(limit_s=LIMIT_S, keep_s=KEEP_S)
def _examine() -> list[Check]:
    _found.clear()
    for check in CHECKS:
        _found.append(_outcome(check))
        if not _found[-1].ok:
            break
    return [*_found]


def _outcome(check: Callable[[], None]) -> Check:
    began, ok, detail = time.perf_counter(), False, ""
    try:
        check()
        ok = True
    except (NotReady, Degraded) as reason:
        ok, detail = isinstance(reason, Degraded), str(reason)
    except Exception as error:  # noqa: BLE001 (whatever it is, this host cannot serve)
        logger.info("The check of %s fails: %s", check.__name__, " ".join(str(error).split()))
        detail = f"It fails: {type(error).__name__}."  # the log has the rest, which is not for strangers
    return Check(check.__name__, ok, round(1000 * (time.perf_counter() - began), 2), detail)


def _log_change(checks: list[Check]) -> None:
    """What becomes amiss is told once, and once that nothing is any more: probes come every few seconds."""
    amiss = {check.name: check.ok for check in checks if check.detail}
    for check in checks:
        if check.detail and _amiss.get(check.name) is not check.ok:
            logger.error("%s: %s. %s", "Ready, but not whole" if check.ok else "Not ready", check.name, check.detail)
    if _amiss and not amiss:
        logger.warning("Ready again: %s.", ", ".join(sorted(_amiss)))
    if amiss != _amiss:
        _amiss.clear()
        _amiss.update(amiss)
