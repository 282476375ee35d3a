"""The audit log among what `verify` verifies."""

from __future__ import annotations

from study.accounts.models import AuditEntry
from study.lab.verification import Check


def checks() -> list[Check]:
    return [Check("audit log", "audit log", _require_whole)]


def _require_whole() -> None:
    """Raises ValueError when the chain is broken."""
    report = AuditEntry.objects.report()
    if not report.whole:
        raise ValueError(str(report))
