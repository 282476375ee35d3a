"""Errors in variables: what models trained alike agree on."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from study.analysis import frames, matched, reliability
from tests.study.analysis.observers import simulate


def shifts(seed: int, pairs: int, models: int, between: float = 2.0, residual: float = 1.0) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, between, (pairs, 1)) + rng.normal(0, residual, (pairs, models))


def test_reliability_is_the_share_of_variance_between_pairs() -> None:
    assert reliability.agreement([shifts(1, 3000, 4)]) == pytest.approx(4 / 5, abs=0.02)


def test_it_is_the_consistency_of_an_analysis_of_variance() -> None:
    table = shifts(2, 12, 3)
    pair, model = np.indices(table.shape)
    long = pd.DataFrame({"y": table.ravel(), "pair": pair.ravel(), "model": model.ravel()})
    squares = anova_lm(ols("y ~ C(pair) + C(model)", long).fit())
    b, e = (squares.loc[name, "mean_sq"] for name in ("C(pair)", "Residual"))
    assert reliability.agreement([table]) == pytest.approx((b - e) / (b + 2 * e))


def test_a_models_own_mean_and_the_strength_make_no_shift_reliable() -> None:
    tables = [shifts(3, 20, 3), shifts(4, 20, 3)]
    moved = [table + 30.0 * i + np.array([0.0, 5.0, -8.0]) for i, table in enumerate(tables)]
    assert reliability.agreement(moved) == pytest.approx(reliability.agreement(tables))


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (np.outer([1.0, 2.0, 4.0], [1.0, 1.0]), 1.0),
        (np.array([[1.0, 4.0], [2.0, 2.0], [4.0, 1.0]]), 0.0),
        (np.ones((3, 2)), None),
    ],
    ids=["they agree", "they contradict each other", "nothing varies"],
)
def test_the_ends_of_the_scale(table: np.ndarray[Any, Any], expected: float | None) -> None:
    assert reliability.agreement([table]) == (None if expected is None else pytest.approx(expected))


def test_without_conditions_there_is_none() -> None:
    assert reliability.agreement([]) is None


# --- from the tables


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    return frames.main_trials(simulate(1, participants=8, stimuli=10, strengths=(0.0, 1.0, 2.0), trials=3))


def predict(trials: pd.DataFrame, targets: dict[str, str]) -> pd.DataFrame:
    pictures = trials.loc[trials["strength"] > 0, ["stimulus", "strength"]].drop_duplicates()
    rng = np.random.default_rng(5)
    return matched.from_rows(
        (stimulus, "wanet", "", strength, model, 0, target, np.nan, true + rng.normal(0, 0.5), 1.0, np.nan)
        for stimulus, strength in pictures.sort_values(["strength", "stimulus"]).itertuples(index=False)
        for true in [rng.normal()]
        for model, target in targets.items()
    )


def test_only_models_of_the_same_target_count(trials: pd.DataFrame) -> None:
    targets = {"a": "x", "b": "x", "c": "y", "clean": matched.CLEAN}
    found = reliability.of_shift(trials.assign(model="a"), predict(trials, targets))
    assert (found["models"], found["target"], found["pairs"]) == (2, "x", 20)
    assert 0.5 < found["reliability"] < 1


def test_pairs_that_not_all_models_were_given_are_left_out(trials: pd.DataFrame) -> None:
    shown = predict(trials, {"a": "x", "b": "x"})
    fewer = shown[(shown["model"] == "a") | (shown["stimulus"] != "S00")]
    assert reliability.of_shift(trials.assign(model="a"), fewer)["pairs"] == 18


@pytest.mark.parametrize(
    ("model", "targets", "note"),
    [
        ("a", {"a": "x", "b": "y"}, "Only one model with the target x"),
        ("another", {"a": "x", "b": "x"}, reliability.NO_MODEL),
        ("", {"a": "x", "b": "x"}, reliability.NO_MODEL),
        ("clean", {"a": "x", "clean": matched.CLEAN}, reliability.NO_MODEL),
    ],
)
def test_one_model_of_a_target_tells_nothing(
    trials: pd.DataFrame, model: str, targets: dict[str, str], note: str
) -> None:
    found = reliability.of_shift(trials.assign(model=model), predict(trials, targets))
    assert found["reliability"] is None
    assert note in found["note"]


def test_without_predictions_it_is_not_known(trials: pd.DataFrame) -> None:
    found = reliability.of_shift(trials, None)
    assert (found["reliability"], found["note"]) == (None, reliability.NO_PREDICTIONS)


def test_one_pair_in_a_condition_is_too_few(trials: pd.DataFrame) -> None:
    shown = predict(trials, {"a": "x", "b": "x"})
    found = reliability.of_shift(trials.assign(model="a"), shown[shown["stimulus"] == "S01"])
    assert (found["reliability"], found["note"]) == (None, reliability.TOO_FEW_PAIRS)


@pytest.mark.parametrize(("share", "estimate"), [(0.5, 0.4), (0.0, None), (None, None)])
def test_a_slope_is_divided_by_its_reliability(share: float | None, estimate: float | None) -> None:
    slope = {"estimate": 0.2, "low": -0.1, "high": 0.5}
    assert reliability.corrected({"reliability": share}, slope)["estimate_corrected"] == estimate


def test_a_slope_that_could_not_be_fitted_stays_none() -> None:
    slope = dict.fromkeys(("estimate", "low", "high"))
    assert reliability.corrected({"reliability": 0.5}, slope)["estimate_corrected"] is None
