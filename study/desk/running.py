"""What is done with a study that has been opened: pause, resume, raise the quota, amend, close."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.forms.models import fields_for_model, model_to_dict
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from study.accounts import audit
from study.desk import study_pages
from study.desk.freezing import ConfirmForm
from study.desk.study_form import FIELDSETS, LABELS
from study.desk.study_pages import StudyPage
from study.trials import design as designs
from study.trials.exceptions import TrialsError
from study.trials.models import Population, Session, Study, Translation
from study.trials.models.studies import TEXTS
from study.trials.rights import Action

#: What decides which pictures there are, and how many people, has verbs of its own or none; and of what is erased of
#: people they were told before they took part.
KEPT: Final = frozenset({"slug", "model_run", "participants", "language", "seed", "retention"})
AMENDABLE: Final = tuple(
    name for _, names, _, _ in FIELDSETS for name in names if name in Study.DESIGN_FIELDS and name not in KEPT
)


#: In the order of a translation's form.
TRANSLATED: Final = tuple(field.name for field in Translation._meta.concrete_fields if field.name in TEXTS)


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label="Reason",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Kept with the new version of the design, and printed in the report.",
        error_messages={"required": "Say why: a change of an open study needs a reason."},
    )


class QuotaForm(ReasonForm):
    """More places for real participants."""

    field_order = ("participants", "reason")

    def __init__(self, study: Study, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data)
        self.fields["participants"] = forms.IntegerField(
            label="Places for real participants",
            min_value=study.participants + 1,
            initial=study.participants,
            help_text=f"There are {study.participants}; the quota of an open study only goes up.",
        )
        self.order_fields(self.field_order)


class AmendForm(ReasonForm):
    """Design settings of a study as they are, to be changed for a reason."""

    def __init__(self, study: Study, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data, initial=model_to_dict(study, AMENDABLE))
        self.study = study
        self.fields |= fields_for_model(Study, AMENDABLE, labels=LABELS)
        self.translations = list(study.translations.order_by("language"))
        for translation in self.translations:
            texts = fields_for_model(Translation, TRANSLATED, labels=LABELS)
            self.fields |= {f"{translation.language}-{name}": field for name, field in texts.items()}
            self.initial.update({f"{translation.language}-{name}": getattr(translation, name) for name in TRANSLATED})

    @property
    def changes(self) -> dict[str, Any]:
        """The settings that are to be others, by their names."""
        read = [name for name in self.changed_data if name in AMENDABLE and name in self.cleaned_data]
        asked = {name: self.cleaned_data[name] for name in read}
        return {name: value for name, value in asked.items() if not _is_same(value, getattr(self.study, name))}

    @property
    def retranslated(self) -> dict[str, dict[str, str]]:
        """The texts of translations that are to be others, by language and column."""
        asked: dict[str, dict[str, str]] = {}
        for translation in self.translations:
            for name in TRANSLATED:
                text = self.cleaned_data[f"{translation.language}-{name}"]
                if not _is_same(text, getattr(translation, name)):
                    asked.setdefault(translation.language, {})[name] = text
        return asked

    def groups(self) -> Iterator[tuple[str, list[forms.BoundField]]]:
        """(title, fields), in the order of the study's form."""
        for title, names, _, _ in FIELDSETS:
            if fields := [self[name] for name in names if name in self.fields]:
                yield title, fields
        for translation in self.translations:
            title = f"Translation: {translation.get_language_display()}"
            yield title, [self[f"{translation.language}-{name}"] for name in TRANSLATED]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        if not self.changes and not self.retranslated:
            raise ValidationError("Nothing is different from what it was: change a setting.")
        changed = copy.copy(self.study)
        for name, value in self.changes.items():
            setattr(changed, name, value)
        designs.check(changed)
        return cleaned


@require_POST
def pause(request: HttpRequest, study: Study) -> HttpResponse:
    return _moved(request, study, study.pause, "paused", f"{study} is paused: sessions under way may be finished.")


