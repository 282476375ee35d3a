"""Rows that are found by their name, and the JSON and hashes that they are compared by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import models
from django.db.models import QuerySet

Row = TypeVar("Row", bound=models.Model)


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces. Raises ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of(value: Any) -> str:
    """SHA-256 in hex of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class NameTaken(ValueError):  # noqa: N818 (a fact about the name)
    """A name stands for something else already; `fact` is the sentence without what to do about it."""

    def __init__(self, fact: str, remedy: str = "choose another name") -> None:
        super().__init__(f"{fact}: {remedy}.")
        self.fact = fact


def check_name(rows: QuerySet[Row], name: str) -> None:
    """Raises ValueError for a name that is no slug."""
    try:
        validate_slug(name)
    except ValidationError:
        noun = rows.model._meta.verbose_name
        raise ValueError(f"{name!r} cannot name a {noun}: use letters, digits, - and _ only.") from None


def named(rows: QuerySet[Row], name: str, identity: Mapping[str, Any], also: Mapping[str, Any] | None = None) -> Row:
    """The row of this name, made now if there is none.

    Raises ValueError for a name that is no slug, NameTaken for one that already stands for something else.
    """
    noun = rows.model._meta.verbose_name
    check_name(rows, name)
    identity = {key: json.loads(canonical_json(v)) if isinstance(v, dict) else v for key, v in identity.items()}
    row, _ = rows.get_or_create(name=name, defaults={**identity, **(also or {})})
    others = [key.replace("_", " ") for key, value in identity.items() if getattr(row, key) != value]
    if others:
        raise NameTaken(f"The {noun} {name!r} is there already and differs in {' and '.join(others)}")
    return row
