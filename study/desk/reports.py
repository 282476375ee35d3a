"""A study's page "Reports": have one made, and read what was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from study.accounts import audit
from study.analysis.models import HIDDEN, Analysis
from study.desk import analysing, study_jobs
from study.desk.exports import Selection
from study.desk.report_summary import Change, Summary, changes, summary
from study.desk.study_pages import StudyPage, demand, render
from study.lab.models import Job
from study.trials.models import Answer, Population, Study
from study.trials.rights import Action

SHOWN: Final = 10


class AnalyseForm(forms.Form):
    """Whose answers are analysed, and in which points an exploratory analysis departs from the frozen plan."""

    population = forms.ChoiceField(choices=Population.choices, widget=forms.RadioSelect, label="Whose answers")
    bound = forms.TypedChoiceField(
        choices=[("", "as frozen"), *Study._meta.get_field("bound").choices],  # type: ignore[misc]
        coerce=float,
        empty_value=None,
        required=False,
    )
    no_exclusions = forms.BooleanField(required=False, label="Leave nobody out by a rule")

    def __init__(self, study: Study, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.study = study

    def clean_population(self) -> str:
        population = str(self.cleaned_data["population"])
        if Selection(self.study, population).is_blind:
            raise forms.ValidationError(HIDDEN)
        if not Answer.objects.filter(trial__session__in=self.study.sessions_of(population)).exists():
            raise forms.ValidationError(f"There are no {population} answers yet: there is nothing to analyse.")
        return population

    @property
    def departures(self) -> dict[str, Any]:
        """What differs from the frozen plan; empty when nothing does."""
        chosen = {name: self.cleaned_data[name] for name in ("bound", "no_exclusions")}
        return {name: value for name, value in chosen.items() if value}


@dataclass(frozen=True)
class Listed:
    """A report of the list, and what it says otherwise than the one before it about the same people."""

    summary: Summary
    changes: list[Change]


def reports(request: HttpRequest, study: Study) -> HttpResponse:
    """The list; POST has a report made."""
    form = AnalyseForm(study, request.POST or None, initial={"population": _usual(study)})
    if request.method == "POST":
        demand(request, study, Action.ANALYSE)
        if form.is_valid():
            _analyse(request, study, form)
            return redirect(request.path)
    made = study.analyses.select_related("study", "design")
    context = {
        "form": form,
        "may_analyse": study.may(request.user, Action.ANALYSE),  # type: ignore[arg-type]  # as in `study_pages`
        "jobs": study_jobs.of_study(study, Job.Kind.ANALYSE).exclude(state=Job.State.SUCCEEDED)[:3],
        "reports": _listed(list(made[: SHOWN + 1])),
        "more": f"{reverse('admin:analysis_analysis_changelist')}?study__id__exact={study.pk}"
        if made.count() > SHOWN
        else "",
    }
    status = 422 if request.method == "POST" else 200
    return render(request, (study, "reports", "Reports"), "desk/reports.html", context, status)


def _usual(study: Study) -> str:
    return Population.SIMULATED if study.is_blind or study.state == Study.State.DRAFT else Population.REAL


def _analyse(request: HttpRequest, study: Study, form: AnalyseForm) -> None:
    population, departures = form.cleaned_data["population"], form.departures
    with transaction.atomic():
        job = analysing.submit(study, population, departures)
        said = {"population": population, **({"departures": departures} if departures else {})}
        if job.state != Job.State.SUCCEEDED:
            audit.record("analysed", study, after=said)
    if job.state == Job.State.SUCCEEDED:
        messages.info(request, "There is a report on these very answers already: see below.")


def _listed(made: list[Analysis]) -> list[Listed]:
    """The newest reports; the one too many is there to compare with."""
    summaries = [summary(analysis) for analysis in made]
    compared = []
    for n, shown in enumerate(summaries[:SHOWN]):
        alike = (other for other in summaries[n + 1 :] if _is_alike(other.analysis, shown.analysis) and other.lines)
        before = next(alike, None)
        compared.append(Listed(shown, changes(before, shown) if before and shown.lines else []))
    return compared


def _is_alike(one: Analysis, other: Analysis) -> bool:
    return (one.population, one.exploratory) == (other.population, other.exploratory)


PAGES: Final = (StudyPage("reports", reports, Action.VIEW, "Reports"),)
