"""The audit log is append-only in the database too, for whoever does not come through the models."""

from __future__ import annotations

from typing import Final

from django.db.backends.base.schema import BaseDatabaseSchemaEditor

TABLE: Final = "accounts_auditentry"
SENTENCE: Final = "An entry of the audit log is neither changed nor deleted."

GUARD: Final = {
    "postgresql": [
        f"""
        CREATE OR REPLACE FUNCTION blindspot_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '{SENTENCE}' USING ERRCODE = 'integrity_constraint_violation'; END $$
        """,
        f"""
        CREATE TRIGGER {TABLE}_no_change BEFORE UPDATE OR DELETE ON {TABLE}
        FOR EACH ROW EXECUTE FUNCTION blindspot_append_only()
        """,
        f"""
        CREATE TRIGGER {TABLE}_no_truncation BEFORE TRUNCATE ON {TABLE}
        FOR EACH STATEMENT EXECUTE FUNCTION blindspot_append_only()
        """,
    ],
    "sqlite": [
        f"CREATE TRIGGER {TABLE}_no_{name} BEFORE {name} ON {TABLE} BEGIN SELECT RAISE(ABORT, '{SENTENCE}'); END"
        for name in ("update", "delete")
    ],
}
UNGUARD: Final = {
    "postgresql": [f"DROP TRIGGER IF EXISTS {TABLE}_no_{name} ON {TABLE}" for name in ("change", "truncation")],
    "sqlite": [f"DROP TRIGGER IF EXISTS {TABLE}_no_{name}" for name in ("update", "delete")],
}


def guard(editor: BaseDatabaseSchemaEditor) -> None:
    """For migrations: from now on the database refuses.

    SQLite drops a table's triggers when a migration makes the table anew: such a migration ends with this.
    """
    unguard(editor)
    _execute(editor, GUARD)


def unguard(editor: BaseDatabaseSchemaEditor) -> None:
    """For migrations that rewrite entries; `guard` afterwards."""
    _execute(editor, UNGUARD)


def _execute(editor: BaseDatabaseSchemaEditor, statements: dict[str, list[str]]) -> None:
    for statement in statements[editor.connection.vendor]:
        editor.execute(statement, params=None)
