"""The form of a study, in the order in which a researcher thinks about one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.db.models import Exists, OuterRef, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from study.desk.applicability import ONLY_FOR
from study.lab.models import ModelRun, Pair, Prediction
from study.lab.models.attacks import ON_WEIGHTS
from study.trials.models import Member, Source, Study, Translation
from study.trials.rights import Role

CURRENCY: Final = re.compile(r"[A-Z]{3}")
COLLAPSED: Final = ("collapse",)
MARKDOWN: Final = "Texts are written in Markdown: a blank line between paragraphs, “- ” before the items of a list."

#: (title, names of fields, classes, description).
FIELDSETS: Final[tuple[tuple[str, tuple[str, ...], tuple[str, ...], str], ...]] = (
    ("What is asked", ("title", "slug", "protocol", "procedure", "not_sure", "bound"), (), ""),
    (
        "What is compared",
        ("model_run", "strengths", "trials_per_strength", "trials_per_control", "catch_trials", "seed"),
        (),
        "Controls come by themselves, one of each kind that the attack can have. Further models are chosen below.",
    ),
    ("Adaptive choice of strengths", ("adaptive_trials", "adaptive_minimum", "adaptive_sd"), (), ""),
    ("A session", ("practice_trials", "practice_correct", "practice_rounds", "break_every", "resume_hours"), (), ""),
    (
        "A trial, in milliseconds",
        (
            "exposure_ms", "mask_ms", "gap_ms", "flicker_ms", "response_ms", "fixation_ms", "enable_after_ms",
            "blank_ms",
        ),
        COLLAPSED,
        "",
    ),
    (
        "The screen",
        ("scale", "image_degrees", "enlargement", "calibration", "distance", "allow_phones", "allow_tablets"),
        COLLAPSED,
        "",
    ),
    ("Who takes part", ("participants", "minimum_age", "eligibility"), (), ""),
    (
        "Pay",
        ("currency", "base_pay", "bonus_per_correct", "screened_out_pay"),
        (),
        "For the list that the recruiter is paid by. What participants read of it is among the texts.",
    ),
    (
        "Where they come from and go back to",
        (
            "recruiter", "recruiter_parameters", "completion_code", "return_url", "screened_out_code",
            "screened_out_url", "return_hosts",
        ),
        COLLAPSED,
        "",
    ),
    (
        "Who is left out",
        ("median_rt_below_ms", "fast_above_share", "focus_above_share"),
        COLLAPSED,
        "Beside those who do not finish, miss catch trials, choose one side or let trials pass.",
    ),
    (
        "What participants read",
        (
            "language", "information", "payment", "withdrawal_deadline", "consent", "consent_version", "instructions",
            "debrief", "contact", "ethics_reference",
        ),
        (),
        MARKDOWN,
    ),
    (
        "Dates and privacy",
        ("retain_until", "retention"),
        COLLAPSED,
        "",
    ),
    (
        "Preregistration",
        ("research_question", "hypotheses", "sample_size_reason", "looks_allowed"),
        COLLAPSED,
        "Frozen with the design, and part of the document that the opening offers.",
    ),
)  # fmt: skip

#: Where the columns themselves say nothing.
HELP: Final = {
    "title": "What participants read at the top of every page.",
    "slug": "Its name in links and commands: letters, digits and hyphens. It is frozen with the design.",
    "retention": "What is erased on that day.",
}
#: Where the columns' own names do not read well.
LABELS: Final = {
    "slug": "Short name",
    "model_run": "Model",
    "trials_per_strength": "Trials at each strength",
    "trials_per_control": "Trials for each control",
    "practice_correct": "Right answers to pass",
    "practice_rounds": "Practice rounds",
    "break_every": "Trials between breaks",
    "resume_hours": "Hours to resume in",
    "adaptive_trials": "Most trials",
    "adaptive_minimum": "Fewest trials",
    "adaptive_sd": "SD to stop at",
    "fixation_ms": "Fixation",
    "exposure_ms": "Exposure",
    "mask_ms": "Mask",
    "gap_ms": "Blank between intervals",
    "flicker_ms": "Flicker",
    "response_ms": "Time to answer",
    "blank_ms": "Blank after an answer",
    "enable_after_ms": "Presses count after",
    "image_degrees": "Width in degrees",
    "participants": "Places",
    "median_rt_below_ms": "Median response time below, ms",
    "fast_above_share": "Share of fast answers above",
    "focus_above_share": "Share of trials without focus above",
    "bonus_per_correct": "Bonus for a right answer",
    "screened_out_pay": "Pay when screened out",
    "retain_until": "Erased on",
    "retention": "What is erased",
    "looks_allowed": "Looks at the results allowed",
    "sample_size_reason": "Reason for the sample size",
}
#: Of a translation: what its columns hold is what those of the study hold.
TRANSLATED: Final = (
    "title", "information", "eligibility", "payment", "withdrawal_deadline", "consent", "instructions", "debrief",
)  # fmt: skip


def help_of(name: str) -> str:
    return HELP.get(name) or str(Study._meta.get_field(name).help_text)  # type: ignore[union-attr]


def showable_runs() -> QuerySet[ModelRun]:
    """Backdoored models that have been evaluated on pairs of their attack: those that a study can be about."""
    pairs = Pair.objects.filter(attack=OuterRef("attack"), base_image__dataset=OuterRef("dataset"))
    backdoored = ModelRun.objects.exclude(attack=None).exclude(attack__family=ON_WEIGHTS)
    evaluated = Prediction.objects.filter(model_run=OuterRef("pk"))
    return backdoored.filter(Exists(pairs), Exists(evaluated)).select_related("attack", "dataset").order_by("name")


def available_strengths(run: ModelRun | None) -> list[float]:
    """Strengths at which there are pairs of this model's attack, the gross one left out."""
    if run is None:
        return []
    pairs = Pair.objects.filter(attack=run.attack_id, base_image__dataset=run.dataset_id, control=Pair.Control.NONE)
    return sorted(set(pairs.filter(gross=False).values_list("strength", flat=True)))


