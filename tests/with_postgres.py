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
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL cluster in a folder of its own, on a free loopback port. durable: whether commits are synced."""

    directory: Path
    port: int
    durable: bool

    @property
    def url(self) -> str:
        return f"postgres://blindspot@127.0.0.1:{self.port}/postgres"

    @property
    def postmaster(self) -> int:
        """Process id of the server. FileNotFoundError when it is not running."""
        return int((self.directory / "data" / "postmaster.pid").read_text().split()[0])

    def start(self) -> None:
        """Start the server and wait until it answers. subprocess.CalledProcessError when it does not."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.directory,
            "fsync": "on" if self.durable else "off",
            "max_connections": 200,
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        log = self.directory / "log"
        _run(_binaries() / "pg_ctl", "-D", self.directory / "data", "-w", "-l", log, "-o", options, "start")

    def do(self, statement: str) -> None:
        """Have the running server do one SQL statement. subprocess.CalledProcessError when it does not."""
        command = ["psql", "--quiet", "--dbname", self.url, "--command", statement]
        environment = {**os.environ, "PGOPTIONS": "-c client_min_messages=warning"}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)

    def stop(self) -> None:
        _run(_binaries() / "pg_ctl", "-D", self.directory / "data", "-m", "immediate", "stop")


@contextlib.contextmanager
def initialised(*, durable: bool) -> Iterator[Cluster]:
    """A fresh cluster that is not started yet, removed afterwards. SystemExit when PostgreSQL is missing."""
    binaries = _binaries()
    directory = Path(tempfile.mkdtemp(prefix="blindspot-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres")
        data = directory / "data"
        _run(binaries / "initdb", "-D", data, "-U", "blindspot", "--auth=trust", "--encoding=UTF8", "--no-sync")
        yield Cluster(directory, _free_port(), durable)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """A running cluster that is thrown away, so that its commits need not be durable; yields its DATABASE_URL."""
    with initialised(durable=False) as fresh:
        fresh.start()
        try:
            yield fresh.url
        finally:
            fresh.stop()


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
