"""Run a command with DATABASE_URL pointing at a PostgreSQL cluster made for it and removed after it.

    python -m tests.with_postgres pytest -m store

The server is started as an unprivileged user, because PostgreSQL refuses root.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """A fresh cluster on a free loopback port; yields its DATABASE_URL. SystemExit when PostgreSQL is missing."""
    binaries = _binaries()
    directory = Path(tempfile.mkdtemp(prefix="blindspot-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres")
        data, port = directory / "data", _free_port()
        _run(binaries / "initdb", "-D", data, "-U", "blindspot", "--auth=trust", "--encoding=UTF8", "--no-sync")
        # Durability is not what is tested here, and the cluster is thrown away.
        settings = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": directory,
            "fsync": "off",
            "max_connections": 200,
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        _run(binaries / "pg_ctl", "-D", data, "-w", "-l", directory / "log", "-o", options, "start")
        try:
            yield f"postgres://blindspot@127.0.0.1:{port}/postgres"
        finally:
            _run(binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _binaries() -> Path:
    found = shutil.which("initdb")
    candidates = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for directory in candidates:
        if (directory / "initdb").exists() and (directory / "pg_ctl").exists():
            return directory
    raise SystemExit("PostgreSQL's initdb and pg_ctl are missing: install them with `apt-get install postgresql`.")


def _run(*command: object) -> None:
    words = [str(word) for word in command]
    if os.geteuid() == 0:
        pwd.getpwnam("postgres")
        words = ["runuser", "-u", "postgres", "--", *words]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd="/")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    if len(sys.argv) < 2:
        raise SystemExit("Give the command to run, for example: python -m tests.with_postgres pytest -m store")
    with cluster() as url:
        return subprocess.run(sys.argv[1:], env={**os.environ, "DATABASE_URL": url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
