"""Many sessions from one: an answered session with all its rows, copied within the database as often as wanted.

A million trials are there in minutes instead of hours. A copy differs from its original in what must be unique and, on
PostgreSQL, in when it was; its public code and token are worth nothing, for nobody takes part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import connection, models, transaction

if TYPE_CHECKING:
    from study.trials.models import Session

#: What differs between the two databases: random values of a column's kind, and how the sessions spread over time.
WORDS: Mapping[str, Mapping[str, str]] = {
    "postgresql": {
        "token": "md5(random()::text) || md5(random()::text)",
        "uuid": "gen_random_uuid()",
        "created": "s.created_at + c.number * interval '7 seconds'",
    },
    "sqlite": {
        "token": "lower(hex(randomblob(32)))",
        "uuid": "lower(hex(randomblob(16)))",
        "created": "s.created_at",
    },
}
NUMBERS = """
CREATE TEMPORARY TABLE numbers AS
WITH RECURSIVE counted(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM counted WHERE number < %s)
SELECT number FROM counted
"""
#: Those that are there, of a study that was opened for so many, are taken as well.
PLACES = """
INSERT INTO trials_slot (study_id, population, list_number, claimed_at)
SELECT study_id, population, number, claimed_at FROM trials_slot, numbers WHERE id = %s
ON CONFLICT (study_id, population, list_number) DO UPDATE SET claimed_at = excluded.claimed_at
"""
COPIES = """
CREATE TEMPORARY TABLE copies AS
SELECT n.number, s.id FROM numbers n JOIN trials_session s ON s.public_code = %s || n.number
"""
TWINS = """
CREATE TEMPORARY TABLE twins AS
SELECT o.id AS original, t.id FROM copies c JOIN trials_trial t ON t.session_id = c.id
JOIN trials_trial o ON o."index" = t."index" AND o.session_id = %s
"""


def copy(session: Session, times: int) -> None:
    """The same session so often again, with all its rows, each under keys of its own.

    The session has list 0 of its population; the copies get those from list 1 on. Can be done once for a session.
    """
    from study.trials.models import Answer, SessionEvent, Trial, TrialTrace

    words, key, code = WORDS[connection.vendor], session.pk, f"N{session.pk}-"
    place = "p.study_id = s.study_id AND p.population = s.population AND p.list_number = c.number"
    with transaction.atomic(), connection.cursor() as cursor:
        insert = partial(_insert, cursor)
        cursor.execute(NUMBERS, [times])
        cursor.execute(PLACES, [session.slot_id])
        insert(type(session), "numbers c WHERE s.id = %s", [key], {
            "public_code": f"'{code}' || c.number",
            "token_sha256": words["token"],
            "recruiter_key": "NULL",
            "created_at": words["created"],
            "slot_id": f"(SELECT p.id FROM trials_slot p WHERE {place})",  # noqa: S608
        })  # fmt: skip
        cursor.execute(COPIES, [code])
        for model in (Trial, SessionEvent):
            insert(model, "copies c WHERE s.session_id = %s ORDER BY c.number, s.id", [key], {"session_id": "c.id"})
        cursor.execute(TWINS, [key])
        for model, changed in ((Answer, {"client_id": words["uuid"]}), (TrialTrace, {})):
            insert(model, "twins c WHERE s.trial_id = c.original ORDER BY c.id", [], {"trial_id": "c.id", **changed})
        for table in ("twins", "copies", "numbers"):
            cursor.execute(f"DROP TABLE {table}")


def _insert(
    cursor: Any, model: type[models.Model], source: str, values: Sequence[Any], changed: Mapping[str, str]
) -> None:
    """Insert the rows s of a table once for each row c of `source`, under new keys and with changed columns."""
    columns = [field.column for field in model._meta.concrete_fields if not field.primary_key]
    names = ", ".join(f'"{column}"' for column in columns)
    taken = ", ".join(changed.get(column) or f's."{column}"' for column in columns)
    table = model._meta.db_table
    cursor.execute(f"INSERT INTO {table} ({names}) SELECT {taken} FROM {table} s, {source}", values)  # noqa: S608


def settle() -> None:
    """What the database does about many new rows in the quiet hours is done now, not during what follows."""
    statements = {"postgresql": ("VACUUM (ANALYZE)", "CHECKPOINT"), "sqlite": ("PRAGMA wal_checkpoint(TRUNCATE)",)}
    with connection.cursor() as cursor:
        for statement in statements[connection.vendor]:
            cursor.execute(statement)
