"""Who asks too often is told when to ask again: in JSON to the page of a run, in words to people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from study.rate_limits import visitor, wait_s
from study.trials import languages

SENTENCE = "Too many requests: please try again in {seconds} s."
#: s: that a page lets pass before it asks again by itself.
SHORTEST_PAUSE_S = 5


class LimitRates:
    """Middleware: 429 with Retry-After for what `study.rate_limits` counts at the participants' addresses."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code == 404 and _is_participants(request):
            wait = wait_s("misses", visitor(request.META))
            return _refusal(request, wait) if wait else response
        return response

    def process_view(self, request: HttpRequest, view: Any, args: Any, place: dict[str, Any]) -> HttpResponse | None:
        """Before the database is asked. What is counted by is in the address: no answer's truth plays a part."""
        if not _is_participants(request):
            return None
        if "token" in place:
            wait = wait_s("run", place["token"])
        elif request.method == "POST":
            wait = wait_s("starts", visitor(request.META))
        else:
            wait = 0
        return _refusal(request, wait) if wait else None


def _is_participants(request: HttpRequest) -> bool:
    return request.resolver_match is not None and request.resolver_match.app_names == ["trials"]


def _refusal(request: HttpRequest, seconds: int) -> HttpResponse:
    if "text/html" in request.headers.get("Accept", ""):  # a page, not a script
        response = _page(request, max(seconds, SHORTEST_PAUSE_S))
    else:
        response = JsonResponse({"error": "too_many", "detail": SENTENCE.format(seconds=seconds)}, status=429)
    response["Retry-After"] = str(seconds)
    response["Cache-Control"] = "private, no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response


def _page(request: HttpRequest, seconds: int) -> HttpResponse:
    """It asks the same again, by a button or by itself: a form that was filled in is not lost."""
    language = languages.of_visitor(request, [code for code, _ in settings.LANGUAGES])
    asked = request.POST if request.method == "POST" else request.GET
    context = {"seconds": seconds, "method": request.method, "fields": [*asked.items()]}
    return languages.page(request, language, "trials/too_many.html", context, status=429)
