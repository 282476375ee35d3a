"""A real broker and real workers on the test's own database and files."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu.pools
import pytest
from django.db import connection

from study import processes
from study.celery import app
from study.lab.models import Job
from tests.study.lab.conftest import arrays, attack, dataset, var  # noqa: F401 (fixtures)


@pytest.fixture
def broker(var: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:  # noqa: F811
    """An embedded Valkey that this process and its children use."""
    monkeypatch.setenv("REDIS_URL", "")
    before = app.conf.broker_url
    with processes.embedded_broker(var / "valkey") as url:
        processes.use_broker(url)
        _forget_connections()
        yield url
    app.conf.update(broker_url=before)
    _forget_connections()


def _forget_connections() -> None:
    """Celery keeps its connections for good; the next test has another broker."""
    kombu.pools.reset()
    app._pool = None
    app.amqp._producer_pool = None


@pytest.fixture
def start_worker(
    transactional_db: None, broker: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts workers of all queues on the test's database; they end with the test."""
    from contextlib import ExitStack

    monkeypatch.setenv("DATABASE_URL", database_url(connection.settings_dict))
    with ExitStack() as stack:
        yield lambda: stack.enter_context(processes.worker("gpu,cpu,default", concurrency=2))


def database_url(settings: dict[str, Any]) -> str:
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    return f"postgres://{settings['USER']}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"


def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait for the condition; AssertionError when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def ended(*jobs: Job) -> bool:
    """Refresh the jobs; whether all are over."""
    for job in jobs:
        job.refresh_from_db()
    return all(job.is_over for job in jobs)


def commands() -> dict[int, str]:
    """Command lines of all processes of this machine, by process id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def work_of(job: Job) -> list[int]:
    """Ids of the processes that do this job's work."""
    return [pid for pid, command in commands().items() if f"-m models.run {job_folder(job)}" in command]


def job_folder(job: Job) -> Path:
    from study.lab.kinds import working_folder

    return working_folder(job)
