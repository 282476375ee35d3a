from dataclasses import replace
from typing import Any

import pytest

from study.analysis import checks, frames, report
from study.analysis.material import Material
from study.analysis.report import Sample
from tests.study.analysis.observers import one_condition, simulate


def check(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(row for row in rows if row["name"].startswith(name))


def of(material: Material) -> list[dict[str, Any]]:
    """The checks of what was done."""
    analysed = Sample.of(material).analysed
    return checks.of_study(material, analysed, report.conditions_of(frames.main_trials(analysed), material.bound))


def small(**columns: Any) -> Any:
    return simulate(1, participants=6, trials=3).assign(population="simulated", **columns)


def test_an_identity_control_off_chance_is_a_fault_of_the_study() -> None:
    leak = one_condition(1, [0.75] * 30, trials=8).assign(strength=0.0, control="identity")
    found = check(of(Material("s", leak)), "identity control")
    assert not found["ok"]
    assert "fault of the study" in found["detail"]


def test_identity_controls_at_chance_pass(built) -> None:
    assert check(built.content["checks"], "identity control")["ok"]


def test_a_study_without_identity_controls_is_told_so() -> None:
    assert not check(of(Material("s", one_condition(1, [0.5] * 20))), "identity control")["ok"]


def test_a_changed_design_is_a_failed_check(material: Material) -> None:
    assert not check(of(replace(material, design_matches=False)), "design as frozen")["ok"]
    assert not check(of(replace(material, earlier_designs=3)), "design as frozen")["ok"]


def test_a_condition_too_small_for_the_bound_is_named() -> None:
    found = check(of(Material("s", one_condition(1, [0.5] * 12, trials=5), bound=0.55)), "precise enough")
    assert not found["ok"]
    assert "wanet s = 0.5" in found["detail"]


def test_signs_of_scripts_are_shown_and_exclude_nobody() -> None:
    found = of(Material("s", small(), flagged={"P02": ["too_fast", "no_input"], "P03": []}))
    detail = check(found, "no signs of scripts")
    assert not detail["ok"]
    assert "1 of 6 analysed participants" in detail["detail"]
    assert "too fast: 1" in detail["detail"]
    assert detail["detail"].endswith("none is left out for it")
    assert check(of(Material("s", small(), flagged={})), "no signs of scripts")["ok"]


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("ifc", "altered image in the second interval"),
        ("flicker", "changing place on the right"),
        ("yes_no", "the unaltered image shown"),
    ],
)
def test_sides_are_called_by_what_they_mean(protocol: str, words: str) -> None:
    assert words in check(of(Material("s", small(protocol=protocol))), "sides balanced")["detail"]


def test_the_identity_control_of_an_adaptive_study_is_tested_and_its_claims_are_not() -> None:
    trials = simulate(3, participants=12, trials=8).assign(procedure="adaptive")
    made = report.build(Material("s", trials)).content["checks"]
    assert "against .5" in check(made, "identity control")["detail"]
    names = {row["name"] for row in made}
    assert not names & {"precise enough for the bound", "exclusions do not decide"}
    assert not any(name.startswith("converged") for name in names)


def test_a_condition_without_variance_is_named() -> None:
    made = of(Material("s", simulate(1, participants=4, trials=2).assign(correct=1)))
    found = check(made, "answers vary")
    assert not found["ok"]
    assert "wanet s = 0" in found["detail"]


def test_a_verdict_that_would_change_with_everybody_is_named() -> None:
    same = {"attack": "a", "strength": 1.0, "verdict_changes": False, "everybody": {"verdict": "detectable"}}
    other = {"attack": "a", "strength": 0.5, "verdict_changes": True, "everybody": {"verdict": "inconclusive"}}
    assert checks.of_exclusions([same])["ok"]
    found = checks.of_exclusions([same, other])
    assert not found["ok"]
    assert found["detail"] == "with everybody: a s = 0.5 would be inconclusive"


def test_every_regression_has_a_check_of_its_convergence(built) -> None:
    names = [row["name"] for row in built.content["checks"] if row["name"].startswith("converged")]
    assert names == [f"converged: {words}" for words in checks.MODELS.values()]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"converged": False, "reason": "one attack, one strength"}, "one attack, one strength"),
        ({"converged": True, "diagnostics": {"boundary": [], "notes": ["gradient .1"]}}, "gradient .1"),
    ],
    ids=["not found", "noted"],
)
def test_a_fit_that_went_wrong_is_a_failed_check_in_words(model: dict[str, Any], words: str) -> None:
    (found,) = checks.of_models({"glmm": {"reason": None} | model})
    assert not found["ok"]
    assert words in found["detail"]


def test_a_curve_that_does_not_fit_is_a_failed_check() -> None:
    row = {"attack": "a", "sigmoid": "Weibull", "deviance": 30.0, "p": 0.001, "simulations": 1000, "note": None}
    (bad,), (good,) = checks.of_fit([row]), checks.of_fit([row | {"p": 0.4}])
    assert (bad["ok"], good["ok"]) == (False, True)


def test_a_spread_of_nought_is_noted_and_is_no_fault() -> None:
    model = {"converged": True, "reason": None, "diagnostics": {"boundary": ["participant"], "notes": ["The SD is 0"]}}
    found = next(check for check in checks.of_models({"glmm": model}) if "GLMM" in check["name"])
    assert found["ok"]
    assert "The SD is 0" in found["detail"]
