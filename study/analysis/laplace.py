"""Laplace's approximation to the likelihood of a binomial model with crossed random effects, with its exact gradient.

    eta = X b + A z,   A = (design of the random effects) x (their SDs),   z ~ N(0, 1)
    mu  = guess + (1 - guess - lapse) F(eta),   correct ~ Binomial(n, mu)
    L(b, SDs, lapse) = max_z [l(eta) - |z|^2 / 2] - log det(I + A'WA) / 2

W is the information per row about eta, "expected" as in lme4 (Bates, Maechler, Bolker & Walker 2015) or "observed" as
in TMB (Kristensen, Nielsen, Berg, Skaug & Bell 2016). The two agree for the plain logit and differ under a guess rate.
The first factor's block of I + A'WA is block diagonal, so only the Schur complement on the others is dense.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Floats = npt.NDArray[np.floating[Any]]
Codes = npt.NDArray[np.intp]
Link = Literal["logit", "probit", "cloglog"]
Information = Literal["expected", "observed"]

#: Linear predictors beyond which a link is as good as flat, and its ratios below would under- or overflow.
_REACH: Final = {"logit": (-200.0, 200.0), "probit": (-35.0, 35.0), "cloglog": (-200.0, 6.0)}
_INNER_STEPS: Final = 60
#: A Newton step this small leaves an error of its square; a scoring step has to be that small itself.
_NEWTON_END, _SCORING_END = 1e-3, 1e-7


def inverse_link(link: Link, eta: Floats) -> tuple[Floats, Floats]:
    """F(eta) and 1 - F(eta), each to full relative precision; `eta` within reach of the link, see `_REACH`."""
    f, rest, _, _ = _with_slope(link, np.clip(eta, *_REACH[link]))
    return f, rest


def link_function(link: Link, f: float) -> float:
    """eta at which F(eta) = `f`, 0 < f < 1."""
    if link == "logit":
        return math.log(f / (1 - f))
    return float(ndtri(f)) if link == "probit" else math.log(-math.log1p(-f))


def density(link: Link, eta: Floats) -> Floats:
    """F'(eta), `eta` within reach of the link."""
    return _with_slope(link, np.clip(eta, *_REACH[link]))[2]


@dataclass(frozen=True)
class Curve:
    """P(correct) = guess + (1 - guess - lapse) F(eta)."""

    link: Link
    guess: float
    lapse: float


def sums(codes: Codes, values: Floats, size: int) -> Floats:
    """(size,) sum of the `values` of each code."""
    return np.asarray(np.bincount(codes, values, size), dtype=np.float64)


