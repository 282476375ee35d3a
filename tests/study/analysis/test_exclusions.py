import time

import numpy as np
import pandas as pd
import pytest

from study.analysis import frames
from study.analysis.exclusions import broken_rules
from study.trials.exclusions import CATCH, FAST, FOCUS, HASTY, MISSED, SAME_SIDE, ExclusionRules, Missed
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


def test_somebody_whose_answers_come_too_fast_on_the_whole_is_left_out() -> None:
    trials = simulate(1, participants=3, trials=4)
    trials = trials.assign(rt_ms=np.where(trials["participant"] == "P01", 299.0, 301.0))
    assert broken_rules(trials, ExclusionRules(median_rt_below_ms=300)) == {"P01": HASTY}


def test_a_fifth_of_the_answers_may_be_too_fast_to_have_looked_and_no_more() -> None:
    trials = simulate(1, participants=2, trials=4, catch=6)
    place = trials.groupby("participant").cumcount()
    fast = place < np.where(trials["participant"] == "P01", 7, 6)
    rules = ExclusionRules(fast_above_share=0.2)
    assert len(trials) == 60
    assert broken_rules(trials.assign(rt_ms=np.where(fast, 199.0, 800.0)), rules) == {"P01": FAST}


@pytest.mark.parametrize("kind", [str, float])
def test_focus_losses_are_judged_as_numbers_or_as_text(kind: type) -> None:
    trials = simulate(1, participants=2, trials=4)
    place = trials.groupby("participant").cumcount()
    losses = ((place < 10) & (trials["participant"] == "P00")).astype(int).map(kind)
    assert broken_rules(trials.assign(focus_losses=losses), ExclusionRules(focus_above_share=0.1)) == {"P00": FOCUS}


def test_a_table_that_knows_no_focus_judges_nobody_by_it() -> None:
    assert broken_rules(simulate(1, participants=2, trials=4), ExclusionRules(focus_above_share=0.0)) == {}


def test_a_quarter_of_a_million_answers_are_judged_within_a_second() -> None:
    n, people = 240_000, 4_000
    rng = np.random.default_rng(1)
    trials = pd.DataFrame(
        {
            "participant": pd.Series(np.arange(n) % people).map("P{:04d}".format),
            "response_side": pd.Series(rng.choice(["left", "right"], n).astype(object), dtype="str"),
            "correct": rng.integers(0, 2, n),
            "is_catch": (rng.random(n) < 0.1).astype(int),
            "rt_ms": rng.lognormal(6.5, 0.4, n),
            "focus_losses": rng.poisson(0.02, n).astype(float),
        }
    )
    started = time.process_time()
    broken = broken_rules(trials, ExclusionRules(1, 45, 0.1, 300, 0.2, 200, 0.1))
    assert time.process_time() - started < 1
    assert 0 < len(broken) < people
