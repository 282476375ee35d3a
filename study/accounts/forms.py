"""The forms of a researcher's account in the admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import UserChangeForm, UserCreationForm
from django.contrib.auth.models import Group

from study.accounts.groups import RESEARCHERS
from study.accounts.models import User

STAFF = "May sign in here. Without it the account is kept, and opens nothing."
GROUPS = (
    f"“{RESEARCHERS}” may see and make data sets, attacks, models and pairs, and begin studies. What somebody may do "
    "with a study is that study's own affair: its owner names members there."
)


class NewResearcherForm(UserCreationForm):  # type: ignore[type-arg]
    """An account that is usable as it stands: of staff, and in the researchers' group, unless one chooses otherwise."""

    is_staff = forms.BooleanField(label="Staff status", required=False, initial=True, help_text=STAFF)

    class Meta(UserCreationForm.Meta):
        model = User
        fields = ("username", "is_staff", "groups")
        widgets = {"groups": forms.CheckboxSelectMultiple}
        help_texts = {"groups": GROUPS}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("groups", list(Group.objects.filter(name=RESEARCHERS)))


class ResearcherForm(UserChangeForm):  # type: ignore[type-arg]
    class Meta(UserChangeForm.Meta):
        model = User
        widgets = {"groups": forms.CheckboxSelectMultiple}
        help_texts = {"is_staff": STAFF, "groups": GROUPS}