def _with_slope(link: Link, eta: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """F, 1 - F, F' and F''/F', for `eta` within reach."""
    if link == "logit":
        e = np.exp(-eta)
        f = 1 / (1 + e)
        rest = e * f
        return f, rest, f * rest, rest - f
    if link == "probit":
        return ndtr(eta), ndtr(-eta), np.exp(-0.5 * eta * eta) / math.sqrt(2 * math.pi), -eta
    e = np.exp(eta)
    rest = np.exp(-e)
    return -np.expm1(-e), rest, e * rest, 1 - e


class Rows:
    """Log likelihood of rows of counts and its derivatives by eta and by the lapse rate, each one number per row.

    Everything is written in ratios such as mu'/mu, which stay finite where mu or 1 - mu vanish.
    """

    def __init__(self, curve: Curve, eta: Floats, correct: Floats, wrong: Floats) -> None:
        guess, lapse = curve.guess, curve.lapse
        self.link, self.guess = curve.link, guess
        self.scale = 1 - guess - lapse
        self.eta = np.clip(eta, *_REACH[curve.link])
        self.correct, self.wrong = correct, wrong
        self.f, rest, slope, self.bend = _with_slope(curve.link, self.eta)
        self.right = guess + self.scale * self.f if guess else self.scale * self.f
        self.miss = lapse + self.scale * rest if lapse else self.scale * rest
        slope *= self.scale
        self.up, self.down = slope / self.right, slope / self.miss

    @cached_property
    def log_likelihood(self) -> float:
        return float(self.correct @ np.log(self.right) + self.wrong @ np.log(self.miss))

    @cached_property
    def score(self) -> Floats:
        return self.correct * self.up - self.wrong * self.down

    @cached_property
    def observed(self) -> Floats:
        return self.correct * self.up * (self.up - self.bend) + self.wrong * self.down * (self.down + self.bend)

    @cached_property
    def expected(self) -> Floats:
        return (self.correct + self.wrong) * self.up * self.down

    def information(self, kind: Information) -> Floats:
        return self.expected if kind == "expected" else self.observed

    def information_by_eta(self, kind: Information) -> Floats:
        up, down, bend = self.up, self.down, self.bend
        if kind == "expected":
            return self.expected * (2 * bend - up + down)
        third = self._third_over_first()
        return self.wrong * down * (third + down * (3 * bend + 2 * down)) - self.correct * up * (
            third - up * (3 * bend - 2 * up)
        )

    def by_lapse(self, kind: Information) -> tuple[Floats, Floats, Floats]:
        """Derivatives of log likelihood, score and information by the lapse rate."""
        over_right, over_miss = self.correct / self.right, self.wrong / self.miss
        value = self.f * (over_miss - over_right)
        up = self.up * over_right * (self.guess / self.scale)
        down = self.down * over_miss * ((1 - self.guess) / self.scale)
        if kind == "observed":
            information = up * (self.bend - 2 * self.up) - down * (self.bend + 2 * self.down)
        else:
            rate = self.guess / self.right + (1 - self.guess) / self.miss
            information = -self.expected * rate / self.scale
        return value, down - up, information

    def _third_over_first(self) -> Floats:
        if self.link == "logit":
            return 1 - 6 * self.f * (1 - self.f)
        if self.link == "probit":
            return self.eta * self.eta - 1
        e = 1 - self.bend
        return 1 - 3 * e + e * e


@dataclass(frozen=True)
class Counts:
    """Sufficient statistics: one row per distinct design row and levels of the factors that was observed.

    Attributes:
        design: (C, q) the distinct rows of the design matrix.
        condition: (R,) index into `design`.
        levels: of each factor, (R,) codes from 0; the first factor's effects make the diagonal block.
        sizes: number of levels of each factor.
        correct, wrong: (R,) counts.
    """

    design: Floats
    condition: Codes
    levels: tuple[Codes, ...]
    sizes: tuple[int, ...]
    correct: Floats
    wrong: Floats


@dataclass(frozen=True)
class Effects:
    """One number per random effect: `people` (P, c), the first factor's, and `others` (D,), all other levels'."""

    people: Floats
    others: Floats

    def scaled(self, by: "Effects") -> "Effects":
        return Effects(self.people * by.people, self.others * by.others)

    def plus(self, other: "Effects", share: float = 1.0) -> "Effects":
        return Effects(self.people + share * other.people, self.others + share * other.others)

    def dot(self, other: "Effects") -> float:
        return float(np.vdot(self.people, other.people) + self.others @ other.others)

    def largest(self) -> float:
        return max(float(np.abs(self.people).max()), float(np.abs(self.others).max(initial=0.0)))


@dataclass(frozen=True)
class Point:
    """The surface at one parameter vector.

    Attributes:
        theta: (coefficients, signed SDs[, angle of the lapse rate]).
        value: log likelihood by Laplace's approximation, catch trials included; no binomial constants.
        gradient: of `value` by `theta`.
        mode: of z.
        variances: of z given the answers.
    """

    theta: Floats
    value: float
    gradient: Floats
    mode: Effects
    variances: Effects


@dataclass(frozen=True)
class _Tables:
    """Z'WZ before the SDs: (P, c, c) within, (P, c, D) across and (D, D) among the other factors."""

    within: Floats
    across: Floats
    among: Floats


class _Precision:
    """I + A'WA, factored. Raises LinAlgError where it is not positive definite."""

    def __init__(self, tables: _Tables, sds: Effects) -> None:
        size, columns, dense = self.shape = tables.across.shape
        people, others = sds.people[:, None], sds.others
        across = tables.across * (people * others)
        block = tables.within * (people * people.T)
        block[:, np.arange(columns), np.arange(columns)] += 1
        ratio: Floats
        if columns == 1:
            if not block.min() > 0:
                raise np.linalg.LinAlgError("the diagonal block is not positive definite")
            self.inverse_block: Floats = 1 / block
            log_determinant = float(np.log(block).sum())
            ratio = across * self.inverse_block
        else:
            roots = np.linalg.cholesky(block)
            log_determinant = 2 * float(np.log(np.diagonal(roots, axis1=1, axis2=2)).sum())
            self.inverse_block = np.linalg.inv(block)
            ratio = self.inverse_block @ across
        self.across = across.reshape(size * columns, dense)
        self.ratio = ratio.reshape(size * columns, dense)
        schur = tables.among * (others[:, None] * others) - self.across.T @ self.ratio
        schur[np.arange(dense), np.arange(dense)] += 1
        root = np.linalg.cholesky(schur)
        self.log_determinant = log_determinant + 2 * float(np.log(np.diagonal(root)).sum())
        self.inverse_schur = np.linalg.inv(schur)

    def solve(self, of: Effects) -> Effects:
        first = (self.inverse_block @ of.people[:, :, None])[:, :, 0]
        second = self.inverse_schur @ (of.others - self.across.T @ first.ravel())
        return Effects(first - (self.ratio @ second).reshape(first.shape), second)

    @cached_property
    def inverse_across(self) -> Floats:
        """The (P, c, D) block of the inverse."""
        return -(self.ratio @ self.inverse_schur).reshape(self.shape)

    @cached_property
    def inverse_within(self) -> Floats:
        """The (P, c, c) blocks of the inverse."""
        return self.inverse_block - np.einsum("pid,pjd->pij", self.ratio.reshape(self.shape), self.inverse_across)

    def diagonal(self) -> Effects:
        return Effects(np.diagonal(self.inverse_within, axis1=1, axis2=2), np.diagonal(self.inverse_schur))


class Surface:
    """Laplace's log likelihood over theta = (coefficients, SDs[, angle]), SDs signed, lapse = (1 - guess) sin(angle)^2.

    A signed SD and an angle put the edge of what is possible (0) inside, where the gradient vanishes.
    `slopes` are columns of the design whose slopes vary over the first factor. `catch` = (correct, wrong) of trials in
    which only lapses err; with it the lapse rate is a parameter, without it the curve's stands.
    """

    def __init__(
        self,
        counts: Counts,
        curve: Curve,
        *,
        catch: tuple[int, int] | None,
        information: Information,
        slopes: Sequence[int] = (),
    ) -> None:
        self.counts, self.information, self.catch = counts, information, catch
        self.link, self.guess, self.fixed_lapse = curve.link, curve.guess, curve.lapse
        self.q = counts.design.shape[1]
        self.weights = [None, *(counts.design[counts.condition, column] for column in slopes)]
        self.person, *self.dense = counts.levels
        self.people, *self.dense_sizes = counts.sizes
        self.starts = np.concatenate([[0], np.cumsum(self.dense_sizes)]).astype(int)
        self.factor = np.repeat(np.arange(len(self.dense)), self.dense_sizes)
        self.cells = [self.person * size + levels for size, levels in zip(self.dense_sizes, self.dense, strict=True)]
        self.n_sds = len(self.weights) + len(self.dense)
        self.size = self.q + self.n_sds + (catch is not None)

    def lapse(self, theta: Floats) -> float:
        return (1 - self.guess) * math.sin(theta[-1]) ** 2 if self.catch else self.fixed_lapse

    def lapse_by_angle(self, theta: Floats) -> float:
        return (1 - self.guess) * math.sin(2 * theta[-1])

    def angle(self, lapse: float) -> float:
        return math.asin(math.sqrt(lapse / (1 - self.guess)))

    def origin(self) -> Effects:
        return Effects(np.zeros((self.people, len(self.weights))), np.zeros(int(self.starts[-1])))

    def at(self, theta: Floats, start: Effects) -> Point:
        """The surface at `theta`, the search for the mode beginning at `start`.

        Raises LinAlgError where no mode with a positive definite information is found.
        """
        sds = self._sds(theta)
        rows, mode = self._mode(theta, sds, start)
        observed_tables = self._tables(rows.observed)
        observed = _Precision(observed_tables, sds)
        if self.information == "observed":
            tables, precision = observed_tables, observed
        else:
            tables = self._tables(rows.expected)
            precision = _Precision(tables, sds)
        value = rows.log_likelihood - 0.5 * mode.dot(mode) - 0.5 * precision.log_determinant
        # Half the log determinant's change with eta, directly (`pull`) and by way of the mode (`moved`).
        leverage = self._leverage(precision, sds)
        pull = 0.5 * leverage * rows.information_by_eta(self.information)
        adjoint = observed.solve(self._sums(pull).scaled(sds))
        moved = self._spread(adjoint.scaled(sds))
        residual = rows.score - pull + moved * rows.observed
        by_sds = self._by_sds(mode, self._sums(residual), adjoint, self._sums(rows.score))
        gradient = np.concatenate(
            [self._by_design(residual), by_sds - self._determinant_by_sds(tables, precision, sds)]
        )
        if self.catch:
            value_slope, score_slope, information_slope = rows.by_lapse(self.information)
            by_lapse = float(value_slope.sum() - 0.5 * leverage @ information_slope - moved @ score_slope)
            catch_value, catch_slope = self._catch(float(theta[-1]))
            value += catch_value
            gradient = np.append(gradient, by_lapse * self.lapse_by_angle(theta) + catch_slope)
        return Point(theta, value, gradient, mode, precision.diagonal())

    def information_matrix(self, point: Point) -> Floats:
        """Approximate information about theta, (m, m): how long steps should be, not what standard errors are."""
        curve = [*range(self.q), *([self.size - 1] if self.catch else [])]
        sds = range(self.q, self.q + self.n_sds)
        matrix = np.zeros((self.size, self.size))
        matrix[np.ix_(curve, curve)] = self._about_curve(point)
        matrix[sds, sds] = self._about_sds(point)
        return matrix

    def _about_curve(self, point: Point) -> Floats:
        """Expected information about coefficients and angle, less what the random effects take away."""
        sds = self._sds(point.theta)
        rows = self._rows(point.theta, point.mode.scaled(sds))
        columns = [*self.counts.design[self.counts.condition].T]
        if self.catch:  # as a predictor, the angle's is its effect on mu over that of eta
            columns.append(-self.lapse_by_angle(point.theta) * rows.f / (rows.up * rows.right))
        weighted = [rows.expected * column for column in columns]
        shared = [self._sums(column).scaled(sds) for column in weighted]
        precision = _Precision(self._tables(rows.expected), sds)
        solved = [precision.solve(column) for column in shared]
        about = np.array([[float((w * column).sum()) for column in columns] for w in weighted])
        about -= np.array([[one.dot(other) for other in solved] for one in shared])
        if self.catch:
            about[-1, -1] += 4 * (1 - self.guess) * sum(self.catch)
        return about

    def _about_sds(self, point: Point) -> Floats:
        learned = Effects((1 - point.variances.people) ** 2, (1 - point.variances.others) ** 2)
        amount = self._by_effect(learned)
        return np.maximum(2 * amount / np.maximum(point.theta[self.q : self.q + self.n_sds] ** 2, 0.01), 1.0)

    def _by_effect(self, values: Effects) -> Floats:
        """Sum over the levels of each random effect."""
        return np.concatenate([values.people.sum(axis=0), sums(self.factor, values.others, len(self.dense))])

    def _sds(self, theta: Floats) -> Effects:
        sds = theta[self.q : self.q + self.n_sds]
        return Effects(sds[: len(self.weights)], sds[len(self.weights) :][self.factor])

    def _catch(self, angle: float) -> tuple[float, float]:
        """Log likelihood of the catch trials and its derivative by the angle."""
        right, wrong = self.catch or (0, 0)
        lapse = (1 - self.guess) * math.sin(angle) ** 2
        value = right * math.log1p(-lapse)
        slope = -right / (1 - lapse) * (1 - self.guess) * math.sin(2 * angle)
        if not wrong:
            return value, slope
        if not lapse:
            return -math.inf, 0.0
        return value + wrong * math.log(lapse), slope + 2 * wrong / math.tan(angle)

    def _rows(self, theta: Floats, effects: Effects) -> Rows:
        eta = (self.counts.design @ theta[: self.q])[self.counts.condition] + self._spread(effects)
        curve = Curve(self.link, self.guess, self.lapse(theta))
        return Rows(curve, eta, self.counts.correct, self.counts.wrong)

    def _mode(self, theta: Floats, sds: Effects, mode: Effects) -> tuple[Rows, Effects]:
        """Newton's method with step halving; Fisher scoring where the joint density is not concave."""
        rows = self._rows(theta, mode.scaled(sds))
        height = rows.log_likelihood - 0.5 * mode.dot(mode)
        for _ in range(_INNER_STEPS):
            uphill = self._sums(rows.score).scaled(sds).plus(mode, -1.0)
            try:
                precision, end = _Precision(self._tables(rows.observed), sds), _NEWTON_END
            except np.linalg.LinAlgError:
                precision, end = _Precision(self._tables(rows.expected), sds), _SCORING_END
            step, share = precision.solve(uphill), 1.0
            while True:
                moved = mode.plus(step, share)
                new = self._rows(theta, moved.scaled(sds))
                new_height = new.log_likelihood - 0.5 * moved.dot(moved)
                if new_height >= height - 1e-11 * (1 + abs(height)) or share < 1e-4:
                    break
                share /= 2
            rows, height, mode = new, new_height, moved
            if share * step.largest() < end:
                return rows, mode
        raise np.linalg.LinAlgError("the modes of the random effects were not found")

    def _spread(self, effects: Effects) -> Floats:
        """Z times effects: (R,)."""
        eta = effects.people[self.person, 0]
        for j, weight in enumerate(self.weights[1:], 1):
            eta += weight * effects.people[self.person, j]
        for start, levels in zip(self.starts, self.dense, strict=False):
            eta += effects.others[start:][levels]
        return eta

    def _sums(self, values: Floats) -> Effects:
        """Z' times (R,) values."""
        weighted = [values if weight is None else values * weight for weight in self.weights]
        people = np.stack([sums(self.person, column, self.people) for column in weighted], axis=1)
        others = [sums(levels, values, n) for levels, n in zip(self.dense, self.dense_sizes, strict=True)]
        return Effects(people, np.concatenate([np.zeros(0), *others]))

    def _by_design(self, values: Floats) -> Floats:
        design = self.counts.design
        return design.T @ sums(self.counts.condition, values, len(design))

    def _tables(self, w: Floats) -> _Tables:
        columns, dense = len(self.weights), int(self.starts[-1])
        within = np.empty((self.people, columns, columns))
        across = np.empty((self.people, columns, dense))
        among = np.zeros((dense, dense))
        for j, weight in enumerate(self.weights):
            weighted = w if weight is None else w * weight
            for start, size, cell in zip(self.starts, self.dense_sizes, self.cells, strict=False):
                across[:, j, start : start + size] = sums(cell, weighted, self.people * size).reshape(-1, size)
            for i, other in enumerate(self.weights[: j + 1]):
                product = weighted if other is None else weighted * other
                within[:, i, j] = within[:, j, i] = sums(self.person, product, self.people)
        among[np.arange(dense), np.arange(dense)] = across[:, 0].sum(axis=0)
        for f, g in itertools.combinations(range(len(self.dense)), 2):
            first, second, size = self.starts[f], self.starts[g], self.dense_sizes[g]
            cell = self.dense[f] * size + self.dense[g]
            block = sums(cell, w, self.dense_sizes[f] * size).reshape(-1, size)
            among[first : first + len(block), second : second + size] = block
            among[second : second + size, first : first + len(block)] = block.T
        return _Tables(within, across, among)

    def _leverage(self, precision: _Precision, sds: Effects) -> Floats:
        """Variance of eta given the answers: (R,)."""
        people, others = sds.people[:, None], sds.others
        across = precision.inverse_across * (people * others)
        within = precision.inverse_within * (people * people.T)
        among = precision.inverse_schur * (others[:, None] * others)
        total = np.zeros(len(self.person))
        for j, weight in enumerate(self.weights):
            part = np.zeros(len(self.person))
            for i, other in enumerate(self.weights):
                variance = within[:, i, j][self.person]
                part += variance if other is None else variance * other
            for start, size, cell in zip(self.starts, self.dense_sizes, self.cells, strict=False):
                part += 2 * across[:, j, start : start + size].ravel()[cell]
            total += part if weight is None else part * weight
        for f, g in itertools.combinations_with_replacement(range(len(self.dense)), 2):
            covariance = among[self.starts[f] :, self.starts[g] :][self.dense[f], self.dense[g]]
            total += covariance if f == g else 2 * covariance
        return total

    def _by_sds(self, mode: Effects, residual: Effects, adjoint: Effects, score: Effects) -> Floats:
        people = mode.people * residual.people - adjoint.people * score.people
        others = mode.others * residual.others - adjoint.others * score.others
        return self._by_effect(Effects(people, others))

    def _determinant_by_sds(self, tables: _Tables, precision: _Precision, sds: Effects) -> Floats:
        """Half the log determinant's derivative by each SD, eta held."""
        across = precision.inverse_across * tables.across
        people = np.einsum("pjk,pjk,k->j", precision.inverse_within, tables.within, sds.people)
        people += np.einsum("pjd,d->j", across, sds.others)
        others = np.einsum("pjd,j->d", across, sds.people) + (precision.inverse_schur * tables.among) @ sds.others
        return np.concatenate([people, sums(self.factor, others, len(self.dense))])