def help_without_runs() -> SafeString:
    return format_html(
        "None can be chosen yet: a study needs a backdoored model and pairs that it was evaluated on. "
        '<a href="{}">Train a model</a>, then <a href="{}">make its pairs</a>.',
        reverse("admin:lab_modelrun_train"),
        reverse("admin:lab_pair_make"),
    )


class StrengthsField(forms.TypedMultipleChoiceField):
    """Check boxes, one for each strength that has pairs."""

    widget = forms.CheckboxSelectMultiple

    def __init__(self, strengths: Iterable[float], **options: Any) -> None:
        choices = [(repr(float(strength)), f"{strength:g}") for strength in strengths]
        super().__init__(choices=choices, coerce=float, empty_value=[], required=False, **options)
        self.error_messages["invalid_choice"] = "There are no pairs of this model at strength %(value)s: make them."

    def prepare_value(self, value: Any) -> Any:
        return [repr(float(strength)) if type(strength) in (int, float) else strength for strength in value or []]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class StudyForm(forms.ModelForm):  # type: ignore[type-arg]
    """A study's own columns. The data set is that of the model."""

    class Meta:
        model = Study
        fields = [name for _, names, _, _ in FIELDSETS for name in names]
        help_texts = HELP
        labels = LABELS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "model_run" in self.fields:
            self._offer_runs()
        for name, (decider, values) in ONLY_FOR.items():
            if name in self.fields:
                self.fields[name].widget.attrs |= {"data-only-for": decider, "data-values": " ".join(values)}

    def _offer_runs(self) -> None:
        field = self.fields["model_run"]
        runs = showable_runs()
        field.queryset = runs  # type: ignore[attr-defined]
        if not runs.exists():
            field.help_text = help_without_runs()
        if "strengths" in self.fields and (strengths := available_strengths(self._run_asked_for())):
            said = "Of the main trials. None ticked: all of them. Save first to see those of another model."
            self.fields["strengths"] = StrengthsField(strengths, label="Strengths", help_text=said)

    def _run_asked_for(self) -> ModelRun | None:
        asked = str(self.data.get(self.add_prefix("model_run")) if self.is_bound else self.initial.get("model_run"))
        return showable_runs().filter(pk=asked).first() if asked.isascii() and asked.isdecimal() else None

    def clean_currency(self) -> str:
        currency: str = self.cleaned_data["currency"]
        if not CURRENCY.fullmatch(currency):
            raise forms.ValidationError("Give the three letters of the currency, for example EUR.")
        return currency

    def clean_retain_until(self) -> Any:
        day = self.cleaned_data["retain_until"]
        if day is not None and "retain_until" in self.changed_data and day <= timezone.localdate():
            raise forms.ValidationError("Choose a day to come: what is past its day is erased at once.")
        return day

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if run := cleaned.get("model_run"):
            self.instance.dataset = run.dataset
        return cleaned

    def add_error(self, field: str | None, error: Any) -> None:
        """As usual; what is said of a field that is not on the form stands above it."""
        by_field: Mapping[str, Any] = getattr(error, "error_dict", {})
        strangers = [name for name in by_field if name not in self.fields and name != NON_FIELD_ERRORS]
        for name in strangers:
            super().add_error(None, by_field[name])
        if strangers:
            error = forms.ValidationError({name: said for name, said in by_field.items() if name not in strangers})
        if not strangers or error.error_dict:
            super().add_error(field, error)


class SourceForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Source
        fields = ["model_run", "strengths"]
        help_texts = {"model_run": "A further backdoored model, of the same data set; with another attack or the same."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "model_run" in self.fields:
            self.fields["model_run"].queryset = showable_runs()  # type: ignore[attr-defined]
            _only_to_choose(self.fields["model_run"])


class TranslationForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Translation
        fields = ["language", *TRANSLATED]
        help_texts = {"language": "Of the texts below."} | {name: help_of(name) for name in TRANSLATED}


class MemberForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Member
        fields = ["user", "role"]
        help_texts = {
            "user": "A researcher with an account.",
            "role": "Viewers look and try; analysts also rehearse, analyse and export; editors also change and run the "
            "study and see who is who at the recruiter; owners also name members.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "user" in self.fields:
            _only_to_choose(self.fields["user"])


def _only_to_choose(field: forms.Field) -> None:
    """Without the admin's ways to add, change and look at what can be chosen."""
    for way in ("add", "change", "delete", "view"):
        setattr(field.widget, f"can_{way}_related", False)


class OfThisStudy(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    """Rows of a study that are checked beside the study as it is being saved, not as it is stored."""

    def _construct_form(self, i: int, **kwargs: Any) -> Any:
        form = super()._construct_form(i, **kwargs)  # type: ignore[misc]  # Django's stubs leave it out
        form.instance.study = self.instance
        return form


class MemberFormSet(OfThisStudy):
    """Somebody has to stay in charge."""

    def clean(self) -> None:
        super().clean()
        kept = [form.cleaned_data for form in self.forms if form.is_valid() and not form.cleaned_data.get("DELETE")]
        if self.initial_forms and Role.OWNER not in [member.get("role") for member in kept]:
            raise forms.ValidationError("Name at least one owner: nobody else can name members.")
