"""A new draft from a study: its settings, texts, models and members, but nothing of what participants did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.forms.models import model_to_dict
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from study.accounts import audit
from study.desk import members, study_pages
from study.desk.study_form import HELP, LABELS
from study.desk.study_pages import StudyPage
from study.trials.models import Study
from study.trials.rights import Action, Role

if TYPE_CHECKING:
    from study.accounts.models import User

#: Columns that belong to the one study alone; a new one is a draft without a date on which it is erased.
ITS_OWN: Final = frozenset({"id", "slug", "title", "state", "created_at", "opened_at", "erased_at", "retain_until"})


def duplicate(study: Study, slug: str, title: str, owner: User) -> Study:
    """A draft that differs from `study` in its names only, and belongs to `owner`; other members keep their roles."""
    copied = {f.name: getattr(study, f.name) for f in Study._meta.concrete_fields if f.name not in ITS_OWN}
    with transaction.atomic():
        draft = Study.objects.create(**copied, slug=slug, title=title)
        for source in study.further_sources:
            draft.sources.create(model_run=source.model_run, strengths=source.strengths)
        for translation in study.translations.all():
            draft.translations.create(**model_to_dict(translation, exclude=["id", "study"]))
        audit.record("created", draft, after={"duplicate of": str(study.slug)})
        roles = {member.user: Role(member.role) for member in study.members.select_related("user")}
        for user, role in {**roles, owner: Role.OWNER}.items():
            members.record(members.ADMITTED, draft.admit(user, role))
    return draft


class NamesForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Study
        fields = ["title", "slug"]
        help_texts = HELP
        labels = LABELS


def duplicating(request: HttpRequest, study: Study) -> HttpResponse:
    if not admin.site.get_model_admin(Study).has_add_permission(request):
        raise PermissionDenied("You may not add studies.")
    names = {"title": study.title, "slug": f"{study.slug}-2"}
    form = NamesForm(request.POST) if request.method == "POST" else NamesForm(initial=names)
    if form.is_valid():
        draft = duplicate(study, form.cleaned_data["slug"], form.cleaned_data["title"], request.user)  # type: ignore[arg-type]
        messages.success(request, f"{draft} is a draft now, and yours.")
        return redirect("admin:trials_study_change", draft.pk)
    status = 422 if form.is_bound else 200
    return study_pages.render(request, (study, "", "Duplicate"), "desk/duplicate.html", {"form": form}, status)


PAGES = (StudyPage("duplicate", duplicating, Action.VIEW),)
