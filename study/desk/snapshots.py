"""The whole database at one moment, to a file and back, while others go on writing to it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db import connection, transaction

#: Rows of these come with the tables themselves.
COME_WITH_TABLES = re.compile(
    "django_migrations|django_content_type|auth_permission|auth_group|auth_group_permissions|lab_sweeper|sqlite_.*"
)
#: What of Django's options PostgreSQL's programs read from their environment.
ENVIRONMENT = {"NAME": "PGDATABASE", "USER": "PGUSER", "PASSWORD": "PGPASSWORD", "HOST": "PGHOST", "PORT": "PGPORT"}
ENVIRONMENT_OF_OPTIONS = {
    "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
    "passfile": "PGPASSFILE", "service": "PGSERVICE",
}  # fmt: skip


class SnapshotError(RuntimeError):
    """The database cannot be dumped or loaded; the message is a sentence."""


@contextlib.contextmanager
def snapshot() -> Iterator[None]:
    """Within the block this connection sees the database as it is now, whatever others write. Nobody waits for it."""
    if connection.vendor == "postgresql":
        with transaction.atomic(durable=True):
            _execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
        return
    _execute("BEGIN DEFERRED")  # not `atomic`, which would keep writers out
    try:
        _execute("SELECT 1 FROM sqlite_master")  # from here on
        yield
    finally:
        _execute("ROLLBACK")


def dump(path: Path) -> None:
    """Write the database as the surrounding `snapshot` sees it. Raises SnapshotError."""
    if connection.vendor == "postgresql":
        program = _program("pg_dump")
        identifier = _execute("SELECT pg_export_snapshot()")[0][0]
        _run(program, "--format=custom", f"--snapshot={identifier}", "--lock-wait-timeout=10s", f"--file={path}")
        return
    with contextlib.closing(sqlite3.connect(path)) as target:
        connection.connection.backup(target)


def require_loadable(path: Path) -> None:
    """Whether the programs that `load` needs are here and can read the dump. Raises SnapshotError."""
    if connection.vendor == "postgresql":
        _run(_program("pg_restore"), "--list", str(path))


def load(path: Path) -> None:
    """Make the database what was dumped, all of it or nothing; it must be empty. Raises SnapshotError."""
    if connection.vendor == "postgresql":
        _run(
            _program("pg_restore"), "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges",
            "--clean", "--if-exists", f"--dbname={connection.settings_dict['NAME']}", str(path),
        )  # fmt: skip
        return
    connection.close()
    place = Path(connection.settings_dict["NAME"])
    beside = place.with_name(f".{place.name}.restoring")
    shutil.move(path, beside)  # which may be another disk
    os.replace(beside, place)


def clear() -> None:
    """Take everything out of the database."""
    if connection.vendor == "postgresql":
        tables = ", ".join(connection.ops.quote_name(name) for name in connection.introspection.table_names())
        if tables:
            _execute(f"DROP TABLE {tables} CASCADE")
        return
    connection.close()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{connection.settings_dict['NAME']}{suffix}").unlink(missing_ok=True)


def row_counts() -> dict[str, int]:
    """How many rows each table has."""
    quote = connection.ops.quote_name
    names = sorted(connection.introspection.table_names())
    return {name: _execute(f"SELECT COUNT(*) FROM {quote(name)}")[0][0] for name in names}  # noqa: S608


def holds_anything() -> bool:
    """Whether there is anything in the database that somebody put there."""
    return any(rows for table, rows in row_counts().items() if not COME_WITH_TABLES.fullmatch(table))


def others_connected() -> bool:
    """Whether another process has the database open, as far as the database knows: SQLite does not."""
    if connection.vendor != "postgresql":
        return False
    return bool(
        _execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
    )


def _execute(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def _program(name: str) -> str:
    """pg_dump or pg_restore, not older than the server."""
    found = shutil.which(name)
    if found is None:
        raise SnapshotError(f"{name} is missing: install PostgreSQL's client programs (`postgresql-client`) here.")
    said = subprocess.run([found, "--version"], capture_output=True, check=True, text=True).stdout
    version = int(re.findall(r"\d+", said)[0])
    connection.ensure_connection()
    server = connection.connection.info.server_version // 10_000
    if version < server:
        raise SnapshotError(
            f"{name} is of version {version} and the server of version {server}: install the client programs of "
            f"version {server} (`postgresql-client-{server}`) here."
        )
    return found


def _run(*command: str) -> None:
    settings = connection.settings_dict
    given = {ENVIRONMENT[key]: settings[key] for key in ENVIRONMENT if settings.get(key)}
    given |= {ENVIRONMENT_OF_OPTIONS[key]: v for key, v in settings["OPTIONS"].items() if key in ENVIRONMENT_OF_OPTIONS}
    environment = {**os.environ, **{name: str(value) for name, value in given.items()}}
    done = subprocess.run([*command], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise SnapshotError(f"{Path(command[0]).name} failed: {said[0] if said else f'status {done.returncode}'}")
