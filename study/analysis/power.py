"""What a design can show, by simulation: how often each claim would be made if a stated truth held.

The tests are those of `equivalence`, on thousands of studies at once.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from study.analysis.equivalence import ALPHA, MIN_TRIALS_PER_PERSON
from study.analysis.power_design import BELOW, CLAIMS, DETECTABLE, WANTED, Claim, Design
from study.analysis.synthetic import Answers, Codes, Truth, at_level, draw, latin_square

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
#: Who may hide behind a mean of .5: this share of people see the alteration, and as many name the wrong image.
HIDDEN_SHARE: Final = 1 / 8
HIDDEN_PC: Final = 0.9
#: A claim about such a group may be made this often.
HIDDEN_ALLOWED: Final = 0.07
#: Below so many people or images the two-way test has not been tried.
FEW: Final = 10
#: Answers held in memory at a time.
_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class TwoWays:
    """`equivalence.TwoWay` of many studies with one layout: (R,) means and standard errors."""

    mean: Floats
    se: Floats
    df: int

    def p_below(self, bound: float) -> Floats:
        """(R,) one-sided p against PC >= bound."""
        return self._tail(bound, stats.t.cdf, stats.binom.cdf, 0)

    def p_above(self, bound: float) -> Floats:
        """(R,) one-sided p against PC <= bound."""
        return self._tail(bound, stats.t.sf, stats.binom.sf, -1)

    def p_difference(self, value: float = 0.5) -> Floats:
        """(R,) two-sided p against PC = value."""
        return np.minimum(1, 2 * np.minimum(self.p_below(value), self.p_above(value)))

    def p_equivalence(self, bound: float) -> Floats:
        """(R,) p of the two one-sided tests of PC within (1 - bound, bound)."""
        return np.maximum(self.p_below(bound), self.p_above(1 - bound))

    def _tail(self, bound: float, t: Callable[..., Floats], binomial: Callable[..., Floats], from_count: int) -> Floats:
        alike = self.se == 0
        units = self.df + 1
        exact = binomial(np.round(self.mean * units) + from_count, units, bound)
        return np.where(alike, exact, t((self.mean - bound) / np.where(alike, 1, self.se), self.df))


def two_way(correct: Answers, participant: Codes, stimulus: Codes) -> TwoWays:
    """`equivalence.two_way` of every row of `correct`.

    Args:
        correct: (R, N) answers, one study a row.
        participant, stimulus: (N,) integer codes without gaps, at least two of each.
    """
    n = correct.shape[1]
    mean = correct.mean(axis=1)
    df = int(min(participant.max(), stimulus.max()))
    both = np.unique(participant * (int(stimulus.max()) + 1) + stimulus, return_inverse=True)[1]
    people, images, pairs = (residual_sums(correct, groups) for groups in (participant, stimulus, both))
    v_p, v_s, v_ps = (np.einsum("rg,rg->r", sums, sums) for sums in (people, images, pairs))
    finite = [sums.shape[1] / (sums.shape[1] - 1) for sums in (people, images)]
    variance = np.maximum(v_p * finite[0] + v_s * finite[1] - v_ps, n * mean * (1 - mean))
    return TwoWays(mean, np.sqrt(variance) / n, df)


def residual_sums(correct: Answers, groups: Codes) -> Floats:
    """(R, G) sums of answer minus the study's mean within each group, `groups` being (N,) codes without gaps."""
    size = np.bincount(groups)
    return counts(correct, groups) - correct.mean(axis=1)[:, None] * size


def counts(correct: Answers, groups: Codes) -> Floats:
    """(R, G) right answers within each group."""
    trials = np.arange(len(groups))
    membership = sparse.csr_matrix((np.ones(len(groups), np.float32), (trials, groups)))
    return np.asarray(correct.astype(np.float32) @ membership, dtype=np.float64)


