import json
import time

import numpy as np
import pytest
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from study.analysis import frames, mixed
from study.analysis.psychometric import LEVELS, MEDIAN_PERSON
from tests.study.analysis.observers import one_condition, simulate

MODELS = {"gee", "gee_bias_reduced", "glm_two_way", "betabinomial", "glmm", "glmm_lapse", "sensitivity"}
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


def cluster_robust(trials, predictors, groups, **keywords):
    """Statsmodels' own sandwich, row by row."""
    x = mixed.design_matrix(trials, predictors)
    clusters = np.column_stack([frames.codes(trials[name]) for name in groups]).squeeze()
    model = GLM(trials["correct"].to_numpy(float), x, family=Binomial())
    return model.fit(tol=1e-12, cov_type="cluster", cov_kwds={"groups": clusters, **keywords})


def test_statsmodels_one_way_sandwich_is_the_golden_cr1s(golden, golden_main) -> None:
    """So that the oracle of the next test is known to be right, and its default to be CR1S."""
    target = golden["glm_cluster_robust"]["CR1S"]
    shift = {"strength": golden_main["strength"], "error_shift_deg": golden_main["error_shift_deg"]}
    found = cluster_robust(golden_main, shift, ["participant"])
    for name, theirs in {**NAMES, "error_shift_deg": "error_shift_deg"}.items():
        assert found.bse[name] == pytest.approx(target[theirs], abs=1e-5)


def test_the_two_way_sandwich_on_counts_is_statsmodels_on_single_trials(golden_main) -> None:
    oracle = cluster_robust(
        golden_main, {"strength": golden_main["strength"]}, ["participant", "stimulus"], use_correction=False
    )
    fitted = mixed.glm_two_way(golden_main)
    assert fitted["formula"] == "correct ~ strength + attack"
    assert fitted["df"] == 29
    for name, row in fitted["coefficients"].items():
        assert row["estimate"] == pytest.approx(oracle.params[name], abs=1e-8)
        assert row["se"] == pytest.approx(oracle.bse[name], abs=1e-8)


def test_a_two_way_variance_that_is_not_positive_is_replaced_by_the_larger_one_way_one() -> None:
    """Every person right half the time and every image half the time, but each pair always the same."""
    person, image = np.repeat(np.arange(8), 16), np.tile(np.repeat(np.arange(8), 2), 8)
    correct = ((person + image) % 2).astype(int)
    flipped = np.where((person == 0) & (image == 0), 1 - correct, correct)
    table = one_condition(1, [0.5] * 8, trials=16, stimuli=16).assign(
        participant=person.astype(str), stimulus=image.astype(str), correct=flipped
    )
    noise = np.random.default_rng(1).normal(size=len(table))
    oracle = cluster_robust(table, {"noise": noise}, ["participant", "stimulus"], use_correction=False).cov_params()
    assert oracle.loc["Intercept", "Intercept"] < 0
    one_way = [
        cluster_robust(table, {"noise": noise}, [name], use_correction=False).bse["Intercept"]
        for name in ("participant", "stimulus")
    ]
    fitted = mixed.logistic_two_way(table, {"noise": noise})["coefficients"]
    assert fitted["Intercept"]["se"] == pytest.approx(max(one_way), rel=1e-6)


def test_the_beta_binomial_agrees_with_glmmtmb(golden, golden_main) -> None:
    target, fitted = golden["betabinomial"], mixed.betabinomial(golden_main)
    assert fitted["converged"]
    for name, theirs in NAMES.items():
        assert fitted["coefficients"][name]["estimate"] == pytest.approx(target["coef"][theirs], abs=1e-3)
        assert fitted["coefficients"][name]["se"] == pytest.approx(target["se"][theirs], abs=1e-3)
    assert fitted["dispersion"] == pytest.approx(target["dispersion_phi"], rel=1e-3)
    assert fitted["log_likelihood"] == pytest.approx(target["logLik"], abs=1e-3)


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

    monkeypatch.setattr(mixed, "_two_way_variances", singular)
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


# All of them


@pytest.fixture(scope="module")
def golden_models(golden_trials):
    return mixed.fit_all(frames.main_trials(golden_trials), frames.catch_trials(golden_trials))


def test_the_report_has_every_regression(golden_models) -> None:
    assert golden_models.content.keys() == MODELS
    assert all(golden_models.content[name]["converged"] for name in MODELS - {"sensitivity"})


