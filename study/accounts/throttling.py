"""Whoever guesses at passwords or codes has to wait: what django-axes asks of us."""

from __future__ import annotations

from typing import Any

from axes.backends import AxesStandaloneBackend
from axes.handlers.proxy import AxesProxyHandler
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.signals import user_login_failed
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.crypto import salted_hmac

from study import rate_limits
from study.accounts.models import User


class Throttle(AxesStandaloneBackend):  # type: ignore[misc]
    """Stands before the backend that checks passwords. What comes by no request comes by no network."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        if request is not None:
            super().authenticate(request, **credentials)


def address(request: HttpRequest) -> str | None:
    """Where failures are counted; None for this machine itself."""
    return rate_limits.visitor(request.META) or None


def counted_name(request: HttpRequest, credentials: dict[str, Any] | None) -> str | None:
    """Under which name failures are counted: that of an account, or else a hash of what was typed.

    People type passwords into the wrong field. Names without an account are counted all the same, one by one: else the
    waiting would tell which accounts there are.
    """
    typed: str | None = (credentials or {}).get("username")
    if typed is None or User.objects.filter(username=typed).exists():
        return typed
    return f"no account {salted_hmac('study.accounts.throttling', typed, algorithm='sha256').hexdigest()[:16]}"


def count_failure(request: HttpRequest, user: User) -> None:
    """A wrong code counts as a wrong password does."""
    user_login_failed.send(sender=__name__, credentials={"username": user.get_username()}, request=request)


def failures(request: HttpRequest) -> int | None:
    """How many in a row, with this request's; None when none was counted, as for those who have to wait."""
    return getattr(request, "axes_failures_since_start", None)


def has_to_wait(request: HttpRequest, user: User) -> bool:
    """Whether too much went wrong for this researcher at this address. The reply to the request is then `locked`."""
    request.axes_locked_out = not AxesProxyHandler.is_allowed(  # type: ignore[attr-defined]
        request, {"username": user.get_username()}
    )
    return bool(request.axes_locked_out)  # type: ignore[attr-defined]


def locked(request: HttpRequest, response: HttpResponse, credentials: dict[str, Any] | None) -> HttpResponse:
    """The page for those who have to wait."""
    seconds = int(settings.AXES_COOLOFF_TIME.total_seconds())
    context = {**admin.site.each_context(request), "title": "Too many failed attempts", "minutes": seconds // 60}
    reply = TemplateResponse(request, "accounts/locked.html", context, status=429)
    reply["Retry-After"] = str(seconds)
    return reply.render()
