"""Room on the disk: asked for before work starts, and named when it ran out."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings

from models.disks import MB, NO_ROOM, free_bytes

#: With less than this left, whatever failed has failed for want of room.
FULL_BELOW_BYTES = 1 * MB


class DiskFull(OSError):  # noqa: N818 (a fact about the disk)
    """There is not enough room; the message is one sentence that names the folder and what to do."""


def require_space(folder: Path, needed_bytes: int = 0) -> None:
    """Raises DiskFull unless the folder's disk has room for these bytes and MINIMUM_FREE_MB besides.

    The folder need not be there yet.
    """
    free, wanted = free_bytes(folder), settings.MINIMUM_FREE_MB * MB + needed_bytes
    if free < wanted:
        raise DiskFull(
            f"The disk of {folder} has {free // MB} MB left, and {-(-wanted // MB)} MB are wanted before work starts: "
            "make room there, then try again (MINIMUM_FREE_MB says how much is always left)."
        )


def is_for_want_of_room(error: OSError) -> bool:
    """Whether this error says that a disk or a quota is full."""
    return isinstance(error, DiskFull) or error.errno in NO_ROOM


def tells_of_want_of_room(text: str) -> bool:
    """Whether the sentence of another process says so."""
    return any(os.strerror(number) in text for number in NO_ROOM)


def is_full(folder: Path) -> bool:
    return free_bytes(folder) < FULL_BELOW_BYTES
