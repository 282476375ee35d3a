"""A study goes on while the server is replaced: older pages, older designs, migrations that are additive."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models, transaction
from django.db.migrations import (
    AddField,
    AlterField,
    DeleteModel,
    Migration,
    RemoveField,
    RenameField,
    RenameModel,
)
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import QuerySet
from django.test import Client

from study.lab.models import sha256_of
from study.trials import insert_only
from study.trials.models import Answer, Session
from tests.study.factories import answer, frozen_in_format_1, make_study, start

QUICK: dict[str, Any] = {"fixation_ms": 60, "blank_ms": 40, "enable_after_ms": 0}
SHAPE: dict[str, Any] = {"strengths": (2.0,), "base_images": 12, "trials_per_strength": 2, **QUICK}


# --- old page, new server

#: Requests of a real browser on the page of the release of that month, and what the server of that release replied.
RECORDED = sorted((Path(__file__).parent / "recorded").glob("page_*.json"))
ANY = "*"


def recordings() -> list[Any]:
    return [
        pytest.param(asked, id=f"{file.stem}-{name}")
        for file in RECORDED
        for name, asked in json.loads(file.read_text()).items()
    ]


def with_unknown_fields(body: Any) -> Any:
    """As a newer page may send it to a server that is not replaced yet."""
    if body is None:
        return None
    more = {**deepcopy(body), "of_the_future": 1}
    return more | ({"trace": {**more["trace"], "of_the_future": "too"}} if "trace" in more else {})


def replay(token: str, asked: list[Mapping[str, Any]], *, future: bool = False) -> list[Any]:
    """(request, status, JSON) of what the server replies now."""
    replies = []
    for request in asked:
        body = with_unknown_fields(request["body"]) if future else request["body"]
        headers = {name: value for name, value in request["headers"].items() if name != "content-type"}
        reply = Client(headers=headers).generic(
            request["method"],
            f"/run/{token}/{request['path']}",
            "" if body is None else json.dumps(body),
            content_type=request["headers"].get("content-type", ""),
        )
        is_json = reply.headers["Content-Type"] == "application/json"
        replies.append((f"{request['method']} {request['path']}", reply.status_code, reply.json() if is_json else None))
    return replies


def expected(request: Mapping[str, Any], reply: Any) -> Any:
    """The recorded reply; what is drawn anew for every run stands for itself, new keys are none of an old page's."""
    recorded = request["reply"]
    if recorded is None or reply is None:
        return recorded
    return {name: reply.get(name) if value == ANY else value for name, value in recorded.items()}


@pytest.mark.django_db
@pytest.mark.parametrize("future", [False, True], ids=["as_sent", "with_fields_nobody_knows"])
@pytest.mark.parametrize("asked", recordings())
def test_a_page_of_an_earlier_release_is_answered_as_it_was_then(asked: list[Mapping[str, Any]], future: bool) -> None:
    _, token = make_study(**SHAPE).start_session()
    for request, (what, status, reply) in zip(asked, replay(token, asked, future=future), strict=True):
        assert (what, status) == (what, request["status"])
        wanted = expected(request, reply)
        assert wanted is None or (what, {**reply, **wanted}) == (what, reply)


# --- old rows, new server

#: The last migrations of the release before this one.
BEFORE = [("lab", "0006_gross_pairs_and_controls"), ("trials", "0004_response_times_and_focus")]


def migrated(targets: list[tuple[str, str]]) -> Any:
    """The models of this state, after the database was brought there."""
    MigrationExecutor(connection).migrate(targets)
    return MigrationExecutor(connection).loader.project_state(targets).apps


def newest() -> list[tuple[str, str]]:
    return list(MigrationExecutor(connection).loader.graph.leaf_nodes())


@pytest.mark.store
@pytest.mark.django_db(transaction=True)
def test_a_session_under_an_older_design_goes_on_across_a_migration_and_keeps_its_answers() -> None:
    study = make_study(opened=False, base_images=22, size=4, resume_hours=24 * 14)
    old = frozen_in_format_1(study)
    session, token = start(study)
    given = [answer(session, index).client_id for index in range(3)]
    try:
        answers = migrated(BEFORE).get_model("trials", "Answer").objects
        trial = answers.latest("trial__index").trial
        following = type(trial).objects.get(session_id=trial.session_id, index=3)
        stored = answers.create(
            trial=following, attempt=1, choice="left", side="left", correct=following.altered_side == "left", rt_ms=500
        )
    finally:
        migrated(newest())
    kept = Answer.objects.filter(trial__session=session).order_by("trial__index")
    assert list(kept.values_list("client_id", flat=True)) == [*given, stored.client_id]
    client = Client(headers={"Sec-Fetch-Site": "same-origin"})
    plan = client.get(f"/run/{token}/plan").json()
    assert plan["next_index"] == 4
    for planned in plan["trials"][4:]:
        said = {"client_id": str(uuid.uuid4()), "attempt": plan["attempt"], "choice": "left", "rt_ms": 600}
        reply = client.put(f"/run/{token}/trials/{planned['index']}", said, content_type="application/json")
        assert reply.status_code == 201, reply.content
    reply = client.post(f"/run/{token}/complete", {}, content_type="application/json")
    assert (reply.status_code, reply.json()["code"]) == (200, "THANKS")
    assert Session.objects.get(pk=session.pk).design.sha256 == sha256_of(old)


