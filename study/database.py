"""The one database of an installation, and how long each kind of process may keep it busy."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

SQLITE = "django.db.backends.sqlite3"
POSTGRESQL = "django.db.backends.postgresql"
ENGINES = {"postgres": POSTGRESQL, "postgresql": POSTGRESQL, "sqlite": SQLITE}
FORM = "postgres://USER:PASSWORD@HOST/NAME or sqlite:///PATH"


@dataclass(frozen=True)
class Process:
    """A kind of process, by the name that the database's list of connections shows. Limits in ms; 0: none.

    statement_ms: of one statement. lock_ms: to wait for a row or table that another holds. idle_ms: within a
    transaction while nothing is asked.
    """

    name: str
    statement_ms: int
    lock_ms: int
    idle_ms: int


#: Below the 15 s after which a participant's page gives up a request and repeats it: nothing is done for nobody.
WEB = Process("web", statement_ms=12_000, lock_ms=8_000, idle_ms=20_000)
#: Reads whole studies, and keeps what a model made in one transaction.
WORKER = Process("worker", statement_ms=600_000, lock_ms=60_000, idle_ms=120_000)
#: A migration or a backup takes as long as it takes; but one that waits for a lock has everybody wait behind it.
COMMAND = Process("command", statement_ms=0, lock_ms=10_000, idle_ms=0)

#: Of a web process: its connections, and its threads (study/gunicorn.py). A pool smaller than the threads makes some
#: of them wait.
USUAL_POOL = 4
#: s: how long a request waits for a connection. While the server is away, all of a process's threads would be waiting,
#: and none left to say that the process lives.
POOL_PATIENCE_S = 2.0


def this_process() -> Process:
    """What this process is, by what it was started with."""
    if "study.wsgi" in sys.modules:
        return WEB
    return WORKER if "celery" in Path(sys.argv[0]).parts[-2:] else COMMAND


def named_by(url: str) -> dict[str, Any] | None:
    """What DATABASE_URL says, as Django's settings; None when it is empty.

    Raises ImproperlyConfigured with one sentence, which never repeats the address: a password is in it.
    """
    if not url:
        return None
    try:
        parts = urlsplit(url)
        if parts.scheme not in ENGINES:
            raise _wrong("it begins with neither")
        if parts.scheme == "sqlite" and parts.netloc:
            raise _wrong("it has something between the second and the third slash")
        database = dict(environ.Env.db_url_config(url))
    except ValueError:
        raise _wrong("it cannot be read as an address (is the password percent-encoded?)") from None
    named = database["NAME"] or "service" in database.get("OPTIONS", {})
    if not named or database["NAME"] == ":memory:":  # where each process would have a database of its own
        raise _wrong("it names no database")
    return database


def _wrong(reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"DATABASE_URL must look like {FORM}, but {reason}.")


def configured(url: Mapping[str, Any] | None, process: Process, *, var: Path, pool: int = USUAL_POOL) -> dict[str, Any]:
    """Django's settings of the database.

    url: DATABASE_URL as `named_by` reads it; None: SQLite in `var`. pool: the most connections that a web
    process keeps open, 0 for one of each thread.
    """
    database = {"ENGINE": SQLITE, "NAME": str(var / "blindspot.sqlite3"), **(url or {})}
    database |= {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    given = database.get("OPTIONS", {})
    if database["ENGINE"] == SQLITE:
        # FULL: an acknowledged answer survives a power cut.
        # IMMEDIATE: a writer waits for its turn instead of failing half-way.
        database["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
            **given,
        }
        database["TEST"] = {"NAME": str(var / "test.sqlite3")}
    elif database["ENGINE"] == POSTGRESQL:
        database["OPTIONS"] = {**_postgresql(process), **given}
        # Only where threads share a process: whoever forks after opening a pool would share its connections with the
        # children, and a worker's child does one thing at a time.
        if pool and process is WEB:
            database["OPTIONS"]["pool"] = {
                "min_size": 1,
                "max_size": pool,
                "timeout": POOL_PATIENCE_S,
                "reconnect_timeout": POOL_PATIENCE_S,  # later ones begin afresh, instead of at ever longer intervals
            }
            database["CONN_MAX_AGE"] = 0  # a connection goes back into the pool after each request
    return database


def _postgresql(process: Process) -> dict[str, Any]:
    limits = {
        "statement_timeout": process.statement_ms,
        "lock_timeout": process.lock_ms,
        "idle_in_transaction_session_timeout": process.idle_ms,
        "synchronous_commit": "on",  # an acknowledged answer survives a power cut, whatever the server's default is
    }
    return {
        # Of statements that are bound by the server, which the ORM's are not: those that everybody makes all the time.
        "prepare_threshold": 3,
        "application_name": f"blindspot {process.name}",
        "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
        "connect_timeout": 5,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,  # ms: of a server that vanished without a word
    }
