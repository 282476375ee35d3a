"""The checkout that a bench runs in."""

from __future__ import annotations

from typing import Final

from study import checkout

ROOT: Final = checkout.ROOT


def commit() -> str:
    """The first digits of the commit, marked "+changes" where Python files differ from it; "unknown" without one."""
    return checkout.commit(digits=7) or "unknown"
