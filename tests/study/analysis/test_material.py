from dataclasses import replace

import pytest

from study.analysis.material import Departures, Material
from study.analysis.report import Sample
from study.trials.exclusions import ExclusionRules


def test_departures_are_named_with_what_was_frozen(material: Material) -> None:
    departing = Departures(bound=0.55, rules={"catch_correct_below": 6}).of(material)
    assert (departing.bound, departing.rules.catch_correct_below) == (0.55, 6)
    assert departing.rules.same_side_at_least == material.rules.same_side_at_least
    assert departing.exploratory == (
        "the bound is 0.55, frozen was 0.6",
        "exclusion rule catch correct below: 6, frozen was 8",
    )


def test_an_analysis_without_exclusions_keeps_everybody_who_finished(material: Material) -> None:
    frozen = replace(material, rules=ExclusionRules(8, 50), left_out={"P00": "withdrawn"})
    everybody = Departures(no_exclusions=True).of(frozen)
    assert set(Sample.of(everybody).broken.values()) == {"withdrawn"}
    assert len(everybody.exploratory) == 2


def test_an_exploratory_analysis_that_departs_in_nothing_still_says_what_it_is(material: Material) -> None:
    assert "bound and exclusion rules are the frozen ones" in Departures().of(material).exploratory[0]


def test_an_unknown_exclusion_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no exclusion rule tired; there are catch_correct_below, "):
        Departures(rules={"tired": 1})


def test_no_exclusions_and_other_rules_together_are_refused() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        Departures(rules={"catch_correct_below": 6}, no_exclusions=True)
