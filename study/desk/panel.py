"""What stands beside a study's form: what the study asks of people, how it is balanced, and what it still lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from study.desk import study_pages
from study.desk.outlook import Outlook, Pay, outlook
from study.desk.readiness import examine
from study.desk.study_pages import StudyPage
from study.trials.models import Study
from study.trials.rights import Action


@dataclass(frozen=True)
class Panel:
    """`outlook`: None as long as no design can be made. `problems`: of a draft. `power`: address of the planner."""

    study: Study
    outlook: Outlook | None
    problems: tuple[str, ...]
    power: str

    @property
    def is_draft(self) -> bool:
        return bool(self.study.state == Study.State.DRAFT)


def panel(study: Study) -> Panel:
    """Of a draft as it is now; of a study that was opened, as it was frozen last."""
    frozen = study.current_design
    if frozen is None:
        found = examine(study)
        design, problems = found.design, found.problems
    else:
        design, problems = frozen.now, ()
    return Panel(study, outlook(design, Pay.of(study)) if design else None, problems, address_of(study, "power"))


def address_of(study: Study, page: str) -> str:
    """Where a page of the study is; "" where the study has none of that name now."""
    found = (p for p in study_pages.pages() if p.name == page and (p.states is None or study.state in p.states))
    return next((page.address(study) for page in found), "")


@require_POST
def numbers(request: HttpRequest, study: Study) -> HttpResponse:
    """The panel for a form as it stands, which is not saved. Further models and translations count as they are stored.

    422 with the fields in question where they cannot be read.
    """
    form: Any = admin.site.get_model_admin(Study).get_form(request, study)(request.POST, instance=study)
    unreadable = [form[name].label for name in form.fields if name in form.errors and name not in form.cleaned_data]
    context = {"panel": panel(form.instance), "unreadable": unreadable}
    return render(request, "desk/study_panel.html", context, status=422 if unreadable else 200)


PAGES = (StudyPage("numbers", numbers, Action.EDIT, states=frozenset({Study.State.DRAFT})),)
