"""Rows of an earlier version are carried over."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.store]


def migrated(targets: list[tuple[str, str]]) -> Any:
    """The models of this state, after the database was brought there."""
    executor = MigrationExecutor(connection)
    executor.migrate(targets)
    return MigrationExecutor(connection).loader.project_state(targets).apps


def test_attacks_learn_which_controls_their_triggers_can_have() -> None:
    try:
        attacks = migrated([("lab", "0005_perturb_jobs")]).get_model("lab", "Attack").objects
        for family in ("wanet", "patch", "weights"):
            attacks.create(name=family, family=family)
        after = migrated([("lab", "0006_gross_pairs_and_controls")]).get_model("lab", "Attack").objects
        learnt = after.values_list("family", "controls")
        assert dict(learnt) == {"wanet": ["resampled", "other_field"], "patch": ["other_field"], "weights": []}
    finally:
        migrated(MigrationExecutor(connection).loader.graph.leaf_nodes())


def test_jobs_that_were_done_have_succeeded_and_the_others_keep_their_tries() -> None:
    try:
        jobs = migrated([("lab", "0006_gross_pairs_and_controls")]).get_model("lab", "Job").objects
        for key, state, attempt, most in (("a", "done", 1, 3), ("b", "queued", 2, 3), ("c", "running", 5, 7)):
            jobs.create(idempotency_key=key, kind="train", state=state, attempt=attempt, max_attempts=most)
        after = migrated([("lab", "0008_succeeded_jobs")]).get_model("lab", "Job").objects
        told = after.order_by("idempotency_key").values_list("state", "attempt", "tries", "max_attempts")
        assert list(told) == [("succeeded", 1, 1, 3), ("queued", 2, 2, 3), ("running", 5, 1, 3)]
    finally:
        migrated(MigrationExecutor(connection).loader.graph.leaf_nodes())
