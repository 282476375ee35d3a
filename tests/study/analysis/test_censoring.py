import math

import numpy as np
import pytest

from study.analysis.censoring import UNKNOWN, Threshold, bound_in_words, censored, interval, power_of_two

TESTED = (-2.0, 2.0)


def test_the_interval_is_that_of_the_percentiles() -> None:
    low, high = interval(np.random.default_rng(0).permutation(np.arange(2000.0)), 0.95)
    assert (low, high) == (50, 1949)


def test_a_share_of_censored_draws_that_an_end_does_not_reach_leaves_it_closed() -> None:
    draws = np.concatenate([np.full(40, np.inf), np.arange(1960.0)])
    assert interval(draws) == (50, 1949 - 40 + 40)


def test_an_end_that_censored_draws_reach_is_open() -> None:
    draws = np.arange(1000.0)
    assert interval(np.where(draws >= 960, np.inf, draws)) == (25, None)
    assert interval(np.where(draws < 40, -np.inf, draws)) == (None, 974)


def test_draws_that_may_lie_anywhere_open_both_ends() -> None:
    draws = np.arange(1000.0)
    assert interval(np.where(draws < 40, np.nan, draws)) == (None, None)


def test_without_draws_both_ends_are_open() -> None:
    assert interval(None) == (None, None)


def test_strengths_beyond_those_tested_are_infinite() -> None:
    assert censored(np.array([-2.1, -2, 0, 2, 2.1, np.inf]), TESTED).tolist() == [-np.inf, -2, 0, 2, np.inf, np.inf]


@pytest.mark.parametrize(("log2", "strength"), [(1.0, 2.0), (None, None), (math.inf, None), (math.nan, None)])
def test_only_a_finite_number_has_a_power(log2, strength) -> None:
    assert power_of_two(log2) == strength


@pytest.mark.parametrize(
    ("at_least", "at_most", "words"),
    [(6.44, None, "at least ×6.4"), (math.nan, 0.3, "at most ×0.3"), (None, math.nan, "not estimable")],
)
def test_what_is_known_of_a_ratio_without_an_estimate_is_its_bound_or_nothing(at_least, at_most, words) -> None:
    assert bound_in_words(at_least, at_most, 1) == words


@pytest.mark.parametrize(
    ("estimate", "side", "bounds"),
    [(1.0, None, (1.0, 1.0)), (math.inf, "above", (2.0, math.inf)), (-math.inf, "below", (-math.inf, -2.0))],
)
def test_a_threshold_knows_between_what_it_lies(estimate, side, bounds) -> None:
    threshold = Threshold(estimate, None, TESTED, "the threshold")
    assert (threshold.side, threshold.bounds) == (side, bounds)


def test_a_censored_threshold_says_beyond_which_strength_it_lies() -> None:
    assert Threshold(math.inf, None, TESTED, "it").sentence == "it lies above strength 4, the largest tested"
    assert Threshold(-math.inf, None, TESTED, "it").sentence == "it lies at or below strength 0.25, the smallest tested"


def test_a_missing_threshold_says_why() -> None:
    threshold = Threshold(math.nan, None, UNKNOWN, "it", "it: one strength only")
    assert (threshold.sentence, threshold.side) == ("it: one strength only", None)
    assert threshold.bounds == (-math.inf, math.inf)
