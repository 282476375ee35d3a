"""The page "Privacy" of a study: what is stored, until when, and how requests of participants are served."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.contrib import messages
from django.db import transaction
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from study.accounts import audit
from study.desk import backup, erasing, inventory, retention, study_jobs, study_pages, subject_access
from study.desk.data_page import download
from study.desk.erasing import Remains, Stored
from study.desk.study_pages import StudyPage
from study.lab.models import Job
from study.trials.models import Population, Session, Study
from study.trials.rights import Action

NO_SUCH_CODE: Final = "No session of this study has this code: check it letter by letter."


class CodeForm(forms.Form):
    """Which participant: by the public code from the last page. `session` is found when it is valid."""

    code = forms.CharField(
        label="Code of the participant",
        max_length=40,
        help_text="From the last page of the run. It is not written down anywhere.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, study: Study, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.study = study

    def clean_code(self) -> str:
        code = str(self.cleaned_data["code"])
        found = erasing.by_code(self.study, code)
        if found is None:
            raise forms.ValidationError(NO_SUCH_CODE)
        self.session = found
        return code


class DateForm(forms.Form):
    """Until when. What is erased then is part of the frozen design."""

    retain_until = forms.DateField(
        label="Erase by itself on", required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""

    def clean_retain_until(self) -> Any:
        day = self.cleaned_data["retain_until"]
        if day is not None and day <= timezone.localdate():
            raise forms.ValidationError("Give a day that is still to come, or none.")
        return day


def privacy(request: HttpRequest, study: Study) -> HttpResponse:
    """What is stored, until when, and the forms by which requests are served."""
    return _page(request, study)


def _page(
    request: HttpRequest,
    study: Study,
    *,
    code_form: CodeForm | None = None,
    date_form: DateForm | None = None,
    status: int = 200,
) -> HttpResponse:
    user: Any = request.user
    states = study.sessions.filter(population=Population.REAL).order_by().values_list("state").annotate(n=Count("pk"))
    for form in (code_form, date_form):
        if form is not None:  # it has errors
            form.fields[next(iter(form.errors))].widget.attrs["autofocus"] = True
    context = {
        "groups": inventory.groups(),
        "code_form": code_form or CodeForm(study),
        "date_form": date_form or DateForm(initial={"retain_until": study.retain_until}),
        "may_erase": study.may(user, Action.ERASE),
        "may_identify": study.may(user, Action.IDENTIFY),
        "may_run": study.may(user, Action.RUN),
        "complaint": retention.complaint(study),
        "job": study_jobs.of_study(study, Job.Kind.ERASE).first(),
        "sessions": sum(n for _, n in states),
        "erased": dict(states).get(Session.State.WITHDRAWN, 0),
        "backups": backup.made(),
    }
    return study_pages.render(request, (study, "privacy", "Privacy"), "desk/privacy.html", context, status)


@require_POST
def set_date(request: HttpRequest, study: Study) -> HttpResponse:
    """Put the retention date off, forward, or take it away."""
    form = DateForm(request.POST)
    if not form.is_valid():
        return _page(request, study, date_form=form, status=422)
    before, after = study.retain_until, form.cleaned_data["retain_until"]
    if before != after:
        with transaction.atomic():
            study.retain_until = after
            study.save(update_fields=["retain_until"])
            audit.record("changed", study, before={"retain_until": before}, after={"retain_until": after})
        messages.success(request, "The date is changed." if after else "There is no date any more.")
    return _back(study)


@require_POST
def erase(request: HttpRequest, study: Study) -> HttpResponse:
    """With a code: what would go, and the question; with `confirmed` as well: erase."""
    form = CodeForm(study, request.POST)
    if not form.is_valid():
        return _page(request, study, code_form=form, status=422)
    session, answers = form.session, None
    if "confirmed" in request.POST:
        answers = erasing.erase(session)
        session.refresh_from_db()
    context = {
        "session": session,
        "code": form.cleaned_data["code"],
        "stored": Stored.of(session),
        "remains": Remains.of(session),
        "erased_at": erasing.erased_at(session),
        "answers": answers,
    }
    return study_pages.render(request, (study, "privacy", "Erase"), "desk/erase.html", context)


@require_POST
def access(request: HttpRequest, study: Study) -> HttpResponse:
    """All that is stored about the participant with this code, as a file."""
    form = CodeForm(study, request.POST)
    if not form.is_valid():
        return _page(request, study, code_form=form, status=422)
    audit.record("gave access to a session of", study, after={"session": form.session.pk})
    return download(
        f"{study.slug}-session-{form.session.pk}.json", "application/json", subject_access.as_json(form.session)
    )


@require_POST
def erase_now(request: HttpRequest, study: Study) -> HttpResponse:
    """Do not wait until a worker notices that the date has come."""
    if study.state != Study.State.CLOSED or not retention.complaint(study):
        messages.error(request, "Nothing of this study is overdue, or it is not closed yet.")
    else:
        with transaction.atomic():
            retention.submit(study)
            audit.record("asked to erase what is past its date in", study)
        messages.success(request, "The erasure is queued.")
    return _back(study)


def _back(study: Study) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:study_privacy", args=[study.pk]))


PAGES: Final = (
    StudyPage("privacy", privacy, Action.VIEW, tab="Privacy"),
    StudyPage("privacy/date", set_date, Action.RUN),
    StudyPage("privacy/erase", erase, Action.ERASE),
    StudyPage("privacy/access", access, Action.IDENTIFY),
    StudyPage("privacy/erase-now", erase_now, Action.ERASE),
)
