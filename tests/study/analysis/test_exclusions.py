import numpy as np

from study.analysis import frames
from study.analysis.exclusions import CATCH, SAME_SIDE, ExclusionRules, broken_rules
from tests.study.analysis.observers import simulate

DESIGN = {"exclusions": {"catch": {"correct_below": 7, "of": 8}, "same_side": {"at_least": 44, "of": 60}}}


def test_the_rules_are_those_of_the_frozen_design() -> None:
    assert ExclusionRules.of_design(DESIGN) == ExclusionRules(catch_correct_below=7, same_side_at_least=44)
    assert ExclusionRules.of_design({}) == ExclusionRules()


def test_without_rules_nobody_is_left_out(golden_trials) -> None:
    assert broken_rules(golden_trials, ExclusionRules()) == {}


def test_the_golden_guessers_miss_the_catch_trials(golden, golden_trials) -> None:
    broken = broken_rules(golden_trials, ExclusionRules(catch_correct_below=3))
    assert sorted(broken) == golden["meta"]["excluded"]
    assert set(broken.values()) == {CATCH}


def test_somebody_who_always_chooses_one_side_is_left_out() -> None:
    trials = simulate(1, participants=4, trials=6, lapse=0)
    clean = np.where(trials["participant"] == "P02", "right", trials["clean_side"])
    chosen = np.where(trials["participant"] == "P02", "left", trials["response_side"])
    one_sided = trials.assign(clean_side=clean, response_side=chosen)
    assert broken_rules(one_sided, ExclusionRules(same_side_at_least=40)) == {"P02": SAME_SIDE}


def test_an_outcome_at_chance_excludes_nobody() -> None:
    trials = simulate(1, threshold=1e9, lapse=0)
    assert len(frames.main_trials(trials)) > 0
    assert broken_rules(trials, ExclusionRules(7, 60)) == {}
