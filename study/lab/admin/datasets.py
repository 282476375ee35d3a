"""Data sets in the admin: made from settings, from a folder or from an upload, looked at, and cleared for display."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import TextField
from django.forms import Textarea
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from study.accounts import audit
from study.lab.admin.images import gaze_picture
from study.lab.admin.rooms import Button, Room, Tab
from study.lab.admin.rows import table
from study.lab.catalogue import catalogue
from study.lab.forms import EyesForm, ImportForm, ReasonForm, UploadForm
from study.lab.models import Dataset, Job
from study.lab.samples import Sample, sample_png, samples

#: How many images a data set's page shows.
SHOWN = 12


@admin.register(Dataset)
class DatasetAdmin(Room):
    list_display = ("name", "thumbnail", "kind", "images", "subjects", "cleared", "prepared")
    list_filter = ("kind", "may_display_to_participants")
    list_per_page = 50
    editable = ("licence", "attribution")
    hidden = ("may_display_to_participants", "display_reason", "fingerprint", "sizes", "created_at")
    readonly_fields = ("in_words", "clearance", "parts", "gazes", "arrows", "angles")
    formfield_overrides = {TextField: {"widget": Textarea(attrs={"rows": 3})}}
    when_empty = "There is no data set yet. Rendered eyes are the quickest way to one: they need nothing from you."

    def get_fieldsets(self, request: HttpRequest, obj: Dataset | None = None) -> Any:
        of_imports = ("arrows", "angles") if obj is not None and obj.kind == Dataset.Kind.IMPORTED else ()
        return [
            (None, {"fields": ("in_words", "parts", "clearance", "gazes", *of_imports)}),
            ("Terms", {"fields": self.editable}),
            ("Internals", {"fields": ("kind", "parameters", "root", "name"), "classes": ("collapse",)}),
        ]

    def get_urls(self) -> list[URLPattern]:
        guard = self.admin_site.admin_view
        return [
            path("render/", guard(self.render_eyes), name="lab_dataset_render"),
            path("upload/", guard(self.upload), name="lab_dataset_upload"),
            path("import/", guard(self.import_folder), name="lab_dataset_import"),
            path("<int:pk>/contact-sheet/", guard(self.contact_sheet), name="lab_dataset_contact_sheet"),
            path("<int:pk>/sample/<int:n>/", guard(self.sample), name="lab_dataset_sample"),
            path("<int:pk>/prepare/", guard(self.prepare), name="lab_dataset_prepare"),
            path("<int:pk>/clear/", guard(self.clear), name="lab_dataset_clear"),
            path("<int:pk>/withdraw/", guard(self.withdraw), name="lab_dataset_withdraw"),
            *super().get_urls(),
        ]

    # -- buttons and what they do

    def list_buttons(self, request: HttpRequest) -> list[Button]:
        if not self.may_add(request):
            return []
        return [
            Button("Render synthetic eyes", reverse("admin:lab_dataset_render")),
            Button("Import a folder of this server", reverse("admin:lab_dataset_import")),
            Button("Upload arrays (.npz)", reverse("admin:lab_dataset_upload")),
        ]

    def row_buttons(self, request: HttpRequest, row: Dataset) -> list[Button]:
        buttons = []
        if not row.is_prepared and self.may_add(request):
            buttons.append(Button("Prepare", reverse("admin:lab_dataset_prepare", args=[row.pk]), posts=True))
        if row.is_prepared and request.user.has_perm("lab.add_modelrun"):
            train = f"{reverse('admin:lab_modelrun_train')}?dataset={row.pk}"
            buttons.append(Button("Train models", train))
        if self.has_change_permission(request, row):
            verb, label = (
                ("withdraw", "Withdraw clearance")
                if row.may_display_to_participants
                else ("clear", "Clear for display")
            )
            buttons.append(Button(label, reverse(f"admin:lab_dataset_{verb}", args=[row.pk])))
        return buttons

    def row_jobs(self, row: Dataset) -> Iterable[Job]:
        return Job.objects.filter(kind=Job.Kind.PREPARE, parameters__dataset=row.pk)[:5]

    def render_eyes(self, request: HttpRequest) -> HttpResponse:
        """Ask for a data set of rendered eyes."""
        intro = (
            "A program draws eyes of people who do not exist, with exactly known gaze. They may be shown to anybody."
        )
        return self.ask(request, EyesForm, title="Render synthetic eyes", button="Render", intro=intro)

    def import_folder(self, request: HttpRequest) -> HttpResponse:
        """Ask for the import of a folder, in the format named by ?format=<kind>."""
        formats = catalogue().formats
        chosen = request.GET.get("format", next(iter(formats)))
        if chosen not in formats:
            raise Http404(f"There is no format {chosen!r}.")
        tabs = [Tab(each.title, f"?format={kind}", kind == chosen) for kind, each in formats.items()]
        intro = f"{formats[chosen].title}. Licence: {formats[chosen].licence}"
        return self.ask(
            request, ImportForm, title="Import a folder", button="Import", intro=intro, tabs=tabs, format=chosen
        )

    def upload(self, request: HttpRequest) -> HttpResponse:
        """Ask for a data set of a file of one's own."""
        intro = "Nobody is shown these images before somebody clears them for display, with a reason."
        return self.ask(request, UploadForm, title="Upload arrays", button="Upload", intro=intro)

    @method_decorator(require_POST)
    def prepare(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have the data made or checked."""
        self.demand_add(request)
        dataset = self.viewed(request, pk)
        with transaction.atomic():
            job = dataset.submit_preparation()
            audit.record("asked to prepare", dataset)
        return redirect("admin:lab_job_change", job.pk)

    def clear(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Let people be shown these images, for a reason."""
        intro = "Participants and researchers will be shown these images. The reason is kept with the decision."
        return self._decide(request, pk, "cleared for display", "Clear for display", intro)

    def withdraw(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Let nobody be shown these images any more, for a reason."""
        intro = "Nobody will be shown these images any more; studies of them cannot be opened."
        return self._decide(request, pk, "withdrew the clearance of", "Withdraw clearance", intro)

    def _decide(self, request: HttpRequest, pk: int, action: str, button: str, intro: str) -> HttpResponse:
        dataset = self.viewed(request, pk)
        if not self.has_change_permission(request, dataset):
            raise PermissionDenied
        form = ReasonForm(request.POST or None)
        if not form.is_valid():
            return self.form_page(request, form, title=f"{button}: {dataset}", button=button, intro=intro)
        decide = dataset.clear_for_display if action == "cleared for display" else dataset.withdraw_clearance
        before = dataset.display_reason
        with transaction.atomic():
            decide(form.cleaned_data["reason"])
            audit.record(action, dataset, {"reason": before}, {"reason": dataset.display_reason})
        messages.success(
            request,
            f"{dataset} is {'now' if dataset.may_display_to_participants else 'no longer'} cleared for display.",
        )
        return redirect("admin:lab_dataset_change", dataset.pk)

    # -- pictures

    def contact_sheet(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The contact sheet of an imported data set; 403 when its images are not cleared for display."""
        dataset = self._shown(request, pk)
        if dataset.contact_sheet is None:
            raise Http404(f"{dataset} has no contact sheet.")
        return _png(dataset.contact_sheet.read_bytes())

    def sample(self, request: HttpRequest, pk: int, n: int) -> HttpResponse:
        """One of the images that the data set's page shows; 403 when they are not cleared for display."""
        content = sample_png(self._shown(request, pk), n)
        if content is None:
            raise Http404("There is no such image here.")
        return _png(content)

    def _shown(self, request: HttpRequest, pk: int) -> Dataset:
        dataset: Dataset = self.viewed(request, pk)
        if refusal := dataset.display_refusal():
            raise PermissionDenied(refusal)
        return dataset

    # -- columns and fields

    @admin.display(description="image")
    def thumbnail(self, dataset: Dataset) -> SafeString | str:
        return _gazes(dataset, 1) or "-"

    @admin.display(description="images")
    def images(self, dataset: Dataset) -> str:
        return _count(dataset, "images")

    @admin.display(description="subjects")
    def subjects(self, dataset: Dataset) -> str:
        return _count(dataset, "subjects")

    @admin.display(description="cleared", boolean=True, ordering="may_display_to_participants")
    def cleared(self, dataset: Dataset) -> bool:
        return dataset.may_display_to_participants

    @admin.display(description="prepared", boolean=True)
    def prepared(self, dataset: Dataset) -> bool:
        return dataset.is_prepared

    @admin.display(description="what it is")
    def in_words(self, dataset: Dataset) -> str:
        known = dataset.counted("images")
        count = f", {known:,} images of {_count(dataset, 'subjects')} subjects" if known else ""
        state = "prepared" if dataset.is_prepared else "not prepared yet: models cannot be trained on it"
        return f"{dataset.get_kind_display()}{count}; {state}."

    @admin.display(description="parts")
    def parts(self, dataset: Dataset) -> SafeString | str:
        if not dataset.sizes:
            return "Not counted yet: that is done when the data are prepared or used."
        rows = [(part, _number(one["images"]), _number(one["subjects"])) for part, one in dataset.sizes.items()]
        return table(("part", "images", "subjects"), rows)

    @admin.display(description="may people see it")
    def clearance(self, dataset: Dataset) -> str:
        answer = "Cleared for display." if dataset.may_display_to_participants else "Not cleared for display."
        return f"{answer} {dataset.display_reason}".strip()

    @admin.display(description="images with their gaze")
    def gazes(self, dataset: Dataset) -> SafeString | str:
        if dataset.display_refusal():
            return "Not cleared for display."
        return _gazes(dataset, SHOWN) or "Images are shown here once pairs have been made of them."

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


def _png(content: bytes) -> HttpResponse:
    return HttpResponse(content, content_type="image/png", headers={"Cache-Control": "private, no-store"})


def _gazes(dataset: Dataset, most: int) -> SafeString:
    """Images side by side, arrows over them; nothing where none may be seen or is there."""
    if dataset.display_refusal():
        return SafeString("")
    shown = format_html_join("", "{}", ((_gaze(dataset, one),) for one in samples(dataset)[:most]))
    return format_html('<span class="gazes">{}</span>', shown) if shown else shown


def _gaze(dataset: Dataset, sample: Sample) -> SafeString:
    address = reverse("admin:lab_dataset_sample", args=[dataset.pk, sample.n])
    return gaze_picture(address, sample.image_size, sample.pitch, sample.yaw)


def _count(dataset: Dataset, what: str) -> str:
    return _number(dataset.counted(what))


def _number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"
