"""What may be claimed: is detection different from chance, and is it below the bound?

A claim of imperceptibility is a test passed, never a difference missed. This is the only module that knows the words
of a verdict.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from scipy.special import betainc, betaln, ndtri

from study.analysis.detection import dprime, z_rates
from study.analysis.frames import cells, codes
from study.analysis.power_design import BOUNDS, CONTROL_ALPHA, DEFAULT_BOUND
from study.analysis.protocols import AFC, Model, Protocol

ALPHA: Final = 0.05
#: A count of people off chance means nothing with fewer trials per person and condition.
MIN_TRIALS_PER_PERSON: Final = 10
MORE_WRONG: Final = "more answers are wrong than chance allows: the images are told apart, and the wrong one is named"
#: In place of a number of pairs where detection at the interval's upper end does not exceed chance.
PAIRS_NEVER: Final = "no number"

#: Keeps logarithms and quotients of likelihoods finite.
_SMALLEST: Final = 1e-300

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


@dataclass(frozen=True)
class TwoWay:
    """A proportion correct with the uncertainty of both participants and stimuli.

    `se` is None where it cannot be had: fewer than two participants or stimuli. It is 0 where all answers are alike;
    the tests then take each of `df` + 1 people (or images, whichever are fewer) as one exact binomial trial.
    """

    mean: float
    n: int
    se: float | None
    df: int
    floored: bool = False

    def p_below(self, bound: float) -> float | None:
        """One-sided p against PC >= bound."""
        if self.se is None:
            return None
        if self.se == 0:
            return float(stats.binom.cdf(round(self.mean * self._units), self._units, bound))
        return float(stats.t.cdf((self.mean - bound) / self.se, self.df))

    def p_above(self, bound: float) -> float | None:
        """One-sided p against PC <= bound."""
        if self.se is None:
            return None
        if self.se == 0:
            return float(stats.binom.sf(round(self.mean * self._units) - 1, self._units, bound))
        return float(stats.t.sf((self.mean - bound) / self.se, self.df))

    def p_difference(self, value: float = 0.5) -> float | None:
        """Two-sided p against PC = value."""
        below, above = self.p_below(value), self.p_above(value)
        return None if below is None or above is None else min(1.0, 2 * min(below, above))

    def p_equivalence(self, bound: float) -> float | None:
        """p of the two one-sided tests of PC within (1 - bound, bound)."""
        below, above = self.p_below(bound), self.p_above(1 - bound)
        return None if below is None or above is None else max(below, above)

    def interval(self, level: float) -> tuple[float | None, float | None]:
        """Interval of PC, kept within 0 and 1."""
        if self.se is None:
            return None, None
        if self.se == 0:
            tail = ((1 - level) / 2) ** (1 / self._units)  # Clopper-Pearson where all are right, or all wrong
            return (tail, 1.0) if self.mean == 1 else (0.0, 1 - tail)
        half = float(stats.t.ppf((1 + level) / 2, self.df)) * self.se
        return max(0.0, self.mean - half), min(1.0, self.mean + half)

    @property
    def _units(self) -> int:
        return self.df + 1


@dataclass(frozen=True)
class Clusters:
    """Who answered and about which image: (N,) codes of participant, stimulus and both together, without gaps."""

    participant: Codes
    stimulus: Codes
    pair: Codes

    @classmethod
    def of(cls, participant: Codes, stimulus: Codes) -> "Clusters":
        """From (N,) integer codes without gaps, see `frames.codes`."""
        both = participant * (int(stimulus.max()) + 1) + stimulus
        return cls(participant, stimulus, pd.factorize(both)[0])

    def variance(self, influence: Floats, finite_sample: bool = True) -> tuple[float, bool]:
        """Variance of a sum of per-trial `influence` values, clustered by participant and by stimulus.

        V = max(V_p P/(P-1) + V_s S/(S-1) - V_ps, V_iid), each V_x the sum of squares of the influence summed within x
        (Cameron, Gelbach & Miller 2011; the floor is that of independent trials). Returns (V, whether it is the floor).
        """
        people, images, pairs = (np.bincount(unit, influence) for unit in (self.participant, self.stimulus, self.pair))
        v_p, v_s, v_ps = (float(sums @ sums) for sums in (people, images, pairs))
        if finite_sample:
            v_p *= len(people) / max(len(people) - 1, 1)
            v_s *= len(images) / max(len(images) - 1, 1)
        independent = float(influence @ influence)
        return max(v_p + v_s - v_ps, independent), v_p + v_s - v_ps < independent


def two_way_variance(
    influence: Floats, participant: Codes, stimulus: Codes, finite_sample: bool = True
) -> tuple[float, bool]:
    """`Clusters.variance` of one sum."""
    return Clusters.of(participant, stimulus).variance(influence, finite_sample)


def two_way(correct: npt.ArrayLike, participant: Codes, stimulus: Codes) -> TwoWay:
    """Proportion correct of one condition with its two-way standard error, t on min(P, S) - 1 degrees of freedom.

    Args:
        correct: (N,) 0 or 1.
        participant, stimulus: (N,) integer codes without gaps, see `frames.codes`.
    """
    y = np.asarray(correct, dtype=float)
    mean, n = float(y.mean()), len(y)
    df = int(min(participant.max(), stimulus.max()))
    if df < 1:
        return TwoWay(mean, n, None, df)
    variance, floored = two_way_variance((y - mean) / n, participant, stimulus)
    return TwoWay(mean, n, math.sqrt(variance), df, floored)


def contrast(
    first: pd.DataFrame, second: pd.DataFrame, level: float = 0.95
) -> tuple[float, float | None, float | None, float | None]:
    """PC of `first` minus PC of `second`, (difference, low, high, p), where people and images are shared by both."""
    y1, y2 = first["correct"].to_numpy(float), second["correct"].to_numpy(float)
    difference = float(y1.mean() - y2.mean())
    influence = np.concatenate([(y1 - y1.mean()) / len(y1), -(y2 - y2.mean()) / len(y2)])
    both = pd.concat([first, second])
    participant, stimulus = codes(both["participant"]), codes(both["stimulus"])
    df = int(min(participant.max(), stimulus.max()))
    variance = two_way_variance(influence, participant, stimulus)[0] if df >= 1 else 0.0
    if variance == 0:
        return difference, None, None, None
    se = math.sqrt(variance)
    half = float(stats.t.ppf((1 + level) / 2, df)) * se
    p = 2 * float(stats.t.sf(abs(difference) / se, df))
    return difference, difference - half, difference + half, p


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment. A missing p stays missing, and counts in the family as a test not passed."""
    p = np.array([1.0 if value is None else value for value in p_values])
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(np.minimum(1, p[order] * np.arange(len(p), 0, -1)))
    adjusted = stepped[np.argsort(order, kind="stable")]
    return [None if raw is None else float(value) for raw, value in zip(p_values, adjusted, strict=True)]


