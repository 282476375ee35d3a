"""QUEST+ against the `questplus` package, against observers whose threshold is known, and its stop rules."""

import json
import math
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from study.analysis.psychometric import Curve
from study.trials.adaptive import Floats, Quest, StopRule, Summary, stops

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
History = list[tuple[float, bool]]


def observer(threshold: float, slope: float = 2.0, lapse: float = 0.02) -> Curve:
    """The analysis's own curve."""
    return Curve("Weibull", threshold, slope, lapse)


def observe(quest: Quest, curve: Curve, trials: int, seed: int) -> History:
    """The answers of an observer with this curve, shown what the procedure chooses."""
    rng = np.random.default_rng(seed)
    history: History = []
    for _ in range(trials):
        strength = quest.next_strength(quest.posterior(history))
        history.append((strength, bool(rng.random() < curve.proportion_correct(strength))))
    return history


def peer(quest: Quest) -> Any:
    """`questplus` on the same grid.

    Its thresholds are where F = 1 - 1 / e: each slope's are moved there, and then named as ours.
    """
    import xarray
    from questplus import QuestPlus, psychometric_function

    parameters = {"threshold": quest.thresholds_log2, "slope": quest.slopes, "lower_asymptote": [0.5]}
    oracle = QuestPlus(
        stim_domain={"intensity": quest.strengths},
        param_domain=parameters | {"lapse_rate": quest.lapses},
        outcome_domain={"response": ["correct", "wrong"]},
        func="weibull",
        stim_scale="linear",
    )
    by_slope = [
        psychometric_function.weibull(
            intensity=quest.strengths,
            threshold=np.exp2(quest.thresholds_log2) / math.log(2) ** (1 / slope),
            slope=[slope],
            lower_asymptote=[0.5],
            lapse_rate=quest.lapses,
            scale="linear",
        ).assign_coords(threshold=quest.thresholds_log2)
        for slope in quest.slopes
    ]
    correct = xarray.concat(by_slope, dim="slope")
    both = xarray.concat([correct, 1 - correct], dim="response").assign_coords(response=["correct", "wrong"])
    oracle.likelihoods = both.transpose("response", "intensity", "threshold", "slope", "lower_asymptote", "lapse_rate")
    return oracle


@pytest.mark.parametrize("threshold", [0.3, 0.9, 2.5])
def test_posterior_and_choices_are_those_of_the_questplus_package(threshold: float) -> None:
    quest, curve, rng = Quest.of(STRENGTHS), observer(threshold), np.random.default_rng(int(threshold * 10))
    oracle, history = peer(quest), []
    for _ in range(40):
        posterior = quest.posterior(history)
        chosen = quest.next_strength(posterior)
        assert chosen == oracle.next_stim["intensity"]
        assert quest.expected_entropy(posterior).min() * math.log(2) == pytest.approx(oracle.entropy, abs=1e-9)
        correct = bool(rng.random() < curve.proportion_correct(chosen))
        history.append((chosen, correct))
        oracle.update(stim={"intensity": chosen}, outcome={"response": "correct" if correct else "wrong"})
        np.testing.assert_allclose(quest.posterior(history), oracle.posterior.values[:, :, 0, :], rtol=0, atol=1e-9)
    expected = oracle.param_estimate
    summary = quest.summary(quest.posterior(history))
    assert summary.threshold_log2 == pytest.approx(expected["threshold"], abs=1e-9)
    assert summary.slope == pytest.approx(expected["slope"], abs=1e-9)
    assert summary.lapse == pytest.approx(expected["lapse_rate"], abs=1e-9)


def test_its_curve_is_the_one_of_the_analysis() -> None:
    quest = Quest.of(STRENGTHS, thresholds_log2=[-1.0, 0.5], slopes=[1.3, 4.0], lapses=[0.0, 0.04])
    for index in np.ndindex(quest.correct.shape):
        strength, threshold, slope, lapse = index
        curve = observer(2.0 ** quest.thresholds_log2[threshold], quest.slopes[slope], quest.lapses[lapse])
        expected = float(curve.proportion_correct(quest.strengths[strength]))
        assert quest.correct[index] == pytest.approx(expected, abs=1e-12)


