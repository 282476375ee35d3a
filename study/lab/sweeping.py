"""A sweep: of the jobs, and now and then of what else somebody has to notice."""

from __future__ import annotations

from collections.abc import Callable

from study.lab.lease import Every
from study.lab.models import Sweeper
from study.lab.models.jobs import Swept

EVERY_S = 3600.0

#: What else is looked after; apps above this one append theirs. Any process of any host may call it: it is idempotent.
MORE: list[Callable[[], object]] = []

_hourly = Every(EVERY_S)
_hourly.last -= EVERY_S  # a process that has just begun looks at once


def sweep() -> Swept | None:
    """Sweep the jobs, unless somebody has just now: then None. At most once in EVERY_S, look after MORE as well."""
    swept = Sweeper.objects.sweep_if_due()
    if swept is not None and _hourly.is_due():
        for look_after in MORE:
            look_after()
    return swept
