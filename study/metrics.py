"""What web processes count while they serve, for Prometheus. What the database knows is read there: study.desk.vitals.

No label ever tells trials, conditions or sides apart: from rates by condition, researchers would learn what
participants see before the study ends.
"""

from __future__ import annotations

import os
from functools import cache

from study import metrics_folder

metrics_folder.reserve()

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess  # noqa: E402
from prometheus_client.registry import Collector  # noqa: E402

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_own = CollectorRegistry()
_requests = Counter("blindspot_requests", "Requests served.", ["view", "method", "status"], registry=_own)
_seconds = Histogram(
    "blindspot_request_seconds", "From a request to its reply.", ["view"], buckets=SECONDS, registry=_own
)
_answers = Counter("blindspot_answers_stored", "Answers committed.", ["population"], registry=_own)
_uncounted = Counter(
    "blindspot_rate_limits_away",
    "Times that the broker did not count a request, so that nobody was limited.",
    registry=_own,
)
_images = Counter("blindspot_images_served", "Images shown to participants.", ["population"], registry=_own)


def request_served(view: str, method: str | None, status: int, seconds: float) -> None:
    """Count a request by the name of its view, never by its path: that would be a series for each participant."""
    known = method if method in METHODS else "other"
    _requests_of(view, known, status).inc()
    _seconds_of(view).observe(seconds)


def answer_stored(population: str) -> None:
    """An answer is committed that was not there before."""
    _answers.labels(population).inc()


def image_served(population: str) -> None:
    """An image of a trial is on its way."""
    _images.labels(population).inc()


def rate_limits_away() -> None:
    """The broker did not count a request."""
    _uncounted.inc()


def exposition(*more: Collector) -> bytes:
    """Prometheus' text format: the sum over the processes of this web server, and what `more` collects."""
    registry = CollectorRegistry()
    if metrics_folder.VARIABLE in os.environ:
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(_own)
    for collector in more:
        registry.register(collector)
    return generate_latest(registry)


# Kept, because finding a series by its labels takes as long as counting.
@cache
def _requests_of(view: str, method: str, status: int) -> Counter:
    return _requests.labels(view, method, status)


@cache
def _seconds_of(view: str) -> Histogram:
    return _seconds.labels(view)
