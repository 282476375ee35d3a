"""Rows of an earlier version are carried over."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.store]

BEFORE = [("lab", "0005_perturb_jobs")]
AFTER = [("lab", "0006_gross_pairs_and_controls")]


def migrated(targets: list[tuple[str, str]]) -> Any:
    """The models of this state, after the database was brought there."""
    executor = MigrationExecutor(connection)
    executor.migrate(targets)
    return MigrationExecutor(connection).loader.project_state(targets).apps


def test_attacks_learn_which_controls_their_triggers_can_have() -> None:
    try:
        attacks = migrated(BEFORE).get_model("lab", "Attack").objects
        for family in ("wanet", "patch", "weights"):
            attacks.create(name=family, family=family)
        learnt = migrated(AFTER).get_model("lab", "Attack").objects.values_list("family", "controls")
        assert dict(learnt) == {"wanet": ["resampled", "other_field"], "patch": ["other_field"], "weights": []}
    finally:
        migrated(MigrationExecutor(connection).loader.graph.leaf_nodes())
