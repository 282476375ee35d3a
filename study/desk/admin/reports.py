"""Reports in the admin: made by jobs and commands, here they are looked up, read and taken along."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join

from study.analysis.models import HIDDEN, Analysis
from study.desk.admin.read_only import ReadOnly
from study.desk.exports import File
from study.desk.report_summary import GONE, Summary, summary
from study.desk.zipping import zipped
from study.lab.files import StorageFailed
from study.lab.images import DamagedFile

#: A report is one page with its style in it, made to be read from a disk. Here it runs nothing, loads nothing but what
#: is in it, and stands apart from the pages of the admin. The rest of the admin keeps its own policy.
POLICY: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data: 'self'"
#: What a browser shows; everything else is saved.
SHOWN: Final = {".html": "text/html; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png"}


class _OwnStudies(admin.RelatedFieldListFilter):
    """Offers the studies that one has a role on."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        studies = model_admin.get_queryset(request).values_list("study", "study__title").order_by("study__title")
        return list(dict.fromkeys(studies))


@admin.register(Analysis)
class AnalysisAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("report", "study", "made", "said", "design_matches", "data", "taken_along")
    list_display_links = None
    list_filter = (("study", _OwnStudies), "population", "exploratory")
    list_select_related = ("study", "design")
    list_per_page = 20
    date_hierarchy = "created_at"
    fields = readonly_fields = (
        "report", "study", "made", "said", "design_matches", "data_sha256", "code_version", "taken_along", "kept_at",
    )  # fmt: skip

    class Media:
        css = {"all": ("desk/reports.css",)}

    def get_urls(self) -> list[URLPattern]:
        read, archive = self.admin_site.admin_view(self.read), self.admin_site.admin_view(self.archive)
        return [
            path("<int:pk>/report.zip", archive, name="analysis_zip"),
            path("<int:pk>/report/<path:name>", read, name="analysis_report"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Reports on the studies that one has a role on."""
        return Analysis.objects.visible_to(request.user).select_related("study", "design")  # type: ignore[arg-type]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Reports", **(extra_context or {})})

    def read(self, request: HttpRequest, pk: int, name: str) -> HttpResponse:
        """A file of a report. 404 for one that it does not have, 403 while nobody may see it."""
        analysis = self._readable(request, pk)
        suffix = PurePosixPath(name).suffix
        response = HttpResponse(_content(analysis, name), content_type=SHOWN.get(suffix) or _type(name))
        response["Content-Security-Policy"] = POLICY
        response["Cache-Control"] = "private, no-store"
        if suffix not in SHOWN:
            response["Content-Disposition"] = f'attachment; filename="{PurePosixPath(name).name}"'
        return response

    def archive(self, request: HttpRequest, pk: int) -> StreamingHttpResponse:
        """All files of a report, in a folder."""
        analysis = self._readable(request, pk)
        folder = f"{analysis.study.slug}-{analysis.population}-report-{analysis.pk}"
        response = StreamingHttpResponse(zipped(_files(analysis), folder), content_type="application/zip")
        response["Content-Disposition"] = f'attachment; filename="{folder}.zip"'
        response["Cache-Control"] = "private, no-store"
        return response

    def _readable(self, request: HttpRequest, pk: int) -> Analysis:
        analysis: Analysis = get_object_or_404(self.get_queryset(request), pk=pk)
        if analysis.is_blind:
            raise PermissionDenied(HIDDEN)
        return analysis

    @admin.display(description="report", ordering="pk")
    def report(self, analysis: Analysis) -> str:
        if not analysis.folder or analysis.is_blind:
            return f"no. {analysis.pk}"
        address = reverse("admin:analysis_report", args=[analysis.pk, "report.html"])
        return format_html('<a href="{}">no. {}</a>{}', address, analysis.pk, self._marks(analysis))

    @staticmethod
    def _marks(analysis: Analysis) -> str:
        marks = [(analysis.get_population_display(),)] if analysis.population != "real" else []
        marks += [("exploratory",)] if analysis.exploratory else []
        return format_html_join("", ' <span class="mark">{}</span>', marks)

    @admin.display(description="made, UTC", ordering="created_at")
    def made(self, analysis: Analysis) -> str:
        return f"{analysis.created_at:%Y-%m-%d %H:%M}"

    @admin.display(description="what it says")
    def said(self, analysis: Analysis) -> str:
        told = _summary(analysis)
        lines = ((line.condition, line.found, line.verdict) for line in told.lines)
        return told.refusal or format_html_join("", "<div>{}: {} <strong>{}</strong></div>", lines) or "–"

    @admin.display(description="design as frozen", boolean=True)
    def design_matches(self, analysis: Analysis) -> bool | None:
        return _summary(analysis).matches

    @admin.display(description="data")
    def data(self, analysis: Analysis) -> str:
        return analysis.data_sha256[:12]

    @admin.display(description="download")
    def taken_along(self, analysis: Analysis) -> str:
        if not analysis.folder or analysis.is_blind:
            return "–"
        files = [(reverse("admin:analysis_report", args=[analysis.pk, "report.pdf"]), "PDF")]
        files += [(reverse("admin:analysis_zip", args=[analysis.pk]), "all files")]
        return format_html_join(" · ", '<a href="{}">{}</a>', files)

    @admin.display(description="kept at")
    def kept_at(self, analysis: Analysis) -> str:
        return analysis.folder or analysis.report_path


def _summary(analysis: Any) -> Summary:
    """Read once for all columns."""
    if not hasattr(analysis, "summary"):
        analysis.summary = summary(analysis)
    told: Summary = analysis.summary
    return told


def _content(analysis: Analysis, name: str) -> bytes:
    try:
        return analysis.read(name)
    except KeyError:
        raise Http404(f"This report has no file {name}.") from None
    except (DamagedFile, StorageFailed) as error:
        raise Http404(GONE) from error


def _files(analysis: Analysis) -> Iterator[File]:
    return (File(name, [_content(analysis, name)]) for name in sorted(analysis.files or {}))


def _type(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
