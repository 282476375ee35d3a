import numpy as np

from study.analysis import frames
from study.analysis.exclusions import broken_rules
from study.trials.exclusions import CATCH, MISSED, SAME_SIDE, ExclusionRules, Missed
from tests.study.analysis.observers import simulate

DESIGN = {"exclusions": {"catch": {"correct_below": 7, "of": 8}, "same_side": {"at_least": 44, "of": 60}}}


def test_the_rules_are_those_of_the_frozen_design() -> None:
    assert ExclusionRules.of_design(DESIGN) == ExclusionRules(catch_correct_below=7, same_side_at_least=44)
    assert ExclusionRules.of_design({}) == ExclusionRules()
    missed = {"exclusions": {"missed": {"above_share": 0.1}}}
    assert ExclusionRules.of_design(missed) == ExclusionRules(missed_above_share=0.1)


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


def test_somebody_who_lets_too_many_trials_pass_is_left_out() -> None:
    trials = simulate(1, participants=3, trials=4)
    missed = {"P00": Missed(6, 60), "P01": Missed(7, 60), "P09": Missed(60, 60)}
    assert broken_rules(trials, ExclusionRules(missed_above_share=0.1), missed) == {"P01": MISSED}
    assert broken_rules(trials, ExclusionRules(), missed) == {}


def test_somebody_who_answered_no_catch_trial_has_missed_them() -> None:
    trials = simulate(1, participants=3, trials=4, lapse=0)
    unanswered = trials[(trials["is_catch"] == 0) | (trials["participant"] != "P01")]
    assert broken_rules(unanswered, ExclusionRules(catch_correct_below=7)) == {"P01": CATCH}


def test_where_there_were_no_catch_trials_nobody_missed_them() -> None:
    assert broken_rules(simulate(1, participants=3, trials=4, catch=0), ExclusionRules(catch_correct_below=7)) == {}


def test_not_sure_chooses_no_side() -> None:
    trials = simulate(1, participants=2, trials=6).assign(response_side="left", unsure=0)
    rules = ExclusionRules(same_side_at_least=40)
    assert broken_rules(trials, rules) == {"P00": SAME_SIDE, "P01": SAME_SIDE}
    assert broken_rules(trials.assign(unsure=(trials["participant"] == "P01").astype(int)), rules) == {"P00": SAME_SIDE}