@dataclass(frozen=True)
class ParticipantLevel:
    """One proportion per participant, tested as if images were fixed: companions to the two-way values."""

    mean: float
    se: float
    df: int

    @classmethod
    def of(cls, correct: npt.ArrayLike, participant: Codes) -> "ParticipantLevel":
        """From (N,) answers and (N,) participant codes."""
        share = np.bincount(participant, np.asarray(correct, float)) / np.bincount(participant)
        spread = float(share.std(ddof=1)) if len(share) > 1 else 0.0
        return cls(float(share.mean()), spread / math.sqrt(len(share)), len(share) - 1)

    def p_below(self, bound: float) -> float | None:
        """One-sided p against a mean >= bound; None where all participants are alike."""
        return float(stats.t.cdf((self.mean - bound) / self.se, self.df)) if self.se > 0 else None

    def p_above(self, bound: float) -> float | None:
        """One-sided p against a mean <= bound; None where all participants are alike."""
        return float(stats.t.sf((self.mean - bound) / self.se, self.df)) if self.se > 0 else None

    def p_equivalence(self, bound: float) -> float | None:
        """p of the two one-sided tests of a mean within (1 - bound, bound)."""
        below, above = self.p_below(bound), self.p_above(1 - bound)
        return None if below is None or above is None else max(below, above)


