import numpy as np
import pytest

from study.analysis import frames, psychometric
from tests.study.analysis.observers import simulate

SIMULATED_STUDIES = 25


def fit(trials, sigmoid="Weibull"):
    return psychometric.fit(frames.main_trials(trials), frames.catch_trials(trials), sigmoid)


def test_the_interval_holds_a_known_threshold() -> None:
    """100 studies: docs/analysis.md. Fewer than 21 of 25 has a probability below .01 at a coverage of .95."""
    held = 0
    for seed in range(SIMULATED_STUDIES):
        threshold = fit(simulate(seed, threshold=1.0)).thresholds[0]
        held += threshold.low <= 1.0 <= threshold.high
    assert held >= 21


@pytest.mark.parametrize("seed", [32, 52, 63])
def test_both_ends_are_found_where_a_steep_slope_lies_at_its_bound(seed: int) -> None:
    trials = simulate(seed, threshold=0.67, slope=4.0, trials=4, catch=0, strengths=(0.25, 0.5, 1.0, 2.0, 4.0))
    for threshold in fit(trials).thresholds:
        assert threshold.low < threshold.strength < threshold.high
        assert threshold.high / threshold.low < 2


def test_a_search_that_fails_gives_rows_of_nulls_and_the_reason(monkeypatch) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("f(a) and f(b) must have different signs")

    monkeypatch.setattr(psychometric, "_end", fail)
    rows = psychometric.threshold_rows("wanet", "Weibull", fit(simulate(5, participants=12)))
    assert [row["level"] for row in rows] == list(psychometric.LEVELS)
    for row in rows:
        assert (row["threshold"], row["low"], row["high"], row["slope"]) == (None, None, None, None)
        assert "the search for the curve failed" in row["note"]


def test_catch_images_do_not_narrow_the_interval() -> None:
    """8 images: 7 degrees of freedom, however many images the catch trials add."""
    trials = simulate(5, stimuli=8, trials=8, strengths=(0.5, 1.0, 2.0))
    of_one_image = trials.assign(stimulus=trials["stimulus"].mask(trials["is_catch"] == 1, "C0"))
    of_many = trials.assign(
        stimulus=trials["stimulus"].mask(trials["is_catch"] == 1, trials["participant"] + trials["stimulus"])
    )
    one, many = (psychometric._Data.of(frames.main_trials(t), frames.catch_trials(t)) for t in (of_one_image, of_many))
    assert one.degrees_of_freedom == many.degrees_of_freedom == 7


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
