"""Calibration: the tests keep their promise (gross bounds, fixed seeds), and the page says what was found."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.calibrate import __main__ as calibrate
from benchmarks.calibrate import closed, fitted, page
from benchmarks.calibrate.rows import COLUMNS, Bar, Found, bias, summarise
from benchmarks.calibrate.scenarios import BLOCK, SCENARIOS, Scenario, median_threshold, pooled_threshold
from benchmarks.calibrate.work import BARS, GROUPS, Part, parts
from study.analysis import equivalence, frames
from study.analysis.synthetic import Truth, draw, latin_square, weibull

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def rates(name: str, methods: Any, blocks: int = 8) -> dict[str, float]:
    """Rate of each method over so many blocks."""
    scenario = BY_NAME[name]
    found = [one.table(name, 0) for block in range(blocks) for one in methods(scenario, scenario.draw(block, seed=1))]
    return dict(pd.concat(found).groupby("method")["decision"].mean())


# --- gross bounds


@pytest.mark.parametrize("name", ["chance", "participants", "both", "twelve", "nested"])
def test_the_reports_test_rejects_a_true_null_about_as_often_as_it_says(name: str) -> None:
    assert 0.005 < rates(name, closed.methods)["two-way t"] < 0.1


@pytest.mark.parametrize("name", ["boundary-participants", "boundary-both"])
def test_at_the_bound_a_claim_below_it_is_rare(name: str) -> None:
    found = rates(name, closed.methods)
    assert found["two-way TOST"] < 0.1
    assert found["verdict: TOST and spread"] <= found["two-way TOST"]


@pytest.mark.parametrize("name", ["participants", "both", "nested", "boundary-both"])
def test_taking_trials_as_independent_goes_wrong(name: str) -> None:
    assert rates(name, closed.methods)["pooled"] > 0.1


@pytest.mark.parametrize("name", ["hidden-6", "hidden-12"])
def test_people_who_name_the_wrong_image_are_found_by_their_spread(name: str) -> None:
    found = rates(name, closed.methods)
    assert found["two-way t"] > 0.6
    assert found["verdict: TOST and spread"] < 0.07


def test_the_mixed_model_and_gee_protect_against_what_they_cluster_on() -> None:
    assert rates("both", fitted.crossed, blocks=1)["crossed GLMM t"] < 0.16
    assert rates("both", fitted.gee, blocks=1)["GEE robust"] < 0.35


def test_the_median_persons_threshold_is_covered() -> None:
    drawn = BY_NAME["threshold"].draw(0, seed=1, studies=20)
    found = list(fitted.curve(drawn, "headline", fitted.CURVES["headline"]))
    assert len(found) == 2
    assert min(one.decision.mean() for one in found) > 0.75


def test_a_shift_without_effect_is_associated_with_detection_until_strength_is_adjusted_for() -> None:
    scenario = BY_NAME["shift"]
    found = {one.method: one.decision for one in fitted.shifts(scenario, scenario.draw(0, seed=1, studies=4))}
    assert found["two-way GLM, not adjusted for strength"].mean() == 1
    assert found["GLMM cloglog with lapse, strength-adjusted"].mean() < 0.6


# --- the tests are those of the analysis


def test_the_contrast_is_the_one_of_the_report() -> None:
    drawn = BY_NAME["nested"].draw(0, seed=3, studies=5)
    tests = closed.contrast(drawn)
    for study in range(5):
        first, second = (cell for _, _, cell in frames.cells(drawn.table(study)))
        difference, *_, p = equivalence.contrast(first, second)
        assert tests.mean[study] == pytest.approx(difference, abs=1e-12)
        assert tests.p_difference(0.0)[study] == pytest.approx(p, abs=1e-9)


@pytest.mark.parametrize("attack", ["badnets", "wanet"])
def test_the_median_persons_threshold_is_where_f_is_one_half(attack: str) -> None:
    truth = Truth((weibull(attack, median_threshold(attack), {"badnets": 0.65, "wanet": 1.25}[attack], 1.6),))
    pc = draw(truth, latin_square(100, 50, 50), 40, np.random.default_rng(0)).correct.mean()
    assert pc == pytest.approx(0.75, abs=0.005)


def test_the_pooled_threshold_is_where_all_people_together_are_right_in_three_of_four() -> None:
    golden = BY_NAME["threshold"].truth
    there = weibull("wanet", pooled_threshold("wanet"), 1.25, 1.6)
    drawn = draw(replace(golden, conditions=(there,)), latin_square(200, 200, 20), 40, np.random.default_rng(0))
    assert drawn.correct.mean() == pytest.approx(0.75, abs=0.01)


# --- what is kept


def test_a_study_has_the_same_answers_whichever_methods_look_at_it() -> None:
    scenario = BY_NAME["both"]
    first, again, other = scenario.draw(3, 0), scenario.draw(3, 0), scenario.draw(4, 0)
    assert (first.correct == again.correct).all()
    assert (first.correct != other.correct).any()


def test_every_scenario_is_looked_at_and_every_bar_has_its_method() -> None:
    planned = {(part.scenario.name, part.group) for part in parts(seed=0, quick=True)}
    assert {name for name, _ in planned} == set(BY_NAME)
    assert {name for name, _ in BARS} <= set(BY_NAME)
    assert all(group.studies % BLOCK == 0 and group.quick % BLOCK == 0 for group in GROUPS.values())


def test_a_part_is_made_once_and_read_again(tmp_path: Path) -> None:
    part = Part.of(BY_NAME["hidden-6"], "closed", 0, seed=0)
    assert not part.done(tmp_path)
    part.make(tmp_path)
    assert part.done(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [part.name]
    assert list(part.read(tmp_path)) == list(COLUMNS)
    assert set(part.read(tmp_path)["study"]) == set(range(BLOCK))


def test_another_seed_block_group_or_scenario_is_another_part() -> None:
    scenario = BY_NAME["both"]
    asked = [
        (scenario, "closed", 0, 0),
        (scenario, "closed", 0, 1),
        (scenario, "closed", 1, 0),
        (scenario, "crossed", 0, 0),
        (replace(scenario, trials=7), "closed", 0, 0),
    ]
    assert len({Part.of(*arguments).name for arguments in asked}) == len(asked)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, monkeypatch, capsys) -> None:
    made: list[Part] = []

    def work(todo: list[Part], folder: Path, processes: int) -> None:
        made.extend(todo)
        for part in todo:
            part.make(folder)

    monkeypatch.setattr(calibrate, "work", work)
    arguments = ["--quick", "--only", "hidden-6", "--out", str(tmp_path)]
    calibrate.main(arguments)
    number = len(made)
    next((tmp_path / "calibration").iterdir()).unlink()
    calibrate.main(arguments)
    assert len(made) == number + 1
    content = json.loads((tmp_path / "calibration-part.json").read_text())
    assert {row["method"] for row in content["results"]} >= {"pooled", "two-way t", "verdict: TOST and spread"}
    assert {"seed", "commit", "versions"} <= set(content)
    raw = pd.read_csv(tmp_path / "calibration-part.csv")
    assert len(raw) == sum(row["studies"] for row in content["results"])


def test_processes_make_the_same_table_as_none(tmp_path: Path) -> None:
    part = Part.of(BY_NAME["hidden-6"], "closed", 1, seed=0)
    for folder in (tmp_path / "here", tmp_path / "there"):
        folder.mkdir()
    part.make(tmp_path / "here")
    calibrate.work([part], tmp_path / "there", processes=1)
    pd.testing.assert_frame_equal(part.read(tmp_path / "here"), part.read(tmp_path / "there"))


# --- rates


def test_a_rate_has_its_error_and_wilson_interval() -> None:
    row = summarise(pd.Series([1.0] * 5 + [0.0] * 95 + [math.nan] * 3), None)
    assert (row["rate"], row["studies"], row["without_answer"]) == (0.05, 103, 3)
    assert row["error"] == pytest.approx(math.sqrt(0.05 * 0.95 / 100))
    assert (row["low"], row["high"]) == (pytest.approx(0.02154, abs=1e-5), pytest.approx(0.11175, abs=1e-5))


def test_a_method_that_never_answers_has_no_rate_and_misses_its_bar() -> None:
    row = summarise(pd.Series([math.nan] * 3), Bar(0.03, 0.07))
    assert (row["rate"], row["low"], row["holds"]) == (None, None, False)


@pytest.mark.parametrize(
    ("bar", "rate", "low", "high", "holds"),
    [
        (Bar(0.03, 0.07), 0.08, 0.065, 0.1, True),
        (Bar(0.03, 0.07), 0.09, 0.075, 0.11, False),
        (Bar(0.03, 0.07), 0.01, 0.005, 0.02, False),
        (Bar(0.0, 0.07, by_interval=False), 0.08, 0.05, 0.1, False),
        (Bar(0.9, 1.0, by_interval=False), 0.92, 0.87, 0.95, True),
    ],
)
def test_a_bar_holds_by_the_interval_or_by_the_rate(
    bar: Bar, rate: float, low: float, high: float, holds: bool
) -> None:
    assert bar.holds(rate, low, high) is holds


def test_an_open_end_of_an_interval_covers_all_on_its_side() -> None:
    nan = math.nan
    low, high = np.array([nan, 1.0, -1.0, nan, nan]), np.array([1.0, nan, nan, -1.0, nan])
    found = Found.interval("m", np.array([[0.0, 2.0, 0.0, -2.0, nan], low, high]), truth=0.0)
    assert list(found.decision[:4]) == [1, 0, 1, 0]
    assert math.isnan(found.decision[4])


def test_the_bias_is_the_mean_distance_from_the_truth() -> None:
    nan = math.nan
    found = Found.interval("m", np.array([[1.0, 2.0, nan], [0.0, 0.0, nan], [3.0, 3.0, nan]]), truth=1.0)
    assert bias(found.table("s", 0)) == {"bias": 0.5, "sd": pytest.approx(math.sqrt(0.5))}
    test = Found.test("m", np.array([0.5, 0.6]), np.array([0.2, 0.04]))
    assert bias(test.table("s", 0)) == {"bias": None, "sd": None}


# --- the page


def content(**changes: Any) -> dict[str, Any]:
    rows = []
    for scenario in SCENARIOS:
        methods = [method for name, method in BARS if name == scenario.name] or ["two-way t"]
        rows += [row_of(scenario, method) | changes for method in ("pooled", *methods)]
    return {"seed": 7, "commit": "abc", "questions": calibrate.QUESTIONS, "results": rows, "versions": {"numpy": "2"}}


def row_of(scenario: Scenario, method: str) -> dict[str, Any]:
    bar = BARS.get((scenario.name, method))
    inside = 0.95 if scenario.question == "threshold" else 0.05
    decisions = pd.Series([1.0] * round(1000 * inside) + [0.0] * round(1000 * (1 - inside)))
    about = {"scenario": scenario.name, "title": scenario.title, "question": scenario.question, "method": method}
    known = {"bias": -0.0431, "sd": 0.165} if scenario.question == "threshold" else {"bias": None, "sd": None}
    return about | summarise(decisions, bar) | known


def test_the_page_shows_every_rate_with_its_interval_and_how_to_repeat_it() -> None:
    text = page.render(content())
    assert "make calibrate" in text
    assert "seed 7, commit abc" in text
    assert text.count(".050 [.038, .065]") >= len(SCENARIOS)
    assert "Missed" not in text
    for scenario in SCENARIOS:
        assert scenario.title in text or scenario.question in {"threshold", "shift"}


def test_a_threshold_has_its_bias() -> None:
    assert "| -0.043 | 0.165 |" in page.tables(content())


def test_a_missed_bar_is_said_in_words() -> None:
    text = page.render(content(rate=0.2, low=0.18, high=0.22, holds=False, bar=".03 to .07"))
    assert "Missed: people differ (SD .3): two-way t: type-I error .200 [.180, .220], wanted .03 to .07." in text
    assert "**no**" in text


def test_a_rate_that_lies_above_what_was_promised_is_bold() -> None:
    assert "| **.200 [.180, .220]** |" in page.tables(content(rate=0.2, low=0.18, high=0.22))


def test_a_method_without_any_answer_says_so() -> None:
    assert "no answer" in page.tables(content(rate=None, low=None, high=None))
