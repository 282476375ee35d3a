from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.analysis import error_shift, frames, matched
from study.analysis.protocols import NO_GUESS_RATE
from tests.study.analysis.observers import simulate


@pytest.fixture(scope="module")
def found(golden_main: pd.DataFrame) -> dict[str, Any]:
    summary = error_shift.summary(golden_main)
    assert summary is not None
    return summary


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    return frames.main_trials(simulate(3, participants=30, strengths=(0.0, 1.0, 2.0), trials=10))


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    return [value] if isinstance(value, float) else []


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


def test_a_strong_association_vanishes_at_equal_strength(found: dict[str, Any]) -> None:
    assert found["unadjusted"]["p"] < 1e-6
    assert found["strength_adjusted"]["p"] > 0.2
    assert found["within_between"]["between"]["p"] < 1e-6
    assert found["glmm"]["within_between"]["between"]["p"] > 0.2
    for split in (found["within_between"], found["glmm"]["within_between"]):
        assert split["within"]["p"] > 0.2


def test_it_is_said_that_a_shift_is_no_cause(found: dict[str, Any]) -> None:
    assert "does not mean that the shift causes detection" in found["note"]


# --- mixed models with a guess rate


def test_the_mixed_model_agrees_with_the_golden_one(golden: dict[str, Any], found: dict[str, Any]) -> None:
    target, row = golden["glmer"]["mafc_logit_spos_log2_shift"], found["glmm"]["strength_adjusted"]
    assert row["converged"]
    assert row["estimate"] == pytest.approx(target["coef"]["error_shift_deg"], abs=5e-3)
    assert row["se"] == pytest.approx(target["se"]["error_shift_deg"], abs=1e-3)
    assert row["p"] == pytest.approx(target["p_wald"]["error_shift_deg"], abs=5e-3)
    assert row["log_likelihood"] == pytest.approx(target["logLik"], abs=1e-2)
    for factor in ("participant", "stimulus"):
        assert row["sd"][factor] == pytest.approx(target["sd_random"][factor], abs=1e-2)


def test_the_likelihood_ratio_agrees_with_the_golden_one(golden: dict[str, Any], found: dict[str, Any]) -> None:
    target, ratio = golden["glmer"]["lrt_error_shift_mafc"], found["glmm"]["strength_adjusted"]["likelihood_ratio"]
    assert ratio["statistic"] == pytest.approx(target["chisq"], abs=2e-3)
    assert (ratio["df"], ratio["p"]) == (1, pytest.approx(target["p"], abs=5e-3))


def test_the_mixed_models_say_what_they_are(found: dict[str, Any]) -> None:
    row = found["glmm"]["strength_adjusted"]
    assert row["formula"] == ("correct ~ log2(strength) + attack + error_shift_deg + (1|participant) + (1|stimulus)")
    assert (row["link"], row["guess"], row["lapse"], row["information"]) == ("logit", 0.5, 0, "expected")
    formula = "correct ~ log2(strength) + attack + between + within + (1|participant) + (1|stimulus)"
    assert found["glmm"]["within_between"]["formula"] == formula
    assert found["strength_adjusted"]["formula"] == "correct ~ error_shift_deg + condition"


def test_with_one_attack_none_is_adjusted_for(trials: pd.DataFrame) -> None:
    assert "attack" not in error_shift.summary(trials)["glmm"]["strength_adjusted"]["formula"]


def test_hits_on_single_images_have_no_guess_rate(trials: pd.DataFrame) -> None:
    row = error_shift.summary(trials.assign(protocol="yes_no"))["glmm"]["strength_adjusted"]
    assert (row["estimate"], row["converged"], row["reason"]) == (None, False, NO_GUESS_RATE)
    assert row["likelihood_ratio"]["p"] is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t[t["strength"] == 0], "no trial showed an alteration"),
        (lambda t: t[t["strength"] == 1], "the predictors do not vary independently"),
        (lambda t: t.assign(participant="P00"), "one participant only"),
        (lambda t: t.assign(stimulus="S00"), "one stimulus only"),
        (lambda t: t[t["correct"] == 1], "all answers are alike"),
    ],
    ids=["no alteration", "one strength", "one participant", "one stimulus", "all right"],
)
def test_what_cannot_be_fitted_has_a_reason_and_no_number(trials: pd.DataFrame, change: Any, reason: str) -> None:
    summary = error_shift.summary(change(trials))
    row = summary["glmm"]["strength_adjusted"]
    assert reason in row["reason"]
    assert row["estimate"] is None
    assert all(np.isfinite(numbers(summary)))


# --- models


