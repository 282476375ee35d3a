"""Binomial mixed models with crossed random effects (people, images, fields, models) and a guess rate.

    eta = x b + participant + stimulus [+ field + model + participant's slopes],   effects independent and normal
    P(correct) = guess + (1 - guess - lapse) F(eta)

fitted by maximising Laplace's approximation to the likelihood on counts (`laplace`), with its exact gradient; standard
errors come from the Hessian of the same function over coefficients, SDs and lapse rate together. With a guess rate of
.5 this is the two-alternative psychometric function (Yssaad-Fesselier & Knoblauch 2006); cloglog on log strength is a
Weibull function. Breslow & Clayton 1993; Bates, Maechler, Bolker & Walker 2015; Kristensen et al. 2016.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from study.analysis.laplace import (
    Codes,
    Counts,
    Curve,
    Effects,
    Floats,
    Information,
    Link,
    Point,
    Rows,
    Surface,
    density,
    inverse_link,
    link_function,
    sums,
)

#: Scaled gradients (in standard errors) above this, and ratios of standard errors below that, are marked.
GRADIENT_LIMIT: Final = 1e-3
SE_RATIO_LIMIT: Final = 0.3
#: Below this an SD is taken to be at its edge, 0.
_EDGE: Final = 1e-3
_OUTER_STEPS: Final = 100
#: Twice the log likelihood still to be gained where BFGS, slow at its end, leaves the rest to a step of Newton's; and
#: where it does so if that step has not been enough.
_ENOUGH: Final = (1e-4, 1e-9)
#: A linear predictor, and a standard error over a predictor's range, that no data of a study pin down.
_RUNAWAY, _RUNAWAY_SE = 40.0, 10.0
#: An SD of people or images beyond which nearly all of them always or never see: 5.5 SDs of the link's distribution.
_RUNAWAY_SD: Final[Mapping[Link, float]] = {"logit": 10.0, "probit": 5.5, "cloglog": 7.0}
_CONDITION_LIMIT: Final = 1e10
_START_SD: Final = 0.4
#: Of the gradient, in standard errors.
_DIFFERENCE: Final = 1e-3
_SEPARATED: Final = "an estimate runs away: the predictors separate right from wrong answers"
_AT_CHANCE: Final = "the answers are too near chance to tell where the curve lies"
_NO_MAXIMUM: Final = "the likelihood has no maximum that the answers pin down"
_NO_INFORMATION: Final = (
    "the search found no maximum: the observed information about a person or an image vanishes where the answers fit"
    " two places on the curve; the expected information does not"
)


@dataclass(frozen=True)
class Catch:
    """Answers to trials in which only lapses err: P(correct) = 1 - lapse."""

    correct: int
    n: int


@dataclass(frozen=True)
class Lapse:
    """The lapse rate with its interval; None where it is fixed."""

    rate: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Modes:
    """Of one factor's effects on the link scale: most probable value and conditional SD of each level, by code."""

    mode: Floats
    sd: Floats


@dataclass(frozen=True)
class Diagnostics:
    """How far the result can be trusted.

    Attributes:
        gradient: what is left of the gradient, as steps to the maximum in standard errors (Euclidean norm).
        boundary: random effects whose SD is 0, left out of the standard errors.
        se_ratio: smallest ratio of a standard error to that of the model without random effects.
        condition: of the Hessian scaled to unit diagonal.
        evaluations: of the likelihood and its gradient.
        notes: what calls for doubt, in sentences.
    """

    gradient: float | None = None
    boundary: tuple[str, ...] = ()
    se_ratio: float | None = None
    condition: float | None = None
    evaluations: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Threshold:
    """Where the curve of the median person reaches a level, on the scale of the slope's predictor."""

    position: float | None
    se: float | None
    low: float | None
    high: float | None
    reason: str | None


