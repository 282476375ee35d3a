"""What an answer meets: the session under its lock, the trial, and what was answered before; and how it is stored.

An answer is the one request that everybody makes hundreds of times. To compose its queries anew each time took four
fifths of a server's work (docs/benchmarks.md), so they are written out here: one statement that locks the session, one
that looks at its trial, and one that stores the answer with its trace. PostgreSQL keeps their plans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.db import connection, models

from study.trials.models.statements import instance, listed, prepared_cursor
from study.trials.models.studies import DesignVersion
from study.trials.models.trials import Answer, Trial, TrialTrace

if TYPE_CHECKING:
    from study.trials.models.sessions import Session

#: Columns of what is read, in the order of their models, so that rows become instances; other columns are read when
#: they are asked for.
SESSION: Final = (
    "id", "study_id", "design_id", "population", "public_code", "seed", "state", "attempt", "language", "scale",
    "seen_at",
)  # fmt: skip
DESIGN: Final = ("id", "sha256")
TRIAL: Final = ("id", "session_id", "index", "phase", "round", "base_image_id", "pair_id", "altered_side")
ANSWER: Final = ("id", "trial_id", "client_id", "attempt", "choice", "side", "correct", "rt_ms")


#: On PostgreSQL the lock comes first: a statement that has waited for it sees other tables as they were before.
_LOCK: Final = f"""
    SELECT {listed("s", SESSION)}, {listed("d", DESIGN)}
    FROM trials_session s JOIN trials_designversion d ON d.id = s.design_id WHERE s.{{key}} = %s {{lock}}
"""  # noqa: S608  (column names of our own)
#: Answers come in order, so that all trials before this one have theirs when the last of them has.
_LOOK: Final = f"""
    SELECT {listed("t", TRIAL)}, {listed("a", ANSWER)}, k.id IS NOT NULL,
        (SELECT b.id IS NULL FROM trials_trial p LEFT JOIN trials_answer b ON b.trial_id = p.id
         WHERE p.session_id = t.session_id AND p."index" < t."index"
         AND NOT EXISTS (SELECT 1 FROM trials_skippedtrial x WHERE x.trial_id = p.id)
         ORDER BY p."index" DESC LIMIT 1),
        (SELECT n."index" FROM trials_trial n WHERE n.session_id = t.session_id AND n."index" > t."index"
         AND NOT EXISTS (SELECT 1 FROM trials_skippedtrial x WHERE x.trial_id = n.id)
         ORDER BY n."index" LIMIT 1)
    FROM trials_trial t LEFT JOIN trials_answer a ON a.trial_id = t.id
    LEFT JOIN trials_skippedtrial k ON k.trial_id = t.id
    WHERE t.session_id = %s AND t."index" = %s
"""  # noqa: S608  (column names of our own)


@dataclass(frozen=True)
class Turn:
    """A trial whose answer has come.

    trial: None where the plan has none of this index. answer: the one that is stored already. skipped: the trial
    became unnecessary. early: one before it has no answer yet. following: the index of the next trial that is not
    skipped; None after the last.
    """

    session: Session
    index: int
    trial: Trial | None = None
    answer: Answer | None = None
    skipped: bool = False
    early: bool = False
    following: int | None = None

    @classmethod
    def take(cls, index: int, **key: Any) -> Turn:
        """Trial `index` of the session with this key (`id` or `token_sha256`), locked until the transaction ends.

        Raises Session.DoesNotExist.
        """
        session = _locked_session(key)
        with prepared_cursor() as cursor:
            cursor.execute(_LOOK, [session.pk, index])
            row = cursor.fetchone()
        if row is None:
            return cls(session, index)
        trial = instance(Trial, TRIAL, row[: len(TRIAL)])
        trial.session = session
        rest = row[len(TRIAL) :]
        stored = None if rest[0] is None else instance(Answer, ANSWER, rest[: len(ANSWER)])
        if stored is not None:
            stored.trial = trial
        skipped, early, following = rest[len(ANSWER) :]
        return cls(session, index, trial, stored, bool(skipped), bool(early), following)

    @property
    def next_index(self) -> int:
        """The index of the next trial; the number of trials after the last."""
        return self.index + 1 if self.following is None else self.following


def _locked_session(key: Mapping[str, Any]) -> Session:
    ((name, value),) = key.items()
    lock = "FOR NO KEY UPDATE OF s" if connection.vendor == "postgresql" else ""  # SQLite has one writer at a time
    model: type[Session] = apps.get_model("trials", "Session")
    with prepared_cursor() as cursor:
        cursor.execute(_LOCK.format(key=name, lock=lock), [value])
        row = cursor.fetchone()
    if row is None:
        raise model.DoesNotExist
    session: Session = instance(model, SESSION, row[: len(SESSION)])
    session.design = instance(DesignVersion, DESIGN, row[len(SESSION) :])
    return session


# -- storing


def store(answer: Answer, trace: TrialTrace) -> None:
    """Insert both; the answer then has its key. Raises IntegrityError when the trial has one, or its id is taken."""
    answered, traced = f"{_insert(Answer)} RETURNING id", _insert(TrialTrace)
    with prepared_cursor() as cursor:
        if connection.vendor == "postgresql":  # one statement is one round trip
            both = f"WITH answered AS ({answered}), traced AS ({traced}) SELECT id FROM answered"  # noqa: S608
            answer.pk = cursor.execute(both, [*_values(answer), *_values(trace)]).fetchone()[0]
        else:
            answer.pk = cursor.execute(answered, _values(answer)).fetchone()[0]
            cursor.execute(traced, _values(trace))
    for row in (answer, trace):
        row._state.adding, row._state.db = False, connection.alias


@cache
def _insert(model: type[models.Model]) -> str:
    columns = ", ".join(f'"{field.column}"' for field in _stored_fields(model))
    places = ", ".join("%s" for _ in _stored_fields(model))
    return f"INSERT INTO {model._meta.db_table} ({columns}) VALUES ({places})"  # noqa: S608


@cache
def _stored_fields(model: type[models.Model]) -> tuple[Any, ...]:
    return tuple(field for field in model._meta.concrete_fields if not field.primary_key)


def _values(row: models.Model) -> list[Any]:
    return [field.get_db_prep_save(field.pre_save(row, add=True), connection) for field in _stored_fields(type(row))]
