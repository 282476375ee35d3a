"""What a process that does a job says of its work: JSON objects on standard output, one a line."""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

logger = logging.getLogger("study.lab")

Event = dict[str, Any]

LOOK_EVERY_S = 0.2
#: What a process wrote last may be read after it has ended; who holds its output open after that is not waited for.
LAST_WORDS_S = 2.0


def events_of(process: subprocess.Popen[str]) -> Iterator[Event | None]:
    """The process's events as they come, None several times a second while there are none, until it has ended."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_forward, args=(process, lines), daemon=True).start()
    while True:
        ended = process.poll() is not None
        try:
            line = lines.get(timeout=LAST_WORDS_S if ended else LOOK_EVERY_S)
        except queue.Empty:
            if ended:
                return
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


def _forward(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    for line in process.stdout or ():
        lines.put(line)
    process.wait()  # it may have closed its output and live on
    lines.put(None)
