"""Beta-binomial regression: binomial counts whose probabilities vary between rows beyond what the predictors say."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import optimize
from scipy.special import betaln, digamma, expit, gammaln

Floats = npt.NDArray[np.floating[Any]]

#: Log dispersion beyond which the counts spread no more than binomially.
_BINOMIAL: Final = 12.0
_STEP: Final = 1e-4
_RUNAWAY: Final = 25.0
_TIGHT: Final = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500}


@dataclass(frozen=True)
class Fit:
    """Coefficients on the log odds and `dispersion` phi: Var(k) = n mu (1 - mu) (1 + (n - 1) / (phi + 1)).

    `dispersion` is None where the counts spread no more than binomially. Where `reason` is given, nothing was fitted.
    """

    coefficients: Floats
    se: Floats
    dispersion: float | None
    log_likelihood: float | None
    reason: str | None


def fit(x: npt.ArrayLike, correct: npt.ArrayLike, n: npt.ArrayLike) -> Fit:
    """Maximum likelihood with a logit link; the shapes are mu phi and (1 - mu) phi (Prentice 1986).

    Args:
        x: (N, q) design matrix.
        correct, n: (N,) successes and trials of each row.

    The log likelihood holds the binomial constants. Standard errors come from the Hessian over coefficients and log
    dispersion, by differences of the exact gradient.
    """
    x, k, n = (np.asarray(values, dtype=float) for values in (x, correct, n))
    if not 0 < k.sum() < n.sum():
        return _unfitted("all answers are alike")
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return _unfitted("the predictors do not vary independently of each other")
    bounds = [(-_RUNAWAY, _RUNAWAY)] * x.shape[1] + [(-5.0, _BINOMIAL)]
    start = np.append(np.zeros(x.shape[1]), 3.0)
    found = optimize.minimize(_mean_loss, start, (x, k, n), "L-BFGS-B", True, bounds=bounds, options=_TIGHT)
    theta = np.asarray(found.x)
    if np.abs(theta[:-1]).max() > _RUNAWAY - 1:
        return _unfitted("an estimate runs away: the predictors separate right from wrong answers")
    free = [*range(x.shape[1]), *([x.shape[1]] if theta[-1] < _BINOMIAL - 1e-6 else [])]
    hessian = _hessian(theta, x, k, n)[np.ix_(free, free)]
    if np.linalg.eigvalsh(hessian).min() <= 0:
        return _unfitted("the answers do not pin the estimates down")
    se = np.sqrt(np.diag(np.linalg.inv(hessian)))[: x.shape[1]]
    constants = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    dispersion = math.exp(theta[-1]) if len(free) > x.shape[1] else None
    return Fit(theta[:-1], se, dispersion, float(constants.sum()) - _loss(theta, x, k, n)[0], None)


def _unfitted(reason: str) -> Fit:
    return Fit(np.zeros(0), np.zeros(0), None, None, reason)


def _loss(theta: Floats, x: Floats, k: Floats, n: Floats) -> tuple[float, Floats]:
    """Minus log likelihood without constants, and its gradient, over (coefficients, log dispersion)."""
    eta, phi = np.clip(x @ theta[:-1], -_RUNAWAY, _RUNAWAY), math.exp(theta[-1])
    mu, rest = expit(eta), expit(-eta)
    a, b = mu * phi, rest * phi
    value = betaln(k + a, n - k + b) - betaln(a, b)
    by_a = digamma(k + a) - digamma(a)
    by_b = digamma(n - k + b) - digamma(b)
    by_both = digamma(n + phi) - digamma(phi)
    by_eta = phi * mu * rest * (by_a - by_b)
    by_log_phi = phi * (mu * by_a + rest * by_b - by_both)
    return -float(value.sum()), -np.append(x.T @ by_eta, by_log_phi.sum())


def _mean_loss(theta: Floats, x: Floats, k: Floats, n: Floats) -> tuple[float, Floats]:
    """Per trial, so that the search's first step is short and its tolerances hold for studies of any size."""
    value, gradient = _loss(theta, x, k, n)
    return value / n.sum(), gradient / n.sum()


def _hessian(theta: Floats, x: Floats, k: Floats, n: Floats) -> Floats:
    shifts = _STEP * np.eye(len(theta))
    columns = [(_loss(theta + h, x, k, n)[1] - _loss(theta - h, x, k, n)[1]) / (2 * _STEP) for h in shifts]
    return (np.array(columns) + np.array(columns).T) / 2
