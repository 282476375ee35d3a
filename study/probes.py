"""The addresses that machines ask: is the process alive, can it serve, and how is it doing.

They are answered by `study.middleware.answer_probes`, outside of everything else.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from study import health, metrics


def never_stored(probe: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """A probe tells how things are now."""

    def told(request: HttpRequest) -> HttpResponse:
        response = probe(request)
        response["Cache-Control"] = "no-store"
        response["X-Content-Type-Options"] = "nosniff"
        return response

    return told


@never_stored
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers. Whoever restarts processes asks this: a database that is away is no reason to."""
    return HttpResponse("ok\n", content_type="text/plain; charset=utf-8")


@never_stored
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Whether participants can be sent here; 503 when not, with the check that failed. Degraded: not all of them."""
    checks = health.readiness()
    body = {
        "ready": all(check.ok for check in checks),
        "degraded": any(check.ok and check.detail for check in checks),
        "checks": {check.name: {"ok": check.ok, "ms": check.ms, "detail": check.detail} for check in checks},
    }
    return JsonResponse(body, status=200 if body["ready"] else 503)


@never_stored
@require_safe
def metrics_page(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format, for whoever has METRICS_TOKEN; without one, for this machine alone."""
    from study.desk.vitals import VitalsCollector

    if refusal := _refusal(request):
        return HttpResponse(refusal, status=403, content_type="text/plain; charset=utf-8")
    return HttpResponse(metrics.exposition(VitalsCollector()), content_type=metrics.CONTENT_TYPE)


PROBES: dict[str, Callable[[HttpRequest], HttpResponse]] = {
    "/healthz": healthz,
    "/readyz": readyz,
    "/metrics": metrics_page,
}


def _refusal(request: HttpRequest) -> str:
    """Why these figures are not for whoever asks; empty when they are."""
    if settings.METRICS_TOKEN:
        given = request.headers.get("Authorization", "")
        right = secrets.compare_digest(given.encode(), f"Bearer {settings.METRICS_TOKEN}".encode())
        return "" if right else "Ask with the header `Authorization: Bearer` and METRICS_TOKEN.\n"
    if settings.PRODUCTION:
        return "Set METRICS_TOKEN in the server's environment, and ask with it (docs/monitoring.md).\n"
    return "" if _is_local(request) else "Without METRICS_TOKEN, only this machine itself may ask.\n"


def _is_local(request: HttpRequest) -> bool:
    """Whether it comes from this machine. One that a proxy here passes on does not, whatever its last step was."""
    if "HTTP_X_FORWARDED_FOR" in request.META or "HTTP_FORWARDED" in request.META:
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
