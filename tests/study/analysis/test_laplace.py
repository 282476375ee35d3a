"""The Laplace approximation against a dense calculation of the same, and its gradient against differences."""

import itertools

import numpy as np
import pytest
from scipy import optimize

from study.analysis.laplace import Counts, Curve, Rows, Surface, density, inverse_link, link_function

LINKS = ("logit", "probit", "cloglog")
KINDS = ("expected", "observed")
#: Guess rate, lapse rate and catch trials (correct, wrong).
CURVES = ((0.0, 0.0, None), (0.5, 0.02, None), (0.5, 0.0, (95, 5)), (0.5, 0.0, (95, 0)))


def counts(link: str, factors: int, seed: int = 1) -> Counts:
    rng = np.random.default_rng(seed)
    sizes = (12, 7, 3)[:factors]
    rows = 300
    levels = tuple(np.concatenate([np.arange(n), rng.integers(0, n, rows - n)]) for n in sizes)
    design = np.column_stack([np.ones(20), rng.normal(size=20), rng.integers(0, 2, 20)])
    condition = rng.integers(0, 20, rows)
    n = rng.integers(1, 4, rows)
    eta = (design @ [0.3, 0.9, -0.5])[condition] + rng.normal(0, 0.7, 12)[levels[0]]
    correct = rng.binomial(n, 0.5 + 0.47 * inverse_link(link, eta)[0])
    return Counts(design, condition, levels, sizes, correct.astype(float), (n - correct).astype(float))


def theta(surface: Surface) -> np.ndarray:
    sds = [0.6, *[0.3] * (len(surface.weights) - 1), *[0.4] * len(surface.dense)]
    return np.array([0.3, 0.9, -0.5, *sds, *([0.2] if surface.catch else [])])


@pytest.mark.parametrize(("link", "kind", "curve"), list(itertools.product(LINKS, KINDS, CURVES)))
@pytest.mark.parametrize(("factors", "slopes"), [(1, ()), (2, (1,)), (3, ())])
def test_the_gradient_agrees_with_differences_of_the_value(link, kind, curve, factors, slopes) -> None:
    guess, lapse, catch = curve
    surface = Surface(counts(link, factors), Curve(link, guess, lapse), catch=catch, information=kind, slopes=slopes)
    point = surface.at(theta(surface), surface.origin())
    shifts = 1e-5 * np.eye(surface.size)
    differences = [
        (surface.at(point.theta + h, point.mode).value - surface.at(point.theta - h, point.mode).value) / 2e-5
        for h in shifts
    ]
    np.testing.assert_allclose(point.gradient, differences, rtol=1e-5, atol=1e-5 * np.abs(differences).max())


@pytest.mark.parametrize(("link", "kind"), list(itertools.product(LINKS, KINDS)))
def test_the_value_agrees_with_a_dense_calculation(link, kind) -> None:
    of = counts(link, 3)
    curve = Curve(link, 0.5, 0.02)
    surface = Surface(of, curve, catch=None, information=kind, slopes=(1,))
    at = theta(surface)
    slope = of.design[of.condition, 1]
    blocks = [np.eye(n)[codes] for n, codes in zip(of.sizes, of.levels, strict=True)]
    a = np.column_stack([blocks[0] * at[3], blocks[0] * slope[:, None] * at[4], blocks[1] * at[5], blocks[2] * at[6]])
    fixed = (of.design @ at[:3])[of.condition]

    def joint(z: np.ndarray) -> tuple[float, np.ndarray]:
        rows = Rows(curve, fixed + a @ z, of.correct, of.wrong)
        return z @ z / 2 - rows.log_likelihood, z - a.T @ rows.score

    found = optimize.minimize(joint, np.zeros(a.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-9})
    weights = Rows(curve, fixed + a @ found.x, of.correct, of.wrong).information(kind)
    dense = -found.fun - np.linalg.slogdet(np.eye(a.shape[1]) + (a.T * weights) @ a)[1] / 2
    assert surface.at(at, surface.origin()).value == pytest.approx(dense, abs=1e-6)


@pytest.mark.parametrize("link", LINKS)
def test_the_information_is_what_the_score_loses_as_eta_grows(link) -> None:
    eta, step = np.linspace(-3, 2, 21), 1e-6
    correct, wrong = np.full(21, 3.0), np.full(21, 2.0)
    above, below = (Rows(Curve(link, 0.5, 0.03), eta + h, correct, wrong) for h in (step, -step))
    rows = Rows(Curve(link, 0.5, 0.03), eta, correct, wrong)
    np.testing.assert_allclose(rows.observed, (below.score - above.score) / (2 * step), atol=1e-7)
    for kind in KINDS:
        slope = (above.information(kind) - below.information(kind)) / (2 * step)
        np.testing.assert_allclose(rows.information_by_eta(kind), slope, atol=1e-6)


@pytest.mark.parametrize("link", LINKS)
def test_the_expected_information_is_the_mean_of_the_observed_one(link) -> None:
    eta = np.linspace(-3, 2, 21)
    curve = Curve(link, 0.5, 0.03)
    p = 0.5 + 0.47 * inverse_link(link, eta)[0]
    observed = Rows(curve, eta, p, 1 - p).observed
    np.testing.assert_allclose(observed, Rows(curve, eta, np.ones(21), np.zeros(21)).expected, rtol=1e-10)


@pytest.mark.parametrize("link", LINKS)
def test_far_predictors_give_finite_numbers(link) -> None:
    rows = Rows(Curve(link, 0.0, 0.0), np.array([-1e4, -50.0, 50.0, 1e4]), np.ones(4), np.ones(4))
    for kind in KINDS:
        assert np.isfinite(rows.information_by_eta(kind)).all()
    assert np.isfinite(rows.log_likelihood)


@pytest.mark.parametrize("link", LINKS)
def test_a_link_undoes_its_inverse(link) -> None:
    eta = np.array([-2.0, 0.3, 1.2])
    f, rest = inverse_link(link, eta)
    np.testing.assert_allclose([link_function(link, value) for value in f], eta)
    np.testing.assert_allclose(f + rest, 1)
    slope = (inverse_link(link, eta + 1e-6)[0] - inverse_link(link, eta - 1e-6)[0]) / 2e-6
    np.testing.assert_allclose(density(link, eta), slope, rtol=1e-8)
