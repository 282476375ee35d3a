"""The lease on a job: renewed by a thread of its own from claim to end, whatever the work is busy with.

The same write carries what is to be told of the work, so that a running job costs SQLite's one writer little. A
database that is away for a while does not end the work: only an UPDATE that matches no row means that the job is lost.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connection

from study.lab.models import Job
from study.lab.models.jobs import LEASE

logger = logging.getLogger("study.lab")

HEARTBEAT_EVERY_S = 4.0
REPORT_EVERY_S = 1.5
LOOK_EVERY_S = 0.5
#: How long an ending job is kept for a database that is away.
PATIENCE_S = 90.0
RETRY_EVERY_S = 1.0
JOIN_S = 2.0
LOG_TAIL_BYTES = 4096
AWAY = (OperationalError, InterfaceError)

Answer = TypeVar("Answer")


class Every:
    """Says at most once in so many seconds that it is time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.last = time.monotonic()

    def is_due(self) -> bool:
        now = time.monotonic()
        if now - self.last < self.seconds:
            return False
        self.last = now
        return True


class Lease:
    """An attempt's hold on its job while the block lasts. The thread sets `lost` and `cancelled`; who works reads them.

    log: the file whose end is kept as the job's `log_tail`.
    """

    def __init__(self, job: Job, attempt: int, log: Path) -> None:
        self.job, self.attempt, self.log = job, attempt, log
        self.lost = self.cancelled = False
        self._told: dict[str, Any] = {}
        self._written: dict[str, Any] = {}
        self._renewed = time.monotonic()
        self._wrote = -math.inf
        self._warned = False
        self._background = contextlib.ExitStack()

    def __enter__(self) -> Lease:
        self._background.enter_context(repeatedly(LOOK_EVERY_S, self._keep, "lease"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.close()

    def tell(self, progress: dict[str, Any]) -> None:
        """How far the work is; written with one of the next heartbeats."""
        self._told["progress"] = progress

    def reached(self, fraction: float) -> None:
        """The work is safe up to here."""
        self._told["reached"] = max(self._told.get("reached", 0.0), fraction)

    def write_down(self) -> None:
        """Bring the row up to date now, without waiting for a heartbeat."""
        self._renew(self._unwritten())

    def _unwritten(self) -> dict[str, Any]:
        told = {**self._told, "log_tail": tail(self.log)}
        return {name: value for name, value in told.items() if self._written.get(name) != value}

    def _keep(self) -> None:
        now = time.monotonic()
        if now - self._renewed > LEASE.total_seconds() and not self._warned:
            self._warned = True
            logger.warning("%s: its lease could not be renewed in time. The work goes on; the row decides.", self.job)
        self.cancelled = self.cancelled or self.job.cancel_requested(self.attempt)
        told = self._unwritten()
        tellable = told and (self._is_new_stage(told) or now - self._wrote >= REPORT_EVERY_S)
        if tellable or now - self._renewed >= HEARTBEAT_EVERY_S:
            self._renew(told)

    def _is_new_stage(self, told: dict[str, Any]) -> bool:
        """There are few: each is told at once."""
        return "progress" in told and told["progress"].get("stage") != self._written.get("progress", {}).get("stage")

    def _renew(self, told: dict[str, Any]) -> None:
        started = time.monotonic()
        if not self.job.heartbeat(self.attempt, **told):
            self.lost = True
            return
        self._written.update(told)
        self._renewed = self._wrote = started
        self._warned = False


@contextlib.contextmanager
def repeatedly(seconds: float, action: Callable[[], object], name: str) -> Iterator[None]:
    """Call the action every so many seconds in a thread with a database connection of its own.

    Whatever it raises is logged and the next call follows; a database that is away is met with a new connection.
    """
    stop, context = threading.Event(), contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(_repeat, stop, seconds, action, name), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(JOIN_S)


def _repeat(stop: threading.Event, seconds: float, action: Callable[[], object], name: str) -> None:
    away = False
    while not stop.wait(seconds):
        try:
            action()
        except AWAY as error:
            if not away:
                logger.warning("The database cannot be reached (%s: %s). It is tried again.", name, _line(error))
            away = True
            connection.close()
        except Exception:
            logger.exception("%s: this should not have happened; it is tried again.", name)
        else:
            if away:
                logger.warning("The database is back (%s).", name)
            away = False
    connection.close()


def patiently(
    action: Callable[[], Answer],
    away: tuple[type[Exception], ...] = AWAY,
    meanwhile: Callable[[], None] = lambda: None,
) -> Answer:
    """What the action answers; it is tried again for PATIENCE_S while it fails with one of these errors.

    meanwhile: called before each further try; what it raises ends the waiting.
    """
    patience = Every(PATIENCE_S)
    while True:
        try:
            return action()
        except away as error:
            if patience.is_due():
                raise
            logger.warning("%s: %s. It is tried again.", type(error).__name__, _line(error).rstrip("."))
            if isinstance(error, AWAY):
                connection.close()
            time.sleep(RETRY_EVERY_S)
            meanwhile()


def tail(log: Path, size: int = LOG_TAIL_BYTES) -> str:
    """The last bytes of a text file, from the start of a line; nothing if it is not there."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(stream.seek(0, 2) - size - 1, 0))
            end = stream.read()
    except FileNotFoundError:
        return ""
    if len(end) > size:
        end = end[end.find(b"\n") + 1 :]
    return end.decode(errors="replace").replace("\0", "")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
