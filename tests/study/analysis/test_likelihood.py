"""The likelihood of psychometric functions with one lapse rate, against numerical differences and a general search."""

import numpy as np
import pytest
from scipy import optimize, stats

from study.analysis.likelihood import (
    DEFAULT_LAPSE,
    Counts,
    Design,
    Level,
    Likelihood,
    Sigmoid,
    offset_of,
    weibull_log_threshold,
)

STRENGTHS = np.log([[0.25, 0.5, 1.0, 2.0, 4.0], [0.5, 1.0, 2.0, 2.0, 2.0]])
#: The second attack was shown at three strengths; the last two places are filled up with strengths shown 0 times.
SHOWN = np.array([[120.0, 120, 120, 120, 120], [80, 80, 80, 0, 0]])
TRUTH = np.array([np.log(0.8), np.log(1.2), np.log(1.8), np.log(2.5), 0.04])
SIGMOIDS: tuple[Sigmoid, ...] = ("Weibull", "cumulative Gaussian")
LEVELS: tuple[Level, ...] = ("half of F", "PC .75")


def design(catch: int = 200) -> Design:
    return Design(STRENGTHS, SHOWN, catch)


def drawn(of: Design, studies: int, seed: int = 1) -> Counts:
    rng = np.random.default_rng(seed)
    psi = Likelihood(of, "Weibull").psi(TRUTH[None])[0][0]
    correct = rng.binomial(of.n.astype(int), psi, (studies, *of.n.shape))
    return Counts(correct.astype(float), rng.binomial(of.catch_n, 0.96, studies).astype(float))


def free(theta: np.ndarray) -> np.ndarray:
    return np.zeros_like(theta, dtype=bool)


