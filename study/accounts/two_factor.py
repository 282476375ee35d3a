"""The door of the admin: signing in by two steps, and the page where a researcher sets up the second."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache

from study.accounts import audit, devices, second_factor_page, sign_in
from study.accounts.models import User


class TwoFactorSite(admin.AdminSite):
    """Asks those who have set up a second factor for a code; with REQUIRE_TWO_FACTOR everybody has to set one up."""

    def has_permission(self, request: HttpRequest) -> bool:
        return super().has_permission(request) and not _owes_second_factor(request)

    def get_urls(self) -> list[URLResolver | URLPattern]:
        return [
            path("login/code/", self.login_code, name="login_code"),
            path("two-factor/", self.two_factor, name="two_factor"),
            *super().get_urls(),
        ]

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "GET" and super().has_permission(request):
            return HttpResponseRedirect(_next_step(request))
        request.current_app = self.name
        view = sign_in.PasswordView.as_view(
            authentication_form=AdminAuthenticationForm,
            template_name="accounts/sign_in.html",
            extra_context={**self.each_context(request), "title": "Sign in", **(extra_context or {})},
        )
        return view(request)  # type: ignore[return-value]  # which is one

    def login_code(self, request: HttpRequest) -> HttpResponse:
        context = {**self.each_context(request), "title": "Your code"}
        return sign_in.CodeView.as_view(extra_context=context)(request)  # type: ignore[return-value]  # as above

    def logout(  # type: ignore[override]  # any response will do
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        who = request.user
        with transaction.atomic(), audit.acting(who.get_username()):
            response = super().logout(request, extra_context)
            if isinstance(who, User) and not request.user.is_authenticated:
                audit.record("signed out", who)
        return response

    def password_change(  # type: ignore[override]  # as above
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        with transaction.atomic():
            response = super().password_change(request, extra_context)
            if isinstance(response, HttpResponseRedirect):
                audit.record("changed the password of", request.user)  # type: ignore[arg-type]  # who got here
        return response

    def two_factor(self, request: HttpRequest) -> HttpResponse:
        """One's own second factor, for those too who have none and must."""
        if not super().has_permission(request):
            return HttpResponseRedirect(_with_next(reverse("admin:login"), request.get_full_path()))
        context = {**self.each_context(request), "has_permission": True}
        if _owes_second_factor(request):
            context["available_apps"] = []  # nothing else is open yet
        return second_factor_page.page(request, context)


def _owes_second_factor(request: HttpRequest) -> bool:
    return settings.REQUIRE_TWO_FACTOR and not request.session.get(sign_in.GAVE, False)


def _next_step(request: HttpRequest) -> str:
    """Where those go who are signed in: on, or to what they still owe."""
    after = request.GET.get(REDIRECT_FIELD_NAME, "")
    if not _owes_second_factor(request):
        return reverse("admin:index")
    if devices.is_enrolled(request.user):  # type: ignore[arg-type]  # staff is a User
        return sign_in.code_page(after)
    return _with_next(reverse("admin:two_factor"), after)


def _with_next(address: str, after: str) -> str:
    return f"{address}?{urlencode({REDIRECT_FIELD_NAME: after})}"
