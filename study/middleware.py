"""What happens around every request: probes are answered before anything else, all others are named, timed and told."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path

from study import logs, metrics, probes

logger = logging.getLogger("study.requests")

Handler = Callable[[HttpRequest], HttpResponse]

PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
LONGEST_PATH = 200


def answer_probes(get_response: Handler) -> Handler:
    """First in line, so that a probe meets no session, no redirect to HTTPS and no check of the host.

    Load balancers and Prometheus ask by address and over plain HTTP, and must not depend on what they probe.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        probe = probes.PROBES.get(request.path_info)
        return probe(request) if probe else get_response(request)

    return middleware


def tell_of_requests(get_response: Handler) -> Handler:
    """Give each request an id, which its log records and its reply carry; log and count it."""

    def middleware(request: HttpRequest) -> HttpResponse:
        began, request_id = time.perf_counter(), _request_id(request)
        request.id = request_id  # type: ignore[attr-defined]  # of what Django logs after the last middleware
        with logs.about(request=request_id):
            response = get_response(request)
            _tell(request, response, time.perf_counter() - began)
        response["X-Request-ID"] = request_id
        return response

    return middleware


def _request_id(request: HttpRequest) -> str:
    """The id that a proxy gave, if it cannot upset a log; else one of our own, random and always as long."""
    given = request.META.get("HTTP_X_REQUEST_ID", "")
    return given if PLAIN.fullmatch(given) else secrets.token_hex(8)


def _tell(request: HttpRequest, response: HttpResponse, seconds: float) -> None:
    view = _view_name(request)
    metrics.request_served(view, request.method, response.status_code, seconds)
    if logger.isEnabledFor(logging.INFO):
        path = logs.redacted(escape_uri_path(request.path[:LONGEST_PATH]))
        fields = {
            "method": request.method,
            "path": path,
            "view": view,
            "status": response.status_code,
            "ms": round(1000 * seconds, 2),
        }
        logger.info(
            "%s %s %d, %.1f ms", request.method, path, response.status_code, 1000 * seconds, extra={"fields": fields}
        )


def _view_name(request: HttpRequest) -> str:
    """A view's name for a log and a label; the admin's dozens are one, and so is all that leads nowhere."""
    match = request.resolver_match
    if match is None:
        return "static" if request.path_info.startswith(settings.STATIC_URL) else "none"
    return "admin" if match.namespaces[:1] == ["admin"] else match.view_name
