"""A study's own pages in the admin, beside its form: who may open each, and how they are put together.

A module of the desk that has such pages names them in a tuple PAGES of its own and itself in MODULES.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.cache import never_cache

from study.trials.models import Study
from study.trials.rights import Action

#: In the order of their tabs.
MODULES: Final[tuple[str, ...]] = (
    "study.desk.panel",
    "study.desk.freezing",
    "study.desk.study_texts",
    "study.desk.running",
    "study.desk.duplicating",
    "study.desk.versions",
    "study.desk.trying",
    "study.desk.power",
    "study.desk.live",
    "study.desk.reports",
    "study.desk.data_page",
    "study.desk.privacy",
)

View = Callable[[HttpRequest, Study], HttpResponse]


@dataclass(frozen=True)
class StudyPage:
    """A page of a study at admin/trials/study/<pk>/<name>/, named admin:study_<name with _ for ->.

    tab: the words on its tab; empty for a page that none leads to. action: what one must be allowed to do with the
    study. A view checks for itself what else it does on POST (`demand`).
    """

    name: str
    view: View
    action: Action
    tab: str = ""
    states: frozenset[str] | None = None

    @property
    def url_name(self) -> str:
        return f"study_{self.name.replace('-', '_').replace('/', '_')}"

    def address(self, study: Study) -> str:
        return reverse(f"admin:{self.url_name}", args=[study.pk])


def pages() -> Iterator[StudyPage]:
    for module in MODULES:
        yield from import_module(module).PAGES


def urls() -> list[URLPattern]:
    """For the studies' admin."""
    return [path(f"<int:pk>/{page.name}/", _guarded(page), name=page.url_name) for page in pages()]


def _guarded(page: StudyPage) -> Callable[..., HttpResponse]:
    @never_cache
    def view(request: HttpRequest, pk: int) -> HttpResponse:
        study = visible(request, pk)
        demand(request, study, page.action)
        if page.states is not None and study.state not in page.states:
            raise Http404(f"A study that is {study.get_state_display()} has no such page.")
        return page.view(request, study)

    return admin.site.admin_view(view)


def visible(request: HttpRequest, pk: int) -> Study:
    """The study with this key; 404 when there is none, or not for this researcher."""
    user = request.user
    assert isinstance(user, get_user_model())  # noqa: S101  (admin_view lets nobody else in)
    return get_object_or_404(Study.objects.visible_to(user).select_related("dataset", "model_run__attack"), pk=pk)


def demand(request: HttpRequest, study: Study, action: Action) -> None:
    """Raises PermissionDenied unless this researcher may do that with the study."""
    if not study.may(request.user, action):  # type: ignore[arg-type]  # as in `visible`
        raise PermissionDenied(f"Your role on this study does not allow you to {action} it.")


@dataclass(frozen=True)
class Tab:
    label: str
    address: str
    current: bool


def tabs(request: HttpRequest, study: Study, current: str = "") -> list[Tab]:
    """Links to the pages of a study that this researcher may open, its form first."""
    form = Tab("Study", reverse("admin:trials_study_change", args=[study.pk]), current == "")
    allowed = study.allowed_to(request.user)  # type: ignore[arg-type]  # as in `visible`
    shown = [
        Tab(page.tab, page.address(study), page.name == current)
        for page in pages()
        if page.tab and (page.states is None or study.state in page.states) and page.action in allowed
    ]
    return [form, *shown]


def render(
    request: HttpRequest, page: tuple[Study, str, str], template: str, context: Mapping[str, Any], status: int = 200
) -> HttpResponse:
    """A page of a study. `page`: study, name of its tab, title; `template` extends desk/study_page.html."""
    study, name, title = page
    shared = {
        **admin.site.each_context(request),
        "study": study,
        "title": title,
        "tabs": tabs(request, study, name),
        "opts": Study._meta,
    }
    return TemplateResponse(request, template, {**shared, **context}, status=status)