@dataclass(frozen=True)
class Fit:
    """A fitted model. Where `converged` is false there are no numbers, and `reason` says why.

    Attributes:
        names: of the q coefficients.
        coefficients: (q,) on the link scale, at random effects 0: the median person and image.
        covariance: (q, q) of the coefficients.
        sds: of each random effect: factor, or "factor:predictor" for a slope.
        lapse: estimated together with the rest, or fixed.
        log_likelihood: Laplace's, of single trials (no binomial constants), catch trials included where given.
        modes: of each random effect.
        joint: (m, m) covariance of (coefficients, SDs, lapse rate); zeros for what is fixed or at its edge.
        information: "expected" (lme4) or "observed" (TMB) in Laplace's determinant.
        df: levels of the smallest factor - 1, for t intervals.
    """

    names: tuple[str, ...]
    link: Link
    guess: float
    information: Information
    lapse: Lapse
    converged: bool
    reason: str | None
    df: int
    coefficients: Floats = field(default_factory=lambda: np.zeros(0))
    covariance: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    sds: Mapping[str, float] = field(default_factory=dict)
    log_likelihood: float | None = None
    modes: Mapping[str, Modes] = field(default_factory=dict)
    joint: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    diagnostics: Diagnostics = Diagnostics()

    @property
    def se(self) -> Floats:
        """(q,) standard errors of the coefficients."""
        return np.sqrt(np.diag(self.covariance))

    def table(self, level: float = 0.95, df: float = math.inf) -> dict[str, dict[str, float]]:
        """{name: {"estimate", "se", "z", "p", "low", "high"}}; normal, or t on `df` degrees of freedom."""
        half = _quantile(level, df)
        rows = {}
        for name, b, se in zip(self.names, self.coefficients.tolist(), self.se.tolist(), strict=False):
            p = 2 * float(stats.t.sf(abs(b / se), df))
            rows[name] = {"estimate": b, "se": se, "z": b / se, "p": p, "low": b - half * se, "high": b + half * se}
        return rows

    def proportion_correct(self, x: npt.ArrayLike) -> Floats:
        """(K,) of the median person and image, at the design rows `x` (K, q)."""
        f, _ = inverse_link(self.link, np.asarray(x, dtype=float) @ self.coefficients)
        return self.guess + (1 - self.guess - self.lapse.rate) * f

    def marginal(self, x: npt.ArrayLike, level: float = 0.95, df: float = math.inf) -> tuple[Floats, Floats, Floats]:
        """Proportion correct averaged over people and images, at the design rows `x` (K, q), with its interval.

        Gauss-Hermite quadrature over the total variance of the random effects; delta method on the log odds of
        (PC - guess) / (1 - guess). Returns three (K,) arrays.
        """
        x = np.asarray(x, dtype=float)
        weights, sds = self._effect_weights(x), np.array(list(self.sds.values()))
        total = np.sqrt(((weights * sds) ** 2).sum(axis=1))
        nodes, mass = np.polynomial.hermite_e.hermegauss(41)
        mass = mass / mass.sum()
        eta = (x @ self.coefficients)[:, None] + total[:, None] * nodes
        f, slope = inverse_link(self.link, eta)[0] @ mass, density(self.link, eta)
        by_total = np.divide(slope @ (mass * nodes), total, out=np.zeros(len(x)), where=total > 0)
        height = (1 - self.guess - self.lapse.rate) / (1 - self.guess)
        by_curve = height * np.column_stack([(slope @ mass)[:, None] * x, by_total[:, None] * weights**2 * sds])
        jacobian = np.column_stack([by_curve, -f / (1 - self.guess)])
        seen = np.clip(height * f, 1e-12, 1 - 1e-12)
        odds, by_odds = np.log(seen / (1 - seen)), seen * (1 - seen)
        half = _quantile(level, df) * np.sqrt(np.einsum("ki,ij,kj->k", jacobian, self.joint, jacobian)) / by_odds
        pc, low, high = (
            self.guess + (1 - self.guess) * inverse_link("logit", odds + shift)[0] for shift in (0, -half, half)
        )
        return pc, low, high

    def threshold(
        self,
        intercept: npt.ArrayLike,
        slope: npt.ArrayLike,
        pc: float | None = None,
        level: float = 0.95,
        df: float = math.inf,
    ) -> Threshold:
        """Where intercept + slope * position reaches `pc`, or F = .5 where `pc` is None, with a delta interval.

        `intercept` and `slope` are (q,) contrasts of the coefficients. No position: the curve does not rise, or `pc`
        is not between the guess rate and 1 - lapse.
        """
        height = 1 - self.guess - self.lapse.rate
        f = 0.5 if pc is None else (pc - self.guess) / height
        a, b = np.asarray(intercept, dtype=float), np.asarray(slope, dtype=float)
        rise = float(b @ self.coefficients)
        if rise <= 0:
            return Threshold(None, None, None, None, "the curve does not rise with strength")
        if not 0 < f < 1:
            return Threshold(None, None, None, None, f"the curve never reaches PC {pc:g}")
        target = link_function(self.link, f)
        position = (target - float(a @ self.coefficients)) / rise
        by_lapse = 0.0 if pc is None else f / height / float(density(self.link, np.array(target))) / rise
        jacobian = np.concatenate([-(a + position * b) / rise, np.zeros(len(self.sds)), [by_lapse]])
        se = math.sqrt(float(jacobian @ self.joint @ jacobian))
        half = _quantile(level, df) * se
        return Threshold(position, se, position - half, position + half, None)

    def _effect_weights(self, x: Floats) -> Floats:
        """(K, random effects): 1 for an intercept, the predictor for a slope."""
        columns = [
            x[:, self.names.index(name.split(":", 1)[1])] if ":" in name else np.ones(len(x)) for name in self.sds
        ]
        return np.column_stack(columns)


