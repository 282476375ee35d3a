"""Every address of the site, found by the URL resolver, with places for what an address may hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Model
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern

PLACE = re.compile(r"<(?:[^>:]+:)?(\w+)>")
GROUP = re.compile(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)")


@dataclass(frozen=True)
class Endpoint:
    """An address such as ("s/", "/start") with the places ("slug",) between its parts; `model`: whose rows it shows."""

    parts: tuple[str, ...]
    places: tuple[str, ...]
    model: type[Model] | None

    def __str__(self) -> str:
        between = [f"<{place}>" for place in self.places] + [""]
        return "/" + "".join(part + place for part, place in zip(self.parts, between, strict=True))

    def filled(self, values: tuple[str, ...]) -> str:
        return "/" + "".join(part + value for part, value in zip(self.parts, (*values, ""), strict=True))


def endpoints() -> list[Endpoint]:
    """All of the URL configuration, in its order."""
    return [_endpoint(route, view) for route, view in _routes(get_resolver(), "")]


def _routes(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, Any]]:
    for pattern in resolver.url_patterns:
        route = prefix + _route(pattern)
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern, route)
        else:
            yield route, pattern.callback


def _route(pattern: URLPattern | URLResolver) -> str:
    """With <name> for each place, as in a path's route."""
    text = str(pattern.pattern)
    if isinstance(pattern.pattern, RoutePattern):
        return PLACE.sub(r"<\1>", text)
    return GROUP.sub(r"<\1>", text).replace("\\", "").strip("^$")


def _endpoint(route: str, view: Any) -> Endpoint:
    pieces = PLACE.split(route)
    model = getattr(getattr(view, "model_admin", None), "model", None)
    return Endpoint(tuple(pieces[::2]), tuple(pieces[1::2]), model)
