"""Who may do what with a study: one role for each researcher on each study."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from django.db.models import TextChoices


class Role(TextChoices):
    """What a researcher is to a study."""

    OWNER = "owner", "owner"
    EDITOR = "editor", "editor"
    ANALYST = "analyst", "analyst"
    VIEWER = "viewer", "viewer"


class Action(StrEnum):
    """What can be done with a study."""

    VIEW = "view"  # its pages: design, live view, reports
    PREVIEW = "preview"  # take part in it, flagged
    REHEARSE = "rehearse"  # send simulated participants, have it planned
    EDIT = "edit"  # the draft
    RUN = "run"  # open, pause, resume, close, raise the quota, amend
    ANALYSE = "analyse"  # have a report made
    EXPORT = "export"  # answers, without recruiters' ids
    IDENTIFY = "identify"  # recruiters' ids: key file, payments, subject access
    ERASE = "erase"  # one participant's answers
    SHARE = "share"  # name members and their roles; delete a draft


_VIEWER: Final = frozenset({Action.VIEW, Action.PREVIEW})
_ANALYST: Final = _VIEWER | {Action.REHEARSE, Action.ANALYSE, Action.EXPORT}
_EDITOR: Final = _ANALYST | {Action.EDIT, Action.RUN, Action.IDENTIFY, Action.ERASE}
ALLOWED: Final = {
    Role.OWNER: frozenset(Action),
    Role.EDITOR: _EDITOR,
    Role.ANALYST: _ANALYST,
    Role.VIEWER: _VIEWER,
}
