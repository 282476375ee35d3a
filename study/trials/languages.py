"""The languages of a study's pages: which one a visitor reads, the way to the others, and pages rendered in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf.locale import LANG_INFO
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils import translation
from django.utils.translation.trans_real import parse_accept_lang_header

PARAMETER = "lang"


@dataclass(frozen=True)
class LanguageLink:
    """The way to one language of a page; `name` is what its speakers call it."""

    code: str
    name: str
    query: str
    current: bool


def preferred(wanted: str | None, accepted: str, offered: Sequence[str]) -> str:
    """The language of `offered` that was asked for, else the one the browser likes best, else the first.

    wanted: value of the `lang` parameter; accepted: the header Accept-Language. "de-AT" is served with "de".
    """
    wishes = [wanted or "", *(code for code, _ in parse_accept_lang_header(accepted))]
    found = (language for wish in wishes for language in (wish.lower(), wish.lower().partition("-")[0]))
    return next((language for language in found if language in offered), offered[0])


def of_visitor(request: HttpRequest, offered: Sequence[str]) -> str:
    """The language in which a visitor reads a page that is offered in these."""
    return preferred(request.GET.get(PARAMETER), request.headers.get("Accept-Language", ""), offered)


def links(query: QueryDict, current: str, offered: Sequence[str]) -> list[LanguageLink]:
    """Links from a page with this query to itself in every language that is offered; [] where there is one only."""
    if len(offered) < 2:
        return []
    return [LanguageLink(code, _own_name(code), _with_language(query, code), code == current) for code in offered]


def page(
    request: HttpRequest, language: str, template: str, context: Mapping[str, Any], status: int = 200
) -> HttpResponse:
    """A template rendered in this language; lazy texts in the context are translated with it."""
    with translation.override(language):
        response = render(request, template, dict(context), status=status)
    response["Content-Language"] = language
    response["Referrer-Policy"] = "no-referrer"  # the addresses of runs are secrets
    return response


def _own_name(code: str) -> str:
    return str(LANG_INFO.get(code, {}).get("name_local", code))


def _with_language(query: QueryDict, code: str) -> str:
    changed = query.copy()
    changed[PARAMETER] = code
    return changed.urlencode()
