import numpy as np
import pytest

from study.analysis import frames, mixed
from tests.study.analysis.observers import one_condition, simulate

NAMES = {"Intercept": "(Intercept)", "strength": "strength", "attack[T.wanet]": "attackwanet"}


@pytest.fixture(scope="module")
def one_attack():
    return frames.main_trials(simulate(1, participants=20, trials=4))


def test_the_gee_agrees_with_geepack(golden, golden_main) -> None:
    target = golden["geeglm"]["all_strength_attack"]
    fitted = mixed.gee(golden_main)
    assert fitted["converged"]
    assert fitted["formula"] == "correct ~ strength + attack"
    assert fitted["coefficients"].keys() == NAMES.keys()
    for name, theirs in NAMES.items():
        assert fitted["coefficients"][name]["estimate"] == pytest.approx(target["coef"][theirs], abs=1e-4)
        assert fitted["coefficients"][name]["se"] == pytest.approx(target["robust_se"][theirs], abs=1e-4)
    assert fitted["alpha"] == pytest.approx(target["alpha"], abs=5e-4)


def test_the_bias_reduced_covariance_agrees_with_the_golden_one(golden, golden_main) -> None:
    target = golden["statsmodels_gee_bias_reduced"]
    fitted = mixed.gee(golden_main, "bias_reduced")
    for name, theirs in NAMES.items():
        assert fitted["coefficients"][name]["se"] == pytest.approx(target["se"][theirs], abs=1e-5)


def test_the_two_way_sandwich_agrees_with_the_golden_one(golden, golden_main) -> None:
    target = golden["glm_cluster_robust"]
    shift = {"strength": golden_main["strength"], "error_shift_deg": golden_main["error_shift_deg"]}
    fitted = mixed.logistic_two_way(golden_main, shift)["coefficients"]
    for name, theirs in {**NAMES, "error_shift_deg": "error_shift_deg"}.items():
        assert fitted[name]["estimate"] == pytest.approx(target["coef"][theirs], abs=1e-5)
        se = target["twoway_participant_stimulus_HC0_cadjustFALSE"][theirs]
        assert fitted[name]["se"] == pytest.approx(se, abs=1e-5)


def test_with_one_attack_there_is_no_attack_term(one_attack) -> None:
    fitted = mixed.gee(one_attack)
    assert fitted["formula"] == "correct ~ strength"
    assert set(fitted["coefficients"]) == {"Intercept", "strength"}


@pytest.mark.parametrize(
    ("trials", "reason"),
    [
        (one_condition(1, [1.0] * 10), "all answers are alike"),
        (one_condition(1, [0.5] * 10), "do not vary independently"),
        (simulate(1, participants=1, catch=0), "one participant only"),
    ],
)
def test_a_model_that_cannot_be_fitted_says_why_and_gives_no_number(trials, reason: str) -> None:
    fitted = mixed.gee(trials)
    assert not fitted["converged"]
    assert reason in fitted["reason"]
    assert fitted["coefficients"] == {}


def test_a_singular_information_matrix_gives_no_number(one_attack, monkeypatch) -> None:
    def singular(*arguments: object) -> None:
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(mixed, "_two_way_covariance_diagonal", singular)
    fitted = mixed.logistic_two_way(one_attack, {"strength": one_attack["strength"]})
    assert not fitted["converged"]
    assert "separate" in fitted["reason"]
    assert fitted["coefficients"] == {}


def test_answers_that_a_predictor_separates_give_no_number(one_attack) -> None:
    separating = one_attack["correct"] + np.linspace(0, 0.1, len(one_attack))
    fitted = mixed.logistic_two_way(one_attack, {"separating": separating})
    assert not fitted["converged"]
    assert "separate" in fitted["reason"]
    assert fitted["coefficients"] == {}
