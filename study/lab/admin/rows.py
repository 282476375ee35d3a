"""What all rows of the lab have in common in the admin: workers make them, here they are looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from django.contrib import admin
from django.db.models import DateTimeField, Field, JSONField, Model
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import localtime

from study.accounts.audit import AuditedAdmin

#: Longer JSON is unfolded on demand: a model's figures by subject would fill fifty screens.
FOLDED_FROM = 100


class MadeByWorkers(AuditedAdmin):
    """Rows that are looked at, not written by hand; `editable` names what may be changed."""

    editable: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

    class Media:
        css = {"all": ("lab/admin.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Without anything to edit a row is viewed, and a list is there to be acted on where it has actions."""
        changes = self.editable or (obj is None and self.actions)
        return bool(changes) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never: studies and reports refer to these rows."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        shown = [field for field in self.opts.fields if field.name not in (*self.editable, *self.hidden)]
        return [*self.readonly_fields, *map(_readable, shown)]

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        return [*self.editable, *self.get_readonly_fields(request, obj)]


@cache  # the admin asks for its read-only fields more than once, and compares them
def _readable(field: Field[Any, Any]) -> str | Callable[[Model], SafeString | str]:
    """A field's name or, for JSON and times, what shows it; by its name the admin finds the help text."""
    words: Callable[[Any], SafeString | str]
    if isinstance(field, JSONField):
        words = unfolded
    elif isinstance(field, DateTimeField):
        words = moment
    else:
        return field.name

    @admin.display(description=field.verbose_name)
    def shown(row: Model) -> SafeString | str:
        return words(getattr(row, field.name))

    shown.__name__ = field.name
    return shown


def moment(at: datetime | None) -> str:
    """A time to the second, with its zone: what happens to a job happens within seconds."""
    return "-" if at is None else f"{localtime(at):%Y-%m-%d %H:%M:%S %Z}"


def unfolded(value: Any) -> SafeString | str:
    """JSON to read: a line for each key, and folded where a line would be long."""
    if value in (None, "", [], {}):
        return "-"
    lines = [f"{key}: {json.dumps(one)}" for key, one in value.items()] if isinstance(value, dict) else []
    lines = lines or [json.dumps(value)]
    if max(map(len, lines)) <= FOLDED_FROM:
        return format_html("<pre>{}</pre>", "\n".join(lines))
    text = json.dumps(value, indent=1)
    return format_html("<details><summary>JSON, {} kB</summary><pre>{}</pre></details>", len(text) // 1000 or 1, text)


def two_decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:z.2f}"


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> SafeString:
    """A plain table."""
    return format_html(
        "<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>",
        format_html_join("", "<th>{}</th>", ((head,) for head in heads)),
        format_html_join(
            "", "<tr>{}</tr>", ((format_html_join("", "<td>{}</td>", ((c,) for c in row)),) for row in rows)
        ),
    )


def counted(*parts: tuple[int, str, str]) -> str:
    """How many did what, each in the singular and the plural: "1 job is cancelled; 2 jobs were over already."."""
    return "; ".join(f"{n} {one if n == 1 else many}" for n, one, many in parts if n) + "."
