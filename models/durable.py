"""Files that are either whole or not there, for programs that do not load torch."""

from __future__ import annotations

import glob
import os
import secrets
import time
from pathlib import Path


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that a crash at any moment leaves the old file or the new one, never half of it.

    Once this returns, the file survives a loss of power. Raises OSError, naming the file, when it cannot be written.
    """
    # Not the process's number: processes in several containers share a volume, and often the number too.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_leftovers(path: Path, older_than_s: float = 0.0) -> None:
    """Remove what killed processes left of files that were to become `path`, older than what a live one may write."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        try:
            if time.time() - leftover.stat().st_mtime >= older_than_s:
                leftover.unlink()
        except FileNotFoundError:
            continue  # another process has just finished or removed it
