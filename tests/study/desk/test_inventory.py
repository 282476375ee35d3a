"""The inventory names all that is stored about a participant, and nothing that is not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.db.models import ForeignKey, Model

from study.desk import inventory
from study.trials.models import Session

HAS_KINDS = {"started", "screen", "complete", "excluded", "different_answer", "damaged_image", "honeypot", "receipt"}


def models_about_sessions() -> set[type[Model]]:
    """Session, and every model whose rows belong to one, however far away."""
    found: set[type[Model]] = {Session}
    while True:
        more = {
            model
            for model in apps.get_models(include_auto_created=True)
            for field in model._meta.concrete_fields
            if isinstance(field, ForeignKey) and field.related_model in found
        }
        if more <= found:
            return found
        found |= more


def columns() -> set[str]:
    return {
        f"{model.__name__}.{field.name}"
        for model in models_about_sessions()
        for field in model._meta.concrete_fields
        if not field.primary_key
    }


def test_every_column_about_participants_is_in_the_inventory() -> None:
    assert columns() - {kept.where for kept in inventory.COLUMNS} <= KEYS


#: Which session a row belongs to: told by where it stands.
KEYS = {"SessionEvent.session"}


def test_the_inventory_names_no_column_that_is_not_there() -> None:
    assert {kept.where for kept in inventory.COLUMNS} <= columns()


def test_every_entry_says_what_why_how_long_who_and_how_it_goes() -> None:
    for kept in inventory.everything():
        assert all((kept.what, kept.why, kept.until, kept.seen_by, kept.erased)), kept.where


def logged_kinds() -> set[str]:
    """The literal kinds of `session.log("kind")` in the code of participants' pages."""
    found = set()
    for path in Path(settings.BASE_DIR, "study", "trials").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_log = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "log"
            if is_log and node.args and isinstance(node.args[0], ast.Constant):
                found.add(str(node.args[0].value))
    return found


def test_every_kind_of_event_is_named() -> None:
    told = inventory.meaning("SessionEvent.kind")
    kinds = logged_kinds() | HAS_KINDS
    assert kinds > {"started", "complete"}
    assert [kind for kind in sorted(kinds) if kind not in told] == []


def test_the_documentation_has_the_same_table() -> None:
    page = Path(settings.BASE_DIR, "docs", "privacy.md").read_text()
    assert page.split(inventory.BEGIN)[1].split(inventory.END)[0].strip() == inventory.markdown()


@pytest.mark.parametrize("word", ["address", "browser"])
def test_no_column_holds_an_address_or_a_browsers_name(word: str) -> None:
    assert [column for column in columns() if word in column.lower()] == []
