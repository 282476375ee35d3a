"""Everything that is stored about one participant, as one JSON file with words for every field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model
from django.utils import timezone

from study.desk import inventory
from study.trials.models import Population, Session, Trial

#: What would tell right answers from wrong ones while nobody may know the outcome; it is about pictures, not people.
HELD_BACK: Final = frozenset(
    {
        "Session.seed", "Trial.base_image", "Trial.pair", "Trial.altered_side", "Trial.altered_frame",
        "Trial.candidates", "Answer.correct", "AdaptiveChoice.pair", "AdaptiveChoice.posterior",
    }
)  # fmt: skip
HELD_BACK_SENTENCE: Final = (
    "The study is under way. Until it closes, it is held back which picture was altered and which answers were right: "
    "ask again then."
)
#: What hangs on a trial, one row at the most.
OF_A_TRIAL: Final = ("answer", "trace", "choice", "skipped")


def stored(session: Session) -> dict[str, Any]:
    """What is stored about the session: its columns, events and trials, and what their names mean."""
    hidden = HELD_BACK if session.population == Population.REAL and session.study.is_blind else frozenset[str]()
    trials = session.trials.select_related(*OF_A_TRIAL).order_by("index")
    found: dict[str, Any] = {
        "made_at": timezone.now(),
        "study": {"name": session.study.slug, "title": session.study.title, "contact": session.study.contact},
        "held_back": HELD_BACK_SENTENCE if hidden else None,
        "session": _row(session, hidden),
        "events": [_row(event, hidden) for event in session.events.order_by("pk")],
        "trials": [_trial(trial, hidden) for trial in trials.iterator(chunk_size=200)],
        "meanings": {kept.where: kept.what for kept in inventory.COLUMNS if kept.where not in hidden},
        "elsewhere": {kept.where: f"{kept.what}; {kept.until}" for kept in inventory.ELSEWHERE},
    }
    return found


def as_json(session: Session) -> Iterator[bytes]:
    yield json.dumps(stored(session), cls=DjangoJSONEncoder, indent=1, ensure_ascii=False).encode() + b"\n"


def _trial(trial: Trial, hidden: frozenset[str]) -> dict[str, Any]:
    rows = {name: getattr(trial, name, None) for name in OF_A_TRIAL}
    return _row(trial, hidden) | {name: _row(row, hidden) for name, row in rows.items() if row is not None}


def _row(row: Model, hidden: frozenset[str]) -> dict[str, Any]:
    model = type(row).__name__
    return {
        field.name: getattr(row, field.attname)
        for field in row._meta.concrete_fields
        if f"{model}.{field.name}" not in hidden
    }
