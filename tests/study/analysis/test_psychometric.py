import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from study.analysis import frames, psychometric
from study.analysis.likelihood import sigmoid_of
from study.analysis.protocols import CRITERION
from tests.study.analysis.observers import simulate

LAPSE = 0.05


def fit(trials, sigmoid="Weibull"):
    return psychometric.fit(frames.main_trials(trials), frames.catch_trials(trials), sigmoid)


def fit_all(trials: pd.DataFrame) -> psychometric.Fits:
    return psychometric.fit_all(frames.main_trials(trials), frames.catch_trials(trials))


def goodness(trials: pd.DataFrame, fits: psychometric.Fits | None = None, **options: Any) -> list[dict[str, Any]]:
    main, catch = frames.main_trials(trials), frames.catch_trials(trials)
    return psychometric.goodness(main, catch, fits or psychometric.fit_all(main, catch), **options)


def with_proportions(*chances: float, trials: int = 400) -> pd.DataFrame:
    """One answer per person and image at strengths 1, 2, 4, ..., as many right as these proportions say."""
    rows = [
        (f"P{i % 40:02d}", f"S{i // 40 % 20:02d}", float(2**level), int(i < chance * trials))
        for level, chance in enumerate(chances)
        for i in range(trials)
    ]
    table = pd.DataFrame(rows, columns=["participant", "stimulus", "strength", "correct"])
    return table.assign(attack="wanet", is_catch=0, control="")


@pytest.fixture(scope="module")
def studies() -> list[tuple[pd.DataFrame, psychometric.Fit]]:
    """Trials and curves of 25 simulated studies alike, of threshold 1."""
    tables = [simulate(seed, participants=20, threshold=1.0, lapse=LAPSE) for seed in range(25)]
    return [(table, fit(table)) for table in tables]


@pytest.fixture(scope="module")
def golden_fits(golden_trials: pd.DataFrame) -> psychometric.Fits:
    return fit_all(golden_trials)


def test_the_interval_holds_a_known_threshold(studies) -> None:
    """100 studies: docs/analysis.md. Fewer than 21 of 25 has a probability below .01 at a coverage of .95."""
    thresholds = [fitted.thresholds[0] for _, fitted in studies]
    assert sum(threshold.low <= 1.0 <= threshold.high for threshold in thresholds) >= 21


@pytest.mark.parametrize("seed", [32, 52, 63])
def test_both_ends_are_found_where_a_steep_slope_lies_at_its_bound(seed: int) -> None:
    trials = simulate(seed, threshold=0.67, slope=4.0, trials=4, catch=0, strengths=(0.25, 0.5, 1.0, 2.0, 4.0))
    for threshold in fit(trials).thresholds:
        assert threshold.low < threshold.strength < threshold.high
        assert threshold.high / threshold.low < 2


def test_catch_images_do_not_narrow_the_interval() -> None:
    """8 images: 7 degrees of freedom, however many images the catch trials add."""
    trials = simulate(5, stimuli=8, trials=8, strengths=(0.5, 1.0, 2.0))
    of_one_image = trials.assign(stimulus=trials["stimulus"].mask(trials["is_catch"] == 1, "C0"))
    of_many = trials.assign(
        stimulus=trials["stimulus"].mask(trials["is_catch"] == 1, trials["participant"] + trials["stimulus"])
    )
    one, many = (psychometric._Data.of(frames.main_trials(t), frames.catch_trials(t)) for t in (of_one_image, of_many))
    assert one.degrees_of_freedom(0) == many.degrees_of_freedom(0) == 7


def test_people_and_images_that_differ_widen_the_interval() -> None:
    alike, different = (
        fit(simulate(3, participant_sd=sd, stimulus_sd=sd)).thresholds[0].cluster_inflation for sd in (0.0, 0.8)
    )
    assert alike < 2 < different


@pytest.mark.parametrize("attack", ["badnets", "wanet"])
def test_weibull_thresholds_lie_within_psignifits_interval(golden, golden_main, attack: str) -> None:
    target = golden["psignifit"][attack]["weibull_log_s"]
    without_catch = golden_main.iloc[:0]
    threshold = psychometric.fit(golden_main[golden_main["attack"] == attack], without_catch).thresholds[0]
    low, high = target["ci95_parameters"]["threshold"]
    assert low <= threshold.strength <= high
    assert threshold.low <= target["params_mean"]["threshold"] <= threshold.high


