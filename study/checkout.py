"""The checkout that this code runs from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent


def commit(digits: int = 40) -> str | None:
    """So many digits of the commit, marked "+changes" where Python files differ from it; None outside a checkout."""
    git = ["git", "-C", str(ROOT)]
    try:
        named = subprocess.run(
            [*git, "rev-parse", f"--short={digits}", "HEAD"], capture_output=True, check=True, text=True
        )
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "*.py"], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return named.stdout.strip() + ("+changes" if changed else "")
