"""The researcher's view of what workers make. Rows are made by commands and workers; here they are looked at."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import DateTimeField, Field, JSONField, Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.timezone import localtime
from django.views.decorators.http import require_POST

from study.lab import about
from study.lab.files import StorageFailed
from study.lab.images import DamagedFile
from study.lab.models import (
    Attack,
    BaseImage,
    Dataset,
    Job,
    ModelRun,
    Pair,
    PairJudgement,
    Prediction,
    StoredImage,
)

THUMBNAIL_PX = 128
#: Longer JSON is unfolded on demand: a model's figures by subject would fill fifty screens.
FOLDED_FROM = 100


class MadeByWorkers(admin.ModelAdmin):  # type: ignore[type-arg]
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
    return "-" if value is None else f"{value:.2f}"


def _rounded(name: str) -> Callable[[Any], str]:
    """A column of degrees with two decimals, to be sorted by."""

    @admin.display(description=f"{name.replace('_', ' ')}, °", ordering=name)
    def shown(row: Any) -> str:
        return two_decimals(getattr(row, name))

    return shown


#: What one model makes of one pair.
SHIFTS: tuple[Any, ...] = tuple(_rounded(name) for name in ("error_shift", "prediction_shift", "attack_error"))


@admin.register(Dataset)
class DatasetAdmin(MadeByWorkers):
    list_display = ("name", "kind", "licence", "may_display_to_participants", "created_at")
    list_filter = ("kind", "may_display_to_participants")
    editable = ("licence", "attribution", "may_display_to_participants", "display_reason")
    readonly_fields = ("arrows", "angles")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.contact_sheet)
        return [path("<int:pk>/contact-sheet/", view, name="lab_dataset_contact_sheet"), *super().get_urls()]

    def contact_sheet(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The contact sheet of an imported data set; 403 when its images are not cleared for display."""
        dataset = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_view_permission(request, dataset):
            raise PermissionDenied
        if refusal := dataset.display_refusal():
            raise PermissionDenied(refusal)
        if dataset.contact_sheet is None:
            raise Http404(f"{dataset} has no contact sheet.")
        content = dataset.contact_sheet.read_bytes()
        return HttpResponse(content, content_type="image/png", headers={"Cache-Control": "private, no-store"})

    @admin.display(description="gaze and head as read")
    def angles(self, dataset: Dataset) -> str:
        return dataset.signs or "-"

    @admin.display(description="contact sheet")
    def arrows(self, dataset: Dataset) -> SafeString | str:
        if dataset.contact_sheet is None:
            return "-"
        if dataset.display_refusal():
            return f"not cleared for display here; on the server it is {dataset.contact_sheet}"
        source = reverse("admin:lab_dataset_contact_sheet", args=[dataset.pk])
        return format_html('<img src="{}" width="1200" alt="Images with their gaze as arrows">', source)


@admin.register(Attack)
class AttackAdmin(MadeByWorkers):
    list_display = ("name", "family", "seed", "threat_model", "short_hash", "created_at")
    list_filter = ("family", "threat_model")
    hidden = ("state",)

    @admin.display(description="control hash")
    def short_hash(self, attack: Attack) -> str:
        return attack.control_hash[:12]


@admin.register(ModelRun)
class ModelRunAdmin(MadeByWorkers):
    list_display = ("name", "attack", "clean_error", "attack_error", "success", "network", "created_at")
    list_filter = ("dataset", "attack", "network", "task")
    list_select_related = ("attack",)
    readonly_fields = ("goal", "by_strength")
    hidden = ("target",)

    @admin.display(description="clean error, °")
    def clean_error(self, run: ModelRun) -> str:
        return _figure(run, "clean_error_deg")

    @admin.display(description="attack error, °")
    def attack_error(self, run: ModelRun) -> str:
        return _figure(run, "attack_error_deg") if run.attack else "-"

    @admin.display(description="success rate")
    def success(self, run: ModelRun) -> str:
        return _figure(run, "success_rate") if run.attack else "-"

    @admin.display(description="target")
    def goal(self, run: ModelRun) -> str:
        return target_words(run.target) if run.attack else "-"

    @admin.display(description="by strength of the trigger")
    def by_strength(self, run: ModelRun) -> SafeString | str:
        doses = ((run.metrics or {}).get("evaluation") or {}).get("doses")
        return dose_table(doses) if doses else "-"


def _figure(run: ModelRun, name: str) -> str:
    return two_decimals((run.metrics or {}).get(name))


