"""The researchers' site: Django's admin in the order of the work, with a desk to begin at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path

from study.accounts.two_factor import TwoFactorSite

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from study.accounts.models import User


@dataclass(frozen=True)
class Entry:
    """A list of the navigation. below: it belongs to the one before it and is seldom wanted by itself."""

    model: str
    name: str
    below: bool = False


#: The groups of the navigation and their lists, in the order of the work.
GROUPS: Final[tuple[tuple[str, tuple[Entry, ...]], ...]] = (
    (
        "What is attacked",
        (Entry("lab.dataset", "Data sets"), Entry("lab.attack", "Attacks"), Entry("lab.modelrun", "Model runs")),
    ),
    (
        "What is shown",
        (
            Entry("lab.pair", "Pairs"),
            Entry("lab.baseimage", "Base images", below=True),
            Entry("lab.prediction", "Predictions", below=True),
            Entry("lab.pairjudgement", "Judgements", below=True),
        ),
    ),
    ("Who is asked", (Entry("trials.study", "Studies"), Entry("trials.session", "Sessions"))),
    ("What came out", (Entry("analysis.analysis", "Reports"),)),
    ("What goes on", (Entry("lab.job", "Jobs"), Entry("accounts.auditentry", "Audit log"))),
    ("People", (Entry("accounts.user", "Users"), Entry("auth.group", "Groups"))),
)
OTHER: Final = "Other"


class DeskSite(TwoFactorSite):
    """Registrations, addresses and permissions are Django's; order, names and the first page are ours."""

    site_header = site_title = "Blindspot"
    index_title = "Desk"
    site_url = None  # participants come by a study's link: there is no page without one to view
    enable_nav_sidebar = False  # ours is in base_site.html, and is there on phones too

    def get_urls(self) -> list[URLResolver | URLPattern]:
        from study.desk import demonstrating

        demonstrate = self.admin_view(demonstrating.start)
        # Django's way from a row to its page on the site would tell everybody the address of every study.
        urls = [url for url in super().get_urls() if getattr(url, "name", "") != "view_on_site"]
        return [path("demonstrate/", demonstrate, name="demonstrate"), *urls]

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The lists that this researcher may see, in our groups and by our names; none before signing in."""
        if not self.has_permission(request):
            return []
        found = self._build_app_dict(request, app_label)
        lists = {_label(model): model for app in found.values() for model in app["models"]}
        return [*_groups(lists, _badges(request.user))]  # type: ignore[arg-type]  # who sees lists is signed in

    def app_index(
        self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        title = {"title": apps.get_app_config(app_label).verbose_name} if app_label in apps.app_configs else {}
        return super().app_index(request, app_label, {**title, **(extra_context or {})})

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """What needs attention, what goes on, what came out; and where to begin."""
        from study.desk import overview

        context = overview.of(request.user)  # type: ignore[arg-type]  # as above
        return super().index(request, {**context, **(extra_context or {})})


def _label(model: Mapping[str, Any]) -> str:
    return str(model["model"]._meta.label_lower)


def _groups(lists: dict[str, Any], badges: Mapping[str, str]) -> Iterable[dict[str, Any]]:
    for title, entries in GROUPS:
        models = [
            {**lists.pop(entry.model), "name": entry.name, "below": entry.below, "badge": badges.get(entry.model, "")}
            for entry in entries
            if entry.model in lists
        ]
        if models:
            yield _group(title, models)
    if lists:
        yield _group(OTHER, list(lists.values()))


def _group(title: str, models: list[dict[str, Any]]) -> dict[str, Any]:
    """As the admin's own templates want it."""
    first = models[0]["model"]._meta.app_label
    return {"name": title, "app_label": first, "app_url": "", "has_module_perms": True, "models": models}


def _badges(user: User) -> dict[str, str]:
    """Numbers beside lists: what is going on. Two small queries, both by an index."""
    from study.desk.study_jobs import visible_to
    from study.lab.models import Job
    from study.trials.models import Study

    jobs = visible_to(user, Job.objects.filter(state__in=[Job.State.QUEUED, Job.State.RUNNING])).count()
    studies = Study.objects.visible_to(user).filter(state=Study.State.OPEN).count()
    return {
        label: f"{number} {words}"
        for label, number, words in (("lab.job", jobs, "under way"), ("trials.study", studies, "open"))
        if number
    }
