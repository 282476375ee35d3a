"""What a process that does a job says of its work: JSON objects on standard output, one a line."""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import threading
from collections.abc import Iterator
from typing import IO, Any

logger = logging.getLogger("study.lab")

Event = dict[str, Any]


def events_of(process: subprocess.Popen[str]) -> Iterator[Event | None]:
    """The process's events as they come, None several times a second while there are none, until its output ends."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_forward, args=(process.stdout, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=0.2)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        yield _event(line)


def _event(line: str) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if isinstance(event, dict):
        return event
    # A library that prints, or the last line of a process that was killed while it wrote.
    logger.warning("The work printed something that is no event: %.200s", line.rstrip())
    return None


def _forward(stream: IO[str] | None, lines: queue.SimpleQueue[str | None]) -> None:
    for line in stream or ():
        lines.put(line)
    lines.put(None)
