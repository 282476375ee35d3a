"""What a design asks of people, and how evenly it shares the pictures out."""

from __future__ import annotations

from decimal import Decimal

import pytest

from study.desk.counterbalancing import CHOSEN, balance, turn_of
from study.desk.outlook import Pay, outlook
from tests.study.factories import add_model, make_study

pytestmark = pytest.mark.django_db


def test_trials_are_counted_by_use() -> None:
    study = make_study(opened=False, base_images=22, size=4)
    found = outlook(study.design_json(), Pay.of(study))
    assert (found.practice, found.main, found.controls, found.catch) == (2, 12, 6, 2)
    assert found.trials == 22


def test_the_cost_goes_from_everybody_guessing_to_everybody_right() -> None:
    study = make_study(opened=False, base_images=22, size=4, base_pay="3.50", bonus_per_correct="0.100", participants=6)
    cost = outlook(study.design_json(), Pay.of(study)).cost
    paid_for = 12 + 4 + 2  # conditions, the controls that differ, catch trials
    assert cost.right == 6 * (Decimal("3.50") + paid_for * Decimal("0.1"))
    assert cost.guessing == 6 * (Decimal("3.50") + paid_for * Decimal("0.05"))
    assert cost.currency == "EUR"


def test_over_a_turn_every_stimulus_meets_every_condition_equally_often_and_on_both_sides() -> None:
    design = make_study(opened=False, base_images=22, size=4).design_json()
    found = balance(design)
    assert turn_of(design) == len(found.lists) == 9
    assert [condition.meetings for condition in found.conditions] == [(3, 3), (3, 3), (1, 1), (1, 1), (1, 1)]
    assert {condition.stimuli for condition in found.conditions} == {18} == {found.stimuli}
    assert found.lopsided == 0


def test_every_list_has_each_condition_half_on_the_left() -> None:
    design = make_study(opened=False, base_images=22, size=4).design_json()
    trials = [cell["trials"] for cell in design["cells"]]
    assert all(of_list == tuple((n // 2, n // 2) for n in trials) for of_list in balance(design).lists)


def test_the_attack_of_an_adaptive_study_is_one_condition() -> None:
    study = make_study(opened=False, base_images=30, size=4, procedure="adaptive", adaptive_trials=12)
    found = balance(study.design_json())
    assert found.conditions[0].name == CHOSEN
    assert found.conditions[0].trials == 12


def test_with_several_attacks_every_condition_says_which() -> None:
    study = make_study(opened=False, base_images=40, size=4)
    other = add_model(study, size=4).model_run.attack
    names = [condition.name for condition in balance(study.design_json()).conditions]
    assert {f"{study.model_run.attack}: strength 0.5", f"{other}: strength 0.5"} <= set(names)
    assert len(set(names)) == len(names) == 10
