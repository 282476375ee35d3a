import numpy as np
import pytest
from scipy import optimize
from scipy.special import xlogy

from study.analysis.weibull import Counts, fit

LEVELS = np.log([0.25, 0.5, 1.0, 2.0, 4.0] * 2)
ATTACK = np.repeat([0, 1], 5)


def psi(parameters, levels=LEVELS, attack=ATTACK):
    """PC with (log midpoints, log slopes, lapse) of two attacks."""
    midpoint, slope, lapse = parameters[:2][attack], np.exp(parameters[2:4])[attack], parameters[4]
    return 0.5 + (0.5 - lapse) * (1 - 2 ** -np.exp(slope * (levels - midpoint)))


def drawn(parameters, data_sets, trials=240.0, catch=320.0, seed=0):
    rng = np.random.default_rng(seed)
    n = np.full((data_sets, len(LEVELS)), trials)
    caught = rng.binomial(int(catch), 1 - parameters[4], data_sets).astype(float)
    correct = rng.binomial(n.astype(int), psi(parameters)).astype(float)
    return Counts(LEVELS, ATTACK, n, correct, np.full(data_sets, catch), caught)


TRUTH = np.array([0.0, 0.4, 0.7, 0.4, 0.02])


def minus_log_likelihood(parameters, counts, i):
    if not 0 <= parameters[4] <= 0.2:
        return np.inf
    p, right = np.clip(psi(parameters), 1e-12, 1 - 1e-12), counts.correct[i]
    wrong, missed = counts.n[i] - right, counts.catch_n[i] - counts.catch_correct[i]
    lapse = parameters[4]
    return -float(right @ np.log(p) + wrong @ np.log(1 - p) + counts.catch_correct[i] * np.log(1 - lapse)) - float(
        xlogy(missed, lapse)
    )


def test_every_fit_is_the_maximum_that_a_general_search_finds() -> None:
    counts = drawn(TRUTH, 4)
    found = fit(counts)
    for i in range(4):
        start = [*found.midpoint[i] + 0.05, *np.log(found.slope[i]) - 0.05, 0.03]
        searched = optimize.minimize(
            minus_log_likelihood,
            start,
            (counts, i),
            "Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-11, "maxfev": 9999},
        )
        assert found.log_likelihood[i] == pytest.approx(-searched.fun, abs=1e-6)
        assert [*found.midpoint[i], *np.log(found.slope[i]), found.lapse[i]] == pytest.approx(searched.x, abs=1e-3)


def test_many_studies_recover_the_truth_on_average() -> None:
    found = fit(drawn(TRUTH, 300, trials=2400.0))
    assert found.converged.all()
    assert found.midpoint.mean(0) == pytest.approx(TRUTH[:2], abs=0.01)
    assert np.log(found.slope).mean(0) == pytest.approx(TRUTH[2:4], abs=0.02)
    assert found.lapse.mean() == pytest.approx(0.02, abs=0.003)


def test_a_data_set_has_the_same_fit_alone_and_in_a_batch() -> None:
    counts = drawn(TRUTH, 5)
    alone = fit(counts.take(np.array([3])))
    assert fit(counts).midpoint[3] == pytest.approx(alone.midpoint[0], abs=1e-8)


def test_the_curve_has_its_threshold_at_the_proportion_asked_for() -> None:
    found = fit(drawn(TRUTH, 1))
    parameters = np.array([*found.midpoint[0], *np.log(found.slope[0]), found.lapse[0]])
    at = found.log_threshold(1, 0.75)
    assert psi(parameters, at, np.array([1])) == pytest.approx(0.75)
    halfway = 0.5 + (0.5 - found.lapse[0]) / 2
    assert psi(parameters, found.log_threshold(1), np.array([1])) == pytest.approx(halfway)


def test_a_proportion_beyond_the_lapse_rate_is_never_reached() -> None:
    assert fit(drawn(TRUTH, 1)).log_threshold(0, 0.995).tolist() == [np.inf]


def test_without_catch_trials_the_lapse_rate_is_assumed() -> None:
    assert fit(drawn(TRUTH, 3, catch=0.0)).lapse.tolist() == [0.02] * 3


def test_without_mistakes_on_catch_trials_or_at_the_top_nobody_lapses() -> None:
    counts = drawn(TRUTH, 1)
    perfect = Counts(
        LEVELS, ATTACK, counts.n, np.round(counts.n * psi(TRUTH * [1, 1, 1, 1, 0])), np.ones(1), np.ones(1)
    )
    assert fit(perfect).lapse[0] < 1e-4


def test_answers_at_chance_put_the_threshold_beyond_the_strengths() -> None:
    n = np.full((1, 10), 100.0)
    found = fit(Counts(LEVELS, ATTACK, n, n / 2, np.array([100.0]), np.array([98.0])))
    assert (found.midpoint > LEVELS.max()).all()


def test_a_step_between_two_strengths_has_its_threshold_there() -> None:
    right = np.where(LEVELS < -0.1, 0.5, 1.0)[None] * 100
    found = fit(Counts(LEVELS, ATTACK, np.full((1, 10), 100.0), right, np.array([100.0]), np.array([100.0])))
    assert np.isfinite(found.log_likelihood).all()
    assert (found.midpoint > np.log(0.5)).all()
    assert (found.midpoint < 0).all()
