"""What the figures draw, by their tables."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from scipy import stats

from study.analysis.error_shift import items
from study.analysis.figures import (
    bias,
    comparison,
    detection,
    error_shift,
    flow,
    frontier,
    human_and_machine,
    margin,
    matched_visibility,
    order,
    random_effects,
    residuals,
    response_times,
    sensitivity,
)
from study.analysis.figures import human_and_machine_data as headline
from study.analysis.figures.source import Source
from study.analysis.paper.machine import margin_in_words
from tests.study.analysis.test_figures import sections


@pytest.fixture(scope="module")
def table(source: Source) -> pd.DataFrame:
    return headline.data(source)


def having(source: Source, **changes: Any) -> Source:
    return replace(source, report=dict(source.report) | changes)


def at(curve: pd.DataFrame, strength: float) -> float:
    """A drawn curve's value at a strength."""
    return float(np.interp(math.log(strength), np.log(curve["strength"]), curve["value"]))


# --- people and machine


def test_people_stand_on_the_scale_of_the_success_rate(source, table) -> None:
    people = table[(table["panel"] == "share") & (table["series"] == headline.PEOPLE)]
    rows = [row for row in source.report["conditions"] if row["strength"] > 0]
    assert list(people["value"]) == [2 * row["proportion_correct"] - 1 for row in rows]
    assert list(people["low"]) == [2 * row["two_way_low"] - 1 for row in rows]


@pytest.mark.parametrize("attack", sections.ATTACKS)
def test_both_curves_pass_through_their_thresholds(table, attack: str) -> None:
    """At half of F, PC is .5 + (.5 - lapse) / 2; the median person's threshold is .92 of the pooled one."""
    half = 0.5 - sections.curves()[attack].lapse
    for series, threshold in ((headline.POOLED_CURVE, 1.0), (headline.MEDIAN_CURVE, 0.92)):
        curve = table[(table["attack"] == attack) & (table["series"] == series)]
        assert at(curve, threshold * sections.MIDPOINT[attack]) == pytest.approx(half, abs=2e-4)


def test_a_reference_attack_and_others_have_their_own_terms_in_the_median_curve(source) -> None:
    model = sections.glmm_lapse()
    model["coefficients"]["log2_strength:attack[T.wanet]"] = sections.coefficient(0.5)
    steeper = having(source, models={"glmm_lapse": model})
    assert steeper.median_curve("patch") == source.median_curve("patch")
    assert steeper.median_curve("wanet")[-1]["value"] > source.median_curve("wanet")[-1]["value"]


@pytest.mark.parametrize("missing", ["Intercept", "log2_strength"])
def test_a_model_that_did_not_converge_has_no_curve(source, missing: str) -> None:
    model = sections.glmm_lapse()
    model["coefficients"][missing] = dict.fromkeys(model["coefficients"][missing])
    assert having(source, models={"glmm_lapse": model}).median_curve("wanet") == []


def test_the_interval_of_equal_subjects_is_that_of_students_t() -> None:
    """With as many images each, the ratio is a mean of rates and its linearised interval the one of a sample mean."""
    successes = np.array([12, 9, 15, 11, 7, 14])
    subjects = [{"successes": int(n), "n_eligible": 20} for n in successes]
    expected = stats.t.interval(0.95, 5, loc=np.mean(successes / 20), scale=stats.sem(successes / 20))
    assert headline.over_subjects(subjects, "successes", "n_eligible") == pytest.approx(expected)


@pytest.mark.parametrize("subjects", [[], [{"successes": 3, "n_eligible": 4}]])
def test_one_subject_gives_no_interval(subjects: list[dict[str, Any]]) -> None:
    assert headline.over_subjects(subjects, "successes", "n_eligible") == (None, None)


def test_an_interval_of_success_stays_within_what_a_share_can_be(table) -> None:
    success = table[(table["panel"] == "share") & (table["series"] == headline.MACHINE)]
    assert len(success) == 20
    assert success["low"].ge(0).all()
    assert success["high"].le(1).all()
    assert (success["low"] <= success["value"]).all()
    assert (success["value"] <= success["high"]).all()


def test_controls_stand_beside_the_attack_at_their_strength(table) -> None:
    controls = table[(table["panel"] == "controls") & (table["attack"] == "wanet")].set_index("series")
    assert dict(controls["strength"]) == {"identity": 0.0, "resampled": 2.0, "other_field": 2.0, "people": 2.0}
    assert controls.loc["resampled", "value"] < controls.loc["other_field", "value"] < controls.loc["people", "value"]


def test_the_gap_lies_between_the_thresholds_and_the_margin_is_their_ratio(table) -> None:
    for attack in sections.ATTACKS:
        rows = table[table["attack"] == attack].set_index("series")
        gap = rows.loc[headline.STEALTH_GAP]
        assert rows.loc[headline.MARGIN, "value"] == pytest.approx(gap["high"] / gap["low"])


