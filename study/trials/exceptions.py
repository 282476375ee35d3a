"""What can stand in the way of a study, a session or an answer. Each message is one sentence that can be shown."""

# ruff: noqa: N818  (named for what happened, as Django names its own)

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from study.trials.models import Answer


class TrialsError(Exception):
    """Base of everything in this module. `sentence` is what is said when nothing more precise is given."""

    sentence: str | Promise = ""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)

    def __str__(self) -> str:
        return super().__str__() or str(self.sentence)


class CannotOpen(TrialsError):
    """The study is not ready to be shown to people."""


class Frozen(TrialsError):
    """Something that must never change was about to be changed."""


class NotOpen(TrialsError):
    """The study takes no new participants."""

    sentence = _("This study is not open for participation.")


class Paused(NotOpen):
    """The study takes no new participants for a while."""

    sentence = _("It takes nobody new at the moment. You are welcome to come back later: the link stays the same.")


class NotCleared(TrialsError):
    """The images' data set must not be shown to people (any more)."""

    sentence = _("The images of this study cannot be shown at the moment.")


class ConsentChanged(TrialsError):
    """What participants consent to is no longer what this one has read."""

    sentence = _("This page has changed since you opened it: please read it once more.")


class Full(TrialsError):
    """Every place of the study is taken."""

    sentence = _("Every place in this study is taken.")


class AlreadyTookPart(TrialsError):
    """The recruiter's id belongs to an earlier session of this study."""

    sentence = _("Somebody has taken part with this recruiter id already: go on in the browser that was used then.")


class NoSuchTrial(TrialsError):
    """The plan has no trial with this index."""


class ClientIdTaken(TrialsError):
    """The client's id for this answer belongs to another answer."""

    sentence = _("belongs to another answer")


class NotOffered(TrialsError):
    """The study does not offer this answer."""


class OutOfTurn(TrialsError):
    """An earlier trial is still without an answer."""


class Superseded(TrialsError):
    """The session went on in a newer tab."""

    sentence = _("This session went on in a newer tab.")


class Over(TrialsError):
    """The session is complete or withdrawn."""

    sentence = _("This session has ended.")


class DifferentAnswer(TrialsError):
    """The trial has another answer already, which stays."""

    sentence = _("This trial has another answer already.")

    def __init__(self, stored: Answer) -> None:
        super().__init__()
        self.stored = stored


class TrialsMissing(TrialsError):
    """The session cannot be completed: these trials have no answer."""

    def __init__(self, missing: list[int]) -> None:
        super().__init__(f"{len(missing)} trials have no answer yet.")
        self.missing = missing
