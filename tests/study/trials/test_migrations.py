"""Rows of an earlier version are carried over."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.store]

FIRST = [("lab", "0001_initial"), ("trials", "0001_initial")]


def migrated(targets: list[tuple[str, str]]) -> Any:
    """The models of this state, after the database was brought there."""
    executor = MigrationExecutor(connection)
    executor.migrate(targets)
    return MigrationExecutor(connection).loader.project_state(targets).apps


def an_answer(apps: Any) -> Any:
    dataset = apps.get_model("lab", "Dataset").objects.create(name="d", kind="synthetic_eyes", fingerprint="f")
    attack = apps.get_model("lab", "Attack").objects.create(name="a", family="wanet", parameters={})
    run = apps.get_model("lab", "ModelRun").objects.create(name="r", dataset=dataset, network="cnn")
    base = apps.get_model("lab", "BaseImage").objects.create(
        dataset=dataset, index=0, subject=0, pitch=0, yaw=0, file="x", sha256="s"
    )
    pair = apps.get_model("lab", "Pair").objects.create(
        base_image=base, attack=attack, strength=1, field_fingerprint="f", file="y", sha256="t"
    )
    study = apps.get_model("trials", "Study").objects.create(
        slug="s", title="S", state="open", dataset=dataset, model_run=run
    )
    version = apps.get_model("trials", "DesignVersion").objects.create(study=study, n=1, json={}, sha256="h")
    session = apps.get_model("trials", "Session").objects.create(
        study=study, design=version, population="real", public_code="C", token_sha256="t", seed=1, consent_sha256="c"
    )
    trial = apps.get_model("trials", "Trial").objects.create(
        session=session, index=0, phase="main", pair=pair, altered_side="right"
    )
    return apps.get_model("trials", "Answer").objects.create(
        trial=trial, attempt=1, choice="right", correct=True, rt_ms=500
    )


def test_trials_learn_their_base_image_answers_the_side_that_counts_and_open_studies_their_rules() -> None:
    newest = MigrationExecutor(connection).loader.graph.leaf_nodes()
    try:
        stored = an_answer(migrated(FIRST))
        answer = migrated(newest).get_model("trials", "Answer").objects.get(pk=stored.pk)
        assert (answer.side, answer.trial.base_image_id) == ("right", answer.trial.pair.base_image_id)
        study = answer.trial.session.study
        assert (study.practice_correct, study.practice_rounds, study.resume_hours) == (0, 1, 24 * 14)
        assert (study.median_rt_below_ms, study.fast_above_share, study.focus_above_share) == (0, 1, 1)
    finally:
        migrated(MigrationExecutor(connection).loader.graph.leaf_nodes())
