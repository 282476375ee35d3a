"""The page "Data" of a study: exports, the key file and the lists for the recruiter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from study.accounts import audit
from study.analysis.models import HIDDEN
from study.desk import exports, psych_ds, recruiter_files, study_pages
from study.desk.exports import Selection, Withheld
from study.desk.study_pages import StudyPage
from study.desk.zipping import zipped
from study.lab.files import StorageFailed
from study.lab.images import DamagedFile
from study.trials.models import Population, Session, Study
from study.trials.rights import Action

CSV_TYPE: Final = "text/csv; charset=utf-8"
FORMATS: Final = (
    ("trials", "Trials (CSV)"),
    ("sessions", "Sessions (CSV)"),
    ("json", "Everything (JSON)"),
    ("psych-ds", "Psych-DS data set (zip)"),
)


class ExportForm(forms.Form):
    """What to fetch. The buttons send `format`."""

    population = forms.ChoiceField(label="Whose answers", choices=Population.choices, initial=Population.REAL)
    practice = forms.BooleanField(label="With the practice trials", required=False)
    images = forms.BooleanField(label="With the pictures (Psych-DS)", required=False)
    format = forms.ChoiceField(choices=FORMATS, widget=forms.HiddenInput, required=True)

    def __init__(self, study: Study, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.study = study
        self.refusal = psych_ds.images_refusal(study)
        if self.refusal:
            self.fields["images"].disabled = True
            self.fields["images"].help_text = self.refusal

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        if not self.errors:
            try:
                self.selection().demand_sight()
            except Withheld as withheld:
                self.add_error("population", str(withheld))
        if said.get("images") and not self.errors:
            try:
                psych_ds.check_images(self.study)
            except (DamagedFile, StorageFailed) as error:
                self.add_error("images", str(error))
        return said

    def selection(self) -> Selection:
        return Selection(self.study, self.cleaned_data["population"], self.cleaned_data["practice"])


@dataclass(frozen=True)
class Counted:
    """The sessions of one population, by how they stand."""

    population: str
    states: dict[str, int]

    @property
    def sessions(self) -> int:
        return sum(self.states.values())


def data(request: HttpRequest, study: Study) -> HttpResponse:
    """What there is, and the form to fetch it; POST sends a file."""
    form = ExportForm(study, request.POST or None)
    if request.method == "POST" and form.is_valid():
        chosen = form.cleaned_data["format"]
        selection, images = form.selection(), form.cleaned_data["images"]
        selection.record(chosen, **({"images": True} if images else {}))
        return _export(selection, chosen, images=images)
    context = {
        "form": form,
        "formats": FORMATS,
        "counts": list(_counts(study)),
        "states": [label for _, label in Session.State.choices],
        "hidden": HIDDEN if study.is_blind else "",
        "may_identify": study.may(request.user, Action.IDENTIFY),  # type: ignore[arg-type]
    }
    status = 422 if form.errors else 200
    return study_pages.render(request, (study, "data", "Data"), "desk/data.html", context, status)


def _counts(study: Study) -> Iterator[Counted]:
    for population in Population:
        n = dict(study.sessions_of(population).order_by().values_list("state").annotate(Count("pk")))
        if n:
            yield Counted(population.label, {state.label: n.get(state, 0) for state in Session.State})


def _export(selection: Selection, chosen: str, *, images: bool) -> HttpResponse:
    if chosen == "json":
        return download(f"{selection.name}.json", "application/json", exports.as_json(selection))
    if chosen == "psych-ds":
        content = zipped(psych_ds.files(selection, images=images), selection.name)
        return download(f"{selection.name}.zip", "application/zip", content)
    return download(f"{selection.name}-{chosen}.csv", CSV_TYPE, selection.csv(chosen))


def download(name: str, kind: str, content: Iterator[bytes]) -> HttpResponse:
    """Sent while it is made; nothing of it is kept anywhere."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"}
    return StreamingHttpResponse(content, content_type=kind, headers=headers)  # type: ignore[return-value]


@require_POST
def key(request: HttpRequest, study: Study) -> HttpResponse:
    """The key file."""
    audit.record("took the key file of", study)
    return download(f"{study.slug}-key.csv", CSV_TYPE, recruiter_files.key_file(study))


#: The lists by which people are paid: what each is, and how its file ends.
LISTS: Final = {
    "payments": (recruiter_files.payment_list, CSV_TYPE, "payments.csv"),
    "approvals": (recruiter_files.approvals, "text/plain; charset=utf-8", "approvals.txt"),
    "bonuses": (recruiter_files.bonuses, CSV_TYPE, "bonuses.csv"),
}


@require_http_methods(["GET", "HEAD", "POST"])
def payments(request: HttpRequest, study: Study) -> HttpResponse:
    """What participants are owed in all; POST with `list` sends one of LISTS."""
    if request.method == "POST":
        chosen = request.POST.get("list")
        if chosen not in LISTS:
            messages.error(request, "Choose one of the lists.")
            return HttpResponseRedirect(reverse("admin:study_data_payments", args=[study.pk]))
        make, kind, ending = LISTS[chosen]
        try:
            content = make(study)
        except Withheld as withheld:
            messages.error(request, str(withheld))
            return HttpResponseRedirect(reverse("admin:study_data_payments", args=[study.pk]))
        audit.record("took a payment list of", study, after={"list": chosen})
        return download(f"{study.slug}-{ending}", kind, content)
    totals = recruiter_files.totals(recruiter_files.payments(study))
    context = {
        "totals": totals,
        "hidden": recruiter_files.hidden_bonuses(study),
        "to_pay": sum((total.known for total in totals), recruiter_files.NOTHING),
        "unnamed": sum(total.unnamed for total in totals),
        "by_hand": sum(total.sessions for total in totals if not total.is_by_rule),
        "under_way": study.sessions.filter(population=Population.REAL, state=Session.State.ACTIVE).count(),
        "parent": "data",
    }
    return study_pages.render(request, (study, "data", "Payments"), "desk/payments.html", context)


PAGES: Final = (
    StudyPage("data", data, Action.EXPORT, tab="Data"),
    StudyPage("data/key", key, Action.IDENTIFY),
    StudyPage("data/payments", payments, Action.IDENTIFY),
)