@require_POST
def resume(request: HttpRequest, study: Study) -> HttpResponse:
    return _moved(request, study, study.resume, "resumed", f"{study} takes participants again.")


def close(request: HttpRequest, study: Study) -> HttpResponse:
    """What closing means; then, once its name is typed, the end."""
    form = ConfirmForm(study, request.POST if request.method == "POST" else None)
    if form.is_valid():
        return _moved(request, study, study.close, "closed", f"{study} is closed: its results can be seen now.")
    context = {"form": form, "under_way": study.sessions_of(Population.REAL).filter(state=Session.State.ACTIVE).count()}
    return _asked(request, study, "Close", "desk/close.html", context)


def quota(request: HttpRequest, study: Study) -> HttpResponse:
    form = QuotaForm(study, request.POST if request.method == "POST" else None)
    if form.is_valid() and _done(form, study, partial(_raise_quota, study, **form.cleaned_data)):
        messages.success(request, f"{study} has {study.participants} places now.")
        return redirect("admin:study_versions", study.pk)
    return _asked(request, study, "Raise the quota", "desk/quota.html", {"form": form})


def amend(request: HttpRequest, study: Study) -> HttpResponse:
    form = AmendForm(study, request.POST if request.method == "POST" else None)
    if form.is_valid() and _done(form, study, partial(_amend, study, form)):
        messages.success(request, f"{study} goes on with a new version of its design; sessions under way keep theirs.")
        return redirect("admin:study_versions", study.pk)
    return _asked(request, study, "Amend", "desk/amend.html", {"form": form})


def _moved(request: HttpRequest, study: Study, verb: Callable[[], None], action: str, said: str) -> HttpResponse:
    """Into another state, or a message why not."""
    before = study.state
    try:
        with transaction.atomic():
            verb()
            audit.record(action, study, {"state": before}, {"state": study.state})
    except TrialsError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, said)
    return redirect("admin:trials_study_change", study.pk)


def _raise_quota(study: Study, participants: int, reason: str) -> None:
    before = study.participants
    study.raise_quota(participants, reason, bring_images=False)
    after = {"participants": participants, "reason": reason}
    audit.record("raised the quota of", study, {"participants": before}, after)


def _amend(study: Study, form: AmendForm) -> None:
    reason, changes, retranslated = form.cleaned_data["reason"], form.changes, form.retranslated
    texts = {f"{language}-{name}": text for language, said in retranslated.items() for name, text in said.items()}
    before = {name: getattr(study, name) for name in changes} | {name: form.initial[name] for name in texts}
    study.amend(reason, retranslated, bring_images=False, **changes)
    audit.record("amended", study, before, {**changes, **texts, "reason": reason})


def _done(form: forms.Form, study: Study, verb: Callable[[], None]) -> bool:
    """Whether it could be done; else the form says why not. Neither form changes whose images are shown."""
    try:
        study.bring_images()
        with transaction.atomic():
            verb()
    except TrialsError as error:
        form.add_error(None, str(error))
        return False
    return True


def _asked(request: HttpRequest, study: Study, title: str, template: str, context: Mapping[str, Any]) -> HttpResponse:
    status = 422 if context["form"].is_bound else 200
    return study_pages.render(request, (study, "", title), template, context, status)


def _is_same(value: Any, before: Any) -> bool:
    """Browsers send line ends of their own, which change no text."""
    if isinstance(value, str) and isinstance(before, str):
        return value.splitlines() == before.strip().splitlines()
    return bool(value == before)


_OPENED = frozenset({Study.State.OPEN, Study.State.PAUSED})
PAGES = (
    StudyPage("pause", pause, Action.RUN),
    StudyPage("resume", resume, Action.RUN),
    StudyPage("quota", quota, Action.RUN, states=_OPENED),
    StudyPage("amend", amend, Action.RUN, states=_OPENED),
    StudyPage("close", close, Action.RUN, states=_OPENED),
)
