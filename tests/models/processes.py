"""Processes that do what `python -m models.run` does, forked from one that has imported torch once and for all.

Importing it takes as long as a small training.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["models.run"])


class Work:
    """A process at work on the specification at `path`. What it prints comes line by line from `stdout`."""

    def __init__(self, path: Path) -> None:
        self._errors = path.with_suffix(".errors")
        reader, writer = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_work, args=(str(path), writer, str(self._errors)))
        self._process.start()
        writer.close()
        self.stdout = os.fdopen(os.dup(reader.fileno()))
        reader.close()
        self.terminate, self.kill = self._process.terminate, self._process.kill

    def wait(self) -> int:
        """Its exit code. AssertionError when it does not end, or ended by a bug."""
        self._process.join(120)
        assert self._process.exitcode is not None
        assert "Traceback" not in self._errors.read_text()
        self.stdout.close()
        return self._process.exitcode


def _work(path: str, out: Connection, errors: str) -> None:
    os.dup2(out.fileno(), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
    from models.run import main

    sys.exit(main([path]))