@pytest.mark.parametrize("attack", ["badnets", "wanet"])
def test_the_maximum_is_the_one_a_search_over_a_grid_finds(golden_main, attack: str) -> None:
    trials = golden_main[(golden_main["attack"] == attack) & (golden_main["strength"] > 0)]
    counts = trials.groupby("strength")["correct"].agg(["sum", "size"])
    midpoint, slope = np.meshgrid(np.geomspace(0.3, 3, 300), np.linspace(0.5, 4, 300))
    likelihood = np.zeros_like(midpoint)
    for s, (k, n) in counts.iterrows():
        pc = 0.5 + 0.48 * (1 - 2 ** -((s / midpoint) ** slope))
        likelihood += k * np.log(pc) + (n - k) * np.log(1 - pc)
    best = np.unravel_index(likelihood.argmax(), likelihood.shape)
    curve = psychometric.fit(trials, golden_main.iloc[:0]).curve
    assert curve.midpoint == pytest.approx(midpoint[best], rel=0.01)
    assert curve.slope == pytest.approx(slope[best], rel=0.02)


def test_both_thresholds_are_named_apart(golden_main, golden_trials) -> None:
    catch = frames.catch_trials(golden_trials)
    half, scaled = psychometric.fit(golden_main[golden_main["attack"] == "wanet"], catch).thresholds
    assert (half.level, scaled.level) == ("half of F", "PC .75")
    assert scaled.level_of_pc == 0.75
    assert half.level_of_pc < 0.75
    assert half.strength < scaled.strength


def test_the_curve_passes_through_its_thresholds() -> None:
    for sigmoid in psychometric.SIGMOIDS:
        fitted = fit(simulate(5), sigmoid)
        for threshold in fitted.thresholds:
            assert fitted.curve.proportion_correct(threshold.strength) == pytest.approx(threshold.level_of_pc)


def test_the_lapse_rate_comes_from_the_catch_trials() -> None:
    fitted = fit(simulate(2, lapse=0.08))
    assert fitted.curve.lapse == pytest.approx(0.08, abs=0.03)
    assert fitted.lapse_source == "320 catch trials"


def test_without_catch_trials_the_lapse_rate_is_assumed_and_said() -> None:
    fitted = fit(simulate(2, catch=0))
    assert fitted.curve.lapse == psychometric.DEFAULT_LAPSE
    assert fitted.lapse_source == "fixed at 0.02: no catch trials"


def test_a_threshold_beyond_the_tested_strengths_is_marked() -> None:
    threshold = fit(simulate(3, threshold=9.0, strengths=(0.5, 1.0, 2.0, 4.0), trials=20)).thresholds[0]
    assert "outside the tested strengths" in threshold.note


def test_a_bound_that_the_data_leave_open_is_null_and_said() -> None:
    threshold = fit(simulate(4, threshold=8.0, strengths=(0.5, 1.0, 2.0, 4.0), participants=12)).thresholds[0]
    assert threshold.high is None
    assert "censored" in threshold.note


@pytest.mark.parametrize(
    ("trials", "reason"),
    [
        (simulate(1, strengths=(0.0, 2.0), participants=4), "fewer than two strengths"),
        (simulate(6, threshold=1e9, strengths=(0.5, 1.0, 2.0), participants=4), "not above chance"),
    ],
)
def test_a_curve_that_cannot_be_fitted_says_why(trials, reason: str) -> None:
    trials = trials if reason != "not above chance" else trials.assign(correct=0)
    fitted = fit(trials)
    assert fitted.curve is None
    assert reason in fitted.note
    for row in psychometric.threshold_rows("wanet", "Weibull", fitted):
        assert (row["threshold"], row["low"], row["high"]) == (None, None, None)
        assert reason in row["note"]


# --- one lapse rate for all attacks


def test_attacks_share_one_lapse_rate_with_one_interval(golden_fits: psychometric.Fits) -> None:
    assert list(golden_fits) == [
        (attack, sigmoid) for attack in ("badnets", "wanet") for sigmoid in psychometric.SIGMOIDS
    ]
    one, other = (golden_fits[attack, "Weibull"] for attack in ("badnets", "wanet"))
    assert one.curve.lapse == other.curve.lapse
    assert (one.lapse_low, one.lapse_high) == (other.lapse_low, other.lapse_high)
    assert 0 < one.lapse_low < one.curve.lapse < one.lapse_high < 0.2


