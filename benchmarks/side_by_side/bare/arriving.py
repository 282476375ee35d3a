"""Makes the bare view ready for people who start: `... prepare|participants N|stored`, as `arriving` does ours."""

from __future__ import annotations

from typing import Any

from benchmarks.side_by_side.bare.prepare import prepare
from benchmarks.side_by_side.ours import main
from benchmarks.side_by_side.shown import TRIALS


def participants(n: int) -> list[dict[str, Any]]:
    return [{"start": {"method": "POST", "path": "/start", "status": 302}}] * n


def stored() -> int:
    """Sessions with all their trials."""
    from django.db.models import Count

    from benchmarks.side_by_side.bare.models import Session

    return Session.objects.annotate(planned=Count("trials")).filter(planned=TRIALS).count()


if __name__ == "__main__":
    main("benchmarks.side_by_side.bare.settings", prepare, participants, stored)
