import math
from dataclasses import replace

import numpy as np
import pytest

from study.analysis.machine import (
    ERROR_SHIFT,
    HALF_PROGRESS,
    NOT_EVALUATED,
    SUCCESS,
    SUCCESS_50,
    SUCCESS_90,
    Resampling,
    Response,
    groups,
)
from tests.study.analysis.machines import DOSES, evaluated, without_counts


def response(rows, measure=SUCCESS, draws=500, seed=0):
    (group,) = groups(rows)
    return Resampling(rows, draws, seed).respond(group, measure)


def test_the_curve_is_the_mean_over_models_at_the_strengths_above_zero() -> None:
    rows = evaluated(models=3)
    curve = response(rows)
    assert curve.doses == pytest.approx(np.log2(DOSES[1:]))
    expected = [np.mean([row["success_rate"] for row in rows if row["strength"] == dose]) for dose in DOSES[1:]]
    assert curve.values == pytest.approx(expected)


def test_only_strengths_that_every_model_was_measured_at_count() -> None:
    rows = [row for row in evaluated(models=2) if (row["model"], row["strength"]) != ("model-1", 0.5)]
    assert np.log2(0.5) not in response(rows).doses


def test_weights_of_one_on_every_subject_give_the_curve_itself() -> None:
    for measure in (SUCCESS, ERROR_SHIFT):
        curve = response(evaluated(subjects=30), measure, draws=2000)
        assert curve.draws.mean(0) == pytest.approx(curve.values, abs=0.05 * curve.values.max())


def test_the_draws_vary_as_much_as_means_over_subjects_do() -> None:
    rows = evaluated(subjects=50)
    curve = response(rows, draws=4000)
    at = DOSES.index(0.25)
    rates = np.array([counts["successes"] / counts["n"] for counts in rows[at]["subjects"]])
    assert curve.draws[:, at - 1].std() == pytest.approx(rates.std() / math.sqrt(50), rel=0.1)


def test_models_that_share_subjects_vary_together() -> None:
    """Two models alike in all answers are no more certain than one."""
    one = evaluated(models=1)
    two = [*one, *[row | {"model": "twin"} for row in one]]
    assert response(two).draws == pytest.approx(response(one).draws)


def test_a_few_models_are_taken_as_they_are() -> None:
    curve = response(evaluated(models=4))
    assert curve.over == "subjects"
    assert curve.reason == "for these 4 models only"


def test_enough_models_are_resampled() -> None:
    alike, apart = (response(evaluated(models=6, model_sd=sd), draws=1000) for sd in (0.0, 0.5))
    assert apart.over == "subjects and models"
    assert (apart.units, apart.reason) == (6, None)
    at = list(apart.doses).index(-2.0)
    assert apart.draws[:, at].std() > 2 * alike.draws[:, at].std()


def test_models_are_resampled_within_their_fields_where_there_are_enough() -> None:
    rows = evaluated(models=10, model_sd=0.3)
    by_field = [row | {"field": f"f{int(row['model'].removeprefix('model-')) // 2}"} for row in rows]
    curve = response(by_field)
    assert curve.over == "subjects, models and fields"
    assert curve.units == 5


def test_an_older_evaluation_of_one_model_has_no_draws_and_says_why() -> None:
    curve = response(without_counts(evaluated()))
    assert (curve.draws, curve.over) == (None, None)
    assert curve.reason == "the evaluation keeps no counts per subject: evaluate the model again"


def test_older_evaluations_of_enough_models_are_resampled_by_model() -> None:
    curve = response(without_counts(evaluated(models=5, model_sd=0.3)))
    assert curve.over == "models"
    assert curve.draws.std(0).max() > 0


def test_one_test_subject_cannot_be_resampled() -> None:
    curve = response(evaluated(subjects=1))
    assert curve.draws is None
    assert curve.reason == "one test subject only"


def test_the_order_of_the_rows_changes_nothing() -> None:
    rows = evaluated(models=6, model_sd=0.3)
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    assert response(rows).draws.tolist() == response(shuffled).draws.tolist()


def test_models_with_other_targets_are_other_groups() -> None:
    rows = evaluated(target={"kind": "fixed", "pitch": 0.0, "yaw": 0.4})
    rows += evaluated(target={"kind": "additive", "pitch": 0.0, "yaw": 0.2}) + evaluated(attack="badnets")
    assert [(group.attack, (group.target or {}).get("kind")) for group in groups(rows)] == [
        ("badnets", None),
        ("wanet", "additive"),
        ("wanet", "fixed"),
    ]