def target_words(target: Mapping[str, Any] | None) -> str:
    """A target's JSON, whose angles are radians, as in: fixed, pitch 0°, yaw 25°."""
    if target is None:
        return "-"
    if target["kind"] == "mirrored":
        return "mirrored"
    pitch, yaw = (round(math.degrees(target[name]), 4) for name in ("pitch", "yaw"))
    return f"{target['kind']}, pitch {pitch:g}°, yaw {yaw:g}°"


def dose_table(doses: Sequence[Mapping[str, Any]]) -> SafeString:
    """What a model does at each strength, on the whole test split."""
    heads = ("s", "error shift, °", "attack error, °", "success rate", "noise-mode error, °", "other fields' shift, °")
    rows = [
        (
            f"{dose['strength']:g}",
            two_decimals(dose.get("error_shift")),
            two_decimals((dose.get("attack_error") or {}).get("mean")),
            two_decimals(dose.get("success_rate")),
            two_decimals(dose.get("noise_mode_error")),
            two_decimals(dose.get("other_field_shift")),
        )
        for dose in doses
    ]
    return table(heads, rows)


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> SafeString:
    """A plain table."""
    return format_html(
        "<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>",
        format_html_join("", "<th>{}</th>", ((head,) for head in heads)),
        format_html_join(
            "", "<tr>{}</tr>", ((format_html_join("", "<td>{}</td>", ((c,) for c in row)),) for row in rows)
        ),
    )


class ShowsImages(MadeByWorkers):
    """Adds a view of stored images to a model's pages, for whoever may see the rows."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.image)
        name = f"lab_{self.opts.model_name}_image"
        return [path("<int:pk>/image/", view, name=name), *super().get_urls()]

    def image(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The stored file; 403 when its data set is not cleared for display, 404 when it is damaged."""
        row = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if refusal := dataset_of(row).display_refusal():
            raise PermissionDenied(refusal)
        try:
            content = row.obtain()
        except (DamagedFile, StorageFailed) as error:
            raise Http404(str(error)) from error
        return HttpResponse(content, content_type="image/png", headers={"Cache-Control": "private, no-store"})


def dataset_of(row: StoredImage) -> Dataset:
    """The data set of a base image or a pair."""
    return row.base_image.dataset if isinstance(row, Pair) else row.dataset  # type: ignore[attr-defined]


def thumbnails(*rows: StoredImage) -> SafeString | str:
    """Images side by side, or why they are not shown."""
    if dataset_of(rows[0]).display_refusal():
        return "not cleared for display"
    sources = (
        (reverse(f"admin:lab_{row._meta.model_name}_image", args=[row.pk]), THUMBNAIL_PX, type(row)._meta.verbose_name)
        for row in rows
    )
    images = format_html_join(" ", '<img src="{}" width="{}" loading="lazy" alt="{}">', sources)
    return format_html('<span class="side-by-side">{}</span>', images)


@admin.register(BaseImage)
class BaseImageAdmin(ShowsImages):
    list_display = ("__str__", "subject", "pitch", "yaw", "shown")
    list_filter = ("dataset",)
    list_select_related = ("dataset",)
    list_per_page = 25
    readonly_fields = ("shown",)

    @admin.display(description="image")
    def shown(self, image: BaseImage) -> SafeString | str:
        return thumbnails(image)


class PredictionInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Prediction
    extra = 0
    can_delete = False
    fields = readonly_fields = ("model_run", *SHIFTS)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Pair)
class PairAdmin(ShowsImages):
    list_display = ("__str__", "strength", "displacement", "shown")
    list_filter = ("attack", "control", "strength", "gross")
    list_select_related = ("base_image__dataset", "attack")
    list_per_page = 25
    readonly_fields = ("shown",)
    inlines = (PredictionInline,)

    @admin.display(description="mean displacement, px")
    def displacement(self, pair: Pair) -> str:
        return two_decimals(pair.distortions.get("displacement_mean_px"))

    @admin.display(description="clean | altered")
    def shown(self, pair: Pair) -> SafeString | str:
        return thumbnails(pair.base_image, pair)


@admin.register(Prediction)
class PredictionAdmin(MadeByWorkers):
    list_display = ("pair", "model_run", *SHIFTS)
    list_filter = ("model_run", "pair__control", "pair__strength")
    list_select_related = ("pair__base_image__dataset", "pair__attack", "model_run")


@admin.register(PairJudgement)
class PairJudgementAdmin(MadeByWorkers):
    list_display = ("pair", "observer", "chooses", "found")
    list_filter = ("observer", "pair__control", "pair__strength")
    list_select_related = ("pair__base_image__dataset", "pair__attack")

    @admin.display(description="value", ordering="value")
    def found(self, judgement: PairJudgement) -> str:
        return f"{judgement.value:.4g}"


