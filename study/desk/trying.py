"""The page "Try it" of a study: take part in a preview, and send simulated participants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from study.accounts import audit
from study.desk import rehearsing, study_jobs
from study.desk.counting import newest
from study.desk.study_pages import StudyPage, demand, render
from study.lab.models import Job
from study.trials.exceptions import CannotOpen
from study.trials.models import Population, Study
from study.trials.rights import Action

DESCRIBED: Final = "described"
USUAL_PARTICIPANTS: Final = 20
SHOWN: Final = 5
LARGEST_SEED: Final = 1_000_000


class RehearsalForm(forms.Form):
    """How many robots, and who they are."""

    participants = forms.IntegerField(
        label="Robots", min_value=1, max_value=rehearsing.MOST, initial=USUAL_PARTICIPANTS, widget=forms.NumberInput
    )
    observer = forms.ChoiceField(
        label="Who they are", choices=[*rehearsing.OBSERVERS.items(), (DESCRIBED, "As described below")]
    )
    description = forms.CharField(
        label="Description (JSON)",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text='For “As described below”: for example {"kind": "known_truth", "threshold": 1.2, "lapse": 0.02}.',
    )
    seed = forms.IntegerField(
        label="Seed", min_value=0, max_value=LARGEST_SEED, help_text="Another seed sends other robots."
    )

    def clean(self) -> dict[str, Any]:
        said: dict[str, Any] = super().clean() or {}
        if said.get("observer") != DESCRIBED:
            return said
        try:
            said["observer"] = described(said.get("description", ""))
        except ValueError as error:
            self.add_error("description", str(error))
        return said


def described(text: str) -> dict[str, Any]:
    """The observer that this JSON describes. Raises ValueError with one sentence."""
    from study.desk.observers import population_from

    try:
        description = json.loads(text)
    except ValueError:
        raise ValueError("This is not JSON: give an object in braces, as in the example.") from None
    try:
        population_from(description)
    except TypeError as error:
        raise ValueError(f"A parameter has the wrong type: {error}.") from error
    return dict(description)


@dataclass(frozen=True)
class Rehearsal:
    """A rehearsal as the page lists it. result: see `rehearsing.outcome`; None until it is over."""

    job: Job
    robots: str
    is_of_now: bool

    @property
    def result(self) -> dict[str, Any] | None:
        return self.job.result if self.job.state == Job.State.SUCCEEDED else None


@require_http_methods(["GET", "POST"])
def trying(request: HttpRequest, study: Study) -> HttpResponse:
    """How to take part in a preview, and the rehearsals; POST begins one."""
    jobs = study_jobs.of_study(study, Job.Kind.REHEARSE)
    form = RehearsalForm(request.POST or None, initial={"seed": jobs.count()})
    if request.method == "POST":
        demand(request, study, Action.REHEARSE)
        if form.is_valid() and _begin(request, study, form):
            return redirect(request.path)
    sha256, missing = _design(study)
    context = {
        "form": form,
        "missing": missing,
        "preview": f"{study.get_absolute_url()}?preview=1",
        "previews": newest(study, Population.PREVIEW, SHOWN),
        "may_rehearse": study.may(request.user, Action.REHEARSE),  # type: ignore[arg-type]  # as in `study_pages`
        "lets_robots_in": study.lets_in(Population.SIMULATED),
        "under_way": [job for job in jobs[:SHOWN] if job.state != Job.State.SUCCEEDED],
        "rehearsals": [_listed(job, sha256) for job in jobs.filter(state=Job.State.SUCCEEDED)[:SHOWN]],
    }
    status = 422 if request.method == "POST" else 200
    return render(request, (study, "try", "Try it"), "desk/try.html", context, status)


def _begin(request: HttpRequest, study: Study, form: RehearsalForm) -> bool:
    """Whether the rehearsal is held; else the form says what is in the way."""
    wanted = {name: form.cleaned_data[name] for name in ("participants", "observer", "seed")}
    try:
        with transaction.atomic():
            job = rehearsing.submit(study, **wanted)
            if job.state != Job.State.SUCCEEDED:
                audit.record("started a rehearsal of", study, after=wanted)
    except CannotOpen as error:
        form.add_error(None, str(error))
        return False
    if job.state == Job.State.SUCCEEDED:
        messages.info(request, "These very robots have been there already: give another seed to send others.")
    return True


def _design(study: Study) -> tuple[str, str]:
    """Hash of the design that whoever starts now gets, and what stands in its way; one of them is empty."""
    try:
        return rehearsing.design_sha256(study), ""
    except CannotOpen as error:
        return "", str(error)


def _listed(job: Job, sha256: str) -> Rehearsal:
    return Rehearsal(job, robots(job.parameters), job.parameters["design"] == sha256)


def robots(parameters: Mapping[str, Any]) -> str:
    """Who was sent, in words."""
    observer = parameters["observer"]
    kind = observer if isinstance(observer, str) else json.dumps(observer, sort_keys=True)
    return f"{parameters['participants']} × {kind}, seed {parameters['seed']}"


PAGES: Final = (StudyPage("try", trying, Action.PREVIEW, "Try it"),)
