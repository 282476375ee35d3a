"""Signing in: name and password, then a code of those who have set up a second factor."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.views import LoginView, RedirectURLMixin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import FormView

from study.accounts import audit, devices, throttling
from study.accounts.models import User

#: In the session: who has given the right password and owes the code; and that a code was given.
OWES: Final = "owes_code"
GAVE: Final = "gave_code"
#: s: within which the code has to follow.
PATIENCE_S: Final = 300


class CodeForm(forms.Form):
    code = forms.CharField(
        max_length=40,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "autocapitalize": "none", "spellcheck": "false", "autofocus": True}
        ),
    )


class PasswordView(LoginView):
    """The first step, and for those without a second factor the only one."""

    def form_valid(self, form: Any) -> HttpResponse:
        user: User = form.get_user()
        if devices.is_enrolled(user):
            _await_code(self.request, user)
            return HttpResponseRedirect(code_page(self.get_redirect_url()))
        _enter(self.request, user)
        return HttpResponseRedirect(self.get_success_url())

    def form_invalid(self, form: Any) -> HttpResponse:
        user = User.objects.filter(username=form.cleaned_data.get("username", "")).first()
        if user is not None:
            _record_failure(self.request, user, "password")
        return super().form_invalid(form)


@method_decorator([sensitive_post_parameters(), csrf_protect, never_cache], name="dispatch")
class CodeView(RedirectURLMixin, FormView):  # type: ignore[type-arg]
    """The second step."""

    form_class = CodeForm
    template_name = "accounts/code.html"
    next_page = "admin:index"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        user = _who_owes_a_code(request)
        if user is None:
            messages.info(request, "The code came too late: begin again.")
            return HttpResponseRedirect(reverse("admin:login"))
        self.user = user
        return super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"next": self.get_redirect_url()}

    def form_valid(self, form: CodeForm) -> HttpResponse:
        factor = accepted(self.request, self.user, form)
        if factor is None:
            return self.form_invalid(form)
        _enter(self.request, self.user, factor)
        if factor == devices.RECOVERY:
            left = devices.recovery_codes_left(self.user)
            messages.warning(self.request, f"That recovery code is used up. You have {left} left (see Two-factor).")
        return HttpResponseRedirect(self.get_success_url())


def accepted(request: HttpRequest, user: User, form: CodeForm) -> str | None:
    """Which of the second factors the code is of. None: it is refused, the form says why, and it counts as a failure.

    For those who have failed too often no code is right; their reply is `throttling.locked`.
    """
    if throttling.has_to_wait(request, user):
        return None
    try:
        return devices.check(user, form.cleaned_data["code"])
    except devices.RefusedCode as error:
        form.add_error("code", str(error))
        throttling.count_failure(request, user)
        _record_failure(request, user, "code")
        return None


def code_page(after: str) -> str:
    """The address of the second step, which leads to this one."""
    return f"{reverse('admin:login_code')}?{urlencode({'next': after})}"


def _await_code(request: HttpRequest, user: User) -> None:
    request.session.cycle_key()
    request.session[OWES] = {
        "user": user.pk,
        "password": user.get_session_auth_hash(),
        "until": time.time() + PATIENCE_S,
    }


def _who_owes_a_code(request: HttpRequest) -> User | None:
    """Whose code is awaited in this session; None when there is nobody, or it took too long."""
    if owed := request.session.get(OWES):
        user = User.objects.filter(pk=owed["user"], is_active=True).first()
        # A password that was changed meanwhile was given in vain.
        if user is None or not constant_time_compare(owed["password"], user.get_session_auth_hash()):
            return None
        return user if time.time() < owed["until"] else None
    # Who set up a second factor elsewhere since this session began.
    signed_in: Any = request.user
    return signed_in if signed_in.is_authenticated and devices.is_enrolled(signed_in) else None


def _enter(request: HttpRequest, user: User, factor: str = "") -> None:
    """Nobody is signed in without an entry in the log. The session ends at a fixed time, whatever is done in it."""
    with audit.acting(user.get_username()):
        audit.record("signed in", user, after={"second factor": factor} if factor else {})
    login(request, user, backend=settings.AUTHENTICATION_BACKENDS[-1])
    request.session.pop(OWES, None)
    if factor:
        request.session[GAVE] = True
    request.session.set_expiry(timezone.now() + timedelta(seconds=settings.SESSION_COOKIE_AGE))


def _record_failure(request: HttpRequest, user: User, what: str) -> None:
    """Of accounts alone, and nothing of what was typed: it may be a password. Who has to wait adds no entries."""
    if failures := throttling.failures(request):
        audit.record("failed to sign in as", user, after={"wrong": what, "failures in a row": failures})
