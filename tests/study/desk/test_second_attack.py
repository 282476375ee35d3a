"""The demonstration's second attack: matched with the first in all but the trigger."""

from __future__ import annotations

import pytest

from models.recipe import Recipe
from models.targets import Target
from study.desk import second_attack
from study.lab.models import Attack, Dataset, ModelRun

pytestmark = pytest.mark.django_db


@pytest.fixture
def warped() -> ModelRun:
    dataset = Dataset.objects.synthetic_eyes("eyes", size=32)
    recipe = Recipe(seed=4, strength_schedule=((2.0, 3), (0.5, 2))).to_json()
    target = Target.fixed(0, 25).to_json()
    clean = ModelRun.objects.plan("demo-clean", dataset, recipe=recipe, target=target)
    attack = Attack.objects.draw("wanet", "wanet", (32, 32))
    return ModelRun.objects.plan(
        "demo-backdoored", dataset, recipe=recipe, target=target, attack=attack, clean_reference=clean
    )


def test_it_shares_all_but_the_trigger_and_what_belongs_to_it(warped: ModelRun) -> None:
    patched = second_attack.plan(warped)
    assert (patched.name, patched.clean_reference, patched.target) == (
        "demo-patch", warped.clean_reference, warped.target
    )  # fmt: skip
    assert patched.attack is not None
    assert patched.attack.family == "patch"
    differing = {name for name in patched.parameters if patched.parameters[name] != warped.parameters[name]}
    assert differing <= {"strength_schedule", "noise_ratio", "unrelated_ratio", "rehearsal"}
    assert patched.parameters["noise_ratio"] == 0
    epochs = [[epochs for _, epochs in run.parameters["strength_schedule"]] for run in (warped, patched)]
    assert epochs == [[3, 2], [3, 2]]


def test_it_is_planned_once(warped: ModelRun) -> None:
    assert second_attack.plan(warped) == second_attack.plan(warped)


def test_there_is_nothing_to_match_without_a_clean_reference(warped: ModelRun) -> None:
    assert warped.clean_reference is not None
    with pytest.raises(ValueError, match="no attack or no clean reference"):
        second_attack.plan(warped.clean_reference)