def test_the_shared_fit_is_the_maximum_of_one_likelihood(
    golden_trials: pd.DataFrame, golden_fits: psychometric.Fits
) -> None:
    main, catch = frames.main_trials(golden_trials), frames.catch_trials(golden_trials)
    shown = main[main["strength"] > 0]
    counts = {
        attack: rows.groupby("strength")["correct"].agg(["sum", "size"]) for attack, rows in shown.groupby("attack")
    }

    def minus_log_likelihood(theta: np.ndarray) -> float:
        value = stats.binom.logpmf(catch["correct"].sum(), len(catch), 1 - theta[4])
        for (midpoint, slope), of_attack in zip((theta[:2], theta[2:4]), counts.values(), strict=True):
            z = np.exp(slope) * (np.log(of_attack.index.to_numpy()) - midpoint)
            pc = 0.5 + (0.5 - theta[4]) * sigmoid_of("Weibull", z)[0]
            value += stats.binom.logpmf(of_attack["sum"], of_attack["size"], pc).sum()
        return -float(value)

    bounds = [(-3, 3), (-1, 3), (-3, 3), (-1, 3), (1e-6, 0.2)]
    best = optimize.minimize(minus_log_likelihood, [0, 0.3, 0, 0.3, 0.05], method="L-BFGS-B", bounds=bounds)
    curves = [golden_fits[attack, "Weibull"].curve for attack in counts]
    ours = [value for curve in curves for value in (np.log(curve.midpoint), np.log(curve.slope))] + [curves[0].lapse]
    assert minus_log_likelihood(np.array(ours)) <= best.fun + 1e-6
    assert ours == pytest.approx(list(best.x), abs=2e-3)


def test_a_profile_interval_ends_where_the_likelihood_has_fallen_by_what_t_and_clusters_allow() -> None:
    trials = simulate(5, participants=20, trials=8, catch=0)
    main = frames.main_trials(trials)
    threshold = psychometric.fit(main, main.iloc[:0]).thresholds[0]
    counts = main[main["strength"] > 0].groupby("strength")["correct"].agg(["sum", "size"])
    midpoint, slope = np.meshgrid(
        np.log([threshold.low, threshold.strength, threshold.high]), np.linspace(0.3, 9, 4000)
    )
    likelihood = np.zeros_like(midpoint)
    for s, (k, n) in counts.iterrows():
        pc = 0.5 + 0.48 * (1 - 2 ** -np.exp(slope * (np.log(s) - midpoint)))
        likelihood += stats.binom.logpmf(k, n, pc)
    low, best, high = likelihood.max(0)
    allowed = stats.t.ppf(0.975, 19) ** 2 / 2 * max(1, threshold.cluster_inflation)
    assert [best - low, best - high] == pytest.approx([allowed, allowed], rel=1e-3)


def test_without_catch_trials_the_lapse_rate_has_no_interval() -> None:
    fitted = fit(simulate(2, catch=0))
    assert (fitted.lapse_low, fitted.lapse_high) == (None, None)


def test_a_slope_or_a_lapse_rate_at_its_limit_is_said() -> None:
    step = with_proportions(0.5, 0.5, 1.0, 1.0, trials=200)
    assert "the slope lies at the edge" in fit(step).note
    inattentive = simulate(2, participants=20)
    missed = (inattentive["is_catch"] == 1) & (inattentive["participant"] < "P18")
    fitted = fit(inattentive.assign(correct=inattentive["correct"].mask(missed, 0)))
    assert fitted.curve.lapse == 0.2
    assert "the lapse rate lies at its limit of 0.2" in fitted.note
    assert fitted.lapse_high is None


def test_the_interval_of_the_lapse_rate_holds_it(studies) -> None:
    assert sum(fitted.lapse_low <= LAPSE <= (fitted.lapse_high or 1) for _, fitted in studies) >= 21


def test_strengths_chosen_from_the_answers_give_a_curve_without_intervals() -> None:
    trials = simulate(1).assign(procedure="adaptive")
    planned, chosen = fit(trials.drop(columns="procedure")), fit(trials)
    assert chosen.curve == planned.curve
    assert {(one.low, one.high, one.cluster_inflation) for one in chosen.thresholds} == {(None, None, None)}
    assert (chosen.lapse_low, chosen.lapse_high, chosen.note) == (None, None, psychometric.ADAPTIVE)


