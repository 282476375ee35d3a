"""Studies in the admin: edited until they open; afterwards they are run from their own pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db import transaction
from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.forms.models import model_to_dict
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from study.accounts.audit import AuditedAdmin
from study.analysis.models import Analysis
from study.desk import members, presets, study_pages
from study.desk.applicability import is_of_use
from study.desk.panel import address_of, panel
from study.desk.study_form import (
    FIELDSETS,
    MemberForm,
    MemberFormSet,
    OfThisStudy,
    SourceForm,
    StudyForm,
    TranslationForm,
)
from study.trials.models import Member, Population, Session, Source, Study, Translation
from study.trials.rights import Action, Role

#: Where the live view is, once people take part.
LIVE = "live"
TAKEN_ALONG = "What it was tried with goes along: previews and simulated sessions, their answers, reports on them."


class DraftRows:
    """Rows that are part of the design: whoever may edit the draft edits them, and whoever may view it sees them.

    The admin asks without a study too, when it reads the rows of one that it has asked about before.
    """

    def has_view_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        return obj is None or _may(request, obj, Action.VIEW)

    def has_change_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        return obj is not None and obj.state == Study.State.DRAFT and _may(request, obj, Action.EDIT)

    def has_add_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        return self.has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        return self.has_change_permission(request, obj)


class SourceInline(DraftRows, admin.StackedInline):  # type: ignore[type-arg]
    """The same pictures for other models, other fields of the attack, other attacks."""

    model = Source
    form = SourceForm
    formset = OfThisStudy
    extra = 0
    verbose_name_plural = "further models"
    verbose_name = "further model"


class TranslationInline(DraftRows, admin.StackedInline):  # type: ignore[type-arg]
    """Texts in other languages: edited with the draft, read only from the opening on."""

    model = Translation
    form = TranslationForm
    formset = OfThisStudy
    extra = 0


class MemberInline(admin.StackedInline):  # type: ignore[type-arg]
    """Who works on the study; for those who may say so."""

    model = Member
    form = MemberForm
    formset = MemberFormSet
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        return obj is None or _may(request, obj, Action.SHARE)  # as above

    has_add_permission = has_change_permission = has_delete_permission = has_view_permission


class StudyList(ChangeList):
    """Counts sessions for the list alone: a study's own page does nothing for each of them."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        counted: QuerySet[Any] = found.annotate(**_counts())
        return counted


def _may(request: HttpRequest, study: Study | None, action: Action) -> bool:
    """Whether this researcher may do that with the study; the admin asks dozens of times for one page."""
    if study is None:
        return False
    known: dict[tuple[int, Action], bool] = request.__dict__.setdefault("known_rights", {})
    if (study.pk, action) not in known:
        known[study.pk, action] = study.may(request.user, action)  # type: ignore[arg-type]  # nobody else gets here
    return known[study.pk, action]


