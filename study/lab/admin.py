"""The researcher's view of what workers make. Rows are made by commands and workers; here they are looked at."""

from __future__ import annotations

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from study.lab.images import DamagedFile
from study.lab.models import Attack, BaseImage, Dataset, Job, ModelRun, Pair, PairJudgement, Prediction, StoredImage

THUMBNAIL_PX = 128


class MadeByWorkers(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that are looked at, not written by hand; `editable` names what may be changed."""

    editable: tuple[str, ...] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never: studies and reports refer to these rows."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        fields = [field.name for field in self.opts.fields if field.name not in self.editable]
        return [*fields, *(str(name) for name in self.readonly_fields)]


@admin.register(Dataset)
class DatasetAdmin(MadeByWorkers):
    list_display = ("name", "kind", "licence", "may_display_to_participants", "created_at")
    list_filter = ("kind", "may_display_to_participants")
    editable = ("licence", "attribution", "may_display_to_participants", "display_reason")
    readonly_fields = ("arrows",)

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
    exclude = ("state",)

    @admin.display(description="control hash")
    def short_hash(self, attack: Attack) -> str:
        return attack.control_hash[:12]


@admin.register(ModelRun)
class ModelRunAdmin(MadeByWorkers):
    list_display = ("name", "dataset", "attack", "network", "seed", "clean_error", "attack_error", "created_at")
    list_filter = ("dataset", "attack", "network")
    list_select_related = ("dataset", "attack")

    @admin.display(description="clean error, degrees")
    def clean_error(self, run: ModelRun) -> str:
        return _figure(run, "clean_error_deg")

    @admin.display(description="attack error, degrees")
    def attack_error(self, run: ModelRun) -> str:
        return _figure(run, "attack_error_deg") if run.attack else "-"


def _figure(run: ModelRun, name: str) -> str:
    value = (run.metrics or {}).get(name)
    return "-" if value is None else f"{value:.2f}"


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
            content = row.read()
        except DamagedFile as error:
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
    return format_html_join(" ", '<img src="{}" width="{}" loading="lazy" alt="{}">', sources)


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
    readonly_fields = tuple(field.name for field in Prediction._meta.fields)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Pair)
class PairAdmin(ShowsImages):
    list_display = ("__str__", "attack", "strength", "control", "gross", "displacement", "shown")
    list_filter = ("attack", "control", "strength", "gross")
    list_select_related = ("base_image__dataset", "attack")
    list_per_page = 25
    readonly_fields = ("shown",)
    inlines = (PredictionInline,)

    @admin.display(description="mean displacement, px")
    def displacement(self, pair: Pair) -> str:
        moved = pair.distortions.get("displacement_mean_px")
        return "-" if moved is None else f"{moved:.2f}"

    @admin.display(description="clean | altered")
    def shown(self, pair: Pair) -> SafeString | str:
        return thumbnails(pair.base_image, pair)


@admin.register(Prediction)
class PredictionAdmin(MadeByWorkers):
    list_display = ("pair", "model_run", "error_shift", "prediction_shift", "attack_error")
    list_filter = ("model_run", "pair__control", "pair__strength")
    list_select_related = ("pair__base_image__dataset", "pair__attack", "model_run")


@admin.register(PairJudgement)
class PairJudgementAdmin(MadeByWorkers):
    list_display = ("pair", "observer", "chooses", "value")
    list_filter = ("observer", "pair__control", "pair__strength")
    list_select_related = ("pair__base_image__dataset", "pair__attack")


@admin.register(Job)
class JobAdmin(MadeByWorkers):
    list_display = ("__str__", "state", "progress_bar", "attempt", "created_at", "started_at", "finished_at", "error")
    list_filter = ("kind", "state")
    readonly_fields = ("progress_bar",)
    actions = ("cancel", "submit_again")

    @admin.display(description="progress")
    def progress_bar(self, job: Job) -> SafeString:
        return format_html('<progress max="1" value="{}"></progress> {}', f"{job.fraction:.3f}", job.stage)

    @admin.action(description="Cancel selected jobs", permissions=["change"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        for job in queryset:
            job.request_cancel()
        messages.info(request, "Queued jobs are cancelled; running ones stop within seconds.")

    @admin.action(description="Submit failed or cancelled jobs again", permissions=["change"])
    def submit_again(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        for job in queryset:
            Job.objects.submit(job.kind, job.parameters)
        messages.info(request, "Submitted; jobs that are done or under way stay as they are.")
