import time

import numpy as np
import pytest

from study.analysis import frames, psychometric
from study.analysis.people import resample
from tests.study.analysis.observers import simulate


@pytest.fixture(scope="module")
def table():
    return simulate(1, participant_sd=0.3, stimulus_sd=0.3)


def people(table, draws=200, seed=0):
    return resample(frames.main_trials(table), frames.catch_trials(table), draws, seed)


@pytest.mark.parametrize(("name", "proportion_correct"), [("PC .75", 0.75), ("half of F", None)])
def test_the_estimate_is_that_of_the_psychometric_function(table, name, proportion_correct) -> None:
    main, catch = frames.main_trials(table), frames.catch_trials(table)
    fitted = psychometric.fit(main, catch, "Weibull")
    expected = next(threshold.strength for threshold in fitted.thresholds if threshold.level == name)
    threshold = people(table, draws=2).threshold("wanet", proportion_correct, name)
    assert 2**threshold.estimate == pytest.approx(expected, rel=1e-4)


def test_the_draws_spread_around_the_estimate(table) -> None:
    threshold = people(table, draws=1000).threshold("wanet", 0.75, "PC .75")
    assert np.median(threshold.draws) == pytest.approx(threshold.estimate, abs=0.05)
    assert 0.05 < threshold.draws.std() < 0.3


def test_the_order_of_the_trials_changes_nothing(table) -> None:
    shuffled = table.sample(frac=1, random_state=3)
    one, other = (people(rows).threshold("wanet", 0.75, "").draws for rows in (table, shuffled))
    assert one.tolist() == other.tolist()


def test_another_seed_is_another_set_of_draws(table) -> None:
    one, other = (people(table, seed=seed).threshold("wanet", 0.75, "").draws for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_a_threshold_above_all_strengths_is_censored(table) -> None:
    threshold = people(table[table["strength"] < 1]).threshold("wanet", 0.75, "PC .75")
    assert threshold.side == "above"
    assert threshold.sentence == "people's threshold at PC .75 lies above strength 0.5, the largest tested"


def test_one_strength_has_no_curve(table) -> None:
    threshold = people(table[table["strength"].isin([0, 1])]).threshold("wanet", 0.75, "PC .75")
    assert threshold.draws is None
    assert "fewer than two strengths above 0" in threshold.sentence


def test_an_attack_that_was_not_shown_has_no_threshold(table) -> None:
    assert "not shown to people" in people(table, 2).threshold("badnets", 0.75, "PC .75").sentence


def test_one_participant_has_a_threshold_without_draws(table) -> None:
    alone = people(table[table["participant"] == "P00"])
    assert "one participant or one stimulus only" in alone.reason
    assert alone.threshold("wanet", None, "half of F").draws is None


def test_two_attacks_share_their_lapse_rate_and_their_participants(table) -> None:
    twice = table.assign(attack=np.where(table["stimulus"] < "S30", "wanet", "patch"))
    found = people(twice, 20)
    assert found.attacks == ("patch", "wanet")
    assert found.estimate.lapse.shape == (1,)
    assert found.size == 20


def test_without_catch_trials_the_lapse_rate_is_assumed(table) -> None:
    assert people(table[table["is_catch"] == 0], 3).draws.lapse.tolist() == [0.02] * 3


def test_two_thousand_draws_take_less_than_a_second(table) -> None:
    began = time.process_time()
    people(table, 2000)
    assert time.process_time() - began < 1
