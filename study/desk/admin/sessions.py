"""Sessions in the admin: what participants did is looked at, never changed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest

from study.desk.admin.read_only import ReadOnly
from study.trials import robots
from study.trials.models import Answer, Session, SessionEvent, Trial


class TrialInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    model = Trial
    fields = ("index", "phase", "round", "shown_pair", "altered_side", "choice", "correct", "rt_ms")
    readonly_fields = fields
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[Trial]:
        shown = super().get_queryset(request)
        pairs = [f"{way}{part}" for way in ("", "choice__") for part in ("pair__attack", "pair__base_image__dataset")]
        return shown.select_related("answer", "session__study", *pairs)

    def choice(self, trial: Trial) -> str:
        return getattr(_answer(trial), "choice", "")

    @admin.display(boolean=True)
    def correct(self, trial: Trial) -> bool | None:
        return getattr(_answer(trial), "correct", None)

    def rt_ms(self, trial: Trial) -> float | None:
        return getattr(_answer(trial), "rt_ms", None)


def _answer(trial: Trial) -> Answer | None:
    return getattr(trial, "answer", None)


class SessionEventInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    model = SessionEvent
    fields = ("at", "kind", "data")
    readonly_fields = fields
    extra = 0


@admin.register(Session)
class SessionAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("public_code", "study__slug", "population", "state", "answered", "created_at")
    list_filter = ("study", "population", "state")
    search_fields = ("public_code",)
    date_hierarchy = "created_at"
    inlines = (TrialInline, SessionEventInline)
    readonly_fields = ("signs_of_a_script",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        sessions = super().get_queryset(request).select_related("study")
        due = Count("trials", filter=Q(trials__skipped=None))
        counted: QuerySet[Any] = sessions.annotate(due=due, stored=Count("trials__answer"))
        return counted

    def answered(self, session: Any) -> str:
        return f"{session.stored} of {session.due}"

    def signs_of_a_script(self, session: Session) -> str:
        """They exclude nobody."""
        return " ".join(robots.MEANINGS[flag] for flag in session.flags()) or "none"