def test_the_companion_of_the_report_agrees_with_lme4(golden, golden_models) -> None:
    target, fitted = golden["glmer"]["mafc_logit_spos_log2"], golden_models.content["glmm"]
    names = {"Intercept": "(Intercept)", "log2_strength": "log2s", "attack[T.wanet]": "attackwanet"}
    assert fitted["formula"] == "correct ~ log2(strength) + attack + (1|participant) + (1|stimulus)"
    assert (fitted["link"], fitted["guess"], fitted["lapse"], fitted["information"]) == ("logit", 0.5, 0, "expected")
    assert fitted["coefficients"].keys() == names.keys()
    for name, theirs in names.items():
        row = fitted["coefficients"][name]
        assert row["estimate"] == pytest.approx(target["coef"][theirs], abs=5e-3)
        assert row["se"] == pytest.approx(target["se"][theirs], abs=1e-2)
        assert row["p"] == pytest.approx(target["p_wald"][theirs], rel=0.05)
    assert fitted["sd"] == pytest.approx(target["sd_random"], abs=5e-3)
    assert fitted["log_likelihood"] == pytest.approx(target["logLik"], abs=1e-2)


def test_both_gees_are_those_of_single_fits(golden_main, golden_models) -> None:
    for name, covariance in (("gee", "robust"), ("gee_bias_reduced", "bias_reduced")):
        alone = mixed.gee(golden_main, covariance)
        assert golden_models.content[name]["covariance"] == covariance
        for term, row in alone["coefficients"].items():
            assert golden_models.content[name]["coefficients"][term] == pytest.approx(row)


def test_the_thresholds_are_the_median_persons_at_both_levels(golden_models) -> None:
    rows = golden_models.thresholds
    assert [(row["attack"], row["level"]) for row in rows] == [
        (attack, level) for attack in ("badnets", "wanet") for level in LEVELS
    ]
    assert {row["population"] for row in rows} == {MEDIAN_PERSON}
    assert all(row["low"] < row["threshold"] < row["high"] for row in rows)


def test_a_study_without_a_strength_above_0_has_every_regression_with_a_reason(golden_trials) -> None:
    main = frames.main_trials(golden_trials)
    found = mixed.fit_all(main[main["strength"] == 0], frames.catch_trials(golden_trials))
    assert found.content.keys() == MODELS
    assert all(found.content[name]["reason"] for name in MODELS - {"sensitivity"})
    assert (found.thresholds, found.marginal, found.modes, found.median_person) == ([], {}, {}, {})


def kept(golden_trials, case: str):
    main, catch = frames.main_trials(golden_trials), frames.catch_trials(golden_trials)
    rng = np.random.default_rng(1)
    right = {
        "all right": 1,
        "all wrong": 0,
        "at chance": rng.integers(0, 2, len(main)),
        "separated": (main["strength"] >= 1).astype(int),
    }
    rows = {
        "one attack": main["attack"] == "wanet",
        "one strength": main["strength"] == 1,
        "one participant": main["participant"] == "P01",
        "one stimulus": main["stimulus"] == "S01",
        "one trial": main.index == main.index[-1],
    }
    if case in right:
        return main.assign(correct=right[case]), catch
    return (main[rows[case]], catch) if case in rows else (main, catch[:0])


@pytest.mark.parametrize(
    "case",
    [
        "all right", "all wrong", "at chance", "separated", "one attack", "one strength", "one participant",
        "one stimulus", "one trial", "no catch trials",
    ],
)  # fmt: skip
def test_a_poor_study_gets_reasons_and_no_number_out_of_reach(golden_trials, case) -> None:
    found = mixed.fit_all(*kept(golden_trials, case))
    json.dumps([found.content, found.thresholds, list(found.marginal.values()), found.modes], allow_nan=False)
    for name in MODELS - {"sensitivity"}:
        model = found.content[name]
        assert model["converged"] == (model["reason"] is None)
        assert model["converged"] == bool(model["coefficients"])
        assert all(row["se"] < 10 for row in model["coefficients"].values())


def test_every_regression_of_a_usual_study_takes_less_than_three_seconds(golden_trials) -> None:
    main, catch = frames.main_trials(golden_trials), frames.catch_trials(golden_trials)
    start = time.process_time()
    mixed.fit_all(main, catch)
    assert time.process_time() - start < 2.5