def estimates(quest: Quest, curve: Curve, trials: int, observers: int) -> tuple[Floats, Floats]:
    """Error of each observer's log2 threshold, and the SD that the posterior gives it, in octaves."""
    found = [quest.summary(quest.posterior(observe(quest, curve, trials, seed))) for seed in range(observers)]
    error = np.array([s.threshold_log2 for s in found]) - math.log2(curve.midpoint)
    return error, np.array([s.sd_log2 for s in found])


@pytest.mark.parametrize(("threshold", "slope"), [(0.4, 2.0), (0.8, 1.4), (1.2, 4.0), (2.0, 2.0)])
def test_known_thresholds_are_recovered(threshold: float, slope: float) -> None:
    error, sd = estimates(Quest.of(STRENGTHS), observer(threshold, slope), trials=40, observers=60)
    assert abs(error.mean()) < 0.25  # octaves
    assert np.sqrt(np.mean(error**2)) < 1.1 * sd.mean() < 0.75
    assert np.mean(np.abs(error) < 2 * sd) > 0.9


def test_more_trials_bring_the_estimate_closer() -> None:
    quest, curve = Quest.of(STRENGTHS), observer(1.2, 4.0)
    few, many = (estimates(quest, curve, trials, observers=40) for trials in (20, 120))
    assert np.std(many[0]) < np.std(few[0])
    assert many[1].mean() < few[1].mean() / 2


def test_over_observers_drawn_from_the_prior_the_sd_is_the_error_to_be_expected() -> None:
    quest, rng = Quest.of(STRENGTHS), np.random.default_rng(0)
    z = []
    for seed in range(120):
        curve = observer(2.0 ** rng.choice(quest.thresholds_log2), rng.choice(quest.slopes), rng.choice(quest.lapses))
        summary = quest.summary(quest.posterior(observe(quest, curve, 40, seed)))
        z.append((summary.threshold_log2 - math.log2(curve.midpoint)) / summary.sd_log2)
    assert abs(np.mean(z)) < 0.25
    assert 0.85 < np.std(z) < 1.15


def test_forty_chosen_trials_tell_more_than_forty_spread_evenly() -> None:
    quest, rng = Quest.of(STRENGTHS), np.random.default_rng(5)
    spread = np.resize(STRENGTHS, 40)

    def sd_of(history: History) -> float:
        return quest.summary(quest.posterior(history)).sd_log2

    chosen = [sd_of(observe(quest, observer(0.8), 40, seed)) for seed in range(30)]
    constant = [
        sd_of([(s, bool(rng.random() < observer(0.8).proportion_correct(s))) for s in spread]) for _ in range(30)
    ]
    assert np.mean(chosen) < np.mean(constant)


def test_before_any_answer_the_prior_is_believed() -> None:
    quest = Quest.of(STRENGTHS)
    np.testing.assert_allclose(quest.posterior([]), quest.prior, atol=1e-15)
    assert quest.summary(quest.prior).entropy == pytest.approx(math.log2(quest.prior.size))


def test_a_given_prior_is_used_and_where_it_is_nought_it_stays_nought() -> None:
    flat = Quest.of(STRENGTHS)
    weights = np.where(flat.thresholds_log2 < 0, 3.0, 0.0)[:, None, None] * np.ones(flat.prior.shape)
    quest = Quest.of(STRENGTHS, prior=weights)
    posterior = quest.posterior([(3.0, False)] * 5)
    assert quest.prior.sum() == pytest.approx(1)
    assert posterior[flat.thresholds_log2 >= 0].sum() == 0
    assert posterior.sum() == pytest.approx(1)


def test_the_order_of_answers_does_not_matter() -> None:
    quest = Quest.of(STRENGTHS)
    history = observe(quest, observer(0.8), 30, seed=3)
    np.testing.assert_array_equal(quest.posterior(history), quest.posterior(history[::-1]))


def test_the_order_in_which_strengths_are_given_does_not_matter() -> None:
    quest = Quest.of(reversed(STRENGTHS))
    assert quest.strengths.tolist() == list(STRENGTHS)


