"""Opening a study: checks that end with freezing its design; afterwards the hash, the links and the documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from study.accounts import audit
from study.desk import rehearsing, study_pages, verifying
from study.desk.readiness import Readiness, examine
from study.desk.study_pages import StudyPage
from study.lab.models import Job
from study.trials import recruiters
from study.trials.exceptions import CannotOpen, TrialsError
from study.trials.models import DesignVersion, Study
from study.trials.rights import Action

#: What a recruiter puts in place of a parameter, by its name; as their documentation for researchers says.
FILLED_IN: Final = {
    "PROLIFIC_PID": "{{%PROLIFIC_PID%}}",
    "STUDY_ID": "{{%STUDY_ID%}}",
    "SESSION_ID": "{{%SESSION_ID%}}",
    "sona_id": "%SURVEY_CODE%",
}


@dataclass(frozen=True)
class Proof:
    """What a worker has to show of exactly the design that is to be frozen. `job`: the last one that tried."""

    what: str
    job: Job | None
    holds: bool

    @property
    def stands(self) -> str:
        """How it stands, in two words."""
        if self.job is None:
            return "not checked"
        return "in order" if self.holds else "failed" if self.job.is_over else "under way"


def proofs_of(study: Study, sha256: str) -> tuple[Proof, ...]:
    """What has to hold for the design of this hash beside what its rows say."""
    files, robot = verifying.verified(study, sha256), rehearsing.dry_run(study, sha256)
    return (
        Proof(
            "Every file is there, has its hash and comes out the same when it is made again",
            files,
            files is not None and files.state == Job.State.SUCCEEDED,
        ),
        Proof(
            "A robot goes through the study from the link to the code",
            robot,
            robot is not None and rehearsing.came_to_the_end(robot),
        ),
    )


class ConfirmForm(forms.Form):
    """The study's name, typed: what follows cannot be undone."""

    slug = forms.CharField(label="The study's short name", required=False)

    def __init__(self, study: Study, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data)
        self.study = study

    def clean_slug(self) -> str:
        slug: str = self.cleaned_data["slug"].strip()
        if slug != self.study.slug:
            raise forms.ValidationError(f"Type {self.study.slug} to show that you mean this study.")
        return slug


def opening(request: HttpRequest, study: Study) -> HttpResponse:
    """Of a draft the checks and the way to open it; else what was frozen, and where participants come in."""
    if study.state != Study.State.DRAFT:
        return _opened(request, study)
    ready = examine(study)
    if request.method != "POST":
        return _checklist(request, study, ready, ConfirmForm(study))
    study_pages.demand(request, study, Action.RUN)
    if "check" in request.POST:
        return _start_proofs(request, study, ready)
    return _open(request, study, ready)


def freeze(study: Study, sha256: str) -> DesignVersion:
    """Open the draft with exactly the design of this hash, for which all proofs hold.

    Raises CannotOpen when one does not hold, when the draft has changed since, or with what else is in the way.
    """
    if not sha256 or not all(proof.holds for proof in proofs_of(study, sha256)):
        raise CannotOpen("The files and the dry run have not been checked for this design: run the checks first.")
    study.bring_images()
    with transaction.atomic():
        version = study.open(bring_images=False)
        if version.sha256 != sha256:
            raise CannotOpen("The draft has changed since it was checked: run the checks again.")
        after = {"state": study.state, "version": version.n, "sha256": version.sha256}
        audit.record("opened", study, {"state": Study.State.DRAFT}, after)
    return version


def link_template(study: Study, address: str) -> str:
    """The study's link as it is given to its recruiter, who fills in who comes by it."""
    recruiter = recruiters.of(study)
    if study.recruiter == Study.Recruiter.PLAIN:
        return address
    names = [*recruiter.person[:1], *recruiter.submission]
    filled = {name: FILLED_IN.get(name, f"({name})") for name in names}
    return f"{address}?{urlencode(filled, safe='{}%()')}"


def _start_proofs(request: HttpRequest, study: Study, ready: Readiness) -> HttpResponse:
    if ready.problems:
        messages.error(request, "Put right what is missing first: the checks are made for a whole design.")
        return redirect("admin:study_opening", study.pk)
    try:
        with transaction.atomic():
            verifying.submit(study, ready.sha256)
            rehearsing.submit_dry_run(study)
            audit.record("started the checks of", study, after={"design": ready.sha256})
    except CannotOpen as error:
        messages.error(request, str(error))
    return redirect("admin:study_opening", study.pk)


def _open(request: HttpRequest, study: Study, ready: Readiness) -> HttpResponse:
    form = ConfirmForm(study, request.POST)
    if ready.problems or not form.is_valid():
        return _checklist(request, study, ready, form)
    try:
        freeze(study, ready.sha256)
    except TrialsError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{study} is open: its design is frozen.")
    return redirect("admin:study_opening", study.pk)


def _checklist(request: HttpRequest, study: Study, ready: Readiness, form: ConfirmForm) -> HttpResponse:
    proofs = proofs_of(study, ready.sha256)
    context = {
        "ready": ready,
        "proofs": proofs,
        "started": any(proof.job is not None for proof in proofs),
        "under_way": any(proof.job is not None and not proof.job.is_over for proof in proofs),
        "may_open": not ready.problems and all(proof.holds for proof in proofs),
        "may_run": study.may(request.user, Action.RUN),  # type: ignore[arg-type]  # the admin lets in nobody else
        "form": form,
    }
    status = 422 if form.is_bound else 200
    return study_pages.render(request, (study, "opening", "Opening"), "desk/opening.html", context, status)


def _opened(request: HttpRequest, study: Study) -> HttpResponse:
    address = request.build_absolute_uri(study.get_absolute_url())
    context = {
        "version": study.current_design,
        "address": address,
        "link": link_template(study, address),
        "codes": _codes(study),
    }
    return study_pages.render(request, (study, "opening", "Opening"), "desk/opened.html", context)


def _codes(study: Study) -> list[tuple[str, str]]:
    """What the recruiter needs beside the link: (what it is, its value)."""
    codes = [
        ("Completion code", study.completion_code or "each participant's own public code"),
        ("Screened-out code", study.screened_out_code or "none"),
    ]
    returns = [("Return link", study.return_url), ("Return link of who cannot go on", study.screened_out_url)]
    return codes + [(what, url) for what, url in returns if url]


PAGES = (StudyPage("opening", opening, Action.VIEW, tab="Opening"),)
