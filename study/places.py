"""Where this installation lies and where it writes: for the settings, and for what may not load them."""

import os
import stat
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
VAR = BASE_DIR / os.environ.get("BLINDSPOT_VAR", "var")  # an absolute path stays as it is


def keep_private() -> None:
    """What this process and its children make is for their user alone: answers, accounts and keys are in it."""
    os.umask(0o077)


def make(folder: Path) -> None:
    """Make the folder of an installation, for its owner alone; one that is there and ours is closed to others.

    Raises OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    is_shared = status.st_mode & stat.S_ISVTX  # such as /tmp: not ours to close
    if status.st_uid == os.geteuid() and status.st_mode & 0o077 and not is_shared:
        folder.chmod(0o700)
