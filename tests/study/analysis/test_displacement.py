import pandas as pd
import pytest

from study.analysis import displacement, frames
from tests.study.analysis.observers import on_screens, simulate

STRENGTHS = (0.0, 0.5, 1.0, 2.0)
#: Device px per degree of the screens that were measured.
SCREENS = {"P00": 30.0, "P01": 60.0, "P02": 40.0}


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    return on_screens(frames.main_trials(simulate(1, participants=5, strengths=STRENGTHS, trials=4)), SCREENS)


def test_an_angle_is_the_median_over_the_sessions_that_measured_their_screen(trials: pd.DataFrame) -> None:
    row = displacement.of_condition(trials[trials["strength"] == 1.0])
    assert row["displacement_px"] == pytest.approx(0.5)
    assert row["displacement_arcmin"] == pytest.approx(0.5 * 4 / 40 * 60)
    assert row["displacement_arcmin_low"] == pytest.approx(0.5 * 4 / 60 * 60)
    assert row["displacement_arcmin_high"] == pytest.approx(0.5 * 4 / 30 * 60)
    assert row["displacement_sessions"] == 3


def test_a_session_counts_once_however_many_trials_it_has(trials: pd.DataFrame) -> None:
    cell = trials[trials["strength"] == 1.0]
    repeated = pd.concat([cell, *[cell[cell["participant"] == "P01"]] * 9])
    assert (
        displacement.of_condition(repeated)["displacement_arcmin"]
        == displacement.of_condition(cell)["displacement_arcmin"]
    )


def test_without_a_measured_screen_there_is_no_angle(trials: pd.DataFrame) -> None:
    for unmeasured in (on_screens(trials, {}), trials.drop(columns="displacement_arcmin")):
        row = displacement.of_condition(unmeasured[unmeasured["strength"] == 1.0])
        assert row["displacement_arcmin"] is None
        assert row["displacement_sessions"] == 0
        assert row["displacement_px"] == pytest.approx(0.5)


def test_a_pooled_threshold_is_that_of_the_median_screen_and_a_personal_one_of_its_own(trials: pd.DataFrame) -> None:
    unit = displacement.per_strength(trials, "wanet")
    row = {"threshold": 2.0, "low": 1.0, "high": None}
    pooled = displacement.of_threshold(row | {"population": "pooled"}, unit)
    assert (pooled["threshold_px"], pooled["low_px"], pooled["high_px"]) == (
        pytest.approx(1.0),
        pytest.approx(0.5),
        None,
    )
    assert pooled["threshold_arcmin"] == pytest.approx(1.0 * 4 / 40 * 60)
    own = displacement.of_threshold(row | {"population": "P00"}, unit)
    assert own["threshold_arcmin"] == pytest.approx(1.0 * 4 / 30 * 60)
    unmeasured = displacement.of_threshold(row | {"population": "P03"}, unit)
    assert (unmeasured["threshold_px"], unmeasured["threshold_arcmin"]) == (pytest.approx(1.0), None)


def test_a_threshold_has_no_displacement_that_does_not_grow_in_proportion(trials: pd.DataFrame) -> None:
    bent = trials.assign(displacement_px=trials["displacement_px"] ** 2)
    unit = displacement.per_strength(bent, "wanet")
    row = {"threshold": 2.0, "low": 1.0, "high": 3.0, "population": "pooled"}
    assert len(displacement.of_threshold(row, unit)) == 12
    assert set(displacement.of_threshold(row, unit).values()) == {None}


def test_the_median_persons_threshold_is_that_of_the_median_screen_too(trials: pd.DataFrame) -> None:
    unit = displacement.per_strength(trials, "wanet")
    row = {"threshold": 2.0, "low": 1.0, "high": None}
    of_pooled, of_median = (
        displacement.of_threshold(row | {"population": name}, unit) for name in ("pooled", "median person")
    )
    assert of_median == of_pooled


def test_a_share_of_the_width_needs_the_width(trials: pd.DataFrame) -> None:
    row = {"threshold": 2.0, "low": 1.0, "high": None, "population": "pooled"}
    without = displacement.of_threshold(row, displacement.per_strength(trials, "wanet"))
    assert without["threshold_percent_of_width"] is None
    known = trials.assign(image_width_px=64.0)
    found = displacement.of_threshold(row, displacement.per_strength(known, "wanet"))
    assert found["threshold_percent_of_width"] == pytest.approx(100 * 1.0 / 64)
    assert (found["low_percent_of_width"], found["high_percent_of_width"]) == (pytest.approx(100 * 0.5 / 64), None)
    cell = known[known["strength"] == 1.0]
    assert displacement.of_condition(cell)["displacement_percent_of_width"] == pytest.approx(100 * 0.5 / 64)


def test_images_of_other_widths_share_what_is_in_proportion_to_them(trials: pd.DataFrame) -> None:
    wide = trials["stimulus"] < "S30"
    both = trials.assign(
        image_width_px=wide.map({True: 128.0, False: 64.0}), displacement_px=trials["displacement_px"] * (1 + wide)
    )
    cell = both[both["strength"] == 1.0]
    assert displacement.of_condition(cell)["displacement_percent_of_width"] == pytest.approx(100 * 0.5 / 64)


def test_displayed_pixels_are_those_of_the_median_screen(trials: pd.DataFrame) -> None:
    scale = trials["participant"].map({"P00": 2.0, "P01": 3.0, "P02": 4.0, "P03": 5.0})
    shown = trials.assign(displacement_displayed_px=trials["displacement_px"] * scale)
    row = displacement.of_condition(shown[shown["strength"] == 1.0])
    found = [row[f"displacement_displayed_px{end}"] for end in ("", "_low", "_high")]
    assert found == pytest.approx([0.5 * 3.5, 0.5 * 2, 0.5 * 5])
    unit = displacement.per_strength(shown, "wanet")
    pooled = {"threshold": 2.0, "low": None, "high": None, "population": "pooled"}
    assert displacement.of_threshold(pooled, unit)["threshold_displayed_px"] == pytest.approx(3.5)
    own = displacement.of_threshold(pooled | {"population": "P00"}, unit)
    assert own["threshold_displayed_px"] == pytest.approx(2.0)


def test_the_screens_are_summed_up(trials: pd.DataFrame) -> None:
    assert displacement.screens(trials) == {
        "sessions": 5,
        "measured": 3,
        "px_per_degree": 40.0,
        "px_per_degree_low": 30.0,
        "px_per_degree_high": 60.0,
        "scales": [4.0],
    }


def test_a_table_that_knows_nothing_of_screens_says_so() -> None:
    found = displacement.screens(simulate(1, participants=2, strengths=STRENGTHS, trials=2))
    assert (found["sessions"], found["measured"], found["px_per_degree"], found["scales"]) == (2, 0, None, [])


def test_pixels_are_given_only_where_they_grow_in_proportion() -> None:
    row = {"attack": "wanet", "strength": 1.0, "displacement_px": 0.6}
    double = row | {"strength": 2.0, "displacement_px": 1.2}
    assert displacement.px_per_strength([row, double], "wanet") == pytest.approx(0.6)
    assert displacement.px_per_strength([row, double | {"displacement_px": 3.0}], "wanet") is None
    assert displacement.px_per_strength([row], "patch") is None
