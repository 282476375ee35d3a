"""A worker that is told to end passes it on to its pool processes, so that they give their jobs back in time.

Celery lets running tasks finish when it ends, and does not tell them; a training takes hours. The word is passed by a
byte of memory that parent and pool processes share: it needs neither broker nor database, which may be ending too.
"""

from __future__ import annotations

import contextlib
import mmap
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_shared = mmap.mmap(-1, 1)  # anonymous; made when the worker starts, before it forks
_asked = threading.Event()


def announce() -> None:
    """In the worker's parent: every pool process is to give back what it is doing."""
    _shared[0] = 1


def is_requested() -> bool:
    """Whether this process is to give its job back."""
    return bool(_shared[0]) or _asked.is_set()


@contextlib.contextmanager
def on_sigterm() -> Iterator[None]:
    """Within the block SIGTERM asks this process likewise, instead of ending it: a service manager signals them all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        _asked.set()

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
