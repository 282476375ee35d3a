"""A study's page "Power": how often could a study of this size make each claim?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from study.accounts import audit
from study.analysis import planned
from study.analysis.power_design import BELOW, BOUNDS, CLAIMS, DETECTABLE, WANTED, Claim, Design, faults
from study.desk import planning, study_jobs
from study.desk.study_pages import StudyPage, demand, render
from study.lab.files import StorageFailed
from study.lab.images import DamagedFile
from study.lab.models import Job
from study.trials.models import Study
from study.trials.rights import Action

#: What a job is not kept busy with for longer than minutes.
LARGEST: Final = {"participants": 1000, "trials": 200, "stimuli": 2000, "conditions": 100, "studies": 5000}
TYPES: Final = {"power.svg": "image/svg+xml", "power.png": "image/png", "power.csv": "text/csv; charset=utf-8"}


def _number(name: str, label: str, help_text: str = "") -> forms.IntegerField:
    return forms.IntegerField(label=label, help_text=help_text, min_value=1, max_value=LARGEST[name])


class PowerForm(forms.Form):
    """The fields of `Design` that people choose."""

    participants = _number("participants", "Participants")
    trials = _number("trials", "Trials per condition", "Of each participant.")
    stimuli = _number("stimuli", "Images", "That a condition is shown on.")
    conditions = _number("conditions", "Conditions", "Strengths above 0: the more, the stricter Holm's adjustment.")
    bound = forms.TypedChoiceField(
        choices=[(bound, f"{bound:.2f}".removeprefix("0")) for bound in BOUNDS], coerce=float
    )
    pc = forms.FloatField(label="True PC, below the bound", help_text="Proportion correct; .5 is chance.")
    detectable_pc = forms.FloatField(
        label="True PC, detectable", required=False, help_text="Empty: the bound, the least that matters."
    )
    participant_sd = forms.FloatField(label="SD between people", help_text="On the logit scale.")
    stimulus_sd = forms.FloatField(label="SD between images", help_text="On the logit scale.")
    studies = _number("studies", "Simulated studies", "For each entry of the table.")

    def clean(self) -> dict[str, Any]:
        """Refuses what `Design` refuses, next to the field."""
        cleaned = super().clean() or {}
        if not self.errors:
            grids = {"grid_participants": Design.grid_participants, "grid_trials": Design.grid_trials}
            for name, sentence in faults(SimpleNamespace(**cleaned, **grids)):
                self.add_error(name, sentence)
        return cleaned


@dataclass(frozen=True)
class Entry:
    """A power of the table. enough: it is one that is usually asked for."""

    percent: int
    planned: bool
    enough: bool


@dataclass(frozen=True)
class PowerTable:
    """Power for one claim: a row for each number of participants, a column for each number of trials."""

    title: str
    trials: list[int]
    rows: list[tuple[int, list[Entry | None]]]


def power(request: HttpRequest, study: Study) -> HttpResponse:
    """The form and the last answer; POST has a plan made, or takes its words over as the reason for the size."""
    form, cannot = _form(request, study)
    if request.method == "POST" and "use" in request.POST:
        return _use(request, study)
    if request.method == "POST":
        demand(request, study, Action.REHEARSE)
        if form.is_valid():
            with transaction.atomic():
                job = planning.submit(study, form.cleaned_data)
                audit.record("planned", study, after=form.cleaned_data)
            return redirect(f"{request.path}?job={job.pk}")
    shown = _shown(request, study)
    context = {
        "form": form,
        "cannot": cannot,
        "may_plan": study.may(request.user, Action.REHEARSE),  # type: ignore[arg-type]  # as in `study_pages`
        "may_use": study.state == Study.State.DRAFT and study.may(request.user, Action.EDIT),  # type: ignore[arg-type]
        "job": shown,
        **(_answer(shown.result["power"]) if shown and shown.state == Job.State.SUCCEEDED and shown.result else {}),
    }
    status = 422 if request.method == "POST" else 200
    return render(request, (study, "power", "Power"), "desk/power.html", context, status)


def figure(request: HttpRequest, study: Study) -> HttpResponse:
    """A file of a plan: ?job= and ?name=."""
    job, name = _shown(request, study), request.GET.get("name", "")
    if job is None or name not in TYPES:
        raise Http404("There is no such figure.")
    try:
        content = planning.read(job, name)
    except (KeyError, DamagedFile, StorageFailed) as error:
        raise Http404("The figure is missing or damaged here: plan again.") from error
    response = HttpResponse(content, content_type=TYPES[name], headers={"Cache-Control": "private, no-store"})
    if name == "power.csv":
        response["Content-Disposition"] = f'attachment; filename="{study.slug}-power.csv"'
    return response


def _form(request: HttpRequest, study: Study) -> tuple[PowerForm, str]:
    """The form, filled in with what the study decides, and why it decides nothing yet."""
    usual = Design()
    initial = {name: getattr(usual, name) for name in PowerForm.base_fields}
    try:
        decided, cannot = planned.of_study(study), ""
    except ValueError as error:
        decided, cannot = {}, str(error)
    return PowerForm(request.POST or None, initial=initial | decided), cannot


def _shown(request: HttpRequest, study: Study) -> Job | None:
    """The plan that is asked for, or the last one."""
    wanted = request.GET.get("job")
    return _plan(study, wanted) if wanted else study_jobs.of_study(study, Job.Kind.PLAN).first()


def _plan(study: Study, key: str) -> Job | None:
    """The study's plan of this key; None when it is no plan of this study's."""
    return next((job for job in study_jobs.of_study(study, Job.Kind.PLAN) if str(job.pk) == key), None)


def _use(request: HttpRequest, study: Study) -> HttpResponse:
    demand(request, study, Action.EDIT)
    job = _plan(study, request.POST["use"])
    if job is None or not job.result:
        raise Http404("There is no such plan.")
    if study.state != Study.State.DRAFT:
        messages.error(request, "The study has been opened: its reasons are part of the frozen design.")
        return redirect(request.path)
    before, words = study.sample_size_reason, reason(job.result["power"])
    with transaction.atomic():
        study.sample_size_reason = words
        study.save(update_fields=["sample_size_reason"])
        audit.record("changed", study, {"sample size reason": before}, {"sample size reason": words})
    messages.success(request, "The sentence is now the study's reason for its sample size.")
    return redirect(request.path)


# --- an answer in words and tables


def reason(answer: Mapping[str, Any]) -> str:
    """Why so many participants, in one sentence, from `Power.to_json`."""
    design, planned_cell = _design(answer["design"]), answer["planned"]
    below, detectable = (f"{100 * planned_cell[name]['share']:.0f} %" for name in ("below", "detectable"))
    return (
        f"Simulations ({design.studies} studies each) of {design.participants} participants × {design.trials} trials"
        f" per condition on {design.stimuli} images, in {design.conditions} conditions, with SDs of"
        f" {design.participant_sd:g} between people and {design.stimulus_sd:g} between images (logit): in {below} of"
        f" them the alteration is {design.claimed(BELOW)}, and in {detectable} it is {design.claimed(DETECTABLE)}."
    )


def _answer(answer: Mapping[str, Any]) -> dict[str, Any]:
    design = _design(answer["design"])
    return {
        "sentence": reason(answer),
        "tables": list(_tables(answer, design)),
        "smallest": [_smallest(row) for row in answer["smallest"]],
        "warnings": answer["warnings"],
    }


def _tables(answer: Mapping[str, Any], design: Design) -> Iterator[PowerTable]:
    people, trials = (sorted({cell[name] for cell in answer["grid"]}) for name in ("participants", "trials"))
    cells = {(cell["participants"], cell["trials"]): cell for cell in answer["grid"]}
    for claim in CLAIMS:
        rows = [(p, [_entry(cells.get((p, n)), claim, design) for n in trials]) for p in people]
        yield PowerTable(design.claimed(claim), trials, rows)


def _entry(cell: Mapping[str, Any] | None, claim: Claim, design: Design) -> Entry | None:
    if cell is None:
        return None
    share = cell["below" if claim == BELOW else "detectable"]["share"]
    is_planned = (cell["participants"], cell["trials"]) == (design.participants, design.trials)
    return Entry(round(100 * share), is_planned, share >= WANTED[0])


def _smallest(row: Mapping[str, Any]) -> str:
    least = f", {row['least_trials']} trials or more" if row["least_trials"] > 1 else ""
    size = "no design tried" if row["participants"] is None else f"{row['participants']} × {row['trials']}"
    return f"{row['claim']}, power {100 * row['power']:.0f} %{least}: {size}"


def _design(fields: Mapping[str, Any]) -> Design:
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return Design(**values)


PAGES: Final = (
    StudyPage("power", power, Action.VIEW, "Power"),
    StudyPage("power/figure", figure, Action.VIEW),
)
