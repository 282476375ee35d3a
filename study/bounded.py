"""Calls that may hang, such as to a broker that vanished: nobody waits for one longer than it may take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import update_wrapper
from typing import Generic, TypeVar

from django.db import connections

Result = TypeVar("Result")


class TookTooLong(Exception):  # noqa: N818
    """There was no result within the limit."""


@dataclass
class _Attempt(Generic[Result]):
    result: Result | None = None
    error: BaseException | None = None
    over: threading.Event = field(default_factory=threading.Event)


class Bounded(Generic[Result]):
    """A function without arguments, made in a thread of its own and at most once at a time.

    limit_s: how long anybody waits; then TookTooLong is raised, also for whoever asks while that call still hangs.
    keep_s: how long a result is good for, so that the work done does not depend on how often it is asked for. What the
    function raises is raised to all who waited, and not kept.
    """

    def __init__(self, function: Callable[[], Result], *, limit_s: float, keep_s: float) -> None:
        update_wrapper(self, function)
        self.function, self.limit_s, self.keep_s = function, limit_s, keep_s
        self._lock = threading.Lock()
        self._attempt: _Attempt[Result] | None = None
        self._began = 0.0

    def __call__(self) -> Result:
        attempt = self._current()
        if not attempt.over.wait(max(0.0, self._began + self.limit_s - time.monotonic())):
            raise TookTooLong
        if attempt.error is not None:
            raise attempt.error
        return attempt.result  # type: ignore[return-value]

    def forget(self) -> None:
        """Have the next call begin afresh."""
        self._attempt = None

    def _current(self) -> _Attempt[Result]:
        """The call that is under way or whose result is still good; a new one where there is none."""
        with self._lock:
            last, now = self._attempt, time.monotonic()
            if last is None or (last.over.is_set() and (last.error or now - self._began >= self.keep_s)):
                self._attempt, self._began = _Attempt(), now
                threading.Thread(target=self._make, args=(self._attempt,), daemon=True).start()
            return self._attempt  # type: ignore[return-value]

    def _make(self, attempt: _Attempt[Result]) -> None:
        try:
            attempt.result = self.function()
        except Exception as error:  # noqa: BLE001 (raised to whoever waits)
            attempt.error = error
        finally:
            connections.close_all()  # those of this thread, which ends
            attempt.over.set()


def bounded(*, limit_s: float, keep_s: float) -> Callable[[Callable[[], Result]], Bounded[Result]]:
    """Decorator: see Bounded."""
    return lambda function: Bounded(function, limit_s=limit_s, keep_s=keep_s)
