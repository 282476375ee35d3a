import numpy as np
import pytest
from scipy import stats

from study.analysis import betabinomial


def counts(seed: int, phi: float, rows: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(rows), rng.normal(size=rows)])
    mu = 1 / (1 + np.exp(-(x @ [0.3, 0.8])))
    n = rng.integers(4, 12, rows)
    chance = rng.beta(mu * phi, (1 - mu) * phi) if np.isfinite(phi) else mu
    return x, rng.binomial(n, chance), n


def test_it_finds_the_coefficients_and_the_dispersion_it_was_simulated_with() -> None:
    fitted = betabinomial.fit(*counts(1, phi=5.0, rows=4000))
    np.testing.assert_allclose(fitted.coefficients, [0.3, 0.8], atol=3 * fitted.se.max())
    assert fitted.dispersion == pytest.approx(5.0, rel=0.2)


def test_the_log_likelihood_is_scipys() -> None:
    x, k, n = counts(2, phi=8.0)
    fitted = betabinomial.fit(x, k, n)
    mu = 1 / (1 + np.exp(-(x @ fitted.coefficients)))
    expected = stats.betabinom.logpmf(k, n, mu * fitted.dispersion, (1 - mu) * fitted.dispersion).sum()
    assert fitted.log_likelihood == pytest.approx(expected, abs=1e-8)


def test_no_small_change_is_more_likely() -> None:
    x, k, n = counts(3, phi=8.0)
    fitted = betabinomial.fit(x, k, n)

    def likelihood(b: np.ndarray, phi: float) -> float:
        mu = 1 / (1 + np.exp(-(x @ b)))
        return float(stats.betabinom.logpmf(k, n, mu * phi, (1 - mu) * phi).sum())

    for change in (0.01, -0.01):
        assert likelihood(fitted.coefficients, fitted.dispersion * (1 + change)) < fitted.log_likelihood
        for shift in np.eye(2):
            assert likelihood(fitted.coefficients + change * shift, fitted.dispersion) < fitted.log_likelihood


def test_counts_that_spread_less_than_binomially_have_no_dispersion() -> None:
    x, n = np.ones((100, 1)), np.full(100, 10)
    fitted = betabinomial.fit(x, np.full(100, 7), n)
    assert fitted.dispersion is None
    assert fitted.coefficients[0] == pytest.approx(np.log(0.7 / 0.3), abs=1e-4)
    assert fitted.se[0] == pytest.approx(1 / np.sqrt(1000 * 0.21), rel=0.01)


@pytest.mark.parametrize(
    ("x", "k", "reason"),
    [
        (np.ones((10, 1)), np.full(10, 5), "alike"),
        (np.ones((10, 2)), np.arange(10) // 2, "vary independently"),
        (np.column_stack([np.ones(10), np.arange(10) > 4]), 5 * (np.arange(10) > 4), "runs away"),
    ],
)
def test_what_cannot_be_fitted_has_a_reason_and_no_number(x, k, reason) -> None:
    fitted = betabinomial.fit(x, k, np.full(10, 5))
    assert reason in fitted.reason
    assert (fitted.coefficients.size, fitted.dispersion, fitted.log_likelihood) == (0, None, None)