@admin.register(Study)
class StudyAdmin(AuditedAdmin):
    form = StudyForm
    list_display = ("title", "badge", "complete", "real", "simulated", "preview", "page", "live")
    list_filter = ("state", "protocol", ("dataset", admin.RelatedOnlyFieldListFilter))
    search_fields = ("slug", "title")
    actions = None
    view_on_site = False
    change_form_template = "admin/trials/study/change_form.html"
    inlines = (SourceInline, TranslationInline, MemberInline)

    class Media:
        css = {"all": ("desk/desk.css", "desk/study_form.css")}
        js = (forms.Script("desk/study_form.js", defer=True),)

    def get_urls(self) -> list[URLPattern]:
        return [*study_pages.urls(), *super().get_urls()]

    # --- who sees what

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        studies: QuerySet[Study] = Study.objects.visible_to(request.user)  # type: ignore[arg-type]
        return studies.select_related("dataset", "model_run__attack").order_by("-created_at")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Raises Http404 for a study that there is not, or not for this researcher."""
        study = super().get_object(request, object_id, from_field)
        if study is None:
            raise Http404("There is no such study.")
        return study

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.admin_site.has_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        """Every researcher has a list of studies; whose they are decides what is on it."""
        return self.admin_site.has_permission(request) if obj is None else _may(request, obj, Action.VIEW)

    def has_change_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        """Of no study in particular: the list is there to be looked at."""
        return _may(request, obj, Action.EDIT)

    def has_delete_permission(self, request: HttpRequest, obj: Study | None = None) -> bool:
        return obj is not None and obj.state == Study.State.DRAFT and _may(request, obj, Action.SHARE)

    # --- deleting a draft

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """How much goes with a draft: nobody reads a list of ten thousand trials."""
        tried = {Session: Session.objects.filter(study__in=objs), Analysis: Analysis.objects.filter(study__in=objs)}
        counts = {Study: len(objs), **{model: rows.count() for model, rows in tried.items()}}
        named = {str(model._meta.verbose_name_plural): n for model, n in counts.items() if n}
        return [*map(str, objs), [TAKEN_ALONG]], named, set(), []

    def delete_model(self, request: HttpRequest, obj: Study) -> None:
        with transaction.atomic():
            self._record_deletion(obj)
            obj.discard()

    # --- the list

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Studies", **(extra_context or {})})

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return StudyList

    @admin.display(description="state", ordering="state")
    def badge(self, study: Study) -> SafeString:
        return format_html('<span class="state state-{}">{}</span>', study.state, study.get_state_display())

    @admin.display(description="complete")
    def complete(self, study: Any) -> str:
        return f"{study.complete} of {study.participants}"

    @admin.display(description="started")
    def real(self, study: Any) -> int:
        return int(study.real)

    @admin.display(description="simulated")
    def simulated(self, study: Any) -> int:
        return int(study.simulated)

    @admin.display(description="previews")
    def preview(self, study: Any) -> int:
        return int(study.preview)

    @admin.display(description="participants' page")
    def page(self, study: Study) -> SafeString | str:
        if study.state not in (Study.State.OPEN, Study.State.PAUSED):
            return "not open"
        return format_html('<a href="{}">{}</a>', study.get_absolute_url(), study.get_absolute_url())

    @admin.display(description="live view")
    def live(self, study: Study) -> SafeString | str:
        address = address_of(study, LIVE)
        said = '<a href="{}" aria-label="Live view of {}">live view</a>'
        return format_html(said, address, study) if address else "-"

    # --- the form

    def get_fieldsets(self, request: HttpRequest, obj: Study | None = None) -> Any:
        """All of a draft's settings; of what was opened those that make a difference.

        Strengths are chosen once the model is, from those that it has.
        """
        frozen = model_to_dict(obj) if obj and obj.state != Study.State.DRAFT else None

        def is_shown(name: str) -> bool:
            return name != "strengths" if obj is None else frozen is None or is_of_use(name, frozen)

        shown = [
            (title, [name for name in names if is_shown(name)], classes, said)
            for title, names, classes, said in FIELDSETS
        ]
        return [
            (title, {"fields": names, "classes": classes, "description": said})
            for title, names, classes, said in shown
            if names
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Study | None = None) -> list[str]:
        if obj is None or obj.state == Study.State.DRAFT:
            return []
        return [name for _, names, _, _ in FIELDSETS for name in names if name in Study.DESIGN_FIELDS]

    def get_prepopulated_fields(self, request: HttpRequest, obj: Study | None = None) -> dict[str, Any]:
        return {} if obj else {"slug": ("title",)}

    def get_inlines(self, request: HttpRequest, obj: Study | None) -> Any:
        return self.inlines if obj else ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        preset = presets.named(request.GET.get("preset", ""))
        return {**super().get_changeform_initial_data(request), **(preset.fields if preset else {})}

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """First what to start from, then the form with its settings."""
        if request.method == "GET" and "preset" not in request.GET and self.has_add_permission(request):
            context = {
                **self.admin_site.each_context(request),
                "title": "What should the study answer?",
                "presets": presets.PRESETS,
                "opts": self.opts,
            }
            return TemplateResponse(request, "desk/presets.html", context)
        return super().add_view(request, form_url, extra_context)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        study: Study | None = kwargs.get("obj")
        if study is None:
            context |= {"preset": presets.named(request.GET.get("preset", ""))}
        else:
            stored = Study.objects.select_related("dataset", "model_run__attack").get(pk=study.pk)
            context |= {
                "tabs": study_pages.tabs(request, stored),
                "study": stored,
                "panel": panel(stored),
                "may_run": _may(request, stored, Action.RUN),
                "may_add": self.has_add_permission(request),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    # --- saving

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Who is let in and who is shown out stands in the log by itself."""
        if formset.model is not Member:
            super().save_formset(request, form, formset, change)
            return
        formset.save()
        changed = [member for member, _ in formset.changed_objects]
        new, gone = formset.new_objects, formset.deleted_objects
        for action, rows in ((members.ADMITTED, new), (members.MOVED, changed), (members.REMOVED, gone)):
            for member in rows:
                members.record(action, member)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if not change:
            members.record(members.ADMITTED, form.instance.admit(request.user, Role.OWNER))

    def response_add(self, request: HttpRequest, obj: Study, post_url_continue: str | None = None) -> HttpResponse:
        """A draft is gone on with: further models, translations and members come once it is there."""
        response = super().response_add(request, obj, post_url_continue)
        goes_on = not {"_addanother", "_popup"} & set(request.POST)
        return HttpResponseRedirect(reverse("admin:trials_study_change", args=[obj.pk])) if goes_on else response


def _counts() -> dict[str, Any]:
    """Sessions of a study by population, and the complete ones of people; each by a query within the query."""
    counts = {population.value: _sessions(population=population) for population in Population}
    return counts | {"complete": _sessions(population=Population.REAL, state=Session.State.COMPLETE)}


def _sessions(**which: Any) -> Any:
    """How many there are; those that a draft was tried with no longer count once the study is open."""
    counted = Q(design__draft=False) | Q(study__state=Study.State.DRAFT)
    of_study = Session.objects.filter(counted, study=OuterRef("pk"), **which).order_by().values("study")
    return Coalesce(Subquery(of_study.annotate(n=Count("pk")).values("n"), output_field=IntegerField()), 0)