@pytest.mark.parametrize("sigmoid", SIGMOIDS)
@pytest.mark.parametrize("level", LEVELS)
def test_the_gradient_is_the_numerical_one(sigmoid: Sigmoid, level: Level) -> None:
    counts = drawn(design(), 1)
    likelihood = Likelihood(design(), sigmoid, level)
    score, _ = likelihood.slopes(TRUTH[None], counts)
    numerical = optimize.approx_fprime(TRUTH, lambda theta: likelihood.value(theta[None], counts)[0], 1e-7)
    assert score[0] == pytest.approx(numerical, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("sigmoid", SIGMOIDS)
def test_the_expected_information_is_the_variance_of_the_score(sigmoid: Sigmoid) -> None:
    likelihood = Likelihood(design(), sigmoid)
    rng = np.random.default_rng(2)
    psi = likelihood.psi(TRUTH[None])[0][0]
    correct = rng.binomial(SHOWN.astype(int), psi, (20_000, *SHOWN.shape)).astype(float)
    counts = Counts(correct, rng.binomial(200, 1 - TRUTH[-1], 20_000).astype(float))
    score, _ = likelihood.slopes(np.tile(TRUTH, (20_000, 1)), counts)
    expected = likelihood.expected_information(TRUTH)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs(np.cov(score.T) - expected).max() < 0.05 * scale.max()
    assert np.diag(np.cov(score.T)) == pytest.approx(np.diag(expected), rel=0.05)


@pytest.mark.parametrize("level", LEVELS)
def test_the_offset_is_where_the_curve_reaches_its_level(level: Level) -> None:
    for sigmoid in SIGMOIDS:
        likelihood = Likelihood(design(), sigmoid, level)
        theta = TRUTH.copy()
        theta[:2] = STRENGTHS[0, 2], STRENGTHS[1, 1]
        psi = likelihood.psi(theta[None])[0][0]
        reached = 0.75 if level == "PC .75" else 0.75 - TRUTH[-1] / 2
        assert psi[0, 2] == pytest.approx(reached)
        assert psi[1, 1] == pytest.approx(reached)
        step = 1e-6
        low, high = (offset_of(sigmoid, level, TRUTH[-1:] + change)[0] for change in (-step, step))
        assert offset_of(sigmoid, level, TRUTH[-1:])[1] == pytest.approx((high - low) / (2 * step), abs=1e-5)


@pytest.mark.parametrize("sigmoid", SIGMOIDS)
def test_the_maximum_is_the_one_that_a_general_search_finds(sigmoid: Sigmoid) -> None:
    counts = drawn(design(), 3)
    likelihood = Likelihood(design(), sigmoid)
    start = likelihood.start(counts)
    theta, value = likelihood.climb(start, counts, free(start))
    for row in range(3):
        one = counts[np.array([row])]
        best = max(
            -optimize.minimize(
                lambda x, one=one: -likelihood.value(x[None], one)[0],
                [0.0, 0.0, slope, slope, 0.03],
                method="L-BFGS-B",
                bounds=list(zip(*likelihood.bounds, strict=True)),
            ).fun
            for slope in (0.3, 1.0)
        )
        assert value[row] >= best - 1e-6
        assert likelihood.value(theta[row : row + 1], one)[0] == value[row]


def test_many_studies_are_climbed_as_each_would_be_alone() -> None:
    counts = drawn(design(), 20)
    likelihood = Likelihood(design(), "Weibull")
    start = likelihood.start(counts)
    together, _ = likelihood.climb(start, counts, free(start))
    for row in (0, 7, 19):
        index = np.array([row])
        alone, _ = likelihood.climb(start[index], counts[index], free(start[index]))
        assert alone[0] == pytest.approx(together[row], abs=1e-9)


def test_what_is_held_stays_and_the_rest_is_climbed() -> None:
    counts = drawn(design(), 1)
    likelihood = Likelihood(design(), "Weibull")
    start = likelihood.start(counts)
    best, highest = likelihood.climb(start, counts, free(start))
    moved = np.tile(best, (2, 1))
    moved[:, 0] += (-0.3, 0.3)
    held = free(moved)
    held[:, 0] = True
    found, value = likelihood.climb(moved, counts, held)
    assert found[:, 0].tolist() == moved[:, 0].tolist()
    assert (value < highest - 1).all()
    assert (value > likelihood.value(moved, counts)).all()


def test_without_catch_trials_the_lapse_rate_does_not_move() -> None:
    counts = drawn(design(0), 3)
    likelihood = Likelihood(design(0), "Weibull")
    start = likelihood.start(counts)
    theta, _ = likelihood.climb(start, counts, free(start))
    assert theta[:, -1].tolist() == [DEFAULT_LAPSE] * 3


def test_catch_trials_that_are_all_right_allow_for_a_lapse_rate_of_zero() -> None:
    counts = drawn(design(), 40)
    counts = Counts(counts.correct, np.full(40, 200.0))
    likelihood = Likelihood(design(), "Weibull")
    start = likelihood.start(counts)
    theta, value = likelihood.climb(start, counts, free(start))
    assert np.isfinite(value).all()
    assert (theta[:, -1] < 1e-6).mean() > 0.3


def test_estimates_scatter_as_the_information_says() -> None:
    counts = drawn(design(), 400)
    likelihood = Likelihood(design(), "Weibull")
    start = likelihood.start(counts)
    theta, _ = likelihood.climb(start, counts, free(start))
    covariance = np.linalg.inv(likelihood.expected_information(TRUTH))
    z = (theta[:, 0] - TRUTH[0]) / np.sqrt(covariance[0, 0])
    assert abs(z.mean()) < 0.2
    assert stats.iqr(z) / 1.349 == pytest.approx(1, abs=0.15)


def resampled(studies: int) -> Counts:
    """Data sets whose numbers of trials differ, as those of a bootstrap do."""
    rng = np.random.default_rng(4)
    n = rng.poisson(SHOWN, (studies, *SHOWN.shape)).astype(float)
    catch_n = rng.poisson(200, studies).astype(float)
    psi = Likelihood(design(), "Weibull").psi(TRUTH[None])[0][0]
    return Counts(
        rng.binomial(n.astype(int), psi).astype(float),
        rng.binomial(catch_n.astype(int), 0.96).astype(float),
        n,
        catch_n,
    )


def test_data_sets_with_trials_of_their_own_are_fitted_as_designs_of_their_own() -> None:
    counts = resampled(5)
    assert counts.n is not None
    assert counts.catch_n is not None
    theta, value = Likelihood(design(), "Weibull").highest(counts)
    for row in range(5):
        own = Likelihood(Design(STRENGTHS, counts.n[row], int(counts.catch_n[row])), "Weibull")
        alone, height = own.highest(Counts(counts.correct[[row]], counts.catch_correct[[row]]))
        assert theta[row] == pytest.approx(alone[0], abs=1e-5)
        assert value[row] == pytest.approx(height[0], abs=1e-9)


def test_of_several_hills_the_highest_is_found() -> None:
    """Few answers: in some of these data sets the climb from the grid's best ends on a lower hill."""
    few = Design(STRENGTHS, SHOWN / 8, 25)
    counts = drawn(few, 300)
    likelihood = Likelihood(few, "Weibull")
    start = likelihood.start(counts)
    _, from_grid = likelihood.climb(start, counts, free(start))
    _, value = likelihood.highest(counts)
    assert (value >= from_grid).all()
    assert 0.02 < (value > from_grid + 0.01).mean() < 0.5


def test_many_studies_recover_the_truth_on_average() -> None:
    many = Design(STRENGTHS, SHOWN * 20, 4000)
    theta, _ = Likelihood(many, "Weibull").highest(drawn(many, 200))
    assert theta.mean(0) == pytest.approx(TRUTH, abs=0.02)


def test_answers_at_chance_put_the_threshold_beyond_the_strengths() -> None:
    theta, _ = Likelihood(design(), "Weibull").highest(Counts(SHOWN[None] / 2, np.array([196.0])))
    assert (theta[0, :2] > STRENGTHS.max(1)).all()


def test_a_step_between_two_strengths_has_its_threshold_there() -> None:
    right = np.where(STRENGTHS < 0.1, 0.5, 1.0) * SHOWN
    theta, value = Likelihood(design(), "Weibull").highest(Counts(right[None], np.array([200.0])))
    assert np.isfinite(value).all()
    assert (theta[0, :2] > -0.1).all()
    assert (theta[0, :2] < np.log(2)).all()


def test_a_weibull_curve_reaches_a_proportion_at_the_strength_given() -> None:
    midpoint, slope, lapse = np.array([0.3]), np.array([1.7]), np.array([0.04])
    for proportion in (0.6, 0.75, 0.9):
        at = weibull_log_threshold(midpoint, slope, lapse, proportion)
        assert 0.5 + 0.46 * (1 - 2 ** -np.exp(slope * (at - midpoint))) == pytest.approx(proportion)
    assert weibull_log_threshold(midpoint, slope, lapse, 0.97).tolist() == [np.inf]
