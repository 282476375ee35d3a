"""The first-run guide: four steps to a first study, each with how it stands and where it is taken."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from django.urls import reverse

from study.desk.demonstrating import DATASETS
from study.lab.models import Dataset, ModelRun, Pair
from study.trials.models import Study

if TYPE_CHECKING:
    from study.accounts.models import User


class Standing(StrEnum):
    DONE = "done"
    NEXT = "next"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class Step:
    """A step of the guide. address: of the form that its button leads to, named by `button`."""

    title: str
    sentence: str
    button: str
    address: str
    standing: Standing


#: Title, sentence, words on the button, and the page that it leads to.
_STEPS: Final = (
    (
        "A data set",
        "Pictures of eyes or faces with the direction of their gaze: yours, a published set, or synthetic eyes.",
        "Add a data set",
        "admin:lab_dataset_changelist",
    ),
    (
        "Two models",
        "The same network twice: once clean, and once with a trigger hidden in what it learns from.",
        "Train models",
        "admin:lab_modelrun_train",
    ),
    (
        "Pairs of images",
        "Each picture with and without the trigger, at several strengths, and what the models see in it.",
        "Make pairs",
        "admin:lab_pair_make",
    ),
    (
        "A study",
        "Whom you ask, what they are shown and told, and the bound that is tested; then open it.",
        "Build a study",
        "admin:trials_study_add",
    ),
)


def guide(user: User) -> list[Step]:
    """The four steps; none once a study of one's own has been opened. What a demonstration made does not count."""
    done = _done(user)
    if done[-1]:
        return []
    first = done.index(False)
    standings = [Standing.DONE if d else Standing.NEXT if n == first else Standing.BLOCKED for n, d in enumerate(done)]
    return [
        Step(title, sentence, button, reverse(page), standing)
        for (title, sentence, button, page), standing in zip(_STEPS, standings, strict=True)
    ]


def _done(user: User) -> list[bool]:
    """Whether each step has been taken; whoever has taken a later one has no use for those before it."""
    own = Dataset.objects.exclude(name__regex=DATASETS)
    taken = [
        own.exists(),
        ModelRun.objects.filter(dataset__in=own, attack__isnull=False).exclude(artifact="").exists(),
        Pair.objects.filter(base_image__dataset__in=own).exists(),
        Study.objects.visible_to(user).filter(dataset__in=own).exclude(state=Study.State.DRAFT).exists(),
    ]
    return [any(taken[n:]) for n in range(len(taken))]
