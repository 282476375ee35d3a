import numpy as np
import pytest

from study.analysis import error_shift, frames
from tests.study.analysis.observers import simulate


def test_items_agree_with_the_golden_correlation(golden, golden_main) -> None:
    positive = golden_main[golden_main["strength"] > 0]
    for trials, key in ((golden_main, "items_all"), (positive, "items_strength_positive")):
        found = error_shift.item_spearman(trials)
        assert found["rho"] == pytest.approx(golden["spearman"][key]["rho"], abs=1e-8)
        assert found["n"] == golden["spearman"][key]["n"]


def test_participants_agree_with_the_golden_correlation(golden, golden_main) -> None:
    target = golden["spearman"]["per_participant"]
    found = error_shift.per_participant_spearman(golden_main[golden_main["strength"] > 0])
    assert found["rho"] == pytest.approx(target["mean_rho"], abs=1e-8)
    assert (found["low"], found["high"]) == pytest.approx(target["ci95"], abs=1e-8)
    assert found["p"] == pytest.approx(target["p"], rel=1e-6)
    assert found["n"] == 40


def test_a_strong_association_vanishes_at_equal_strength(golden_main) -> None:
    summary = error_shift.summary(golden_main)
    assert summary["unadjusted"]["p"] < 1e-6
    assert summary["strength_adjusted"]["p"] > 0.2
    assert summary["within_between"]["between"]["p"] < 1e-6
    assert summary["within_between"]["within"]["p"] > 0.2


def test_it_is_said_that_a_shift_is_no_cause(golden_main) -> None:
    assert "does not mean that the shift causes detection" in error_shift.summary(golden_main)["note"]


def test_a_shift_that_people_follow_within_conditions_is_found() -> None:
    trials = frames.main_trials(simulate(3, participants=40, strengths=(1.0, 2.0), trials=20))
    seen = trials.assign(
        error_shift_deg=trials["strength"] * 5
        + 2 * trials["correct"]
        + np.random.default_rng(1).normal(0, 2, len(trials))
    )
    within = error_shift.summary(seen)["within_between"]["within"]
    assert within["estimate"] > 0.2
    assert within["p"] < 1e-6


def test_participants_without_variance_are_left_out_and_counted() -> None:
    trials = frames.main_trials(simulate(1, participants=6))
    trials = trials.assign(correct=np.where(trials["participant"] == "P00", 1, trials["correct"]))
    assert error_shift.per_participant_spearman(trials)["n"] == 5


def test_without_error_shifts_there_is_no_summary() -> None:
    trials = frames.main_trials(simulate(1, participants=4))
    assert error_shift.summary(trials.assign(error_shift_deg=float("nan"))) is None