def fit(
    x: npt.ArrayLike,
    names: Sequence[str],
    correct: npt.ArrayLike,
    n: npt.ArrayLike,
    factors: Mapping[str, npt.ArrayLike],
    *,
    slopes: Sequence[str] = (),
    link: Link = "logit",
    guess: float = 0.0,
    lapse: float = 0.0,
    catch: Catch | None = None,
    information: Information = "expected",
) -> Fit:
    """Fit by maximum likelihood (Laplace).

    Args:
        x: (N, q) design matrix, with its intercept.
        names: of the q columns.
        correct: (N,) correct answers in each row.
        n: (N,) trials in each row, or one number for all (1 for single trials).
        factors: {name: (N,) integer codes from 0}, with random intercepts. The first, participants, may have many
            thousands of levels; time and memory grow with the square of the others' number of levels.
        slopes: columns whose slope varies over the first factor, independently of its intercept.
        link: "logit", "probit" or "cloglog".
        guess: P(correct) where nothing is seen; .5 with two alternatives.
        lapse: 1 - P(correct) where everything is seen, taken as known; not used with `catch`.
        catch: where given, the lapse rate is a parameter, which these trials tell in the same likelihood.
        information: in Laplace's determinant: "expected" as lme4, "observed" as TMB.

    A model that cannot be fitted comes back with `converged` false and a reason; so do answers which, all together, are
    less than two standard errors better than the guess rate. Rows may come in any order.
    Raises ValueError for an unknown link, information or slope, and for arrays whose lengths differ.
    """
    choices = [(link, get_args(Link)), (information, get_args(Information)), *((name, names) for name in slopes)]
    for value, known in choices:
        if value not in known:
            raise ValueError(f'"{value}" is none of {", ".join(known)}; choose one of these.')
    x = np.asarray(x, dtype=float)
    codes = {name: np.asarray(values).astype(np.intp) for name, values in factors.items()}
    people, *others = codes
    counts = aggregate(x, correct, n, list(codes.values()))
    failed = Fit(
        names=tuple(names),
        link=link,
        guess=guess,
        information=information,
        lapse=Lapse(lapse, None, None),
        converged=False,
        reason=_unfit(counts, list(codes)) or (_AT_CHANCE if _near_chance(counts, guess, 2.0) else None),
        df=min(counts.sizes) - 1,
    )
    if failed.reason:
        return failed
    surface = Surface(
        counts,
        Curve(link, guess, lapse),
        catch=(catch.correct, catch.n - catch.correct) if catch and catch.n else None,
        information=information,
        slopes=[failed.names.index(name) for name in slopes],
    )
    try:
        with np.errstate(all="ignore"):  # what is not finite is found and named by the search
            found = _Search(surface).maximum()
    except _NoMaximumError as error:
        return replace(failed, reason=str(error))
    except np.linalg.LinAlgError:
        return replace(failed, reason=_NO_MAXIMUM)
    return _result(surface, failed, [people, *(f"{people}:{name}" for name in slopes), *others], found)


def aggregate(x: Floats, correct: npt.ArrayLike, n: npt.ArrayLike, factors: Sequence[Codes]) -> Counts:
    """Merge rows with equal design and equal levels: the same likelihood from fewer rows, in an order of their own."""
    right, trials = (np.broadcast_to(np.asarray(values, dtype=float), len(x)) for values in (correct, n))
    first, condition = _distinct([pd.factorize(column, sort=True)[0] for column in x.T])
    rows, row = _distinct([*factors, condition])
    correct_sums, sums_of_n = sums(row, right, len(rows)), sums(row, trials, len(rows))
    return Counts(
        design=x[first],
        condition=condition[rows],
        levels=tuple(codes[rows] for codes in factors),
        sizes=tuple(int(codes.max()) + 1 for codes in factors),
        correct=correct_sums,
        wrong=sums_of_n - correct_sums,
    )


