"""The researcher's own pages beside the admin's."""

from __future__ import annotations

from dataclasses import asdict

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from study.desk import status

EVERY_S = 10


@require_safe
@never_cache
def statusz(request: HttpRequest) -> HttpResponse:
    """How the installation is doing, for staff: a page, or JSON for who asks by `?format=json` or the Accept header.

    `?watch` has the page load itself again every EVERY_S seconds.
    """
    if _wants_json(request) and not admin.site.has_permission(request):
        return JsonResponse({"detail": "For researchers who are signed in to /admin/."}, status=401)
    return admin.site.admin_view(_statusz)(request)


def _statusz(request: HttpRequest) -> HttpResponse:
    found = status.now(request.user)  # type: ignore[arg-type]  # admin_view lets nobody else in
    alarms = status.alarms(found)
    if _wants_json(request):
        return JsonResponse({"alarms": alarms, **asdict(found)})
    context = {
        **admin.site.each_context(request),
        "title": "Status",
        "status": found,
        "alarms": alarms,
        "watch_s": EVERY_S if "watch" in request.GET else None,
        "every_s": EVERY_S,
    }
    return TemplateResponse(request, "desk/statusz.html", context)


def _wants_json(request: HttpRequest) -> bool:
    if "format" in request.GET:
        return request.GET["format"] == "json"
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"
