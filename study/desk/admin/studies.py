"""Studies in the admin: edited until they open; afterwards they are run from their own pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import URLPattern
from django.utils.html import format_html

from study.desk import study_pages
from study.desk.admin.read_only import ReadOnly
from study.trials.exceptions import TrialsError
from study.trials.models import DesignVersion, Population, Study, Translation


class DesignVersionInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    model = DesignVersion
    fields = ("n", "created_at", "reason", "sha256", "matches")
    readonly_fields = fields
    extra = 0

    @admin.display(boolean=True)
    def matches(self, version: DesignVersion) -> bool:
        return version.matches()


class TranslationInline(admin.StackedInline):  # type: ignore[type-arg]
    """Texts in other languages: edited with the draft, read only from the opening on."""

    model = Translation
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        return _is_draft(obj) and super().has_add_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        return _is_draft(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        return _is_draft(obj) and super().has_delete_permission(request, obj)


def _is_draft(study: Study | None) -> bool:
    return study is None or study.state == Study.State.DRAFT


@admin.register(Study)
class StudyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("title", "state", "participants", "real", "simulated", "preview", "page")
    list_filter = ("state", "dataset")
    search_fields = ("slug", "title")
    prepopulated_fields = {"slug": ("title",)}
    readonly_fields = ("state", "opened_at", "page", "design_sha256")
    inlines = (TranslationInline, DesignVersionInline)
    fieldsets = (
        (None, {"fields": ("title", "slug", "state", "opened_at", "page", "design_sha256")}),
        ("What is compared", {"fields": ("dataset", "model_run", "strengths", "bound", "participants", "seed")}),
        (
            "A session",
            {
                "fields": (
                    "protocol", "procedure", "not_sure", "trials_per_strength", "trials_per_control", "catch_trials",
                    "practice_trials", "practice_correct", "practice_rounds", "break_every", "resume_hours",
                )
            },
        ),
        ("An adaptive session", {"fields": ("adaptive_trials", "adaptive_minimum", "adaptive_sd")}),
        (
            "A trial, in milliseconds",
            {
                "fields": (
                    "fixation_ms", "exposure_ms", "mask_ms", "gap_ms", "flicker_ms", "response_ms", "enable_after_ms",
                    "blank_ms",
                )
            },
        ),
        (
            "Who is left out, beside those who miss catch trials, choose one side or let trials pass",
            {"fields": ("median_rt_below_ms", "fast_above_share", "focus_above_share")},
        ),
        (
            "The screen",
            {
                "fields": (
                    "scale", "image_degrees", "enlargement", "calibration", "distance", "allow_phones",
                    "allow_tablets",
                )
            },
        ),
        (
            "What participants read",
            {
                "fields": (
                    "language", "information", "minimum_age", "eligibility", "payment", "withdrawal_deadline",
                    "consent_version", "debrief", "contact", "ethics_reference",
                )
            },
        ),
        (
            "Where they come from and go back to",
            {
                "fields": (
                    "recruiter", "recruiter_parameters", "completion_code", "return_url", "screened_out_code",
                    "screened_out_url", "return_hosts",
                )
            },
        ),
    )  # fmt: skip
    actions = ("open_studies", "close_studies")

    def get_urls(self) -> list[URLPattern]:
        return [*study_pages.urls(), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        counts = {
            population.value: Count("sessions", filter=Q(sessions__population=population)) for population in Population
        }
        studies: QuerySet[Any] = super().get_queryset(request).annotate(**counts)
        return studies

    def get_readonly_fields(self, request: HttpRequest, obj: Study | None = None) -> tuple[str, ...]:
        frozen = Study.DESIGN_FIELDS if obj and obj.state != Study.State.DRAFT else frozenset()
        return (*self.readonly_fields, *(f.name for f in Study._meta.fields if f.name in frozen))

    def get_prepopulated_fields(self, request: HttpRequest, obj: Study | None = None) -> dict[str, Sequence[str]]:
        return {} if obj else {"slug": ("title",)}

    def has_delete_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        return bool(obj and obj.state == Study.State.DRAFT and super().has_delete_permission(request, obj))

    @admin.display(description="real sessions")
    def real(self, study: Any) -> int:
        return int(study.real)

    @admin.display(description="simulated")
    def simulated(self, study: Any) -> int:
        return int(study.simulated)

    @admin.display(description="preview")
    def preview(self, study: Any) -> int:
        return int(study.preview)

    @admin.display(description="frozen design")
    def design_sha256(self, study: Study) -> str:
        return study.design_versions.order_by("-n").values_list("sha256", flat=True).first() or "not frozen"

    @admin.display(description="participants' page")
    def page(self, study: Study) -> str:
        if study.state != Study.State.OPEN:
            return "not open"
        address = study.get_absolute_url()
        return format_html('<a href="{}">{}</a> · <a href="{}?preview=1">preview</a>', address, address, address)

    @admin.action(description="Open: freeze the design and let participants in", permissions=["change"])
    def open_studies(self, request: HttpRequest, studies: QuerySet[Study]) -> None:
        for study in studies:
            self._try(request, study, study.open, "is open")

    @admin.action(description="Close: take no new participants", permissions=["change"])
    def close_studies(self, request: HttpRequest, studies: QuerySet[Study]) -> None:
        for study in studies:
            self._try(request, study, study.close, "is closed")

    def _try(self, request: HttpRequest, study: Study, verb: Any, outcome: str) -> None:
        try:
            verb()
        except TrialsError as error:
            self.message_user(request, f"{study}: {error}", messages.ERROR)
        else:
            self.message_user(request, f"{study} {outcome}.", messages.SUCCESS)