def _distinct(columns: Sequence[Codes]) -> tuple[Codes, Codes]:
    """First row of each distinct combination of codes, in sorted order, and the combination of each row."""
    key, size = np.zeros(len(columns[0]), dtype=np.int64), 1
    for codes in columns:
        levels = int(codes.max()) + 1
        if size * levels > 2**62:
            key = np.unique(key, return_inverse=True)[1]
            size = int(key.max()) + 1
        key, size = key * levels + codes, size * levels
    _, first, combination = np.unique(key, return_index=True, return_inverse=True)
    return first, combination


def _unfit(counts: Counts, factors: Sequence[str]) -> str | None:
    if not counts.correct.sum() or not counts.wrong.sum():
        return "all answers are alike"
    if np.linalg.matrix_rank(counts.design) < counts.design.shape[1]:
        return "the predictors do not vary independently of each other"
    alone = [name for name, size in zip(factors, counts.sizes, strict=True) if size < 2]
    return f"one {alone[0]} only" if alone else None


def _near_chance(counts: Counts, guess: float, errors: float) -> bool:
    """Whether the answers are less than so many standard errors better than guesses, which pin no curve down."""
    right, n = counts.correct.sum(), counts.correct.sum() + counts.wrong.sum()
    return bool(guess and right < guess * n + errors * math.sqrt(guess * (1 - guess) * n))


@dataclass(frozen=True)
class _Maximum:
    """`covariance` (m, m) of theta, zeros for the SDs at the edge; `edge` are their indices."""

    point: Point
    covariance: Floats
    edge: tuple[int, ...]
    gradient: float
    condition: float
    evaluations: int


class _NoMaximumError(np.linalg.LinAlgError):
    """Its message is the reason the user reads."""


