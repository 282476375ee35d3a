"""Jobs in the admin: how each stands, live, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.views.decorators.http import require_POST

from study.accounts import audit
from study.lab import about
from study.lab.admin.rooms import Room
from study.lab.admin.rows import counted, moment, table
from study.lab.models import Job
from study.lab.setting_up import submitted_by
from study.lab.templatetags.lab import last_line

#: Of how many jobs one may ask at once: as many as a page of the list has.
ASKED_AT_ONCE = 100


@admin.register(Job)
class JobAdmin(Room):
    list_display = ("job", "standing", "words", "submitted", "ended")
    list_filter = ("kind", "state")
    summary = ("subject", "attempts", "submitted", "started", "ended")
    readonly_fields = (*summary, "history", "told_again")
    # fmt: off
    hidden = (
        "state", "error", "attempt", "tries", "max_attempts", "log_tail", "created_at", "started_at", "finished_at",
        "rings", "ring_at",
    )
    # fmt: on
    actions = ("cancel", "try_again")
    change_list_template = "admin/lab/job/change_list.html"
    change_form_template = "admin/lab/job/change_form.html"
    when_empty = "No job yet: they are made by buttons such as Train models, and by commands."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """Those this researcher may see, with the names of the rows that the parameters refer to."""
        return about.with_names(about.visible_to(user_of(request), super().get_queryset(request)))

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        """First what a researcher asks of a job; what the workers keep for themselves is folded."""
        stored = self.get_readonly_fields(request, obj)[len(self.readonly_fields) :]
        return [
            (None, {"fields": self.summary}),
            ("What happened to it", {"fields": ("history",)}),
            ("Internals", {"fields": (*stored, "told_again"), "classes": ("collapse",)}),
        ]

    def get_urls(self) -> list[URLPattern]:
        verbs = {"cancel": self.cancel_one, "retry": self.retry_one}
        urls = [
            path(f"<uuid:pk>/{verb}/", self.admin_site.admin_view(view), name=f"lab_job_{verb}")
            for verb, view in verbs.items()
        ]
        state = path("state/", self.admin_site.admin_view(self.state), name="lab_job_state")
        return [*urls, state, *super().get_urls()]

    def state(self, request: HttpRequest) -> HttpResponse:
        """How the jobs named by ?job=<key>&job=<key> stand, by their keys: what `follow_jobs.js` asks for."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        keys = request.GET.getlist("job")[:ASKED_AT_ONCE]
        try:
            jobs = about.visible_to(user_of(request), Job.objects.filter(pk__in=keys)).prefetch_related("events")
        except ValidationError as error:
            raise Http404("That is no job's key.") from error
        return JsonResponse({str(job.pk): state_of(job) for job in jobs}, headers={"Cache-Control": "no-store"})

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Jobs", **(extra_context or {})})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        job = context["original"]
        led_to = submitted_by(job) if job.kind == Job.Kind.SET_UP else ()
        context["led_to"] = led_to
        return super().render_change_form(request, context, *args, **kwargs)

    def page_title(self, row: Any) -> str:
        return str(capfirst(about.title(row)))

    @method_decorator(require_POST)
    def cancel_one(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """The button of a job's page."""
        return self._act(request, pk, self.cancel)

    @method_decorator(require_POST)
    def retry_one(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Likewise."""
        return self._act(request, pk, self.try_again)

    def _act(
        self, request: HttpRequest, pk: UUID, action: Callable[[HttpRequest, QuerySet[Job]], None]
    ) -> HttpResponse:
        if not self.has_change_permission(request):
            raise PermissionDenied
        job = get_object_or_404(self.get_queryset(request), pk=pk)
        if not about.changeable_by(user_of(request), Job.objects.filter(pk=pk)).exists():
            raise PermissionDenied
        action(request, Job.objects.filter(pk=job.pk))
        came_from = request.POST.get("next", "")
        if url_has_allowed_host_and_scheme(came_from, {request.get_host()}, request.is_secure()):
            return redirect(came_from)
        return redirect("admin:lab_job_change", job.pk)

    @admin.display(description="job", ordering="kind")
    def job(self, job: Any) -> str:
        return about.title(job)

    @admin.display(description="about")
    def subject(self, job: Any) -> SafeString | str:
        links = (
            (
                row.model._meta.verbose_name,
                reverse(f"admin:{row.model._meta.app_label}_{row.model._meta.model_name}_change", args=[row.pk]),
                row.name,
            )
            for row in about.referred(job)
        )
        return format_html_join(", ", '{} <a href="{}">{}</a>', links) or "-"

    @admin.display(description="state", ordering="state")
    def standing(self, job: Job) -> SafeString | str:
        if job.is_over:
            return job.get_state_display()
        return format_html(
            '<span data-job="{}" data-states="{}">{} <progress max="1" value="{}" aria-label="{}" data-job-bar>'
            "</progress></span>",
            job.pk,
            reverse("admin:lab_job_state"),
            job.get_state_display(),
            f"{job.fraction:.3f}",
            about.title(job),
        )

    @admin.display(description="message")
    def words(self, job: Job) -> SafeString | str:
        if job.is_over:
            return job.message
        return format_html(
            '<span data-job="{}" data-states="{}" data-job-message>{}</span>',
            job.pk,
            reverse("admin:lab_job_state"),
            job.message,
        )

    @admin.display(description="attempt")
    def attempts(self, job: Job) -> str:
        return f"{job.attempt}; attempts without progress: {job.attempts_without_progress} of {job.max_attempts}"

    @admin.display(description="submitted", ordering="created_at")
    def submitted(self, job: Job) -> str:
        return moment(job.created_at)

    @admin.display(description="started")
    def started(self, job: Job) -> str:
        return moment(job.started_at)

    @admin.display(description="ended", ordering="finished_at")
    def ended(self, job: Job) -> str:
        return moment(job.finished_at)

    @admin.display(description="")
    def history(self, job: Any) -> SafeString:
        events = job.events.all()
        rows = [(moment(event.at), event.attempt, event.get_kind_display(), event.detail) for event in events]
        return table(("when", "attempt", "what", "why, by whom"), rows)

    @admin.display(description="workers told of it")
    def told_again(self, job: Job) -> str:
        return f"times since it was queued: {job.rings}; again, should none take it: {moment(job.ring_at)}"

    @admin.action(description="Cancel selected jobs", permissions=["change"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        jobs = about.changeable_by(user_of(request), queryset)
        states = [_cancelled(job, request.user.get_username()) for job in jobs]
        said = counted(
            (states.count(Job.State.CANCELLED), "job is cancelled", "jobs are cancelled"),
            (states.count(Job.State.RUNNING), "job stops within seconds", "jobs stop within seconds"),
            (states.count("over"), "job was over already", "jobs were over already"),
        )
        messages.info(request, said)

    @admin.action(description="Try selected jobs again", permissions=["change"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        jobs = about.changeable_by(user_of(request), queryset)
        requeued = [_tried_again(job, request.user.get_username()) for job in jobs]
        said = counted(
            (requeued.count(True), "job is queued again", "jobs are queued again"),
            (
                requeued.count(False),
                "job has neither failed nor been cancelled",
                "jobs have neither failed nor been cancelled",
            ),
        )
        messages.info(request, said)


def user_of(request: HttpRequest) -> Any:
    """Who asks: `admin_view` lets in only those who have signed in."""
    return request.user


def _cancelled(job: Job, by: str) -> str:
    """The state that the job is in then; "over" when it was over already."""
    with transaction.atomic():
        if not job.request_cancel(by):
            return "over"
        audit.record("cancelled", job)
    return job.state


def _tried_again(job: Job, by: str) -> bool:
    with transaction.atomic():
        requeued = job.retry(by)
        if requeued:
            audit.record("tried again", job)
    return requeued


def state_of(job: Any) -> dict[str, Any]:
    """How a job stands, as JSON: `fraction` is within its stage, 0 to 1; `line` is the last line of `log`."""
    return {
        "state": job.state,
        "stage": job.stage,
        "fraction": job.fraction,
        "message": job.message,
        "line": last_line(job.log_tail),
        "log": job.log_tail,
        "over": job.is_over,
        "may_be_cancelled": job.may_be_cancelled,
        "events": [
            {"at": moment(event.at), "attempt": event.attempt, "what": event.get_kind_display(), "why": event.detail}
            for event in job.events.all()
        ],
    }
