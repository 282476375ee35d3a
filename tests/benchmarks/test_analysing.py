"""The comparison of the analysis: what is read, what is compared, and what may not hold a bar."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.side_by_side import analysing, fits
from benchmarks.side_by_side.analysing import Pair, crossed_rows, furthest_threshold, growth, psychometric_rows
from benchmarks.side_by_side.costs import Cost
from benchmarks.side_by_side.fits import Fit, largest_difference, parsed
from benchmarks.side_by_side.fitters import drawn, here
from benchmarks.side_by_side.fitters.psignifit_curves import counts
from study.analysis import frames

OURS = Fit({"Intercept": 1.0, "SE Intercept": 0.2, "log likelihood": -100.0}, Cost(0.5, 0.4, 150.0))
LME4 = Fit(
    {"Intercept": 1.0004, "SE Intercept": 0.1998, "log likelihood": -100.002},
    Cost(50.0, 48.0, 400.0),
    {"R": "4.2.2", "lme4": "1.1.31"},
)
PRINTED = """boundary (singular) fit: see help('isSingular')
{"figures": {"Intercept": 0.72, "SE Intercept": 0.216}, "wall_s": 1.5, "cpu_s": 0.7, "peak_mb": 253.0}
"""


# --- what a fitter tells


def test_a_fit_is_the_last_line_that_is_printed() -> None:
    assert parsed(PRINTED) == Fit({"Intercept": 0.72, "SE Intercept": 0.216}, Cost(1.5, 0.7, 253.0))


def test_a_figure_that_r_could_not_compute_is_named() -> None:
    with pytest.raises(ValueError, match="no SE Intercept"):
        parsed(PRINTED.replace("0.216", "null"))


def test_the_largest_difference_is_that_of_any_figure_but_the_log_likelihood() -> None:
    assert largest_difference(OURS, LME4) == pytest.approx(4e-4)
    worse = replace(LME4, figures=dict(LME4.figures) | {"SE Intercept": 0.002})
    assert largest_difference(OURS, worse) == pytest.approx(0.198)


def test_fits_of_other_models_are_not_compared() -> None:
    with pytest.raises(ValueError, match="not the same models"):
        largest_difference(OURS, Fit({"(Intercept)": 1.0}, Cost()))


def test_psignifit_is_given_the_counts_of_main_trials_with_an_alteration(tmp_path: Path) -> None:
    rows = ["wanet,1.0,1,0", "wanet,1.0,0,0", "wanet,0.0,1,0", "catch,8.0,1,1", "badnets,2.0,1,0"]
    path = tmp_path / "trials.csv"
    path.write_text("\n".join(["attack,strength,correct,is_catch", *rows]))
    found = counts(str(path))
    assert {attack: rows.tolist() for attack, rows in found.items()} == {
        "badnets": [[pytest.approx(0.6931, abs=1e-4), 1, 1]],
        "wanet": [[0.0, 1, 2]],
    }


def test_a_drawn_person_has_the_trials_that_sizes_are_divided_by(tmp_path: Path) -> None:
    path = tmp_path / "study.csv"
    path.write_bytes(drawn.draw(3))
    main = frames.main_trials(frames.read_csv(path))
    assert len(main) == 3 * drawn.MAIN
    assert (main["strength"] > 0).sum() == 3 * drawn.ALTERED


def test_our_gee_is_that_of_statsmodels() -> None:
    table = frames.read_csv(analysing.GOLDEN)
    main, catch = frames.main_trials(table), frames.catch_trials(table)
    ours, theirs = (Fit(fitter(main, catch)(), Cost()) for fitter in (here.gee, here.statsmodels_gee))
    assert largest_difference(ours, theirs) < 1e-6


# --- rows


def test_the_crossed_model_is_asked_to_be_ten_times_faster_at_the_largest_size_only() -> None:
    pairs = [Pair(OURS, LME4)]
    small, large = (crossed_rows(name, "so many trials", pairs, pairs)[0] for name in ("24k", "240k"))
    assert (small.bar, small.ok) == ("", None)
    assert (large.id, large.ratio, large.ok) == ("glmm.240k.vs_lme4", 0.01, True)
    assert large.costs["peer"] == LME4.cost


def test_a_row_of_one_round_says_so() -> None:
    pair = Pair(OURS, LME4)
    assert "one round" in crossed_rows("240k", "240,000 trials", [pair], [pair])[0].what
    assert "one round" not in crossed_rows("240k", "240,000 trials", [pair] * 2, [pair] * 2)[0].what


def test_estimates_that_are_too_far_apart_miss_their_bar() -> None:
    far = Pair(OURS, replace(LME4, figures=dict(LME4.figures) | {"Intercept": 1.002}))
    near, default = ([Pair(OURS, LME4)], [far])
    rows = {row.id: row for row in crossed_rows("24k", "24,000 trials", near, default)}
    assert rows["glmm.24k.difference"].ok
    assert rows["glmm.24k.difference_default"].ok is None  # told, not asked for
    assert crossed_rows("24k", "24,000 trials", default, default)[2].ok is False


def test_nothing_recorded_holds_a_bar() -> None:
    pairs = [Pair(OURS, LME4, recorded=True)]
    rows = crossed_rows("240k", "240,000 trials", pairs, pairs)
    assert all(row.recorded and row.ok is False for row in rows)


def test_a_psychometric_function_costs_its_share_of_the_fits() -> None:
    ours = Fit({"badnets": 0.7, "lapse badnets": 0.02, "wanet": 1.0, "lapse wanet": 0.03}, Cost(0.3, 0.2, 140.0))
    theirs = Fit({"badnets": 0.707, "wanet": 1.03}, Cost(1.0, 0.8, 130.0))
    cpu, _, thresholds = psychometric_rows("2400", "2,400 trials", [Pair(ours, theirs)], [Pair(ours, theirs)])
    assert (cpu.ours, cpu.peer) == (100.0, 400.0)
    assert furthest_threshold(Pair(ours, theirs)) == pytest.approx(0.03)
    assert thresholds.ok is False
    assert analysing.lapses(ours) == {"badnets": 0.02, "wanet": 0.03}


def test_a_report_that_grows_with_its_trials_is_linear_whatever_it_begins_with() -> None:
    assert growth({trials: 9.0 + 7e-5 * trials for trials in analysing.REPORTED}) == pytest.approx(1.0)


def test_a_report_that_grows_faster_than_its_trials_misses_the_bar() -> None:
    quadratic = {trials: [Cost(1.0, 5 + 3e-5 * trials + 1e-10 * trials**2, 300.0)] for trials in analysing.REPORTED}
    growing = analysing.report_rows(quadratic)[-1]
    assert (growing.id, growing.ok) == ("report.growth", False)


# --- the record


def test_what_lme4_needed_is_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "RECORD", tmp_path / "lme4.json")
    slower = replace(LME4, cost=Cost(70.0, 68.0, 400.0))
    fits.record({"240k": {"usable": [LME4, slower]}}, "2 cores of something")
    found = fits.recorded()
    kept = found.fits["240k"]["usable"]
    assert (kept.figures, kept.cost) == (LME4.figures, Cost(60.0, 58.0, 400.0))
    assert found.origin.startswith("2 cores of something, R 4.2.2, lme4 1.1.31, 20")


def test_the_record_has_all_that_is_compared(tmp_path: Path) -> None:
    effort = analysing.Effort(tmp_path, rounds=1, seconds=1.0)
    found = fits.recorded()
    names = {(name, control) for name in analysing._tables(effort) for control in fits.CONTROLS}
    assert {(name, control) for name, controls in found.fits.items() for control in controls} == names


def test_without_r_the_record_is_shown_and_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    told: list[str] = []
    fit, recorded = analysing._lme4(told.append)("240k", tmp_path / "crossed.csv", "usable")
    assert recorded
    assert fit.cost.wall_s == json.loads(fits.RECORD.read_text())["fits"]["240k"]["usable"]["wall_s"]
    assert "was recorded" in told[0]


def test_a_fit_that_takes_too_long_is_replaced_by_the_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fits, "has_lme4", lambda: True)
    monkeypatch.setattr(fits, "lme4", lambda table, control: None)
    told: list[str] = []
    _, recorded = analysing._lme4(told.append)("240k", tmp_path / "crossed.csv", "default")
    assert recorded
    assert "has not ended" in told[0]