class _Search:
    """For the maximum of a surface: BFGS from an approximate information matrix, then one step of Newton's."""

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.sds = range(surface.q, surface.q + surface.n_sds)
        spans = np.ptp(surface.counts.design, axis=0)
        self.range = np.where(spans > 0, spans, np.abs(surface.counts.design[0]))
        self.evaluations = 0

    def maximum(self) -> _Maximum:
        """Raises _NoMaximumError where there is none, or none that the data pin down."""
        point, inverse = self._begin()
        for enough in _ENOUGH:
            point, inverse = self._climb(point, inverse, enough)
            covariance, edge, _ = self._covariance(point, inverse)
            point = self._polished(point, covariance, edge)
            covariance, edge, condition = self._covariance(point, covariance)
            left = math.sqrt(float(point.gradient @ covariance @ point.gradient))
            if left < GRADIENT_LIMIT:
                return _Maximum(point, covariance, edge, left, condition, self.evaluations)
        raise _NoMaximumError(f"the search stopped {left:.2g} standard errors away from the maximum")

    def _covariance(self, point: Point, inverse: Floats) -> tuple[Floats, tuple[int, ...], float]:
        """Of all parameters, 0 for the SDs at their edge; which those are, and the condition of the rest."""
        hessian = self._hessian(point, inverse)
        edge = tuple(i for i in self.sds if abs(point.theta[i]) < _EDGE or hessian[i, i] <= 0)
        free = [i for i in range(self.surface.size) if i not in edge]
        part = hessian[np.ix_(free, free)]
        unit = np.sqrt(np.abs(np.diag(part)))
        scaled = part / np.outer(unit, unit)
        if not np.isfinite(scaled).all() or np.linalg.eigvalsh(scaled).min() < 1 / _CONDITION_LIMIT:
            raise self._failure()
        covariance = np.zeros_like(hessian)
        covariance[np.ix_(free, free)] = np.linalg.inv(scaled) / np.outer(unit, unit)
        if (np.sqrt(np.diag(covariance)[: self.surface.q]) * self.range > _RUNAWAY_SE).any():
            raise self._failure()
        return covariance, edge, float(np.linalg.cond(scaled))

    def _at(self, theta: Floats, near: Effects) -> Point | None:
        """The surface at `theta`; None where it has no value there."""
        self.evaluations += 1
        try:
            point = self.surface.at(theta, near)
        except np.linalg.LinAlgError:
            return None
        return point if math.isfinite(point.value) and np.isfinite(point.gradient).all() else None

    def _start(self) -> Floats:
        surface = self.surface
        lapse, angle = surface.fixed_lapse, []
        if surface.catch:
            lapse = min((surface.catch[1] + 0.5) / (sum(surface.catch) + 1), 0.1)
            angle = [surface.angle(lapse)]
        plain = _without_effects(surface.counts, Curve(surface.link, surface.guess, lapse))
        b = np.zeros(surface.q) if plain is None else plain[0]
        return np.concatenate([b, np.full(surface.n_sds, _START_SD), angle])

    def _begin(self) -> tuple[Point, Floats]:
        """Where the search begins, and an approximate inverse Hessian there."""
        point = self._at(self._start(), self.surface.origin())
        if point is None:
            raise self._failure()
        return point, np.linalg.inv(self.surface.information_matrix(point))

    def _climb(self, point: Point, inverse: Floats, enough: float) -> tuple[Point, Floats]:
        """The highest point found from this one, and an approximate inverse Hessian there."""
        for _ in range(_OUTER_STEPS):
            step = inverse @ point.gradient
            if float(step @ point.gradient) < enough:
                break
            new = self._along(point, step * self._share(step))
            if new is None:
                break
            inverse = _updated(inverse, new.theta - point.theta, point.gradient - new.gradient)
            point = new
            if self._is_far(point.theta):
                raise self._failure()
        return point, inverse

    def _along(self, point: Point, step: Floats) -> Point | None:
        for _ in range(12):
            new = self._at(point.theta + step, point.mode)
            if new is not None and new.value >= point.value + 1e-4 * float(step @ point.gradient) - 1e-9:
                return new
            step = step / 2
        return None

    def _share(self, step: Floats) -> float:
        """Of a step, what moves no linear predictor, SD or angle out of sight."""
        surface = self.surface
        moves = [
            float(np.abs(surface.counts.design @ step[: surface.q]).max()) / 2,
            float(np.abs(step[self.sds]).max()) / 0.5,
            float(np.abs(step[self.sds.stop :]).max(initial=0.0)) / 0.1,
        ]
        return 1 / max(1.0, *moves)

    def _is_far(self, theta: Floats) -> bool:
        far = float(np.abs(self.surface.counts.design @ theta[: self.surface.q]).max()) > _RUNAWAY
        return far or float(np.abs(theta[self.sds]).max()) > _RUNAWAY_SD[self.surface.link]

    def _hessian(self, point: Point, inverse: Floats) -> Floats:
        """Of minus the surface, (m, m), by differences of the exact gradient over a small part of a standard error."""
        settled = self._at(point.theta, point.mode)  # its mode is exact, so that differences are of theta alone
        if settled is None:
            raise self._failure()
        steps = _DIFFERENCE * np.sqrt(np.maximum(np.diag(inverse), 1e-12))
        columns = []
        steps[: self.surface.q] = np.minimum(steps[: self.surface.q], _DIFFERENCE / self.range)
        for shift in np.diag(np.minimum(steps, _DIFFERENCE)):
            moved = self._at(point.theta + shift, settled.mode)
            if moved is None:
                raise self._failure()
            columns.append((settled.gradient - moved.gradient) / shift.sum())
        hessian = np.array(columns)
        return (hessian + hessian.T) / 2

    def _polished(self, point: Point, covariance: Floats, edge: Sequence[int]) -> Point:
        """One step of Newton's, SDs at the edge put on it; `point` where that leads downhill."""
        step = covariance @ point.gradient
        step[list(edge)] = -point.theta[list(edge)]
        new = self._at(point.theta + step * self._share(step), point.mode)
        return point if new is None or new.value < point.value - 1e-6 else new

    def _failure(self) -> _NoMaximumError:
        """Why the search failed, in words."""
        counts, guess = self.surface.counts, self.surface.guess
        if _near_chance(counts, guess, 3.0):
            return _NoMaximumError(_AT_CHANCE)
        if _without_effects(counts, Curve(self.surface.link, guess, self.surface.fixed_lapse)) is None:
            return _NoMaximumError(_SEPARATED)
        return _NoMaximumError(_NO_INFORMATION if guess and self.surface.information == "observed" else _NO_MAXIMUM)


