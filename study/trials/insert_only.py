"""Rows that are written once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from study.trials.exceptions import Frozen


class InsertOnlyQuerySet(models.QuerySet[Any]):
    """Rows that are written once. `erase` is the one way to take them away."""

    def update(self, **_: Any) -> NoReturn:
        raise Frozen(f"A stored {self.model._meta.verbose_name} cannot be changed.")

    def delete(self) -> NoReturn:
        raise Frozen(f"A stored {self.model._meta.verbose_name} cannot be deleted; withdraw or erase the session.")

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def erase(self) -> int:
        return super().delete()[0]

    erase.alters_data = True  # type: ignore[attr-defined]
    erase.queryset_only = True  # type: ignore[attr-defined]


class InsertOnly(models.Model):
    """A row that is written once and never changed."""

    objects = InsertOnlyQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise Frozen(f"A stored {self._meta.verbose_name} cannot be changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise Frozen(f"A stored {self._meta.verbose_name} cannot be deleted; withdraw or erase the session.")


# --- the same in the database, for whoever does not come through the models

GUARD = {
    "postgresql": """
        CREATE TRIGGER {table}_insert_only BEFORE UPDATE ON {table}
        FOR EACH ROW EXECUTE FUNCTION blindspot_insert_only()
    """,
    "sqlite": """
        CREATE TRIGGER {table}_insert_only BEFORE UPDATE ON {table}
        BEGIN SELECT RAISE(ABORT, 'A row of {table} is written once: it cannot be changed.'); END
    """,
}
UNGUARD = {
    "postgresql": "DROP TRIGGER IF EXISTS {table}_insert_only ON {table}",
    "sqlite": "DROP TRIGGER IF EXISTS {table}_insert_only",
}
FUNCTION = """
    CREATE OR REPLACE FUNCTION blindspot_insert_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'A row of % is written once: it cannot be changed.', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
    END $$
"""


def guard(editor: BaseDatabaseSchemaEditor, tables: Iterable[str]) -> None:
    """For migrations: from now on the database refuses to change rows of these tables; erasing stays possible.

    SQLite drops a table's triggers when a migration makes the table anew: such a migration ends with this.
    """
    unguard(editor, tables)
    vendor = editor.connection.vendor
    if vendor == "postgresql":
        editor.execute(FUNCTION, params=None)
    for table in tables:
        editor.execute(GUARD[vendor].format(table=table))


def unguard(editor: BaseDatabaseSchemaEditor, tables: Iterable[str]) -> None:
    """For migrations that rewrite rows; `guard` afterwards."""
    for table in tables:
        editor.execute(UNGUARD[editor.connection.vendor].format(table=table))
