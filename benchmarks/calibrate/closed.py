"""Tests in closed form, on all studies of a block at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from scipy import stats

from benchmarks.calibrate.rows import Found
from benchmarks.calibrate.scenarios import Scenario
from study.analysis.equivalence import ALPHA, DEFAULT_BOUND
from study.analysis.power import TwoWays, counts, spread_p, two_way
from study.analysis.synthetic import Codes, Floats, Studies

BOUND: Final = DEFAULT_BOUND


def methods(scenario: Scenario, drawn: Studies) -> Iterator[Found]:
    """What every closed-form test of the scenario's question finds."""
    if scenario.question == "contrast":
        return _contrast(drawn)
    return _difference(drawn) if scenario.question == "difference" else _below(drawn)


def _difference(drawn: Studies) -> Iterator[Found]:
    correct, participant, stimulus = drawn.cell(0)
    pc, n = correct.mean(axis=1), correct.shape[1]
    yield Found.test("pooled", pc, 2 * stats.norm.sf(np.abs(pc - 0.5) / np.sqrt(0.25 / n)))
    for name, units in (("participant t", participant), ("stimulus t", stimulus)):
        yield Found.test(name, pc, stats.ttest_1samp(_shares(counts(correct, units), units), 0.5, axis=1).pvalue)
    both = two_way(correct, participant, stimulus)
    yield Found.test("two-way t", pc, both.p_difference(), *_interval(both, 0.95))


def _below(drawn: Studies) -> Iterator[Found]:
    correct, participant, stimulus = drawn.cell(0)
    pc, n = correct.mean(axis=1), correct.shape[1]
    yield Found.test("pooled", pc, stats.norm.cdf((pc - BOUND) / np.sqrt(BOUND * (1 - BOUND) / n)))
    for name, units in (("participant t", participant), ("stimulus t", stimulus)):
        shares = _shares(counts(correct, units), units)
        p = stats.ttest_1samp(shares, BOUND, axis=1, alternative="less").pvalue
        yield Found.test(name, pc, p)
    both = two_way(correct, participant, stimulus)
    interval = _interval(both, 0.90)
    equivalence, spread = both.p_equivalence(BOUND), spread_p(correct, participant)
    yield Found.test("two-way t", pc, both.p_below(BOUND), *interval)
    yield Found.test("two-way TOST", pc, equivalence, *interval)
    yield Found(
        "verdict: TOST and spread", pc, ((equivalence < ALPHA) & (spread >= ALPHA)).astype(float), spread, *interval
    )


def _contrast(drawn: Studies) -> Iterator[Found]:
    """The difference of two conditions: people are shared by both, images are not."""
    (first, people, images), (second, _, others) = drawn.cell(0), drawn.cell(1)
    difference = first.mean(axis=1) - second.mean(axis=1)
    pooled = (first.mean(axis=1) + second.mean(axis=1)) / 2
    se = np.sqrt(pooled * (1 - pooled) * (1 / first.shape[1] + 1 / second.shape[1]))
    yield Found.test("pooled", difference, 2 * stats.norm.sf(np.abs(difference) / se))
    by_person = [_shares(counts(correct, people), people) for correct in (first, second)]
    yield Found.test("participant t", difference, stats.ttest_rel(*by_person, axis=1).pvalue)
    by_image = [_shares(counts(correct, units), units) for correct, units in ((first, images), (second, others))]
    yield Found.test("stimulus t", difference, stats.ttest_ind(*by_image, axis=1, equal_var=False).pvalue)
    both = contrast(drawn)
    yield Found.test("two-way t", difference, both.p_difference(0.0), *_interval(both, 0.95))


def contrast(drawn: Studies) -> TwoWays:
    """`equivalence.contrast` of the first two conditions, as a `TwoWays` of their difference."""
    layout = drawn.layout
    signs = np.where(layout.condition == 0, 1.0, -1.0)
    correct = [drawn.correct & (layout.condition == c) for c in (0, 1)]
    n = [int((layout.condition == c).sum()) for c in (0, 1)]
    pairs = np.unique(layout.participant * layout.stimuli + layout.stimulus, return_inverse=True)[1]
    mean = [answers.sum(axis=1) / size for answers, size in zip(correct, n, strict=True)]

    def variance(groups: Codes) -> Floats:
        sums = np.zeros((len(drawn.correct), int(groups.max()) + 1))
        for c, sign in ((0, 1), (1, -1)):
            shown = np.bincount(groups[signs == sign], minlength=sums.shape[1])
            sums += sign * (counts(correct[c], groups) - mean[c][:, None] * shown) / n[c]
        squares: Floats = np.einsum("rg,rg->r", sums, sums)
        return squares

    people, images = layout.participants, layout.stimuli
    v = variance(layout.participant) * people / (people - 1) + variance(layout.stimulus) * images / (images - 1)
    floor = sum(m * (1 - m) / size for m, size in zip(mean, n, strict=True))
    return TwoWays(mean[0] - mean[1], np.sqrt(np.maximum(v - variance(pairs), floor)), min(people, images) - 1)


def _shares(right: Floats, units: Codes) -> Floats:
    shares: Floats = right / np.bincount(units)
    return shares


def _interval(tests: TwoWays, level: float) -> tuple[Floats, Floats]:
    half = stats.t.ppf((1 + level) / 2, tests.df) * tests.se
    return tests.mean - half, tests.mean + half