def test_several_models_of_one_attack_are_a_random_factor(trials: pd.DataFrame) -> None:
    names = np.random.default_rng(0).choice(["m1", "m2", "m3", "m4", "m5"], len(trials))
    summary = error_shift.summary(trials.assign(model=names))
    assert (summary["models"]["n"], summary["models"]["as_factor"]) == (5, True)
    assert set(summary["glmm"]["strength_adjusted"]["sd"]) == {"participant", "stimulus", "model"}
    assert summary["glmm"]["strength_adjusted"]["formula"].endswith("(1|model)")


def test_several_fields_of_one_attack_are_a_random_factor(trials: pd.DataFrame) -> None:
    fields = np.random.default_rng(0).choice(["f1", "f2", "f3", "f4", "f5"], len(trials))
    row = error_shift.summary(trials.assign(field=fields, model="m"))["glmm"]["strength_adjusted"]
    assert row["formula"].endswith("(1|stimulus) + (1|field)")


def test_models_stand_for_the_fields_that_each_of_them_has_of_its_own(trials: pd.DataFrame) -> None:
    models = np.random.default_rng(0).choice(["m1", "m2", "m3", "m4", "m5"], len(trials))
    own = trials.assign(model=models, field=np.char.replace(models, "m", "f"))
    row = error_shift.summary(own)["glmm"]["strength_adjusted"]
    assert row["formula"].endswith("(1|stimulus) + (1|model)")


def test_a_few_models_are_no_random_factor(trials: pd.DataFrame) -> None:
    summary = error_shift.summary(trials.assign(model=np.random.default_rng(0).choice(["m1", "m2"], len(trials))))
    assert (summary["models"]["n"], summary["models"]["as_factor"]) == (2, False)
    assert "holds for these" in summary["models"]["note"]


def test_a_model_for_each_attack_is_no_random_factor(golden_main: pd.DataFrame) -> None:
    models = error_shift.summary(golden_main.assign(model="of " + golden_main["attack"]))["models"]
    assert (models["n"], models["as_factor"]) == (2, False)


@pytest.mark.parametrize(("model", "n", "sentence"), [("m", 1, "holds for it"), ("", None, "does not name")])
def test_it_is_said_for_which_models_it_holds(trials: pd.DataFrame, model: str, n: int | None, sentence: str) -> None:
    models = error_shift.summary(trials.assign(model=model))["models"]
    assert (models["n"], models["as_factor"]) == (n, False)
    assert sentence in models["note"]


def test_the_slope_is_corrected_by_what_models_trained_alike_agree_on(trials: pd.DataFrame) -> None:
    rng = np.random.default_rng(1)
    pictures = trials.loc[trials["strength"] > 0, ["stimulus", "strength"]].drop_duplicates()
    rows = [
        (stimulus, "wanet", "", strength, model, 0, "x", np.nan, true + rng.normal(), 1.0, np.nan)
        for stimulus, strength in pictures.sort_values(["strength", "stimulus"]).itertuples(index=False)
        for true in [rng.normal(8 * strength, 2)]
        for model in ("a", "b", "c")
    ]
    summary = error_shift.summary(trials.assign(model="a"), matched.from_rows(rows))
    found, within = summary["reliability"], summary["glmm"]["within_between"]["within"]
    assert found["reliability"] == pytest.approx(0.8, abs=0.1)
    assert found["estimate_corrected"] == pytest.approx(within["estimate"] / found["reliability"])
    assert found["low_corrected"] == pytest.approx(within["low"] / found["reliability"])


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


def test_a_corrected_slope_is_that_of_the_shift_all_models_share() -> None:
    rng = np.random.default_rng(4)
    n, stimuli, slope = 15_000, 60, 0.4
    true = rng.normal(0, 2, (stimuli, 2))
    seen = {model: true + rng.normal(0, 2, true.shape) for model in ("a", "b", "c", "d", "e")}
    stimulus, level = rng.integers(stimuli, size=n), rng.integers(2, size=n)
    names = np.array([f"S{i:03d}" for i in range(stimuli)])
    trials = pd.DataFrame(
        {
            "participant": np.arange(n) % 250,
            "stimulus": names[stimulus],
            "attack": "wanet",
            "strength": 1.0 + level,
            "control": "",
            "model": "a",
            "error_shift_deg": seen["a"][stimulus, level],
            "correct": (rng.random(n) < 0.5 + 0.5 / (1 + np.exp(-slope * true[stimulus, level]))).astype(int),
        }
    )
    predictions = matched.from_rows(
        (names[i], "wanet", "", 1.0 + s, model, 0, "x", np.nan, seen[model][i, s], 1.0, np.nan)
        for model in seen
        for i, s in np.ndindex(true.shape)
    )
    summary = error_shift.summary(trials, predictions)
    assert summary["glmm"]["within_between"]["within"]["estimate"] == pytest.approx(slope / 2, rel=0.2)
    assert summary["reliability"]["estimate_corrected"] == pytest.approx(slope, rel=0.2)