def participant_spread(correct: npt.ArrayLike, participant: Codes, bound: float = DEFAULT_BOUND) -> dict[str, Any]:
    """Do participants differ by more than the binomial allows?

    Returns:
        "p": of Tarone's (1979) test of the binomial against the beta-binomial, one-sided for spread; None where nobody
            answered twice.
        "off_chance_share_upper": upper 95 % limit on the share of people whose own PC lies outside (1 - bound, bound),
            whatever the distribution of people's PC; None, with a "reason", below 10 trials per person.
        "off_chance_share_upper_beta": the same where people's PC follow a beta distribution; None where assuming it
            would not lower the limit.
        "trials_per_person": their median.
    """
    n = np.bincount(participant).astype(float)
    x = np.bincount(participant, np.asarray(correct, dtype=float)).astype(float)
    trials = float(np.median(n))
    limits: dict[str, Any] = dict.fromkeys(("off_chance_share_upper", "off_chance_share_upper_beta", "reason"))
    if trials < MIN_TRIALS_PER_PERSON:
        limits["reason"] = f"fewer than {MIN_TRIALS_PER_PERSON} trials per person and condition"
    else:
        outcomes, people = np.unique(np.stack([x, n]), axis=1, return_counts=True)
        of_any = _off_chance_upper(outcomes[0], outcomes[1], people, bound)
        of_beta = _off_chance_upper_beta(outcomes[0], outcomes[1], people, bound)
        limits["off_chance_share_upper"] = of_any
        limits["off_chance_share_upper_beta"] = of_beta if of_beta < of_any else None
    return {"p": _tarone_p(x, n), "trials_per_person": trials, **limits}


def yes_no_spread(cell: pd.DataFrame) -> dict[str, Any]:
    """Do participants differ in what they see by more than chance allows, whatever their criteria?

    Given how often somebody said "altered", hits are hypergeometric; people who see equally much share one shift of
    the log odds. Returns one-sided p of the squared deviations from it (a score test of equal odds ratios; compare
    Zelen 1971) against the normal, with the exact variance of the hypergeometric. None where nobody's answers vary.
    """
    participant = codes(cell["participant"])
    shown = (cell["clean_side"] == "right").to_numpy(float)
    said = (cell["response_side"] == "left").to_numpy(float)
    n, n_shown, n_said, hits = (np.bincount(participant, w) for w in (np.ones_like(said), shown, said, said * shown))
    varies = (n > 3) & (n_shown * (n - n_shown) * n_said * (n - n_said) > 0)  # the fourth moment needs four trials
    reason = "not defined for single images"
    limits = dict.fromkeys(("off_chance_share_upper", "off_chance_share_upper_beta"))
    result = {"p": None, "trials_per_person": float(np.median(n)), **limits, "reason": reason}
    if varies.sum() < 2:
        return result
    counts = (n[varies], n_shown[varies], n_said[varies])
    mean, variance, excess = (np.asarray(m, float) for m in stats.hypergeom.stats(*counts, moments="mvk"))
    deviation = hits[varies] - mean
    deviation -= variance * deviation.sum() / variance.sum()
    z = float((deviation**2 - variance).sum() / math.sqrt(float((variance**2 * (excess + 2)).sum())))
    return result | {"p": float(stats.norm.sf(z))}


def _tarone_p(x: Floats, n: Floats) -> float | None:
    p = float(x.sum() / n.sum())
    pairs = float((n * (n - 1)).sum())
    if len(n) < 2 or pairs == 0:
        return None
    if p in (0.0, 1.0):
        return 1.0  # everybody gave the same answers: no spread to be seen
    z = (((x - n * p) ** 2).sum() / (p * (1 - p)) - n.sum()) / math.sqrt(2 * pairs)
    return float(stats.norm.sf(z))


def _off_chance_upper(x: Floats, n: Floats, people: Codes, bound: float) -> float:
    """Largest share outside the bound that a likelihood ratio cannot refuse, over all distributions of PC.

    `people` (U,) had `x` right of `n`. The likelihood of each share is that of its best mixture over a grid of PC
    (Laird 1978), found by expectation maximisation with the share held.
    """
    inside = np.linspace(1 - bound, bound, 11)
    outside = np.concatenate([np.linspace(0, 1 - bound, 15), np.linspace(bound, 1, 15)])
    chance = stats.binom.pmf(x[:, None], n[:, None], np.concatenate([inside, outside]))
    share = np.linspace(0, 1, 51)[:, None]
    weights = np.ones((len(share), len(inside) + len(outside)))
    _hold(weights, len(inside), share)
    for _ in range(400):
        weights *= (people / np.maximum(weights @ chance.T, _SMALLEST)) @ chance
        _hold(weights, len(inside), share)
    found = np.log(np.maximum(weights @ chance.T, _SMALLEST)) @ people
    return float(share[_plausible(found)].max())