def curve(*rates: float) -> Response:
    """Success at strengths 0.5, 1 and 2."""
    return Response(np.array([-1.0, 0.0, 1.0]), np.array(rates), None)


def test_the_threshold_is_interpolated_in_log_strength() -> None:
    rows = [row for row in evaluated(subjects=5) if row["strength"] in (0.5, 2.0)]
    rows = [row | {"success_rate": rate} for row, rate in zip(rows, (0.2, 0.8), strict=True)]
    assert 2 ** response(rows).threshold(SUCCESS_50).estimate == pytest.approx(1.0)


def test_a_level_never_reached_is_above_the_strengths_measured() -> None:
    threshold = response(evaluated(top=0.7)).threshold(SUCCESS_90)
    assert threshold.side == "above"
    assert threshold.sentence == "the machine's threshold at success rate .9 lies above strength 4, the largest tested"


def test_a_measure_that_falls_again_without_reaching_its_level_has_neither_threshold_nor_bound() -> None:
    threshold = curve(0.2, 0.895, 0.4).threshold(SUCCESS_90)
    assert math.isnan(threshold.estimate)
    assert (threshold.side, threshold.bounds) == (None, (-math.inf, math.inf))
    assert threshold.sentence == (
        "the machine's threshold at success rate .9 is not reached at any strength tested: strength 1 does most, with"
        " 0.895, and stronger ones do less"
    )


def test_a_measure_that_falls_after_it_has_reached_its_level_has_its_first_crossing() -> None:
    assert 2 ** curve(0.2, 0.9, 0.4).threshold(SUCCESS_90).estimate == pytest.approx(1.0)


@pytest.mark.parametrize("rates", [(0.2, 0.5, 0.895), (0.0, 0.0, 0.0), (0.3, 0.7, 0.7)])
def test_a_measure_that_ends_at_its_highest_has_its_threshold_above_the_strengths_measured(rates) -> None:
    assert curve(*rates).threshold(SUCCESS_90).bounds == (1.0, math.inf)


def test_draws_that_fall_again_without_reaching_the_level_may_lie_anywhere() -> None:
    values = np.array([0.2, 0.95, 0.4])
    found = replace(curve(*values), draws=np.array([values, values - 0.1]), units=10**6).threshold(SUCCESS_90)
    assert np.isnan(found.draws).tolist() == [False, True]
    assert found.interval(0.95) == (None, None)


def test_a_level_reached_at_once_is_below_the_strengths_measured() -> None:
    assert response(evaluated(midpoint=0.001)).threshold(SUCCESS_50).side == "below"


def test_a_measure_that_no_row_has_gives_no_threshold() -> None:
    rows = [row | {"progress": None} for row in evaluated()]
    threshold = response(rows, HALF_PROGRESS.measure).threshold(HALF_PROGRESS)
    assert math.isnan(threshold.estimate)
    assert threshold.sentence.endswith("half progress: not measured at any strength above 0")


def test_few_units_widen_the_threshold_as_t_does() -> None:
    curve = response(evaluated(subjects=4), draws=4000)
    many = replace(curve, units=10**6)
    ratio = curve.threshold(SUCCESS_50).draws.std() / many.threshold(SUCCESS_50).draws.std()
    assert ratio == pytest.approx(math.sqrt(4 / 3) * 3.1824 / 1.96, rel=1e-3)


def test_a_measure_is_read_at_a_strength_of_each_draws_own() -> None:
    curve = response(evaluated(), draws=3)
    read = curve.draws_at(np.array([-2.0, curve.doses[-1], 9.0]))
    at = list(curve.doses).index(-2.0)
    assert read[:2].tolist() == [curve.draws[0, at], curve.draws[1, -1]]
    assert np.isnan(read[2])


def test_without_an_evaluation_there_is_nothing_to_read() -> None:
    assert Resampling([], 5, 0).respond(None, SUCCESS) is NOT_EVALUATED
    assert np.isnan(NOT_EVALUATED.at(np.array([0.0]))).all()
    assert NOT_EVALUATED.threshold(SUCCESS_90).sentence == "no model with this attack was evaluated"
