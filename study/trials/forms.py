"""The form that starts a session: who may take part, and the consent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django import forms
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

OLDEST: Final = 120
YES_NO: Final = (("yes", _("Yes")), ("no", _("No")))


class StartForm(forms.Form):
    """Age, eligibility and consent. The age and the answers to the criteria decide and are kept nowhere.

    `website` is a trap for scripts: people neither see nor reach it. The page writes the fields in HTML of its own.
    """

    website = forms.CharField(required=False)
    consent = forms.BooleanField(error_messages={"required": _("Please tick the box if you want to take part.")})

    def __init__(self, minimum_age: int, criteria: Sequence[str], data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data)
        self.minimum_age, self.texts = minimum_age, tuple(criteria)
        questions = {"age": _age_field()} if minimum_age else {}
        questions |= {f"criterion-{i}": _criterion_field(text) for i, text in enumerate(criteria)}
        self.fields = {**questions, **self.fields}

    @property
    def criteria(self) -> list[forms.BoundField]:
        return [self[f"criterion-{i}"] for i in range(len(self.texts))]

    def reason_to_turn_away(self) -> str | Promise | None:
        """Why this person cannot take part: the age, or the first criterion that is not met. None: no reason yet."""
        self.full_clean()
        if (age := self.cleaned_data.get("age")) is not None and age < self.minimum_age:
            return format_lazy(_("It is for people who are at least {age} years old."), age=self.minimum_age)
        unmet = [text for i, text in enumerate(self.texts) if self.cleaned_data.get(f"criterion-{i}") == "no"]
        return unmet[0] if unmet else None

    def is_script(self) -> bool:
        """Whether the trap was filled in."""
        return bool(self.cleaned_data.get("website"))

    def first_problem(self) -> str | None:
        """Name of the first field with an error, which gets the focus."""
        return next((name for name in self.fields if name in self.errors), None)


def _age_field() -> forms.Field:
    sentence = _("Please give your age in whole years, for example 34.")
    return forms.IntegerField(
        min_value=0,
        max_value=OLDEST,
        error_messages=dict.fromkeys(("required", "invalid", "min_value", "max_value"), sentence),
    )


def _criterion_field(text: str) -> forms.Field:
    sentence = _("Please answer yes or no.")
    return forms.ChoiceField(
        label=text, choices=YES_NO, error_messages=dict.fromkeys(("required", "invalid_choice"), sentence)
    )