def _updated(inverse: Floats, step: Floats, fall: Floats) -> Floats:
    """BFGS update of an inverse Hessian; as it was where the surface is not concave along the step."""
    curvature = float(step @ fall)
    if curvature <= 1e-12:
        return inverse
    keep = np.eye(len(step)) - np.outer(step, fall) / curvature
    return keep @ inverse @ keep.T + np.outer(step, step) / curvature


def _without_effects(counts: Counts, curve: Curve) -> tuple[Floats, Floats] | None:
    """Coefficients and information of the model without random effects; None where they run away."""
    design = counts.design
    correct, wrong = (sums(counts.condition, values, len(design)) for values in (counts.correct, counts.wrong))
    b = np.zeros(design.shape[1])
    rows = Rows(curve, design @ b, correct, wrong)
    for _ in range(50):
        information = (design.T * rows.expected) @ design
        try:
            step = np.linalg.solve(information, design.T @ rows.score)
        except np.linalg.LinAlgError:
            return None
        length = float(np.abs(design @ step).max())
        if length < 1e-8:
            return b, information
        step *= min(1.0, 3.0 / length)
        for _ in range(12):
            new = Rows(curve, design @ (b + step), correct, wrong)
            if new.log_likelihood >= rows.log_likelihood - 1e-9:
                break
            step /= 2
        b, rows = b + step, new
    return None


def _result(surface: Surface, failed: Fit, effects: Sequence[str], found: _Maximum) -> Fit:
    q, theta = surface.q, found.point.theta
    sds = theta[q : q + surface.n_sds]
    units = np.concatenate([np.ones(q), np.sign(sds), [surface.lapse_by_angle(theta)] if surface.catch else []])
    joint = found.covariance * np.outer(units, units)
    lapse = _lapse(surface, theta, math.sqrt(found.covariance[-1, -1])) if surface.catch else failed.lapse
    ratio = _se_ratio(surface, lapse.rate, found.covariance)
    boundary = tuple(effects[i - q] for i in found.edge)
    return replace(
        failed,
        converged=True,
        reason=None,
        lapse=lapse,
        coefficients=theta[:q],
        covariance=found.covariance[:q, :q],
        sds=dict(zip(effects, np.abs(sds).tolist(), strict=True)),
        log_likelihood=found.point.value,
        modes=_modes(surface, found.point, effects),
        joint=joint if surface.catch else np.pad(joint, (0, 1)),
        diagnostics=Diagnostics(
            found.gradient, boundary, ratio, found.condition, found.evaluations, _notes(boundary, ratio)
        ),
    )


def _lapse(surface: Surface, theta: Floats, se: float, level: float = 0.95) -> Lapse:
    """The interval is Wald's on the angle: it stabilises the variance and at 0 equals the likelihood ratio's."""
    angle, half = abs(float(theta[-1])), _quantile(level) * se
    ends = max(0.0, angle - half), min(math.pi / 2, angle + half)
    low, high = ((1 - surface.guess) * math.sin(end) ** 2 for end in ends)
    return Lapse(surface.lapse(theta), low, high)


def _se_ratio(surface: Surface, lapse: float, covariance: Floats) -> float | None:
    plain = _without_effects(surface.counts, Curve(surface.link, surface.guess, lapse))
    if plain is None:
        return None
    return float(np.sqrt(np.diag(covariance)[: surface.q] / np.diag(np.linalg.inv(plain[1]))).min())


def _modes(surface: Surface, point: Point, effects: Sequence[str]) -> dict[str, Modes]:
    mode, variance = (
        [*of.people.T, *(of.others[surface.factor == f] for f in range(len(surface.dense)))]
        for of in (point.mode, point.variances)
    )
    sds = point.theta[surface.q : surface.q + surface.n_sds].tolist()
    return {
        name: Modes(sd * z, abs(sd) * np.sqrt(v)) for name, sd, z, v in zip(effects, sds, mode, variance, strict=True)
    }


def _notes(boundary: Sequence[str], ratio: float | None) -> tuple[str, ...]:
    notes = [f"the SD of {name} is 0, the edge of what is possible: no spread was found" for name in boundary]
    if ratio is not None and ratio < SE_RATIO_LIMIT:
        notes.append(f"a standard error is {ratio:.2f} of that without random effects: do not trust it")
    return tuple(notes)


def _quantile(level: float, df: float = math.inf) -> float:
    return float(stats.t.ppf((1 + level) / 2, df))
