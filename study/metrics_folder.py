"""The folder in which the processes of one web server count together: a file for each, summed when it is asked for.

prometheus_client finds it in PROMETHEUS_MULTIPROC_DIR; gunicorn's parent keeps it (study/gunicorn.py).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
KINDS = ("counter", "histogram")  # files that `study.metrics` has
SPACE = 256 * 1024  # bytes; 200 series of 120 bytes take 24 kB
USED = struct.Struct("i")  # how prometheus_client's files begin: the bytes in use


def begin(parent: Path) -> None:
    """In gunicorn's parent: a new folder of this server's own; those that ended servers left behind go."""
    parent.mkdir(parents=True, exist_ok=True)
    for folder in parent.iterdir():
        if folder.name == str(os.getpid()) or not _runs(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
    own = parent / str(os.getpid())
    own.mkdir()
    os.environ[VARIABLE] = str(own)


def reserve() -> None:
    """In a web process, before prometheus_client is imported: its files, at their full size.

    They are mapped into memory, and the first write to a page that a full disk has no room for kills the process. Where
    there is no room already, this process counts for itself.
    """
    if VARIABLE not in os.environ:
        return
    try:
        for kind in KINDS:
            with _file(kind, os.getpid()).open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, SPACE)
    except OSError:
        for kind in KINDS:
            _file(kind, os.getpid()).unlink(missing_ok=True)
        del os.environ[VARIABLE]


def bury(pid: int) -> None:
    """In gunicorn's parent, when a process has ended: what it counted stays in the sum, the rest of its files goes."""
    for kind in KINDS:
        with contextlib.suppress(FileNotFoundError), _file(kind, pid).open("r+b") as file:
            (used,) = USED.unpack(file.read(USED.size))
            file.truncate(max(used, USED.size))


def _file(kind: str, pid: int) -> Path:
    return Path(os.environ[VARIABLE]) / f"{kind}_{pid}.db"


def _runs(pid: str) -> bool:
    return pid.isdigit() and Path("/proc", pid).exists()