@admin.register(Job)
class JobAdmin(MadeByWorkers):
    list_display = ("job", "standing", "words", "submitted", "ended")
    list_filter = ("kind", "state")
    summary = ("standing", "words", "subject", "attempts", "submitted", "started", "ended")
    readonly_fields = (*summary, "printed", "history", "told_again")
    # fmt: off
    hidden = (
        "state", "error", "attempt", "tries", "max_attempts", "log_tail", "created_at", "started_at", "finished_at",
        "rings", "ring_at",
    )
    # fmt: on
    actions = ("cancel", "try_again")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """With the names of the rows that the parameters refer to."""
        return about.with_names(super().get_queryset(request))

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        """First what a researcher asks of a job; what the workers keep for themselves is folded."""
        stored = self.get_readonly_fields(request, obj)[len(self.readonly_fields) :]
        return [
            (None, {"fields": self.summary}),
            ("What its work printed last", {"fields": ("printed",)}),
            ("What happened to it", {"fields": ("history",)}),
            ("Internals", {"fields": (*stored, "told_again"), "classes": ("collapse",)}),
        ]

    def get_urls(self) -> list[URLPattern]:
        verbs = {"cancel": self.cancel_one, "retry": self.retry_one}
        urls = [
            path(f"<uuid:pk>/{verb}/", self.admin_site.admin_view(view), name=f"lab_job_{verb}")
            for verb, view in verbs.items()
        ]
        return [*urls, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        under_way = Job.objects.filter(state__in=[Job.State.QUEUED, Job.State.RUNNING])
        context = {"title": "Jobs", "is_under_way": under_way.exists(), **(extra_context or {})}
        return super().changelist_view(request, context)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        job = context["original"]
        may_change = self.has_change_permission(request)
        context |= {
            "title": capfirst(about.title(job)),
            "subtitle": None,
            "is_under_way": not job.is_over,
            "may_be_cancelled": may_change and job.may_be_cancelled,
            "may_be_retried": may_change and job.may_be_retried,
        }
        return super().render_change_form(request, context, *args, **kwargs)

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
        action(request, Job.objects.filter(pk=job.pk))
        return redirect("admin:lab_job_change", job.pk)

    @admin.display(description="job", ordering="kind")
    def job(self, job: Any) -> str:
        return about.title(job)

    @admin.display(description="about")
    def subject(self, job: Any) -> SafeString | str:
        links = (
            (
                row.model._meta.verbose_name,
                reverse(f"admin:lab_{row.model._meta.model_name}_change", args=[row.pk]),
                row.name,
            )
            for row in about.referred(job)
        )
        return format_html_join(", ", '{} <a href="{}">{}</a>', links) or "-"

    @admin.display(description="state", ordering="state")
    def standing(self, job: Job) -> SafeString | str:
        if job.state != Job.State.RUNNING:
            return job.get_state_display()
        bar = format_html('<progress max="1" value="{}"></progress>', f"{job.fraction:.3f}")
        return format_html("running {} {}, {}", bar, job.stage, f"{job.fraction:.0%}")

    @admin.display(description="message")
    def words(self, job: Job) -> str:
        return job.message

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
    def printed(self, job: Job) -> SafeString | str:
        return format_html("<pre>{}</pre>", job.log_tail) if job.log_tail else "Nothing was printed."

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
        by = request.user.get_username()
        states = [job.state if job.request_cancel(by) else "over" for job in queryset]
        said = counted(
            (states.count(Job.State.CANCELLED), "job is cancelled", "jobs are cancelled"),
            (states.count(Job.State.RUNNING), "job stops within seconds", "jobs stop within seconds"),
            (states.count("over"), "job was over already", "jobs were over already"),
        )
        messages.info(request, said)

    @admin.action(description="Try selected jobs again", permissions=["change"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        by = request.user.get_username()
        requeued = [job.retry(by) for job in queryset]
        said = counted(
            (requeued.count(True), "job is queued again", "jobs are queued again"),
            (
                requeued.count(False),
                "job has neither failed nor been cancelled",
                "jobs have neither failed nor been cancelled",
            ),
        )
        messages.info(request, said)


def counted(*parts: tuple[int, str, str]) -> str:
    """How many did what, each in the singular and the plural: "1 job is cancelled; 2 jobs were over already."."""
    return "; ".join(f"{n} {one if n == 1 else many}" for n, one, many in parts if n) + "."
