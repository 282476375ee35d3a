"""The page where a researcher sets up a second factor, renews its recovery codes and removes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from study.accounts import audit, devices, sign_in
from study.accounts.models import User
from study.accounts.sign_in import CodeForm


@dataclass
class Outcome:
    """What a button led to. codes: recovery codes, which are shown this once. over: the page is to be loaded afresh."""

    form: CodeForm = field(default_factory=CodeForm)
    codes: list[str] = field(default_factory=list)
    over: bool = False


@sensitive_post_parameters()
@csrf_protect
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest, context: Mapping[str, Any]) -> HttpResponse:
    """For a researcher who is signed in; `context`: what every page of the site is given."""
    user: User = request.user  # type: ignore[assignment]
    pressed = BUTTONS.get(request.POST.get("do", ""))
    outcome = pressed(request, user) if pressed else Outcome()
    if outcome.over:
        return HttpResponseRedirect(f"?{urlencode({REDIRECT_FIELD_NAME: _next(request)})}")
    begun = devices.begun(user)
    shown = {
        **context,
        "title": "Two-factor sign-in",
        "enrolled": devices.is_enrolled(user),
        "required": settings.REQUIRE_TWO_FACTOR,
        "qr_code": begun and devices.qr_code(begun),
        "secret": begun and devices.secret(begun),
        "form": outcome.form,
        "codes": outcome.codes,
        "codes_left": devices.recovery_codes_left(user),
        "next": _next(request),
    }
    return TemplateResponse(request, "accounts/two_factor.html", shown)


def _begin(request: HttpRequest, user: User) -> Outcome:
    if not devices.is_enrolled(user):
        devices.begin(user)
    return Outcome(over=True)


def _confirm(request: HttpRequest, user: User) -> Outcome:
    form = CodeForm(request.POST)
    if not form.is_valid():
        return Outcome(form)
    with transaction.atomic():
        try:
            codes = devices.confirm(user, form.cleaned_data["code"])
        except devices.RefusedCode as error:
            form.add_error("code", str(error))
            return Outcome(form)
        audit.record("set up the second factor of", user)
    request.session.cycle_key()
    request.session[sign_in.GAVE] = True
    return Outcome(codes=codes)


def _renew(request: HttpRequest, user: User) -> Outcome:
    form = CodeForm(request.POST)
    if not (form.is_valid() and sign_in.accepted(request, user, form)):
        return Outcome(form)
    with transaction.atomic():
        audit.record("renewed the recovery codes of", user)
        return Outcome(codes=devices.renew_recovery_codes(user))


def _remove(request: HttpRequest, user: User) -> Outcome:
    form = CodeForm(request.POST)
    if not (form.is_valid() and sign_in.accepted(request, user, form)):
        return Outcome(form)
    with transaction.atomic():
        audit.record("removed the second factor of", user)
        devices.remove(user)
    request.session.pop(sign_in.GAVE, None)
    messages.success(request, "Your second factor is removed: your password alone signs you in.")
    return Outcome(over=True)


#: What the page's buttons send.
BUTTONS: Final[Mapping[str, Callable[[HttpRequest, User], Outcome]]] = {
    "begin": _begin,
    "confirm": _confirm,
    "renew": _renew,
    "remove": _remove,
}


def _next(request: HttpRequest) -> str:
    """Where whoever was led here wanted to go; empty when that is elsewhere."""
    wanted = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME, "")
    safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if safe else ""