def test_a_threshold_of_yes_no_is_said_to_move_with_the_criterion() -> None:
    assert fit(simulate(1).assign(protocol="yes_no")).note == CRITERION


def test_an_attack_without_a_curve_does_not_touch_the_others() -> None:
    good = simulate(2, participants=12)
    flat = good[good["is_catch"] == 0].assign(attack="flat", correct=0)
    both, alone = fit_all(pd.concat([good, flat])), fit_all(good)
    assert both["wanet", "Weibull"] == alone["wanet", "Weibull"]
    assert both["flat", "Weibull"].curve is None


# --- goodness of fit


def test_the_deviance_is_that_of_the_counts_against_the_curve(
    golden_trials: pd.DataFrame, golden_fits: psychometric.Fits
) -> None:
    for row in goodness(golden_trials, golden_fits, simulations=20):
        curve = golden_fits[row["attack"], row["sigmoid"]].curve
        parts = []
        for part in row["residuals"]:
            k, n, pc = round(part["observed"] * part["n"]), part["n"], curve.proportion_correct(part["strength"])
            assert part["expected"] == pytest.approx(float(pc))
            parts.append(2 * (stats.binom.logpmf(k, n, k / n) - stats.binom.logpmf(k, n, pc)))
            assert part["deviance_residual"] ** 2 == pytest.approx(parts[-1], abs=1e-9)
            assert np.sign(part["deviance_residual"]) == np.sign(part["observed"] - part["expected"])
        assert row["deviance"] == pytest.approx(sum(parts))
        assert (row["df"], len(row["residuals"])) == (2, 4)


def test_a_curve_that_is_right_is_not_refused_more_often_than_by_chance(studies) -> None:
    found = [goodness(table, {("wanet", "Weibull"): fitted}, simulations=100)[0]["p"] for table, fitted in studies]
    assert np.mean(np.array(found) < 0.05) <= 0.17
    assert 0.3 < np.mean(found) < 0.7


def test_counts_that_no_curve_describes_are_noticed() -> None:
    for row in goodness(with_proportions(0.55, 0.8, 0.6, 0.9, 0.75)):
        assert row["p"] < 0.01
        assert "does not describe" in row["note"]


def test_the_correlation_of_residuals_is_with_log_strength() -> None:
    row = goodness(with_proportions(0.55, 0.8, 0.6, 0.9, 0.75), simulations=10)[0]
    residuals = [part["deviance_residual"] for part in row["residuals"]]
    assert row["residuals_against_strength"] == pytest.approx(stats.pearsonr(residuals, range(5)).statistic)


def test_two_strengths_test_no_curve() -> None:
    row = goodness(with_proportions(0.6, 0.8))[0]
    assert (row["p"], row["df"], row["residuals_against_strength"]) == (None, 0, None)
    assert "nothing is tested" in row["note"]


def test_people_who_differ_are_said_to_make_p_one_about_the_pooled_model() -> None:
    alike, different = (
        goodness(simulate(3, participant_sd=sd, stimulus_sd=sd), simulations=20)[0]["note"] for sd in (0.0, 0.8)
    )
    assert alike is None
    assert "people or images differ" in different
    assert "the pooled binomial model" in different


def test_without_a_curve_goodness_says_why() -> None:
    row = goodness(simulate(1, strengths=(0.0, 2.0), participants=4))[0]
    assert (row["p"], row["deviance"], row["residuals"]) == (None, None, [])
    assert "fewer than two strengths" in row["note"]


def test_the_same_trials_give_the_same_p_to_the_last_digit(
    golden_trials: pd.DataFrame, golden_fits: psychometric.Fits
) -> None:
    assert goodness(golden_trials, golden_fits, simulations=50) == goodness(golden_trials, simulations=50)


def test_a_thousand_refits_are_fast(golden_trials: pd.DataFrame, golden_fits: psychometric.Fits) -> None:
    start = time.process_time()
    rows = goodness(golden_trials, golden_fits)
    assert {row["simulations"] for row in rows} == {1000}
    assert time.process_time() - start < 2