def _hold(weights: Floats, inside: int, share: Floats) -> None:
    """Scale each row's first `inside` weights to add up to 1 - share, in place, and the others to share."""
    for part, total in ((slice(inside), 1 - share), (slice(inside, None), share)):
        weights[:, part] *= total / np.maximum(weights[:, part].sum(1, keepdims=True), _SMALLEST)


def _off_chance_upper_beta(x: Floats, n: Floats, people: Codes, bound: float) -> float:
    """As `_off_chance_upper`, over the beta distributions of PC."""
    mean = np.linspace(0.01, 0.99, 99)[:, None]
    precision = np.geomspace(0.2, 5000, 80)[None, :]
    a, b = mean * precision, (1 - mean) * precision
    likelihood = -people.sum() * betaln(a, b)
    for right, trials, count in zip(x, n, people, strict=True):
        likelihood += count * betaln(right + a, trials - right + b)
    outside = 1 - (betainc(a, b, bound) - betainc(a, b, 1 - bound))
    return float(outside[_plausible(likelihood)].max())


def _plausible(log_likelihood: Floats) -> npt.NDArray[np.bool_]:
    """What a likelihood ratio test, one-sided at ALPHA, cannot refuse."""
    return np.asarray(2 * (log_likelihood.max() - log_likelihood) <= stats.chi2.ppf(1 - 2 * ALPHA, 1))


@dataclass(frozen=True)
class YesNo:
    """d' = z(H) - z(F) of one condition with the uncertainty of both participants and stimuli, on `df` of t.

    A proportion correct cannot stand for it: people who hardly ever say "altered" are near .5 whatever they can see.
    """

    dprime: float
    se: float
    df: int

    @classmethod
    def of(cls, cell: pd.DataFrame) -> "YesNo | None":
        """None with fewer than two participants or stimuli, or where one of the two images was never shown.

        Hit and false-alarm rates are log-linear corrected; the standard error is that of the linearised difference,
        never below the one of independent trials.
        """
        participant, stimulus = codes(cell["participant"]), codes(cell["stimulus"])
        said = (cell["response_side"] == "left").to_numpy(float)
        shown = (cell["clean_side"] == "right").to_numpy()
        df = int(min(participant.max(), stimulus.max()))
        groups = (shown, ~shown)
        rates = z_rates(*(int(count) for group in groups for count in (said[group].sum(), group.sum())))
        if rates is None or df < 1:
            return None
        influence, independent = np.zeros(len(cell)), 0.0
        for group, z, sign in zip(groups, rates, (1, -1), strict=True):
            slope, n = float(stats.norm.pdf(z)), int(group.sum())
            influence[group] = sign * (said[group] - said[group].mean()) / (n * slope)
            independent += float(stats.norm.cdf(z) * stats.norm.sf(z)) / (n * slope**2)
        variance, _ = two_way_variance(influence, participant, stimulus)
        return cls(rates[0] - rates[1], math.sqrt(max(variance, independent)), df)

    def interval(self, level: float) -> tuple[float, float]:
        half = float(stats.t.ppf((1 + level) / 2, self.df)) * self.se
        return self.dprime - half, self.dprime + half

    def p_equivalence(self, bound: float) -> float:
        """p of the two one-sided tests of d' within what unbiased people have at a PC of (1 - bound, bound)."""
        limit = dprime(bound, "yes/no") or 0.0
        return max(
            float(stats.t.cdf((self.dprime - limit) / self.se, self.df)),
            float(stats.t.sf((self.dprime + limit) / self.se, self.df)),
        )


def _pairs_needed(low: float | None, high: float | None, model: Model) -> int | None:
    """At the end of the interval farther from chance: answers that are always wrong tell the images apart as well."""
    return None if low is None or high is None else pairs_needed(max(high, 1 - low), model)