def spread_p(correct: Answers, participant: Codes) -> Floats:
    """(R,) p of `equivalence.participant_spread`; nan where nobody answers twice."""
    n = np.bincount(participant).astype(float)
    pairs = float((n * (n - 1)).sum())
    if len(n) < 2 or pairs == 0:
        return np.full(len(correct), math.nan)
    x = counts(correct, participant)
    p = x.sum(axis=1) / n.sum()
    alike = (p == 0) | (p == 1)
    variance = np.where(alike, 1, p * (1 - p))
    z = (((x - n * p[:, None]) ** 2).sum(axis=1) / variance - n.sum()) / math.sqrt(2 * pairs)
    return np.where(alike, 1, stats.norm.sf(z))


#: From the tests of many studies to what each of them is taken to show.
Decide = Callable[[Design, TwoWays, Floats], tuple[Flags, ...]]


@dataclass(frozen=True)
class Share:
    """A share of simulated studies and its Monte-Carlo standard error (Agresti & Coull's, never 0)."""

    share: float
    error: float

    @classmethod
    def of(cls, happened: Flags) -> "Share":
        n, k = len(happened), int(happened.sum())
        p = (k + 2) / (n + 4)
        return cls(k / n, math.sqrt(p * (1 - p) / (n + 4)))


@dataclass(frozen=True)
class Cell:
    """What so many people and trials per person can show in one condition.

    Attributes:
        below: how often "below the bound" is claimed at the design's `pc`: both of the next two.
        equivalence: how often the two one-sided tests pass there.
        alike: how often people are found no more different than the binomial allows.
        hidden: how often "below" is claimed of a group in which HIDDEN_SHARE of people are right in HIDDEN_PC of trials
            and as many wrong, which is false.
        detectable: how often detection is claimed at `truly_detectable`, at the strictest step of Holm's adjustment.
        off_chance_limit: whether an upper limit on the share of people off chance can be given.
    """

    participants: int
    trials: int
    below: Share
    equivalence: Share
    alike: Share
    hidden: Share
    detectable: Share
    off_chance_limit: bool

    @property
    def answers(self) -> int:
        """Answers in the condition."""
        return self.participants * self.trials

    def power(self, claim: Claim) -> Share:
        return self.below if claim == BELOW else self.detectable


@dataclass(frozen=True)
class Smallest:
    """The design with the fewest answers on the grid that has this power and so many trials; None where no design has.

    A design in which hidden people would go unnoticed does not count.
    """

    claim: Claim
    power: float
    least_trials: int
    participants: int | None
    trials: int | None

    def __str__(self) -> str:
        return "no design tried" if self.participants is None else f"{self.participants} × {self.trials}"


