import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from study.analysis import error_shift, frames, frontier, report
from study.analysis.material import Material
from study.analysis.protocols import PROTOCOLS
from study.analysis.report import Sample
from study.trials.exclusions import CATCH, MISSED, ExclusionRules, Missed
from tests.study.analysis.observers import DOSES, on_screens, one_condition, simulate

CONDITION_KEYS = {
    "attack", "strength", "n", "correct", "proportion_correct", "wilson_low", "wilson_high", "clopper_pearson_low",
    "clopper_pearson_high", "two_way_low", "two_way_high", "two_way_difference_p", "two_way_holm_p",
    "two_way_upper_bound_p", "two_way_tost_p", "dprime", "dprime_unbiased", "criterion", "participant_dprime", "tost_p",
    "upper_bound_p", "holm_p", "participant_spread", "verdict",
}  # fmt: skip
KEYS = {
    "study", "flow", "design", "simulated", "exploratory", "scope", "level", "conditions", "controls", "models",
    "thresholds", "error_shift", "machine", "frontier", "stealth_margin", "checks", "versions", "commit", "seed",
    "signal_detection", "goodness_of_fit", "matched_visibility", "machine_thresholds", "attacks_compared", "quality",
    "machine_observers", "random_effects",
}  # fmt: skip
MODELS = {"gee", "gee_bias_reduced", "glm_two_way", "betabinomial", "glmm", "glmm_lapse", "sensitivity"}


def numbers(value: Any):
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, float):
        yield value


def small(**columns: Any) -> pd.DataFrame:
    return simulate(1, participants=6, trials=3).assign(population="simulated", **columns)


def of_study(material: Material) -> dict[str, Any]:
    """The part of the report that says what was done."""
    return report.of_study(material, Sample.of(material))


def test_the_report_has_the_keys_that_readers_rely_on(built) -> None:
    assert built.content.keys() >= KEYS
    assert all(row.keys() >= CONDITION_KEYS for row in built.content["conditions"])
    assert built.content["models"].keys() == MODELS


def test_no_number_of_the_report_is_nan_or_infinite(built) -> None:
    assert all(math.isfinite(value) for value in numbers(built.content))


def test_the_same_trials_in_another_order_give_the_same_bytes(material: Material, built) -> None:
    lines = frames.to_csv(material.trials.sample(frac=1, random_state=7)).decode().splitlines()
    header = lines[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=True)) for line in lines[1:]]
    again = report.build(replace(material, trials=frames.from_records(rows, "shuffled")))
    assert report.to_json(again.content) == report.to_json(built.content)


def test_the_flow_adds_up(built, material: Material) -> None:
    flow = built.content["flow"]
    assert flow["excluded"] == {CATCH: len(set(built.excluded["participant"]))}
    assert flow["recruited"] == flow["analysed"] + sum(flow["excluded"].values())
    assert len(built.analysed) + len(built.excluded) == len(material.trials)


def test_people_who_withdrew_or_did_not_finish_are_counted_in_the_flow() -> None:
    trials = simulate(2, participants=12, trials=3)
    flow = of_study(
        Material("s", trials, recruited=14, left_out={"P03": "not finished"}, left_before={"withdrawn": 2})
    )["flow"]
    assert flow["excluded"] == {"not finished": 1, "withdrawn": 2}
    assert (flow["recruited"], flow["analysed"]) == (14, 11)


def test_rules_that_leave_nobody_are_an_error() -> None:
    with pytest.raises(frames.TrialTableError, match="leave no participant"):
        report.build(Material("s", simulate(1, participants=2, trials=2), rules=ExclusionRules(catch_correct_below=9)))


@pytest.mark.usefixtures("quick")
def test_controls_stay_out_of_the_conditions(material: Material, built) -> None:
    control = one_condition(5, [0.5] * 30).assign(control="resampled", strength=1.0, population="simulated")
    with_controls = report.build(replace(material, trials=pd.concat([material.trials, control], ignore_index=True)))
    more = {(row["control"], row["strength"]): row["n"] for row in with_controls.content["controls"]}
    before = {(row["control"], row["strength"]): row["n"] for row in built.content["controls"]}
    assert more["resampled", 1.0] > before.get(("resampled", 1.0), 0)
    assert with_controls.content["conditions"][1]["n"] == built.content["conditions"][1]["n"]


def test_the_median_persons_threshold_stands_beside_the_pooled_curves(built) -> None:
    rows = {row["population"]: row for row in built.content["thresholds"] if row["level"] == "PC .75"}
    assert rows.keys() == {"pooled", "median person"}
    assert all(0.8 < row["threshold"] < 1.4 for row in rows.values())


def test_the_crossed_models_marginal_pc_is_in_the_conditions_above_strength_0(built) -> None:
    at_zero, *above = built.content["conditions"]
    assert at_zero["glmm_marginal_pc"] is None
    for row in above:
        assert row["glmm_marginal_low"] < row["glmm_marginal_pc"] < row["glmm_marginal_high"]
        assert row["glmm_marginal_pc"] == pytest.approx(row["proportion_correct"], abs=0.06)


def test_the_margin_is_the_ratio_of_the_two_thresholds_beside_it(built) -> None:
    row = built.content["stealth_margin"][0]
    assert row["margin"] == pytest.approx(row["human_threshold"] / row["machine_threshold"])


def test_everybody_is_compared_with_those_analysed_where_somebody_is_left_out(built) -> None:
    rows = built.content["quality"]["with_and_without"]
    assert [row["strength"] for row in rows] == [row["strength"] for row in built.content["conditions"]]
    assert all(row["everybody"]["n"] > row["analysed"]["n"] for row in rows)


