"""How a process of model work is told to stop: by SIGTERM, or by a file that appears.

It stops wherever it is, as Ctrl-C would stop it, but for what has to be finished first: an update and its checkpoint,
and the files that are the work's result.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

LOOK_EVERY_S = 0.5


class Terminated(BaseException):
    """The process was told to stop, and nothing keeps it from doing so here.

    No `Exception`: nothing that handles failures may take it for one.
    """


class _Request:
    """Whether this process was told to stop, and whether it has to finish something first."""

    made = False
    waits = False


def listen() -> Callable[[], bool]:
    """From now on SIGTERM raises `Terminated` in the main thread, once; says whether it has come."""
    _Request.made = _Request.waits = False
    signal.signal(signal.SIGTERM, _hear)
    return lambda: _Request.made


def watch_for(stop_file: Path) -> None:
    """Take the appearance of this file, which is looked for twice a second, for SIGTERM."""
    threading.Thread(target=_watch_for, args=(stop_file,), daemon=True).start()


@contextmanager
def finishing_first() -> Iterator[None]:
    """Within, a request is noted and nothing raised: the work asks now and then, or comes to its end."""
    before, _Request.waits = _Request.waits, True
    try:
        yield
    finally:
        _Request.waits = before


def ignore() -> None:
    """From now on it is too late to stop: only the last word is missing."""
    _Request.waits = True


def _hear(number: int, frame: FrameType | None) -> None:
    first, _Request.made = not _Request.made, True
    if first and not _Request.waits:  # another one would cut short the tidying that the first has begun
        raise Terminated


def _watch_for(stop_file: Path) -> None:
    while not stop_file.exists():
        time.sleep(LOOK_EVERY_S)
    main_thread = threading.main_thread().ident
    if main_thread is not None:
        signal.pthread_kill(main_thread, signal.SIGTERM)  # wakes it, should it be waiting for something
