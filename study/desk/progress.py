"""Progress on the terminal: a bar on a screen, a line now and then in a log."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from study.lab.following import LINE_EVERY_S


class Counter:
    """Counts what is done, from any thread."""

    def __init__(self) -> None:
        self.done = 0
        self._lock = threading.Lock()

    def add(self, n: int = 1) -> None:
        with self._lock:
            self.done += n
            self.show()

    def show(self) -> None:
        """Show the count; nothing here, a bar or a line in what derives from this."""


@contextlib.contextmanager
def counted(what: str, total: int | None = None) -> Iterator[Counter]:
    """Show how far `what` is while the block runs."""
    if not sys.stderr.isatty():
        yield _Lines(what, total)
        return
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as progress:  # fmt: skip
        yield _Bar(progress, what, total)


@contextlib.contextmanager
def steps() -> Iterator[Callable[[str, int], Callable[[], None]]]:
    """For work in several steps: a function that begins the next one, by its name and its number of parts, and returns
    what to call after each part.
    """
    with contextlib.ExitStack() as shown:

        def begin(what: str, total: int) -> Callable[[], None]:
            shown.close()
            return shown.enter_context(counted(what, total or None)).add

        yield begin


class _Bar(Counter):
    def __init__(self, progress: Progress, what: str, total: int | None) -> None:
        super().__init__()
        self.progress, self.task = progress, progress.add_task(what, total=total)

    def show(self) -> None:
        self.progress.update(self.task, completed=self.done)


class _Lines(Counter):
    def __init__(self, what: str, total: int | None) -> None:
        super().__init__()
        self.what, self.total, self.shown = what, total, time.monotonic()

    def show(self) -> None:
        if time.monotonic() - self.shown >= LINE_EVERY_S or self.done == self.total:
            self.shown = time.monotonic()
            print(f"{self.what}: {self.done}" + (f" of {self.total}" if self.total else ""), file=sys.stderr)
