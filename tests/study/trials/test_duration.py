"""How long participants are told that a session takes."""

from __future__ import annotations

from typing import Any

import pytest

from study.trials import duration


def a_design(**changes: Any) -> dict[str, Any]:
    """60 main, 4 catch and 6 practice trials, side by side until the answer; `timing` is added to the usual one."""
    timing = {
        "fixation_ms": 500,
        "exposure_ms": None,
        "mask_ms": 0,
        "gap_ms": 500,
        "response_ms": None,
        "blank_ms": 400,
    }
    return {
        "protocol": "afc",
        "adaptive": None,
        "display": {"calibration": "none", "distance": "none"},
        "practice": {"stimuli": list(range(12)), "rounds": 2},
        "catch": {"stimuli": [1, 2, 3, 4]},
        "cells": [{"trials": 40}, {"trials": 20}],
        "break_every": 40,
        **changes,
        "timing": timing | changes.get("timing", {}),
    }


def test_rounds_are_those_of_one_practice_and_the_main_part() -> None:
    assert duration.trials_of_a_session(a_design()) == 6 + 4 + 60


def test_seventy_pairs_take_five_to_thirteen_minutes() -> None:
    # quick: 60 s around, 1 break of 5 s, 6 x 1.5 s feedback, 70 x (0.9 + 2) s = 277 s
    # careful: 120 s around, 1 break of 60 s, 12 x 4 s feedback, 76 x (0.9 + 6) s = 752.4 s
    assert duration.estimate(a_design()) == (5, 13)


def test_a_fixed_exposure_is_counted_for_both_intervals() -> None:
    fixed = a_design(protocol="ifc", timing={"exposure_ms": 1000, "mask_ms": 200, "gap_ms": 500})
    # quick: 60 + 5 + 9 s and 70 x (0.9 + 2 x 1.2 + 0.5 + 0.8) s = 396 s
    assert duration.estimate(fixed).shortest == 7


def test_a_response_window_bounds_the_time_for_an_answer() -> None:
    assert duration.estimate(a_design(timing={"response_ms": 1500})).longest < duration.estimate(a_design()).longest


def test_an_adaptive_session_may_be_shorter_by_its_stop_rule_alone() -> None:
    early, never = (
        duration.estimate(a_design(adaptive={"most": 40, "minimum": 10, "sd": sd}, cells=[{"trials": 40}]))
        for sd in (0.2, 0.0)
    )
    assert early.shortest < never.shortest
    assert early.longest == never.longest


@pytest.mark.parametrize(
    "display", [{"calibration": "card", "distance": "told"}, {"calibration": "card", "distance": "blind_spot"}]
)
def test_measuring_the_screen_takes_time(display: dict[str, str]) -> None:
    assert duration.estimate(a_design(display=display)).longest > duration.estimate(a_design()).longest


def test_a_tiny_study_takes_a_minute() -> None:
    tiny = a_design(cells=[], catch={"stimuli": [1]}, practice={"stimuli": [], "rounds": 1})
    assert duration.estimate(tiny).shortest == 1