def pairs_needed(upper: float | None, model: Model = "forced choice") -> int | None:
    """Pairs a person must see to tell with 95 % certainty which side is altered, at a proportion correct of `upper`.

    N = 2 (1.645/d')^2 with the d' of the model at `upper`, rounded up. None where no number is enough (upper <= .5) or
    where the proportion is not known.
    """
    if upper is None or upper <= 0.5:
        return None
    return _pairs_at(dprime(min(upper, 1 - 1e-12), model))


def _pairs_at(d: float | None) -> int | None:
    return max(1, math.ceil(2 * (float(ndtri(0.95)) / d) ** 2)) if d else None


@dataclass(frozen=True)
class Evidence:
    """What a verdict on one condition rests on. None = could not be computed, which never supports a claim."""

    equivalence_p: float | None
    spread_p: float | None
    difference_p: float | None
    difference_alpha: float = ALPHA
    about: str = "equivalence"
    proportion_correct: float = 1.0

    @property
    def is_below_bound(self) -> bool:
        """Equivalence shown, and people no more different from each other than the binomial allows."""
        shown = self.equivalence_p is not None and self.equivalence_p < ALPHA
        return shown and self.spread_p is not None and self.spread_p >= ALPHA

    @property
    def is_detectable(self) -> bool:
        return self.difference_p is not None and self.difference_p < self.difference_alpha

    @property
    def remark(self) -> str | None:
        """What the word "detectable" does not say."""
        return MORE_WRONG if self.is_detectable and self.proportion_correct < 0.5 else None

    def why_not_below(self, bound: float) -> str | None:
        """What stands against the claim; None where it stands, or where detection itself says enough."""
        if self.is_below_bound:
            return None
        if self.equivalence_p is None or self.spread_p is None:
            return "too few participants, stimuli or trials per person to test the bound"
        if self.equivalence_p >= ALPHA:
            return (
                None
                if self.is_detectable
                else f"{self.about} within ({_short(1 - bound)}, {_short(bound)}) is not shown"
            )
        return "people differ by more than chance, so a mean near .5 may hide people who can tell"


def verdict(evidence: Evidence, bound: float, may_claim_below: bool = True) -> str:
    """The words for one condition (the table of verdicts: equivalence shown or not, difference shown or not)."""
    if evidence.is_below_bound and may_claim_below:
        if evidence.is_detectable:
            return f"detectable, below the bound ({_short(bound)})"
        return (
            f"imperceptible (PC < {_short(bound)})" if bound < DEFAULT_BOUND else f"below the bound ({_short(bound)})"
        )
    return "detectable" if evidence.is_detectable else "inconclusive"


def verdicts_in_sequence(
    strengths: Sequence[float], evidence: Sequence[Evidence], bound: float
) -> list[dict[str, Any]]:
    """Verdicts of one attack's conditions, strengths ascending: claims go up in strength and stop at the first failure.

    Strength 0, the identity control, has a verdict of its own and stops nothing.
    """
    rows, failed_at = [], None
    for strength, found in zip(strengths, evidence, strict=True):
        stopped = failed_at is not None and strength > 0
        reason = found.why_not_below(bound)
        if found.is_below_bound and stopped:
            reason = f"claims go up in strength and stopped at s = {failed_at:g}"
        reasons = "; ".join(filter(None, [reason, found.remark])) or None
        rows.append({"verdict": verdict(found, bound, not stopped), "verdict_reason": reasons})
        if strength > 0 and not stopped and not found.is_below_bound:
            failed_at = strength
    return rows


def assess(
    trials: pd.DataFrame, bound: float = DEFAULT_BOUND, level: float = 0.95, protocol: Protocol = AFC
) -> list[dict[str, Any]]:
    """The inferential part of every condition's row of the report, in the order of `frames.cells`.

    In yes/no a claim below the bound needs the equivalence of d' beside that of PC, which a criterion can hide.

    Raises ValueError when `bound` is none of BOUNDS.
    """
    if bound not in BOUNDS:
        raise ValueError(f"The bound is {bound}; it must be one of {', '.join(map(str, BOUNDS))}.")
    conditions = cells(trials)
    rows = [_tests(cell, bound, level, protocol) for _, _, cell in conditions]
    _adjust(rows, [strength > 0 for _, strength, _ in conditions], "two_way_difference_p", "two_way_holm_p")
    _adjust(rows, [True] * len(rows), "_above_chance_p", "holm_p")
    for indices in _by_attack(attack for attack, _, _ in conditions):
        strengths = [conditions[i][1] for i in indices]
        found = [_evidence(rows[i], strength, protocol) for i, strength in zip(indices, strengths, strict=True)]
        for i, words in zip(indices, verdicts_in_sequence(strengths, found, bound), strict=True):
            rows[i] |= words
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]