def test_a_censored_margin_says_what_it_is_at_least(source) -> None:
    limit = {"margin": None, "low": None, "high": None, "human_threshold": None, "at_least": 6.4, "at_most": None}
    rows = [row | limit | {"censored": "human"} for row in source.report["stealth_margin"]]
    found = headline.data(having(source, stealth_margin=rows))
    row = next(found[found["series"] == headline.MARGIN].itertuples())
    assert human_and_machine._margin_in_words(row) == "at least ×6.4"
    gap = found[found["series"] == headline.STEALTH_GAP].iloc[0]
    assert gap["low"] == 0.62
    assert math.isnan(gap["high"])  # drawn to the edge


def test_a_margin_that_is_not_estimable_is_called_so_in_every_figure_and_in_the_table(source) -> None:
    unknown = dict.fromkeys(("margin", "low", "high", "machine_threshold", "at_least", "at_most", "censored"))
    rows = [row | unknown for row in source.report["stealth_margin"]]
    changed = having(source, stealth_margin=rows)
    drawn = [
        human_and_machine.figure(headline.data(changed), changed),
        margin.figure(margin.data(changed), changed),
        comparison.figure(comparison.data([comparison.Named("a", changed)]), None),
    ]
    for figure in drawn:
        assert "not estimable" in {text.get_text().strip() for text in figure.findobj(Text)}
    assert {margin_in_words(row) for row in rows} == {"not estimable"}


def test_only_the_headline_margin_is_drawn_between_people_and_machine(source, table) -> None:
    rows = [row | {"human_level": "half of F"} for row in source.report["stealth_margin"]]
    assert not headline.data(having(source, stealth_margin=rows))["series"].eq(headline.MARGIN).any()
    assert table["series"].eq(headline.MARGIN).sum() == len(sections.ATTACKS)


def test_of_many_models_only_the_mean_has_a_threshold_drawn(source) -> None:
    row = source.report["machine_thresholds"][-1]
    many = [row | {"model": f"seed {i}", "level": 0.9} for i in range(12)] + [row | {"model": None, "level": 0.9}]
    found = headline.data(having(source, machine_thresholds=many))
    assert list(found.loc[found["series"] == "models: 90 %", "model"]) == [headline.MEAN_OF_MODELS]


def test_without_an_evaluation_the_shift_is_that_of_the_pairs_shown(source) -> None:
    found = headline.data(having(source, machine=[]))
    shift = found[found["panel"] == "shift"]
    assert set(shift["series"]) == {headline.PAIRS_SHOWN}
    assert list(shift["value"]) == [row["mean_error_shift_deg"] for row in source.report["frontier"]]


def test_displacement_is_given_in_all_units_that_are_known(source) -> None:
    assert source.units("wanet") == pytest.approx({"image px": 0.62, "% of width": 62 / 64, "arcmin": 0.62 * 2.1})
    assert source.units("patch") == {}


def test_displacement_that_does_not_grow_with_strength_has_no_ruler(source) -> None:
    conditions = [row | {"displacement_px": 1.0} for row in source.report["conditions"]]
    assert having(source, conditions=conditions, machine=[]).units("wanet") == {}


# --- the other figures


def test_detection_draws_every_condition_and_control(source) -> None:
    found = detection.data(source)
    shown = found[found["series"] == detection.ALTERED]
    assert list(shown["value"]) == [row["proportion_correct"] for row in source.report["conditions"]]
    assert found["series"].isin(["resampled", "other_field"]).sum() == len(source.report["controls"])
    assert found["series"].isin(detection.THRESHOLDS.values()).sum() == 4


def test_error_shift_draws_each_pair_and_the_mean_of_each_condition(source) -> None:
    found = error_shift.data(source)
    pairs, means = (found[found["series"] == series] for series in (error_shift.PAIR, error_shift.CONDITION))
    assert len(pairs) == len(items(source.trials))
    expected = source.trials.groupby(["attack", "strength"])["correct"].mean()
    assert list(means["proportion_correct"]) == pytest.approx(list(expected))


def test_deviations_from_a_condition_add_up_to_nothing(source) -> None:
    pairs = error_shift.data(source).query("series == 'pair'")
    sums = pairs.groupby(["attack", "strength"])[["error_shift_deviation_deg", "proportion_correct_deviation"]].sum()
    assert np.abs(sums.to_numpy()).max() < 1e-9


def test_yes_no_draws_the_trials_that_showed_the_alteration(source) -> None:
    showing = source.trials["clean_side"] == "right"
    of_yes_no = error_shift.data(having(source, protocol={"name": "yes_no"}))
    assert of_yes_no.query("series == 'pair'")["n"].sum() == showing.sum()


def test_the_frontier_has_a_point_for_each_condition_with_a_known_dprime(source) -> None:
    rows = [row | {"dprime": None} if row["strength"] == 4 else row for row in source.report["frontier"]]
    found = frontier.data(having(source, frontier=rows))
    assert found.groupby("panel").size().to_dict() == {"mean_error_shift_deg": 8, "success_rate": 8}