# --- protocols


def test_the_same_bound_asks_more_or_less_of_the_eye_by_protocol() -> None:
    found = {
        name: of_study(Material("s", small(protocol=name)))["protocol"]["dprime_at_bound"]
        for name in ("afc", "yes_no", "oddity")
    }
    assert found == {"afc": pytest.approx(0.358, abs=1e-3), "yes_no": pytest.approx(0.507, abs=1e-3),
                     "oddity": pytest.approx(1.187, abs=1e-3)}  # fmt: skip


@pytest.mark.usefixtures("quick")
def test_in_yes_no_the_error_shift_meets_only_answers_to_altered_images() -> None:
    trials = small(protocol="yes_no")
    shown = trials[trials["clean_side"] == "right"]
    content = report.build(Material("s", trials)).content
    assert content["error_shift"] == report._without_nan(error_shift.summary(frames.main_trials(shown)))


def test_the_share_of_not_sure_is_in_the_report_with_its_scoring() -> None:
    offered = of_study(Material("s", small(unsure=1), not_sure="A coin decides."))
    assert offered["not_sure"] == {"share": 1.0, "scoring": "A coin decides."}
    assert of_study(Material("s", small()))["not_sure"] is None


# --- adaptive studies


@pytest.fixture(scope="module")
def adaptive_report() -> report.Report:
    trials = simulate(3, participants=12, trials=8).assign(procedure="adaptive", protocol="ifc")
    return report.build(
        Material("s", on_screens(trials, {"P00": 40.0}), machine=frontier.machine_rows("m", "wanet", DOSES))
    )


def test_an_adaptive_study_gives_thresholds_and_no_verdict(adaptive_report: report.Report) -> None:
    content = adaptive_report.content
    assert content["procedure"] == "adaptive"
    assert all(row.keys() >= CONDITION_KEYS for row in content["conditions"])
    assert {row["verdict"] for row in content["conditions"]} == {None}
    chosen = [row for row in content["conditions"] if row["strength"] > 0]
    tests = ("two_way_tost_p", "two_way_holm_p", "two_way_difference_p", "tost_p", "holm_p", "dprime", "wilson_low")
    assert {row[name] for row in chosen for name in tests} == {None}
    assert content["frontier"] == []
    assert content["error_shift"] is None
    assert content["models"]["gee"]["coefficients"] == {}
    assert {row["population"] for row in content["thresholds"]} == {
        "pooled",
        "median person",
        *(f"P{n:02d}" for n in range(12)),
    }


def test_nothing_of_an_adaptive_study_rests_on_its_proportions(adaptive_report: report.Report) -> None:
    built_on_proportions = {"signal_detection", "goodness_of_fit", "attacks_compared", "quality", "random_effects"}
    assert not built_on_proportions & adaptive_report.content.keys()


def test_controls_of_an_adaptive_study_are_not_compared_with_the_attack() -> None:
    trials = simulate(3, participants=12, trials=8)
    control = one_condition(5, [0.5] * 12).assign(control="resampled", strength=1.0)
    both = pd.concat([trials, control], ignore_index=True).assign(procedure="adaptive")
    (row,) = report.build(Material("s", both)).content["controls"]
    assert row["proportion_correct"] is not None
    assert (row["contrast_with_attack"], row["p"]) == (None, None)


# --- screens and missed trials


@pytest.mark.usefixtures("quick")
def test_displacement_in_arcmin_is_in_conditions_frontier_and_thresholds() -> None:
    made = report.build(Material("s", on_screens(simulate(1, participants=12), {"P00": 40.0, "P01": 60.0})))
    row = made.content["conditions"][3]
    assert row["strength"] == 1.0
    assert (row["displacement_arcmin"], row["displacement_sessions"]) == (pytest.approx(2.5), 2)
    assert (row["displacement_arcmin_low"], row["displacement_arcmin_high"]) == (pytest.approx(2), pytest.approx(3))
    assert made.content["frontier"][2]["displacement_arcmin"] == row["displacement_arcmin"]
    for threshold in made.content["thresholds"]:
        assert threshold["threshold_px"] == pytest.approx(threshold["threshold"] * 0.5)
        assert threshold["threshold_arcmin"] == pytest.approx(threshold["threshold"] * 2.5)


def test_missed_trials_are_counted_and_exclude_where_the_design_says_so() -> None:
    missed = {"P00": Missed(4, 60), "P01": Missed(30, 60)}
    lenient = of_study(Material("s", small(), missed=missed))
    assert lenient["flow"]["trials_missed"] == 34
    strict = of_study(Material("s", small(), missed=missed, rules=ExclusionRules(missed_above_share=0.1)))
    assert strict["flow"]["excluded"] == {MISSED: 1}
    assert strict["flow"]["trials_missed"] == 4
    assert of_study(Material("s", small()))["flow"]["trials_missed"] is None


def test_a_report_is_as_frozen_unless_it_says_in_what_it_departs(built) -> None:
    assert built.content["exploratory"] == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_gets_all_keys_and_a_frontier_in_its_own_dprime(protocol: str) -> None:
    content = report.build(Material("s", small(protocol=protocol))).content
    assert content.keys() >= KEYS
    of_conditions = {row["strength"]: row["dprime"] for row in content["conditions"]}
    assert content["frontier"]
    assert all(row["dprime"] == of_conditions[row["strength"]] for row in content["frontier"])
