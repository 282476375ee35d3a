"""The same pictures under several models."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.analysis import equivalence, frames, matched
from study.analysis.matched import PredictionTableError
from tests.study.analysis.observers import simulate

FIXED = {"kind": "fixed", "pitch": 0.0, "yaw": math.radians(25)}
ADDITIVE = {"kind": "additive", "pitch": 0.0, "yaw": math.radians(10)}


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    return frames.main_trials(simulate(1, participants=20, stimuli=12, strengths=(0.0, 1.0, 2.0), trials=4))


def predict(trials: pd.DataFrame, models: dict[str, tuple[str, float]], seed: int = 0, **more: Any) -> pd.DataFrame:
    """Predictions on all pairs of `trials`; of each model its target and the mean error shift at strength 1."""
    pictures = trials.loc[trials["strength"] > 0, ["stimulus", "attack", "strength"]].drop_duplicates()
    rng = np.random.default_rng(seed)
    rows = [
        (stimulus, attack, "", strength, model, 0, target, math.nan, gain * strength + rng.normal(), 1.0, 2.0)
        for stimulus, attack, strength in pictures.sort_values(["strength", "stimulus"]).itertuples(index=False)
        for model, (target, gain) in models.items()
    ]
    return matched.from_rows(rows).assign(**more)


def row_of(found: dict[str, Any], model: str, strength: float = 1.0) -> dict[str, Any]:
    (row,) = [row for row in found["rows"] if row["model"] == model and row["strength"] == strength]
    return row


# --- targets in words


@pytest.mark.parametrize(
    ("target", "words", "degrees"),
    [
        (FIXED, "fixed (0°, 25°)", None),
        (ADDITIVE, "additive (0°, 10°)", 10.0),
        ({"kind": "additive", "pitch": math.radians(-3), "yaw": math.radians(4)}, "additive (−3°, 4°)", 5.0),
        (None, matched.CLEAN, None),
    ],
)
def test_a_target_is_told_in_degrees(target: dict[str, Any] | None, words: str, degrees: float | None) -> None:
    assert matched.target_in_words(target) == words
    assert matched.target_degrees(target) == degrees


# --- the same pictures


def test_models_differ_in_shift_and_not_in_detection(trials: pd.DataFrame) -> None:
    found = matched.summary(trials, predict(trials, {"a": ("additive 10", 10.0), "b": ("additive 20", 20.0)}))
    assert found is not None
    first, second = row_of(found, "a"), row_of(found, "b")
    assert first["mean_error_shift_deg"] == pytest.approx(10, abs=1)
    assert second["mean_error_shift_deg"] == pytest.approx(20, abs=1)
    for name in ("proportion_correct", "two_way_low", "two_way_high", "pairs"):
        assert first[name] == second[name]
    assert "does not cause detection" in found["note"]


def test_detection_is_that_of_the_condition(trials: pd.DataFrame) -> None:
    found = matched.summary(trials, predict(trials, {"a": ("x", 10.0)}))
    assert found is not None
    cell = trials[trials["strength"] == 2.0]
    same = equivalence.two_way(cell["correct"], frames.codes(cell["participant"]), frames.codes(cell["stimulus"]))
    row = row_of(found, "a", 2.0)
    assert row["proportion_correct"] == pytest.approx(cell["correct"].mean())
    assert (row["two_way_low"], row["two_way_high"]) == pytest.approx(same.interval(0.95))


def test_strength_zero_controls_and_pictures_nobody_saw_stay_out(trials: pd.DataFrame) -> None:
    shown = predict(trials, {"a": ("x", 10.0)})
    extra = shown[shown["strength"] == 1.0].assign(stimulus=lambda rows: rows["stimulus"] + "-unseen")
    zero = shown[shown["strength"] == 1.0].assign(strength=0.0)
    assert matched.summary(trials, pd.concat([shown, extra, zero])) == matched.summary(trials, shown)


def test_the_interval_over_pictures_is_that_of_a_mean(trials: pd.DataFrame) -> None:
    shown = predict(trials, {"a": ("x", 10.0)})
    found = matched.summary(trials, shown)
    assert found is not None
    shift = shown.loc[shown["strength"] == 1.0, "error_shift_deg"]
    low, high = stats.t.interval(0.95, len(shift) - 1, shift.mean(), stats.sem(shift))
    row = row_of(found, "a")
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    assert row["over"] == "pictures"


def test_pictures_of_one_subject_are_no_independent_pictures(trials: pd.DataFrame) -> None:
    shown = predict(trials, {"a": ("x", 10.0)})
    subject = shown["stimulus"].str[1:].astype(int) // 3
    shown = shown.assign(image_subject=subject.astype(str), error_shift_deg=shown["error_shift_deg"] + 5.0 * subject)
    over_subjects = matched.summary(trials, shown)
    over_pictures = matched.summary(trials, shown.drop(columns="image_subject"))
    assert over_subjects is not None
    assert over_pictures is not None
    wide, narrow = row_of(over_subjects, "a"), row_of(over_pictures, "a")
    assert wide["over"] == "subjects"
    assert wide["mean_error_shift_deg"] == narrow["mean_error_shift_deg"]
    assert wide["high"] - wide["low"] > 1.5 * (narrow["high"] - narrow["low"])


def test_a_contrast_is_paired_by_picture(trials: pd.DataFrame) -> None:
    shown = predict(trials, {"a": ("x", 10.0)}).drop(columns="model")
    moved = shown.assign(model="b", target="y", error_shift_deg=shown["error_shift_deg"] - 3.0)
    found = matched.summary(trials, pd.concat([shown.assign(model="a"), moved], ignore_index=True))
    assert found is not None
    for row in found["contrasts"]:
        assert (row["first"], row["second"], row["first_target"], row["second_target"]) == ("a", "b", "x", "y")
        assert (row["difference"], row["low"], row["high"]) == pytest.approx((-3.0, -3.0, -3.0))


def test_a_contrast_is_a_paired_t_test(trials: pd.DataFrame) -> None:
    shown = predict(trials, {"a": ("x", 10.0), "b": ("y", 10.5)})
    found = matched.summary(trials, shown)
    assert found is not None
    wide = shown[shown["strength"] == 2.0].pivot_table(index="stimulus", columns="model", values="error_shift_deg")
    (row,) = [row for row in found["contrasts"] if row["strength"] == 2.0]
    assert row["p"] == pytest.approx(stats.ttest_rel(wide["b"], wide["a"]).pvalue)
    assert row["difference"] == pytest.approx((wide["b"] - wide["a"]).mean())


def test_models_given_fewer_pictures_have_the_detection_of_theirs(trials: pd.DataFrame) -> None:
    shown = predict(trials, {"a": ("x", 10.0), "b": ("y", 20.0)})
    few = sorted(shown["stimulus"].unique())[:5]
    found = matched.summary(trials, shown[(shown["model"] == "a") | shown["stimulus"].isin(few)])
    assert found is not None
    theirs = trials[(trials["strength"] == 1.0) & trials["stimulus"].isin(few)]
    assert row_of(found, "b")["proportion_correct"] == pytest.approx(theirs["correct"].mean())
    assert (row_of(found, "a")["pairs"], row_of(found, "b")["pairs"]) == (12, 5)
    assert {row["pairs"] for row in found["contrasts"]} == {5}
    assert "fewer of the pictures" in found["note"]


def test_seeds_of_one_target_are_a_second_cluster(trials: pd.DataFrame) -> None:
    models = {"a1": ("x", 8.0), "a2": ("x", 10.0), "a3": ("x", 12.0), "b": ("y", 20.0)}
    found = matched.summary(trials, predict(trials, models))
    assert found is not None
    of_x, of_y = (row for row in found["targets"] if row["strength"] == 1.0)
    assert (of_x["target"], of_x["models"], of_x["over"]) == ("x", 3, "pictures and models")
    assert of_x["mean_error_shift_deg"] == pytest.approx(10, abs=1)
    assert of_x["low"] < 8.0
    assert of_x["high"] > 12.0
    assert (of_y["low"], of_y["high"]) == (row_of(found, "b")["low"], row_of(found, "b")["high"])


def test_fields_keep_their_own_pictures_apart(trials: pd.DataFrame) -> None:
    both = pd.concat([trials.assign(field="f1"), trials.assign(field="f2", correct=1)], ignore_index=True)
    shown = pd.concat(
        [
            predict(trials, {"a": ("x", 10.0)}, field="f1"),
            predict(trials, {"b": ("x", 10.0)}, field="f2"),
        ]
    )
    found = matched.summary(both, shown)
    assert found is not None
    assert row_of(found, "b")["proportion_correct"] == 1
    assert row_of(found, "a")["proportion_correct"] < 1
    assert found["contrasts"] == []


def test_one_picture_has_no_interval(trials: pd.DataFrame) -> None:
    shown = predict(trials, {"a": ("x", 10.0)})
    found = matched.summary(trials, shown[shown["stimulus"] == shown["stimulus"].iloc[0]])
    assert found is not None
    row = row_of(found, "a")
    assert (row["pairs"], row["low"], row["high"], row["two_way_low"]) == (1, None, None, None)


def test_one_model_has_nothing_to_be_compared_with(trials: pd.DataFrame) -> None:
    found = matched.summary(trials, predict(trials, {"a": ("x", 10.0)}))
    assert found is not None
    assert (found["contrasts"], found["note"]) == ([], matched.NO_CONTRAST)


def test_without_predictions_of_the_pairs_there_is_no_summary(trials: pd.DataFrame) -> None:
    shown = predict(trials, {"a": ("x", 10.0)})
    assert matched.summary(trials, None) is None
    assert matched.summary(trials, shown.assign(attack="another")) is None


def test_adaptive_studies_give_no_proportion_correct(trials: pd.DataFrame) -> None:
    found = matched.summary(trials.assign(procedure="adaptive"), predict(trials, {"a": ("x", 1.0), "b": ("y", 2.0)}))
    assert found is not None
    assert {row["proportion_correct"] for row in found["rows"]} == {None}
    assert "chosen from the answers" in found["note"]


def test_row_order_changes_nothing(trials: pd.DataFrame) -> None:
    shown = predict(trials, {"a": ("x", 10.0), "b": ("y", 20.0)})
    mixed = matched.from_rows(shown.sample(frac=1, random_state=1).itertuples(index=False))
    assert matched.summary(trials, mixed) == matched.summary(trials, shown)


# --- the file


@pytest.fixture
def written(trials: pd.DataFrame, tmp_path: Path) -> Path:
    shown = predict(trials, {"a": ("fixed (0°, 25°)", 10.0), "b": ("additive (0°, 10°)", 4.0)})
    path = tmp_path / "predictions.csv"
    path.write_bytes(frames.to_csv(shown.assign(target_deg=np.where(shown["model"] == "b", 10.0, math.nan))))
    return path


def test_the_table_is_read_back_to_the_last_digit(trials: pd.DataFrame, written: Path) -> None:
    table = matched.read_predictions(written)
    expected = predict(trials, {"a": ("fixed (0°, 25°)", 10.0), "b": ("additive (0°, 10°)", 4.0)})
    assert table["error_shift_deg"].equals(expected["error_shift_deg"])
    assert frames.to_csv(table) == written.read_bytes()


def test_columns_may_come_in_any_order(written: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.csv"
    pd.read_csv(written, dtype=str, keep_default_na=False)[sorted(matched.COLUMNS)].to_csv(mixed, index=False)
    assert matched.read_predictions(mixed).equals(matched.read_predictions(written))


def test_the_subjects_of_the_pictures_are_optional(written: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.csv"
    more.write_bytes(frames.to_csv(matched.read_predictions(written).assign(image_subject="7")))
    assert set(matched.read_predictions(more)["image_subject"]) == {"7"}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (",seed,", ",sow,", 'column "seed" is missing'),
        (",seed,", ",seed,seed,", 'column "seed" is there more than once'),
        ("attack_error_deg\n", "attack_error_deg,mood\n", 'column "mood" is unknown'),
        (",2.0\n", ",\n", None),
        (",2.0\n", ",two\n", 'line 2: column "attack_error_deg" must be a finite number, not "two"'),
        (",2.0\n", ",inf\n", 'line 2: column "attack_error_deg" must be a finite number, not "inf"'),
        (",2.0\n", ",2.0,3.0\n", "line 2 has 12 fields where the header has 11"),
        (",a,0,", ",a,half,", 'line 2: column "seed" must be a whole number, not "half"'),
        (",a,0,", ",,0,", 'line 2: column "model" is empty'),
        (",a,0,", ",a,1,", 'column "seed" changes within model a'),
        (",1.0,a,0,", ",-1.0,a,0,", 'column "strength" must be 0 or more'),
        (",1.0,b,0,", ",1.0,a,0,", "model a has two rows for stimulus S00 under wanet at strength 1"),
    ],
)
def test_a_bad_table_gets_one_sentence(written: Path, old: str, new: str, sentence: str | None) -> None:
    text = written.read_text(encoding="utf-8")
    assert old in text
    written.write_text(text.replace(old, new, 1), encoding="utf-8")
    if sentence is None:
        assert matched.read_predictions(written)["attack_error_deg"].isna().sum() == 1
        return
    with pytest.raises(PredictionTableError) as refused:
        matched.read_predictions(written)
    assert sentence in str(refused.value)
    assert str(refused.value).count("\n") == 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "is missing"), (b"\xff\xfe", "is not UTF-8 CSV"), (",".join(matched.COLUMNS).encode(), "has no rows")],
)
def test_what_is_no_table_of_predictions_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "predictions.csv"
    path.write_bytes(content)
    with pytest.raises(PredictionTableError, match=sentence):
        matched.read_predictions(path)


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(PredictionTableError, match=r"nowhere\.csv: cannot be read"):
        matched.read_predictions(tmp_path / "nowhere.csv")