@dataclass(frozen=True)
class Power:
    """The answer to a `Design`. `warnings` are sentences about what the design cannot support."""

    design: Design
    planned: Cell
    grid: tuple[Cell, ...]
    smallest: tuple[Smallest, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: numbers, words and lists only."""
        return asdict(self)


def plan(design: Design, progress: Callable[[int, int], None] = lambda done, total: None) -> Power:
    """Power and sample size of `design` by simulation; `progress` is told how many entries of the grid are done.

    Every entry has a seed of its own, so that it does not depend on what else is tried.
    """
    sizes = design.sizes()
    grid = []
    for participants, trials in sizes:
        grid.append(simulate(design, participants, trials))
        progress(len(grid), len(sizes))
    planned = next(c for c in grid if (c.participants, c.trials) == (design.participants, design.trials))
    smallest = tuple(
        _smallest(grid, claim, power, least)
        for claim in CLAIMS
        for least in ((1, MIN_TRIALS_PER_PERSON) if claim == BELOW else (1,))
        for power in WANTED
    )
    return Power(design, planned, tuple(grid), smallest, tuple(_warnings(design, planned, smallest)))


def simulate(design: Design, participants: int, trials: int) -> Cell:
    """One entry of the grid."""
    truths = _truths(design, participants)
    equivalent, alike = _tested(design, participants, trials, truths["pc"], _bounded)
    hidden = _tested(design, participants, trials, truths["hidden"], _bounded)
    (detected,) = _tested(
        design, participants, trials, truths["detectable_pc"],
        lambda design, tests, spread: (tests.p_difference() < ALPHA / design.conditions,),
    )  # fmt: skip
    return Cell(
        participants,
        trials,
        below=Share.of(equivalent & alike),
        equivalence=Share.of(equivalent),
        alike=Share.of(alike),
        hidden=Share.of(np.logical_and(*hidden)),
        detectable=Share.of(detected),
        off_chance_limit=trials >= MIN_TRIALS_PER_PERSON,
    )


def _truths(design: Design, participants: int) -> dict[str, Truth]:
    sd = math.hypot(design.participant_sd, design.stimulus_sd)
    hidden = max(1, round(participants * HIDDEN_SHARE))
    levels = {"pc": (design.pc, 0), "hidden": (0.5, hidden), "detectable_pc": (design.truly_detectable, 0)}
    return {
        name: Truth(
            (at_level(pc, sd),),
            design.participant_sd,
            design.stimulus_sd,
            off_chance=((number, HIDDEN_PC), (number, 1 - HIDDEN_PC)) if number else (),
        )
        for name, (pc, number) in levels.items()
    }


def _bounded(design: Design, tests: TwoWays, spread: Floats) -> tuple[Flags, Flags]:
    """Whether equivalence is shown, and whether people are alike; a missing test of spread shows nothing."""
    return tests.p_equivalence(design.bound) < ALPHA, spread >= ALPHA


def _tested(design: Design, participants: int, trials: int, truth: Truth, decide: Decide) -> list[Flags]:
    """(studies,) decisions, made on a part of the studies at a time."""
    layout = latin_square(participants, design.stimuli, trials, seed=design.seed)
    centre = round(1e6 * (100 + truth.conditions[0].centre))
    rng = np.random.default_rng([design.seed, participants, trials, centre, len(truth.off_chance)])
    at_once = max(1, _AT_ONCE // len(layout.participant))
    parts = []
    for first in range(0, design.studies, at_once):
        drawn = draw(truth, layout, min(at_once, design.studies - first), rng)
        correct, participant, stimulus = drawn.cell(0)
        parts.append(decide(design, two_way(correct, participant, stimulus), spread_p(correct, participant)))
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _smallest(grid: list[Cell], claim: Claim, power: float, least_trials: int) -> Smallest:
    enough = [
        cell
        for cell in grid
        if cell.power(claim).share >= power
        and cell.trials >= least_trials
        and (claim == DETECTABLE or cell.hidden.share <= HIDDEN_ALLOWED)
    ]
    if not enough:
        return Smallest(claim, power, least_trials, None, None)
    best = min(enough, key=lambda cell: (cell.answers, cell.participants))
    return Smallest(claim, power, least_trials, best.participants, best.trials)


def _warnings(design: Design, planned: Cell, smallest: tuple[Smallest, ...]) -> Iterator[str]:
    size = f"{design.participants} participants × {design.trials} trials"
    bound, pc = _short(design.bound), _short(design.pc)
    wanted = WANTED[0]
    if planned.below.share < wanted:
        needed = next(s for s in smallest if (s.claim, s.power) == (BELOW, wanted))
        instead = (
            f"of the designs tried, the smallest that reaches {_percent(wanted)} is {needed}"
            if needed.participants is not None
            else f"no design that was tried reaches {_percent(wanted)}"
        )
        yield (
            f"{size} cannot support PC < {bound}: at a true PC of {pc} the claim would be made in"
            f" only {_percent(planned.below.share)} of studies; {instead}."
        )
    if planned.alike.share < 0.85:
        yield (
            f"People who differ by an SD of {design.participant_sd:g} would fail the test of spread in"
            f" {_percent(1 - planned.alike.share)} of studies, and more often the more trials each has:"
            " where some see more than others, no claim below the bound can be made."
        )
    if planned.hidden.share > HIDDEN_ALLOWED:
        yield (
            f"In {_percent(planned.hidden.share)} of studies {size} would not notice that one person in"
            f" {round(1 / HIDDEN_SHARE)} sees the alteration and as many name the wrong image: a claim would hide them."
        )
    if not planned.off_chance_limit:
        yield (
            f"With {design.trials} trials per person and condition no upper limit on the share of people off chance can"
            f" be given; that needs {MIN_TRIALS_PER_PERSON}."
        )
    if min(design.participants, design.stimuli) < FEW:
        yield f"The two-way test has not been tried with fewer than {FEW} participants or stimuli."


def _short(value: float) -> str:
    return f"{value:.2f}".lstrip("0")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
