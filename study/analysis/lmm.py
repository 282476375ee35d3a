"""A linear mixed model with crossed random intercepts of participants and stimuli, by REML.

    y = X b + u[participant] + v[stimulus] + e,    u ~ N(0, (a s)^2), v ~ N(0, (c s)^2), e ~ N(0, s^2)

With V = I + a^2 Zp Zp' + c^2 Zs Zs', everything that the likelihood needs are sums within participants, within stimuli
and counts of their crossing: the larger factor is inverted as a diagonal, the smaller one by its Schur complement
(Woodbury). No matrix has as many rows as there are trials (Bates, Mächler, Bolker & Walker 2015, for the criterion).
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

#: Cells of the table of participants by stimuli that are still worked with; beyond, the model is refused.
MOST_CELLS: Final = 20_000_000
#: A relative SD below this is at its boundary, 0.
BOUNDARY: Final = 1e-4

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


class NotIdentified(ValueError):  # noqa: N818 (a fact about the data)
    """The data cannot tell the model's parameters apart; the message says why, without a full stop."""


@dataclass(frozen=True)
class Fit:
    """Estimates of the fixed effects (K,), their covariance (K, K), the three SDs, and the REML log-likelihood."""

    names: tuple[str, ...]
    estimates: Floats
    covariance: Floats
    participant_sd: float
    stimulus_sd: float
    residual_sd: float
    log_likelihood: float
    converged: bool

    def coefficients(self, level: float) -> dict[str, dict[str, float]]:
        """Per name: estimate, se, z, two-sided p and the Wald interval."""
        se = np.sqrt(np.diag(self.covariance))
        half = float(stats.norm.ppf((1 + level) / 2)) * se
        return {
            name: {
                "estimate": float(b),
                "se": float(s),
                "z": float(b / s),
                "p": float(2 * stats.norm.sf(abs(b / s))),
                "low": float(b - h),
                "high": float(b + h),
            }
            for name, b, s, h in zip(self.names, self.estimates, se, half, strict=True)
        }

    @property
    def at_the_boundary(self) -> list[str]:
        """Factors whose SD was estimated as 0."""
        sds = {"participant": self.participant_sd, "stimulus": self.stimulus_sd}
        return [name for name, sd in sds.items() if sd <= BOUNDARY * self.residual_sd]


def fit(y: Floats, x: Floats, names: tuple[str, ...], participant: Codes, stimulus: Codes) -> Fit:
    """Fit by REML.

    Args:
        y: (N,) response.
        x: (N, K) fixed effects, the first of them constant.
        names: of the K columns.
        participant, stimulus: (N,) codes without gaps.

    Raises NotIdentified, in words, where the parameters cannot be told apart or the table is too large.
    """
    _require_identified(y, x, participant, stimulus)
    mean = float(y.mean())
    sums = _Sums.of(np.column_stack([x, y - mean]), participant, stimulus)
    start = np.array([[0.3, 0.3], [0.6, 0.3], [0.3, 0.6]])
    found = minimize(
        lambda ratios: sums.solve(ratios).criterion,
        start[0],
        method="Nelder-Mead",
        bounds=[(0, None)] * 2,
        options={"initial_simplex": start, "xatol": 1e-6, "fatol": 1e-7, "maxfev": 400},
    )
    solved = sums.solve(found.x)
    estimates = solved.estimates.copy()
    estimates[0] += mean
    large, small = (float(ratio) * solved.residual_sd for ratio in found.x)
    participant_sd, stimulus_sd = (large, small) if sums.participants_are_the_larger else (small, large)
    return Fit(
        names,
        estimates,
        solved.residual_sd**2 * solved.unscaled_covariance,
        participant_sd,
        stimulus_sd,
        solved.residual_sd,
        -solved.criterion / 2,
        bool(found.success),
    )


def _require_identified(y: Floats, x: Floats, participant: Codes, stimulus: Codes) -> None:
    people, images, n = int(participant.max()) + 1, int(stimulus.max()) + 1, len(y)
    for factor, levels in (("participant", people), ("stimulus", images)):
        if levels < 2:
            raise NotIdentified(f"one {factor} only: its deviation cannot be told from the mean")
        if levels >= n:
            raise NotIdentified(f"no {factor} comes up twice: its deviation cannot be told from the residual")
    if people * images > MOST_CELLS:
        raise NotIdentified(f"{people} participants by {images} stimuli are more cells than the model is fitted to")
    if np.linalg.matrix_rank(np.unique(x, axis=0)) < x.shape[1]:
        raise NotIdentified("the fixed effects cannot be told apart")
    if np.ptp(y) == 0:
        raise NotIdentified("all responses are alike")


@dataclass(frozen=True)
class _Solved:
    """At given relative SDs: -2 log REML, fixed effects, their covariance but for s^2, and s."""

    criterion: float
    estimates: Floats
    unscaled_covariance: Floats
    residual_sd: float


@dataclass(frozen=True)
class _Sums:
    """Sufficient statistics; M = [X y], "large" the factor with more levels, which has the diagonal block."""

    n: int
    crossed: Floats
    products: Floats
    of_large: Floats
    of_small: Floats
    participants_are_the_larger: bool

    @classmethod
    def of(cls, m: Floats, participant: Codes, stimulus: Codes) -> "_Sums":
        people, images = int(participant.max()) + 1, int(stimulus.max()) + 1
        larger = people >= images
        (large, small), (rows, columns) = (
            ((participant, stimulus), (people, images)) if larger else ((stimulus, participant), (images, people))
        )
        crossed = np.bincount(large * columns + small, minlength=rows * columns).reshape(rows, columns).astype(float)
        within = [_sums_within(codes, m) for codes in (large, small)]
        return cls(len(m), crossed, m.T @ m, within[0], within[1], larger)

    def solve(self, ratios: npt.ArrayLike) -> _Solved:
        """Everything at relative SDs (of the larger, of the smaller factor)."""
        large, small = (float(ratio) ** 2 for ratio in np.asarray(ratios))
        diagonal = 1 + large * self.crossed.sum(axis=1)
        weighted = (large / diagonal)[:, None] * self.crossed
        inner = np.diag(self.crossed.sum(axis=0)) - self.crossed.T @ weighted
        between = self.of_small - weighted.T @ self.of_large
        factor = cho_factor(np.eye(len(inner)) + small * inner, lower=True)
        products = (
            self.products
            - self.of_large.T @ ((large / diagonal)[:, None] * self.of_large)
            - small * between.T @ cho_solve(factor, between)
        )
        of_x, of_xy, of_y = products[:-1, :-1], products[:-1, -1], float(products[-1, -1])
        estimates = np.linalg.solve(of_x, of_xy)
        df = self.n - len(of_x)
        variance = max(of_y - float(of_xy @ estimates), 1e-300) / df
        determinants = (
            float(np.log(diagonal).sum())
            + 2 * float(np.log(np.diag(factor[0])).sum())
            + float(np.linalg.slogdet(of_x)[1])
        )
        criterion = determinants + df * (1 + math.log(2 * math.pi * variance))
        return _Solved(criterion, estimates, np.linalg.inv(of_x), math.sqrt(variance))


def _sums_within(codes: Codes, m: Floats) -> Floats:
    """(levels, columns) sums of the rows of each level."""
    return np.stack([np.bincount(codes, column) for column in m.T], axis=1).astype(float)


def design(columns: dict[str, Any], n: int) -> tuple[Floats, tuple[str, ...]]:
    """(N, K) matrix of a constant and these columns, and the K names."""
    return np.column_stack([np.ones(n), *columns.values()]), ("Intercept", *columns)
