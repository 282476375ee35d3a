"""A room's pages beyond Django's own: forms that ask for long work, buttons, and the jobs of a row, live."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import cached_property

from study.lab.admin.rows import MadeByWorkers
from study.lab.forms import LabForm
from study.lab.models import Job

#: How many jobs a row's page lists.
JOBS_SHOWN = 20
#: A list says "10,000" of as many rows and of more: to count them all would take longer than to show a page.
COUNTED_AT_MOST = 10_000


@dataclass(frozen=True)
class Button:
    """Leads somewhere, or, with `posts`, does something there."""

    label: str
    address: str
    posts: bool = False


@dataclass(frozen=True)
class Tab:
    label: str
    address: str
    current: bool


class FewPages(Paginator):  # type: ignore[type-arg]
    """Counts no further than anybody leafs."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by().values("pk")[:COUNTED_AT_MOST].count()


class Room(MadeByWorkers):
    """Lists and pages with buttons."""

    change_list_template = "admin/lab/change_list.html"
    change_form_template = "admin/lab/change_form.html"
    show_full_result_count = False
    paginator = FewPages
    #: What an empty list says.
    when_empty = ""

    def list_buttons(self, request: HttpRequest) -> list[Button]:
        """Above the list."""
        return []

    def row_buttons(self, request: HttpRequest, row: Any) -> list[Button]:
        """On a row's page."""
        return []

    def row_jobs(self, row: Any) -> Iterable[Job]:
        """The jobs about a row, the newest first."""
        return ()

    def page_title(self, row: Any) -> str:
        """What a row's page is called."""
        return str(row)

    def may_add(self, request: HttpRequest) -> bool:
        """Whether this researcher may ask for more of these; there is no form of Django's to do so."""
        return request.user.has_perm(f"lab.add_{self.opts.model_name}")

    def demand_add(self, request: HttpRequest) -> None:
        if not self.may_add(request):
            raise PermissionDenied(f"You may not make {self.opts.verbose_name_plural}.")

    def viewed(self, request: HttpRequest, pk: int) -> Any:
        """The row, for who may view it: else PermissionDenied, or Http404."""
        row = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return row

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        name = str(self.opts.verbose_name_plural)
        context = {
            "title": name[:1].upper() + name[1:],
            "buttons": self.list_buttons(request),
            "when_empty": self.when_empty,
            "counted_at_most": COUNTED_AT_MOST,
        }
        return super().changelist_view(request, context | (extra_context or {}))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context["original"]
        jobs = list(self.row_jobs(row)) if request.user.has_perm("lab.view_job") else []
        context |= {
            "title": self.page_title(row),
            "subtitle": None,
            "buttons": self.row_buttons(request, row),
            "live_jobs": [job for job in jobs if not job.is_over],
            "jobs": jobs,
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def ask(
        self,
        request: HttpRequest,
        form_class: type[LabForm],
        *,
        title: str,
        button: str,
        intro: str = "",
        tabs: Sequence[Tab] = (),
        initial: dict[str, Any] | None = None,
        **options: Any,
    ) -> HttpResponse:
        """A form that asks for long work: shown, refused with its errors, or done; then the job's page follows it."""
        self.demand_add(request)
        data, files = (request.POST, request.FILES) if request.method == "POST" else (None, None)
        form = form_class(data, files, initial=initial, **options)
        if form.is_valid():
            jobs = form.submit()
            return redirect("admin:lab_job_change", jobs[0].pk)
        return self.form_page(request, form, title=title, button=button, intro=intro, tabs=tabs)

    def form_page(self, request: HttpRequest, form: forms.Form, **words: Any) -> HttpResponse:
        """A form on a page of its own. words: title, button, and if wanted intro and tabs."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "form": form,
            "groups": form.grouped() if isinstance(form, LabForm) else [("", form.visible_fields())],
            "media": self.media + form.media,
            "back": reverse(f"admin:lab_{self.opts.model_name}_changelist"),
            **words,
        }
        return TemplateResponse(request, "admin/lab/form_page.html", context)
