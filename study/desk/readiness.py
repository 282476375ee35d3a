"""What a draft still lacks before it can open: everything at once, not one thing at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db.models import Model
from django.utils.text import capfirst

from study.desk.study_form import LABELS
from study.lab.models import sha256_of
from study.trials.exceptions import CannotOpen
from study.trials.models import Study, StudyTexts

#: Texts that a translation must have where the study has them.
TRANSLATED: Final = ("information", "payment", "withdrawal_deadline", "consent", "instructions", "debrief")


@dataclass(frozen=True)
class Check:
    """One thing that is looked at: what holds when there are no problems, and the problems, a sentence each."""

    what: str
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Readiness:
    """How far a draft is. `design` is None as long as none can be made."""

    design: Mapping[str, Any] | None
    checks: tuple[Check, ...]

    @property
    def sha256(self) -> str:
        """Of the design as it would be frozen now; "" where none can be made."""
        return sha256_of(self.design) if self.design else ""

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(problem for check in self.checks for problem in check.problems)


def examine(study: Study) -> Readiness:
    """Look at the rows of a draft; no image is read but one's header."""
    design, obstacle = _design(study)
    found = {
        "The settings go together": _settings(study),
        "Every trial has its pairs": obstacle,
        "The texts are complete in every language": tuple(_texts(study)),
        "Participants learn whom to ask and who approved the study": tuple(_approval(study)),
        "The images are cleared for display": tuple(_clearance(study)),
    }
    return Readiness(design, tuple(Check(what, problems) for what, problems in found.items()))


def _design(study: Study) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
    try:
        return study.shown_design, ()
    except CannotOpen as error:
        return None, (str(error),)


def _settings(study: Study) -> tuple[str, ...]:
    """What validation says of the study, its translations and its further models."""
    rows: list[tuple[Model, str]] = [(study, "")]
    rows += [(row, f"{row.get_language_display()}: ") for row in study.translations.all()]
    rows += [(row, f"{row.model_run}: ") for row in study.further_sources]
    said: list[str] = []
    for row, whose in rows:
        try:
            row.full_clean()
        except ValidationError as error:
            said += [
                f"{whose}{_label(row, name)}{problem}"
                for name, problems in error.message_dict.items()
                for problem in problems
            ]
    return tuple(said)


def _label(row: Any, name: str) -> str:
    if name == NON_FIELD_ERRORS:
        return ""
    return f"{LABELS.get(name) or capfirst(row._meta.get_field(name).verbose_name)}: "


def _texts(study: Study) -> Iterator[str]:
    own = StudyTexts.of(study)
    if not own.information.strip():
        yield "Say what participants read before they consent (information)."
    for translation in study.translations.order_by("language"):
        texts = StudyTexts.of(translation)
        missing = [name for name in TRANSLATED if getattr(own, name).strip() and not getattr(texts, name).strip()]
        if missing:
            names = ", ".join(name.replace("_", " ") for name in missing)
            yield f"The {translation.get_language_display()} texts lack what the study's own have: {names}."


def _approval(study: Study) -> Iterator[str]:
    if not study.contact.strip():
        yield "Say whom participants may ask (contact)."
    if not study.ethics_reference.strip():
        yield "Give the reference of the ethics approval, or say why none is needed."


def _clearance(study: Study) -> Iterator[str]:
    datasets = dict.fromkeys([study.dataset, *(run.dataset for run in study.model_runs)])
    yield from filter(None, (dataset.display_refusal() for dataset in datasets))
