"""What of a row was and what it became, in values that a log can hold and people can read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

Values = dict[str, Any]

#: In the names of fields whose values are nobody's business: a log says only that they changed.
SECRET: Final = ("password", "secret", "token")
NOT_SHOWN: Final = "(not shown)"
#: Characters of a value as JSON; of a longer one the log holds the hash.
LONGEST: Final = 20_000
EMPTY: Final[tuple[Any, ...]] = (None, "", [], {})


@dataclass(frozen=True)
class _Secret:
    """Can be compared and not read."""

    value: Any


def values_of(row: models.Model, lists: Collection[str] = (), unlogged: Collection[str] = ()) -> Values:
    """The row's fields as the database has them, by their labels.

    lists: names of its many-to-many fields to add. unlogged: names of fields that are as secret as those of SECRET.
    """
    stored = type(row)._base_manager.get(pk=row.pk)
    values = {}
    for field in stored._meta.concrete_fields:
        if not field.primary_key:
            secret = field.name in unlogged or any(part in field.name for part in SECRET)
            values[str(field.verbose_name)] = _Secret(_value(stored, field)) if secret else _value(stored, field)
    for many in stored._meta.many_to_many:
        if many.name in lists:
            values[str(many.verbose_name)] = sorted(map(str, getattr(stored, many.name).all()))
    return values


def changes(before: Values, after: Values) -> tuple[Values, Values]:
    """What was before and is not so any more, and what is so only now; empty values are left out."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return _shown(before, names), _shown(after, names)


def _value(row: models.Model, field: Any) -> Any:
    if field.is_relation:
        related = getattr(row, field.name)
        return None if related is None else f"{related.pk}: {related}"
    value = field.value_from_object(row)
    return str(value) if isinstance(field, models.FileField) else value


def _shown(values: Values, names: Iterable[str]) -> Values:
    return {name: _short(values[name]) for name in names if values.get(name) not in EMPTY}


def _short(value: Any) -> Any:
    if isinstance(value, _Secret):
        return NOT_SHOWN
    text = json.dumps(value, cls=DjangoJSONEncoder)
    if len(text) <= LONGEST:
        return value
    return f"({len(text)} characters, SHA-256 {hashlib.sha256(text.encode()).hexdigest()})"
