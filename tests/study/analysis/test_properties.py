"""What must hold for every trial table: left and right are names, rows have no order, a column is there once."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.analysis import controls, detection, displacement, equivalence, frames, margin, psychometric, report
from study.analysis.report import Material
from tests.study.analysis.observers import on_screens, simulate

OTHER_SIDE = {"left": "right", "right": "left"}
#: In the check that says how often the altered image was on the right.
SIDES_COUNTED = "altered image on the right in"
#: Parts of a whole report that come from mixed models.
SEARCHED = ("glmm", ".models.", ".thresholds[", ".random_effects.", ".quality.", ".error_shift.")

seeds = st.integers(0, 10_000)
quick = settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Rows = list[dict[str, Any]]


def study_of(seed: int, participants: int = 6, stimuli: int = 10, trials: int = 3) -> pd.DataFrame:
    """A small study of two attacks, with catch trials, softened controls and measured screens, often uneven."""
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {"participants": participants, "stimuli": stimuli, "trials": trials}
    options["strengths"] = (0.0, 0.5, 1.0, 2.0)
    first, second = (simulate(seed + i, threshold=0.5 + i, catch=4, **options) for i in range(2))
    softened = simulate(seed + 2, threshold=4.0, catch=0, **options).assign(control="resampled")
    parts = [first, second.assign(attack="badnets"), softened[softened["strength"] > 0]]
    uneven = pd.concat([part.sample(frac=rng.uniform(0.7, 1), random_state=seed) for part in parts])
    return read(on_screens(uneven, {"P00": 30.0, "P01": 50.0}).assign(image_width_px=64.0))


def read(trials: pd.DataFrame) -> pd.DataFrame:
    """The table as the analysis reads it, whatever the order of its rows."""
    return frames.from_records(trials.astype(object).where(trials.notna(), None).to_dict("records"), "simulation")


def swapped(trials: pd.DataFrame) -> pd.DataFrame:
    """The same study filmed in a mirror."""
    return read(trials.assign(**{side: trials[side].map(OTHER_SIDE) for side in ("clean_side", "response_side")}))


def of_conditions(trials: pd.DataFrame) -> Rows:
    main = frames.main_trials(trials)
    return [
        detection.describe(cell) | displacement.of_condition(cell) | row
        for (_, _, cell), row in zip(frames.cells(main), equivalence.assess(main), strict=True)
    ]


def of_controls(trials: pd.DataFrame) -> Rows:
    return controls.compare(frames.control_trials(trials), frames.main_trials(trials))


def of_curves(trials: pd.DataFrame) -> Rows:
    main, catch = frames.main_trials(trials), frames.catch_trials(trials)
    fits = psychometric.fit_all(main, catch)
    rows = [row for key, fit in fits.items() for row in psychometric.threshold_rows(*key, fit)]
    units = {attack: displacement.per_strength(main, attack) for attack in main["attack"].unique()}
    rows = [row | displacement.of_threshold(row, units[row["attack"]]) for row in rows]
    return rows + psychometric.goodness(main, catch, fits, simulations=20)


PARTS: tuple[Callable[[pd.DataFrame], Rows], ...] = (of_conditions, of_controls, of_curves)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of everything in a report that is no mapping and no list."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    else:
        yield path, value


def of_the_other_side(value: Any) -> Any:
    """What a report must say of the mirrored study: signs turned where they say which side."""
    if isinstance(value, list):
        return [of_the_other_side(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: of_the_other_side(item) for key, item in value.items()}
    if found.get("criterion") is not None:
        found["criterion"] = -found["criterion"]
    if "side" in found:
        side = found["side"]
        found["side"] = side | {"estimate": -side["estimate"], "z": -side["z"]}
        found["side"] |= {"low": -side["high"], "high": -side["low"]} if "low" in side else {}
    return found


def assert_mirrored(before: Any, after: Any) -> None:
    """The same numbers to 1e-12, words and gaps, but for the sentence that counts the sides.

    Models that are searched for over random effects settle within their own tolerance.
    """
    for (path, one), (where, other) in zip(leaves(before), leaves(after), strict=True):
        assert path == where
        if SIDES_COUNTED in f"{one}":
            continue
        if isinstance(one, float):
            tolerance = 2e-3 if any(name in path for name in SEARCHED) else 1e-12
            assert other == pytest.approx(one, rel=tolerance, abs=tolerance), path
        else:
            assert other == one, path


# --- left and right are names


@pytest.mark.parametrize("part", PARTS)
@quick
@given(seed=seeds)
def test_swapping_left_and_right_changes_only_the_sign_of_the_criterion(
    part: Callable[[pd.DataFrame], Rows], seed: int
) -> None:
    trials = study_of(seed)
    assert_mirrored(of_the_other_side(part(trials)), part(swapped(trials)))


def test_the_mirror_turns_the_criterion_of_people_who_prefer_one_side() -> None:
    trials = study_of(3)
    leaning = trials.assign(response_side="left", correct=(trials["clean_side"] == "right").astype(int))
    before, after = of_conditions(leaning), of_conditions(swapped(leaning))
    assert all(row["criterion"] < -0.5 for row in before)
    assert [row["criterion"] for row in after] == pytest.approx([-row["criterion"] for row in before], abs=1e-12)


# --- rows have no order


@pytest.mark.parametrize("part", PARTS)
@quick
@given(seed=seeds, order=seeds)
def test_row_order_changes_nothing_to_the_last_digit(
    part: Callable[[pd.DataFrame], Rows], seed: int, order: int
) -> None:
    trials = study_of(seed)
    assert part(read(trials.sample(frac=1, random_state=order))) == part(trials)


@quick
@given(seed=seeds, order=seeds)
def test_the_order_of_the_columns_changes_nothing(seed: int, order: int) -> None:
    trials = study_of(seed)
    columns = list(np.random.default_rng(order).permutation(trials.columns))
    assert frames.sha256(read(trials[columns])) == frames.sha256(trials)


# --- a column is there once


@pytest.mark.parametrize("name", frames.REQUIRED)
def test_a_table_that_lacks_a_column_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "trials.csv").write_bytes(frames.to_csv(study_of(1).drop(columns=name)))
    with pytest.raises(frames.TrialTableError, match=f'^trials.csv: column "{name}" is missing'):
        frames.read_csv(tmp_path / "trials.csv")


@pytest.mark.parametrize("name", [*frames.REQUIRED, "displacement_px", "control"])
def test_a_table_that_has_a_column_twice_is_refused_by_name(tmp_path: Path, name: str) -> None:
    header, *rows = csv.reader(io.StringIO(frames.to_csv(study_of(1)).decode()))
    at = header.index(name)
    with (tmp_path / "trials.csv").open("w", newline="") as out:
        csv.writer(out).writerows([*row, row[at]] for row in (header, *rows))
    with pytest.raises(frames.TrialTableError, match=f'^trials.csv: column "{name}" is there more than once'):
        frames.read_csv(tmp_path / "trials.csv")


# --- the whole report


def content_of(trials: pd.DataFrame) -> dict[str, Any]:
    """Of its report, with few draws in the bootstrap: what holds for these holds for more."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(margin, "DRAWS", 100)
        return dict(report.build(Material("property", trials)).content)


@pytest.fixture(scope="module")
def built() -> tuple[pd.DataFrame, dict[str, Any]]:
    trials = study_of(5, participants=12, stimuli=16, trials=5)
    return trials, content_of(trials)


def test_the_mirrored_study_has_the_same_report_but_for_what_names_a_side(
    built: tuple[pd.DataFrame, dict[str, Any]],
) -> None:
    trials, content = built
    mirrored = content_of(swapped(trials))
    assert {"conditions", "thresholds", "models", "goodness_of_fit"} <= content.keys()
    of_both = ({key: found[key] for key in found if key != "data_sha256"} for found in (content, mirrored))
    assert_mirrored(of_the_other_side(next(of_both)), next(of_both))


def test_row_order_changes_no_byte_of_the_report(built: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    trials, content = built
    again = content_of(read(trials.sample(frac=1, random_state=9)))
    assert report.to_json(again) == report.to_json(content)