# --- migrations that an older server can live with

#: The rule holds for what comes after these.
BASELINE = {
    "accounts": "0001_initial",
    "analysis": "0002_exploratory",
    "lab": "0008_succeeded_jobs",
    "trials": "0005_constraints_and_guards",
}


def fault(operation: Operation, app: str, before: ProjectState) -> str | None:
    """Why processes of the release before could not go on beside this operation; None when they could."""
    if isinstance(operation, (RemoveField, DeleteModel)):
        return "they read what it removes"
    if isinstance(operation, (RenameField, RenameModel)):
        return "they know only the old name"
    if isinstance(operation, AddField) and (app, operation.model_name_lower) not in before.models:
        return None  # a table that this migration makes
    if isinstance(operation, AddField) and _must_be_given(operation.field):
        return f"they insert rows without {operation.name}: give it db_default, or null=True"
    if isinstance(operation, AlterField):
        return _narrowed(before.models[app, operation.model_name_lower].fields[operation.name], operation.field)
    return None


def _narrowed(was: models.Field[Any, Any], is_now: models.Field[Any, Any]) -> str | None:
    if was.null and _must_be_given(is_now):
        return "they insert rows without it: give it db_default"
    if type(was) is not type(is_now):
        return "they write values of the old type"
    return "they write longer values" if (is_now.max_length or 10**9) < (was.max_length or 0) else None


def _must_be_given(field: models.Field[Any, Any]) -> bool:
    return not (field.null or field.many_to_many or field.primary_key or field.has_db_default())


def faults(migration: Migration, before: ProjectState) -> list[str]:
    """Nothing of a migration that says of which first step it is the `second_step`."""
    if getattr(migration, "second_step", ""):
        return []
    found = [(operation, fault(operation, migration.app_label, before)) for operation in migration.operations]
    return [
        f"{migration} is not additive ({operation.describe()}): while servers are replaced one by one, {why}. Take two "
        "steps (docs/upgrading.md) and mark this one: `second_step = 'what the first was'`."
        for operation, why in found
        if why
    ]


def test_every_migration_since_the_baseline_can_be_lived_with_by_the_servers_of_the_release_before() -> None:
    loader = MigrationLoader(None)
    found = []
    for app, name in BASELINE.items():
        migrations = sorted(key for key in loader.graph.nodes if key[0] == app)
        assert (app, name) in migrations
        for key in migrations[migrations.index((app, name)) + 1 :]:
            before = loader.project_state(key, at_end=False)
            found += faults(loader.graph.nodes[key], before)
    assert found == []


NOT_ADDITIVE: list[Operation] = [
    RemoveField("answer", "rt_ms"),
    RenameField("answer", "rt_ms", "time_ms"),
    DeleteModel("Answer"),
    AddField("answer", "note", models.TextField(default="")),
    AlterField("answer", "correct", models.BooleanField()),
    AlterField("answer", "rt_ms", models.IntegerField()),
    AlterField("answer", "choice", models.CharField(max_length=4)),
]
ADDITIVE: list[Operation] = [
    AddField("answer", "note", models.TextField(db_default="")),
    AddField("answer", "note", models.TextField(null=True)),
    AlterField("answer", "correct", models.BooleanField(db_default=False)),
    AlterField("answer", "choice", models.CharField(max_length=8)),
]


@pytest.mark.parametrize("operation", [*NOT_ADDITIVE, *ADDITIVE], ids=lambda operation: operation.describe())
def test_what_older_servers_could_not_live_with_is_told_to_whoever_writes_it(operation: Operation) -> None:
    before = MigrationLoader(None).project_state(("trials", "0005_constraints_and_guards"))
    migration = Migration("0999", "trials")
    migration.operations = [operation]
    assert bool(faults(migration, before)) == (operation in NOT_ADDITIVE)
    migration.second_step = "0998 stopped using it"  # type: ignore[attr-defined]
    assert faults(migration, before) == []


# --- rows that are written once

WRITTEN_ONCE = [
    model
    for model in apps.get_models()
    if issubclass(model, insert_only.InsertOnly) and model._meta.app_label == "trials"
]


@pytest.mark.store
@pytest.mark.django_db
def test_the_database_itself_refuses_to_change_what_is_written_once() -> None:
    """After a new migration: SQLite drops a table's triggers where it makes the table anew; `guard` it again."""
    study = make_study(base_images=22, size=4)
    stored = answer(start(study)[0], 0)
    with pytest.raises(IntegrityError, match="trials_answer is written once"), transaction.atomic():
        QuerySet(Answer).filter(pk=stored.pk).update(rt_ms=1)
    tables = {model._meta.db_table for model in WRITTEN_ONCE}
    assert len(tables) == 7
    catalogue = {
        "sqlite": "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal",
    }
    with connection.cursor() as cursor:
        cursor.execute(catalogue[connection.vendor])
        found = {table for name, table in cursor.fetchall() if name == f"{table}_insert_only"}
    assert found == tables
