"""Who is acting, and the log of what they did: append-only, each entry chained to the one before by its hash.

The log is about researchers. What participants do has no place in it, nor has anything that tells who one of them is:
a session is named by its number in the database.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from study import database
from study.accounts.changes import Values, changes, values_of
from study.accounts.models import AuditEntry

#: A name, or what finds it out once something is recorded: most requests record nothing.
Name = str | Callable[[], str]

#: Entries that a row's history shows.
LONGEST_HISTORY: Final = 200

_actor: ContextVar[Name] = ContextVar("actor", default="")


@contextmanager
def acting(name: Name) -> Iterator[None]:
    """What is recorded within is put down to this one."""
    token = _actor.set(name)
    try:
        yield
    finally:
        _actor.reset(token)


def actor() -> str:
    """Who is acting: a researcher's name, or which process, and at the command line whoever uses it."""
    name = _actor.get()
    return (name() if callable(name) else name) or _process()


def _process() -> str:
    process = database.this_process()
    return f"command line: {_os_user()}" if process is database.COMMAND else process.name


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"user {os.getuid()}"


def record(
    action: str, subject: Model | str, before: Mapping[str, Any] | None = None, after: Mapping[str, Any] | None = None
) -> AuditEntry:
    """Add an entry: what was done, in words ("opened"), to which row, and what of it was and became.

    Call it in the transaction of the change itself, so that neither is stored without the other.
    """
    return AuditEntry.objects.append(
        actor=actor(), action=action, subject=name_of(subject), before=before or {}, after=after or {}
    )


def name_of(subject: Model | str) -> str:
    """How the log names a row: its kind, its number and what people call it."""
    return subject if isinstance(subject, str) else f"{kind_and_number(subject)}: {subject}"


def kind_and_number(row: Model) -> str:
    """What names a row for good: "study 3"."""
    return f"{row._meta.verbose_name} {row.pk}"


# --- the admin's part


@dataclass
class _Edit:
    """What of a row, and of the rows edited with it, was and became."""

    before: Values = field(default_factory=dict)
    after: Values = field(default_factory=dict)


class AuditedAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Records what is added, changed and deleted here, with the changed fields as they were and as they became.

    Of secret fields (`changes.SECRET`, and those named in `unlogged`) the log says only that they changed. Django's own
    log of actions is not kept beside it; a row's history shows what this one has. Other verbs, such as actions and
    buttons, call `record` themselves.
    """

    unlogged: ClassVar[frozenset[str]] = frozenset()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.audited = _Edit(self._values(obj, form) if change else {})
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        form.instance.audited.after |= self._values(form.instance, form)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Rows that are edited with another belong to its entry."""
        edit: _Edit = form.instance.audited
        for inline in formset.initial_forms:
            if inline.has_changed():
                edit.before |= self._values_within(inline.instance, inline)
        super().save_formset(request, form, formset, change)
        for inline in formset.forms:
            if inline.has_changed() and inline.instance.pk is not None:
                edit.after |= self._values_within(inline.instance, inline)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        record("created", obj, *changes({}, obj.audited.after))

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        before, after = changes(obj.audited.before, obj.audited.after)
        if before or after:
            record("changed", obj, before, after)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:  # type: ignore[override]
        """The deletion itself is recorded, in its transaction."""

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with transaction.atomic():
            self._record_deletion(obj)
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():
            for row in queryset:
                self._record_deletion(row)
            super().delete_queryset(request, queryset)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404(f"There is no {self.opts.verbose_name} {object_id}.")
        if not self.has_view_or_change_permission(request, row):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": f"History: {row}",
            "object": row,
            "opts": self.opts,
            "entries": AuditEntry.objects.about(kind_and_number(row))[:LONGEST_HISTORY],
            "longest": LONGEST_HISTORY,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "accounts/history.html", context)

    def _record_deletion(self, row: Model) -> None:
        record("deleted", row, *changes(values_of(row, unlogged=self.unlogged), {}))

    def _values(self, row: Model, form: Any) -> Values:
        return values_of(row, lists=form.fields, unlogged=self.unlogged)

    def _values_within(self, row: Model, form: Any) -> Values:
        return {f"{kind_and_number(row)}: {label}": value for label, value in self._values(row, form).items()}