def test_of_strengths_that_tell_as_much_the_weaker_is_shown() -> None:
    quest = Quest.of(STRENGTHS)
    certain = np.zeros_like(quest.prior)
    certain[3, 2, 1] = 1.0  # nothing is left to learn from any strength
    assert quest.next_strength(certain) == min(STRENGTHS)


@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize("lapses", [(0.0,), (0.0, 0.02)])
def test_thousands_of_one_sided_answers_leave_a_finite_posterior(correct: bool, lapses: tuple[float, ...]) -> None:
    quest = Quest.of((1e-6, 1.0, 1e6), lapses=lapses)
    posterior = quest.posterior([(s, correct) for s in (1e-6, 1.0, 1e6)] * 2000)
    assert np.isfinite(posterior).all()
    assert posterior.sum() == pytest.approx(1)
    assert quest.next_strength(posterior) in quest.strengths
    assert all(math.isfinite(value) for value in asdict(quest.summary(posterior)).values())


def test_someone_who_sees_nothing_is_told_apart_from_a_measured_threshold() -> None:
    quest = Quest.of(STRENGTHS)
    blind = quest.summary(quest.posterior([(3.0, k % 2 == 0) for k in range(40)]))
    seeing = quest.summary(quest.posterior(observe(quest, observer(0.8), 40, seed=1)))
    assert blind.outside > 0.9
    assert seeing.outside < 0.1


def test_a_summary_can_be_stored_as_json() -> None:
    quest = Quest.of(STRENGTHS)
    stored = json.loads(json.dumps(asdict(quest.summary(quest.prior)), allow_nan=False))
    assert stored["threshold"] == pytest.approx(2 ** stored["threshold_log2"])


def test_a_choice_takes_a_few_milliseconds() -> None:
    def seconds() -> float:
        began = time.thread_time()
        quest = Quest.of(STRENGTHS)
        quest.next_strength(quest.posterior([(1.0, True)] * 40))
        return time.thread_time() - began

    assert min(seconds() for _ in range(10)) < 0.01


@pytest.mark.parametrize("strengths", [[], [0.0, 1.0], [-1.0], [math.nan, 1.0], [math.inf]])
def test_strengths_out_of_range_are_refused(strengths: list[float]) -> None:
    with pytest.raises(ValueError, match="numbers above 0"):
        Quest.of(strengths)


def test_an_answer_at_a_strength_that_is_not_shown_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Strength 0\.6 was answered"):
        Quest.of(STRENGTHS).posterior([(0.6, True)])


@pytest.mark.parametrize("grid", [{"slopes": [0.0]}, {"lapses": [-0.01]}, {"lapses": [0.5]}])
def test_slopes_and_lapse_rates_out_of_range_are_refused(grid: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="Slopes must be above 0"):
        Quest.of(STRENGTHS, **grid)


@pytest.mark.parametrize("spoil", [lambda p: p[1:], lambda p: -p, lambda p: p * 0, lambda p: p * math.nan])
def test_a_prior_that_is_none_is_refused(spoil: Any) -> None:
    prior: Floats = Quest.of(STRENGTHS).prior
    with pytest.raises(ValueError, match="prior must be an array"):
        Quest.of(STRENGTHS, prior=spoil(prior))


def summary_with(sd: float) -> Summary:
    return Summary(threshold_log2=0.0, threshold=1.0, sd_log2=sd, entropy=3.0, slope=2.0, lapse=0.02, outside=0.0)


@pytest.mark.parametrize(
    ("n", "sd", "over"), [(19, 0.1, False), (20, 0.1, True), (20, 0.3, False), (39, 0.3, False), (40, 0.9, True)]
)
def test_it_stops_when_sure_enough_but_not_before_the_minimum_and_always_at_the_most(
    n: int, sd: float, over: bool
) -> None:
    assert stops(StopRule(most=40, minimum=20, sd=0.2), n, summary_with(sd)) is over


def test_without_an_sd_it_never_stops_early() -> None:
    assert not stops(StopRule(most=40, minimum=20), 39, summary_with(0.0))
    assert stops(StopRule(most=40, minimum=20), 40, summary_with(0.0))


@pytest.mark.parametrize("rule", [{"minimum": 0}, {"minimum": 41}, {"sd": -0.1}, {"sd": math.nan}])
def test_a_stop_rule_out_of_range_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        StopRule(**rule)
