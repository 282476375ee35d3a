"""Sessions in the admin: what participants did is looked at, never changed.

Nobody sees of people who are taking part now which answers were right, unless the study's plan allows looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from study.desk.admin.read_only import ReadOnly
from study.desk.counting import with_progress
from study.trials import robots, truth
from study.trials.models import Answer, Population, Session, SessionEvent, Study, Trial, TrialTrace
from study.trials.rights import Action

#: What an event says that nobody is told while detection rates are hidden.
TELLING: Final = ("choice", "stored")
#: What of the set-up of the screen has a line of its own.
SCREEN: Final = {"device": "Device", "calibration": "Calibrated by", "distance": "Distance found by"}
#: Columns that the list may be narrowed by.
NARROWED_BY: Final = frozenset({"study", "population", "state", "created_at"})


@dataclass(frozen=True)
class Line:
    """A trial as the page lists it. Where something is hidden, it is empty here."""

    trial: Trial
    stimulus: str
    condition: str
    altered: str
    answer: Answer | None
    trace: TrialTrace | None
    skipped: bool


@admin.register(Session)
class SessionAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("number", "study__title", "population", "state", "answered", "created_at", "seen_at")
    list_filter = (("study", admin.RelatedOnlyFieldListFilter), "population", "state")
    search_fields = ("=id", "public_code")
    date_hierarchy = "created_at"
    ordering = ("-pk",)

    # --- who sees what

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        studies = Study.objects.visible_to(request.user)  # type: ignore[arg-type]  # the admin lets in nobody else
        sessions = Session.objects.with_design().filter(study__in=studies)
        return with_progress(sessions.defer("design__json", "recruiter_ids", "recruiter_key"))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.admin_site.has_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        """Every researcher has a list of sessions; of which studies decides what is on it."""
        return self.admin_site.has_permission(request) if obj is None else _may(request, obj, Action.VIEW)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Django allows every column: recruiters' ids and the seed of the plan could be guessed letter by letter."""
        return lookup.partition("__")[0] in NARROWED_BY and super().lookup_allowed(lookup, value, request)

    # --- the list

    @admin.display(description="session", ordering="pk")
    def number(self, session: Session) -> str:
        return f"Session {session.pk}"

    def answered(self, session: Any) -> str:
        return f"{session.stored} of {session.due}"

    # --- one of them

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What is known of a session."""
        session = self.get_object(request, object_id)
        if session is None or not self.has_view_permission(request, session):
            raise Http404(f"There is no session {object_id}.")
        hidden = hides_answers(session)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Session {session.pk}",
            "session": session,
            "hidden": hidden,
            "screen": screen(session),
            "flags": [robots.MEANINGS[flag] for flag in session.flags()],
            "recruiter_ids": session.recruiter_ids if _may(request, session, Action.IDENTIFY) else None,
            "may_erase": _may(request, session, Action.ERASE),
            "events": [event_in_words(event, hidden=hidden) for event in session.events.order_by("pk")],
            "lines": lines(session, hidden=hidden),
        }
        return TemplateResponse(request, "desk/session.html", context)


def _may(request: HttpRequest, session: Session, action: Action) -> bool:
    return session.study.may(request.user, action)  # type: ignore[arg-type]  # the admin lets in nobody else


def hides_answers(session: Session) -> bool:
    """Whether it stays hidden what was right in this session: a person's, of a study that is blind."""
    return session.population == Population.REAL and session.study.is_blind


def lines(session: Session, *, hidden: bool) -> list[Line]:
    """The session's plan and what became of it, in order."""
    trials = session.trials.select_related(
        "base_image__dataset", "pair__attack", "choice__pair__attack", "answer", "trace", "skipped"
    )
    return [_line(session, trial, hidden) for trial in trials.order_by("index")]


def _line(session: Session, trial: Trial, hidden: bool) -> Line:
    pair, answer = trial.shown_pair, getattr(trial, "answer", None)
    is_chosen = trial.pair_id is None  # by what was answered before, which it would tell
    # Whoever gives a participant access to the answers reads what was chosen in each trial. Where "left" is "yes",
    # the condition beside it tells how well people see.
    is_telling = is_chosen or session.design.now["protocol"] == Study.Protocol.YES_NO
    return Line(
        trial=trial,
        stimulus="" if hidden else str(trial.base_image),  # on one list it is altered on one side, for robots too
        condition="" if pair is None or (hidden and is_telling) else truth.condition(pair),
        altered="" if hidden or pair is None else truth.place(session, trial),
        answer=answer,
        trace=getattr(trial, "trace", None),
        skipped=hasattr(trial, "skipped"),
    )


def event_in_words(event: SessionEvent, *, hidden: bool) -> tuple[Any, str, str]:
    """When, what, and what more is known of it."""
    told = {name: value for name, value in event.data.items() if not (hidden and name in TELLING)}
    return event.at, event.kind.replace("_", " "), in_words(told)


def in_words(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in facts.items() if value is not None)


def screen(session: Session) -> list[tuple[str, str]]:
    """What is known of the screen, as labels and words."""
    found = [(label, str(session.device[name])) for name, label in SCREEN.items() if session.device.get(name)]
    more = {name: value for name, value in session.device.items() if name not in SCREEN}
    if session.scale:
        found.append(("Device pixels per image pixel", str(session.scale)))
    if session.px_per_degree:
        found.append(("Device pixels per degree", f"{session.px_per_degree:.1f}"))
    return [*found, ("More", in_words(more))] if more else found