def test_a_residual_is_drawn_for_each_strength_and_sigmoid(source) -> None:
    found = residuals.data(source)
    assert {tuple(rows) for _, rows in found.groupby(["attack", "sigmoid"])["strength"]} == {sections.STRENGTHS[1:]}
    assert found.groupby(["attack", "sigmoid"]).ngroups == 4


def test_units_among_which_no_spread_was_found_are_not_drawn(source) -> None:
    alike = {unit: [{**row, "mode": 0.0} for row in rows] for unit, rows in source.report["random_effects"].items()}
    report = {
        **source.report,
        "random_effects": {**source.report["random_effects"], "participant": alike["participant"]},
    }
    assert set(random_effects.data(replace(source, report=report))["unit"]) == {"stimulus"}
    assert random_effects.data(replace(source, report={**report, "random_effects": alike})).empty


def test_random_effects_are_sorted_and_images_seen_most_come_last(source) -> None:
    found = random_effects.data(source)
    images = found[found["unit"] == "stimulus"]
    assert images["value"].is_monotonic_increasing
    modes = {row["name"]: row["mode"] for row in source.report["random_effects"]["stimulus"]}
    assert list(images["name"].tail(5)) == sorted(modes, key=lambda name: modes[name])[-5:]
    assert ((images["high"] - images["low"]) / images["sd"]).to_numpy() == pytest.approx(2 * 1.96)


def test_sensitivity_sets_the_pooled_curve_below_the_models(source) -> None:
    found = sensitivity.data(source)
    assert list(found["model"])[-2:] == [sensitivity.POOLED_CURVE] * 2
    assert found["model"].eq(sensitivity.HEADLINE).sum() == 2


def test_pictures_of_one_strength_are_seen_as_often_whatever_the_target(source) -> None:
    found = matched_visibility.data(source)
    by_strength = found.groupby("strength")
    assert by_strength["proportion_correct"].nunique().eq(1).all()
    assert by_strength["value"].nunique().eq(3).all()


def test_margins_of_targets_are_told_apart(source) -> None:
    row = source.report["stealth_margin"][0]
    targets = [{"kind": "additive", "pitch": 0.0, "yaw": math.radians(angle)} for angle in (10, 20)]
    found = margin.data(having(source, stealth_margin=[row | {"target": target} for target in targets]))
    of_margin = found[found["panel"] == margin.MARGIN]
    assert margin._names(of_margin).nunique() == 2


def test_comparisons_of_two_attacks_are_no_points_of_their_own(source) -> None:
    found = margin.data(source)
    assert found[found["panel"] == margin.SUCCESS].groupby("series").size().to_dict() == {"d′ = 0.36": 2, "d′ = 1": 2}


def test_bias_draws_each_participant_once_with_the_range_of_the_unbiased(source) -> None:
    people = bias.data(source).query("panel == @bias.SHARE")
    assert sorted(people["participant"]) == sorted(source.trials["participant"].unique())
    assert people["value"].is_monotonic_increasing
    n = people["n"].iloc[0]
    assert people["low"].iloc[0] == stats.binom.ppf(0.025, n, 0.5) / n


def test_response_times_are_medians_with_quartiles_in_seconds(source) -> None:
    found = response_times.data(source)
    cell = source.trials.query("attack == 'wanet' and strength == 1 and correct == 1")["rt_ms"] / 1000
    row = found.query("attack == 'wanet' and strength == 1 and series == @response_times.RIGHT").iloc[0]
    assert [row["low"], row["value"], row["high"]] == pytest.approx(list(cell.quantile([0.25, 0.5, 0.75])))


def test_the_slope_of_response_times_is_told_in_percent_of_a_unit_of_strength(source) -> None:
    """exp(-.08) - 1 = -7.7 %."""
    assert response_times._slope_in_words(source) == "right answers, crossed model: −8 % per unit of strength [−10, −6]"


def test_response_times_of_a_handful_of_answers_are_not_drawn(source) -> None:
    few = source.trials.query("attack == 'wanet' and strength == 1").groupby("correct").head(3)
    assert response_times.data(replace(source, trials=few)).empty


def test_order_draws_detection_and_time_of_every_block(source) -> None:
    found = order.data(source)
    blocks = source.report["quality"]["order"]["by_block"]
    assert found.groupby("panel").size().to_dict() == {order.DETECTION: len(blocks), order.TIME: len(blocks)}


def test_the_flow_adds_up(source) -> None:
    found = flow.data(source)
    people = found.groupby("step")["participants"].sum()
    assert people[flow.RECRUITED] == people[flow.EXCLUDED] + people[flow.ANALYSED]
    assert list(found.query("step == @flow.EXCLUDED")["reason"]) == sorted(source.report["flow"]["excluded"])


def test_rules_that_left_nobody_out_are_not_drawn(source) -> None:
    counted = source.report["flow"] | {"excluded": {"withdrew": 0}}
    assert not flow.data(having(source, flow=counted))["step"].eq(flow.EXCLUDED).any()
