"""Whose requests these are, for the audit log."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from django.http import HttpRequest, HttpResponse

from study.accounts import audit

NOBODY = "somebody who is not signed in"


def name_the_actor(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """What a request records is put down to who is signed in. Until something is recorded, no session is read."""

    def middleware(request: HttpRequest) -> HttpResponse:
        with audit.acting(partial(_name, request)):
            return get_response(request)

    return middleware


def _name(request: HttpRequest) -> str:
    return request.user.get_username() or NOBODY
