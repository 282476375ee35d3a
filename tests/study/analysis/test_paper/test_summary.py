from typing import Any

import pytest

from study.analysis.paper.blocks import Bullets, Paragraph, Strong
from study.analysis.paper.summary import headline_threshold, section


def content(**changes: Any) -> dict[str, Any]:
    def row(strength: float, verdict: str) -> dict[str, Any]:
        return {
            "attack": "wanet", "strength": strength, "verdict": verdict, "verdict_reason": None, "note": None,
            "proportion_correct": 0.5, "two_way_low": 0.4, "two_way_high": 0.6, "pairs_needed": 12,
        }  # fmt: skip

    rows = [row(0.0, "inconclusive"), row(0.5, "below the bound (.60)"), row(1.0, "detectable"), row(2.0, "detectable")]
    return {
        "procedure": "constant", "bound": 0.6, "level": 0.95, "scope": "for this", "exploratory": [],
        "conditions": rows, "thresholds": [], "checks": [], "stealth_margin": [],
    } | changes  # fmt: skip


def threshold(**changes: Any) -> dict[str, Any]:
    return {
        "attack": "wanet", "threshold": 1.0, "low": 0.8, "high": 1.3, "level": "PC .75", "level_of_pc": 0.75,
        "population": "pooled", "method": "Weibull on log strength", "note": None,
    } | changes  # fmt: skip


def margin(**changes: Any) -> dict[str, Any]:
    return {
        "attack": "wanet", "human_level": "PC .75", "machine_level": "success rate .9",
        "human_threshold": 1.1, "margin": 2.0, "low": 1.5,
        "high": 2.6, "note": None,
    } | changes  # fmt: skip


def claims(**changes: Any) -> str:
    """The item on the attack, as plain text."""
    bullets = next(block for block in section(content(**changes), []).blocks if isinstance(block, Bullets))
    return "".join(bullets.items[0])


def test_the_words_of_the_verdicts_come_first_each_with_its_span_of_strengths() -> None:
    assert claims() == "wanet: below the bound (.60) at s = 0.5; detectable at s = 1 to 2."
    bullets = next(block for block in section(content(), []).blocks if isinstance(block, Bullets))
    assert [part for part in bullets.items[0] if isinstance(part, Strong)] == ["below the bound (.60)", "detectable"]


def test_an_attack_shown_as_identical_images_only_claims_nothing() -> None:
    only = content()["conditions"][:1]
    assert "nothing can be claimed" in claims(conditions=only)


def test_the_headline_is_the_median_person_and_else_the_pooled_curve() -> None:
    pooled, median = threshold(), threshold(population="median person", method="GLMM (cloglog = Weibull)")
    assert headline_threshold([pooled, median], "wanet") is median
    assert headline_threshold([pooled], "wanet") is pooled
    assert headline_threshold([threshold(threshold=None)], "wanet") is None
    assert headline_threshold([threshold(level="half of F")], "wanet") is None


def test_the_threshold_is_given_with_its_interval_and_in_px() -> None:
    found = claims(thresholds=[threshold(threshold_px=0.6)])
    assert "PC 0.75 at s = 1.000 (0.60 px), 95 % interval [0.800, 1.300]." in found


def test_a_threshold_that_nobody_was_shown_is_called_an_extrapolation() -> None:
    assert "(outside the tested strengths: an extrapolation)" in claims(thresholds=[threshold(threshold=2.5)])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (margin(), "the attack works before people see it."),
        (margin(margin=0.5, low=0.3, high=0.8), "people see it before the attack works."),
        (margin(low=0.9), "which comes first is not settled"),
        (margin(high=None), "which comes first is not settled"),
        (margin(margin=None, low=None, high=None, note="no curve"), "is not estimable: no curve."),
        (
            margin(margin=None, low=None, high=2.5, at_most=2, note="no .9"),
            "is at most ×2.00 (95 % interval […, 2.50]): no .9.",
        ),
    ],
    ids=["above 1", "below 1", "includes 1", "open", "not known", "bounded"],
)
def test_the_margin_says_which_comes_first_only_where_it_is_settled(row: dict[str, Any], words: str) -> None:
    assert words in claims(stealth_margin=[row])


def test_a_fault_of_the_study_stands_above_everything() -> None:
    fault = {"name": "identity control at chance: wanet", "ok": False, "detail": "PC 0.75"}
    first = section(content(checks=[fault]), []).blocks[0]
    assert isinstance(first, Paragraph)
    assert first.manner == "fault"
    assert "PC 0.75" in "".join(first.text)


def test_checks_that_did_not_pass_are_named() -> None:
    checks = [{"name": "sides balanced", "ok": True, "detail": ""}, {"name": "catch trials", "ok": False, "detail": ""}]
    bullets = next(block for block in section(content(checks=checks), []).blocks if isinstance(block, Bullets))
    assert bullets.items[-1] == ("1 of 2 checks passed; not passed: catch trials.",)
