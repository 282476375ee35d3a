"""What visitors are told while the database is away: that it will be back, and to ask again."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 2
SENTENCE = "The server is busy or restarting. What was stored is safe: please try again in a moment."


class DatabaseOutage:
    """Middleware: 503 with Retry-After where the database could not be asked, or did not answer in time.

    Nothing of the request is stored then, so asking again does no harm. The participants' page does it by itself.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, (OperationalError, InterfaceError)):
            return None
        logger.error("The database did not do its part: %s", " ".join(str(exception).split()))
        response = _reply(request)
        response["Retry-After"] = str(RETRY_AFTER_S)
        response["Cache-Control"] = "no-store"
        return response


def _reply(request: HttpRequest) -> HttpResponse:
    if "text/html" in request.headers.get("Accept", ""):  # a page, not a script
        return HttpResponse(SENTENCE, content_type="text/plain; charset=utf-8", status=503)
    return JsonResponse({"error": "unavailable", "detail": SENTENCE}, status=503)
