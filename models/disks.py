"""Disks that are full: how that is recognised, and what to tell whoever can make room."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Final

MB: Final = 1_000_000
#: Errors of a disk, and of a quota, that is full.
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


def free_bytes(folder: Path) -> int:
    """What the disk of a folder has left; the folder need not be there yet."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    return shutil.disk_usage(there).free


def fullest(*folders: Path) -> Path:
    """That of the folders whose disk has least left."""
    return min(folders, key=free_bytes)


def ran_full(folder: Path, *, goes_on: bool) -> str:
    """One sentence for when the disk of this folder filled during the work. goes_on: whether there is a checkpoint."""
    then = "try again; it goes on from its last checkpoint" if goes_on else "try again"
    return f"The disk of {folder} is full ({free_bytes(folder) // MB} MB left): make room there, then {then}."