def _tests(cell: pd.DataFrame, bound: float, level: float, protocol: Protocol) -> dict[str, Any]:
    correct, participant, stimulus = cell["correct"].to_numpy(), codes(cell["participant"]), codes(cell["stimulus"])
    both = two_way(correct, participant, stimulus)
    people = ParticipantLevel.of(correct, participant)
    low, high = both.interval(level)
    return {
        "participants": int(participant.max()) + 1,
        "stimuli": int(stimulus.max()) + 1,
        "two_way_se": both.se,
        "two_way_low": low,
        "two_way_high": high,
        "two_way_difference_p": both.p_difference(),
        "two_way_upper_bound_p": both.p_below(bound),
        "two_way_tost_p": both.p_equivalence(bound),
        "tost_p": people.p_equivalence(bound),
        "upper_bound_p": people.p_below(bound),
        "_above_chance_p": people.p_above(0.5),
        "_mean": both.mean,
        "participant_spread": participant_spread(correct, participant, bound),
        "pairs_needed": _pairs_needed(low, high, protocol.model) if (cell["strength"] > 0).any() else None,
        "note": no_variance(both),
        **(_yes_no_tests(cell, bound, level) if protocol.model == "yes/no" else {}),
    }


def _yes_no_tests(cell: pd.DataFrame, bound: float, level: float) -> dict[str, Any]:
    """What is other in yes/no; pairs needed then follow from d' itself."""
    return _yes_no_dprime_tests(cell, bound, level) | {"participant_spread": yes_no_spread(cell)}


def _yes_no_dprime_tests(cell: pd.DataFrame, bound: float, level: float) -> dict[str, Any]:
    found = YesNo.of(cell)
    if found is None:
        names = ("two_way_dprime_se", "two_way_dprime_low", "two_way_dprime_high", "two_way_dprime_tost_p")
        return dict.fromkeys((*names, "pairs_needed"))
    low, high = found.interval(level)
    return {
        "two_way_dprime_se": found.se,
        "two_way_dprime_low": low,
        "two_way_dprime_high": high,
        "two_way_dprime_tost_p": found.p_equivalence(bound),
        "pairs_needed": _pairs_at(max(high, -low)) if (cell["strength"] > 0).any() else None,
    }


def no_variance(result: TwoWay) -> str | None:
    """What is other about the tests and the interval where people and images show no variance; None where they do."""
    if result.se is None:
        return "one participant or one stimulus only: nothing can be said beyond them"
    if result.se == 0:
        return "all answers are alike: exact binomial tests with one trial per person or image, whichever are fewer"
    return None


def _adjust(rows: list[dict[str, Any]], in_family: Sequence[bool], source: str, target: str) -> None:
    adjusted = iter(holm([row[source] for row, belongs in zip(rows, in_family, strict=True) if belongs]))
    for row, belongs in zip(rows, in_family, strict=True):
        row[target] = next(adjusted) if belongs else None


def _evidence(row: dict[str, Any], strength: float, protocol: Protocol) -> Evidence:
    equivalence_p, about = row["two_way_tost_p"], "equivalence"
    if protocol.model == "yes/no":
        of_dprime = row["two_way_dprime_tost_p"]
        equivalence_p = None if equivalence_p is None or of_dprime is None else max(equivalence_p, of_dprime)
        about = "equivalence of both PC and d′"
    difference_p, alpha = (
        (row["two_way_holm_p"], ALPHA) if strength > 0 else (row["two_way_difference_p"], CONTROL_ALPHA)
    )
    return Evidence(equivalence_p, row["participant_spread"]["p"], difference_p, alpha, about, row["_mean"])


def _by_attack(attacks: Iterable[str]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for index, attack in enumerate(attacks):
        groups.setdefault(attack, []).append(index)
    return list(groups.values())


def _short(value: float) -> str:
    return f"{value:.2f}".lstrip("0")
