import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from attacks import registry
from attacks.wanet import WarpField
from models.datasets.base import GazeData
from models.evaluation import (
    MOST_SUBJECTS,
    Probe,
    Responses,
    Spread,
    counts_by_subject,
    error_shift,
    evaluate,
    mean_progress,
    measure,
    predict,
    prediction_shift,
    success_rate,
)
from models.networks import NetworkSpec
from models.targets import Target
from tests.models.tiny import gaze_data

FIELD = WarpField.draw((32, 32), 4, 1.0, seed=3)
PROBE = Probe(strengths=(0, 0.5, 1), specificity_strengths=(1,), unrelated_seeds=(0, 1))


def gazes(*yaws_deg):
    """Gazes (N, 2) with these yaws in degrees and no pitch, so that angles between them are plain differences."""
    return np.deg2rad(np.array([[0, yaw] for yaw in yaws_deg], np.float32))


def data_with(truth, subjects=None):
    n = len(truth)
    people = torch.tensor(subjects or range(n))
    return GazeData(torch.zeros(n, 1, 16, 16, dtype=torch.uint8), torch.from_numpy(truth), people, people, "x", "x")


class Mean(torch.nn.Module):
    """Predicts the mean brightness of the left and of the right half."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images):
        return self.scale * torch.stack([half.flatten(1).mean(1) for half in images.chunk(2, dim=-1)], 1)


def test_predictions_come_in_order_whatever_the_batch_size():
    images = gaze_data(10).images
    network = NetworkSpec(image_size=(32, 32)).build().eval()
    with torch.no_grad():
        expected = network(images.float() / 255)
    for batch_size in (1, 3, 32):
        assert torch.allclose(predict(network, images, batch_size=batch_size), expected, atol=1e-5)


def test_predicting_leaves_the_network_in_its_mode():
    network = NetworkSpec(image_size=(32, 32)).build().train()
    predict(network, gaze_data(4).images)
    assert network.training


def test_altered_images_are_rounded_to_8_bits_before_prediction():
    images = torch.full((1, 1, 16, 16), 100, dtype=torch.uint8)
    altered = predict(Mean(), images, lambda batch, start: batch + 0.7 / 255)
    assert altered[0].tolist() == pytest.approx([101 / 255] * 2)


def test_each_batch_is_told_its_first_image():
    starts = []
    predict(Mean(), gaze_data(5).images, lambda batch, start: (starts.append(start), batch)[1], batch_size=2)
    assert starts == [0, 2, 4]


def test_measuring_covers_the_probe():
    responses = measure(Mean(), gaze_data(6).images, FIELD, PROBE)
    assert list(responses.triggered) == [0, 0.5, 1]
    assert list(responses.noise) == [1]
    assert len(responses.unrelated[1]) == 2
    assert np.array_equal(responses.triggered[0], responses.clean)
    assert not np.array_equal(responses.triggered[1], responses.clean)


def test_measuring_a_clean_model_without_a_trigger_gives_clean_responses_only():
    responses = measure(Mean(), gaze_data(6).images, None)
    assert responses.clean.shape == (6, 2)
    assert not responses.triggered


def test_two_models_are_measured_under_the_same_noise():
    one, other = Mean(), Mean()
    other.scale.data.fill_(2.0)
    seen, seen_by_other = (measure(model, gaze_data(6).images, FIELD, PROBE).noise[1] for model in (one, other))
    assert np.array_equal(2 * seen, seen_by_other)


def test_another_noise_seed_is_other_noise():
    first, other = (
        measure(Mean(), gaze_data(6).images, FIELD, replace(PROBE, noise_seed=seed)).noise[1] for seed in (0, 1)
    )
    assert not np.array_equal(first, other)


def test_measuring_reports_its_progress():
    seen = []
    measure(Mean(), gaze_data(6).images, FIELD, PROBE, lambda done, total: seen.append((done, total)))
    assert seen == [(i, 7) for i in range(1, 8)]


def test_responses_survive_their_tensors():
    responses = measure(Mean(), gaze_data(6).images, FIELD, PROBE)
    again = Responses.from_tensors(responses.tensors())
    assert np.array_equal(again.clean, responses.clean)
    assert {s: a.tolist() for s, a in again.triggered.items()} == {
        s: a.tolist() for s, a in responses.triggered.items()
    }
    assert np.array_equal(again.unrelated[1.0], responses.unrelated[1.0])


def test_clean_error_has_mean_median_and_95th_percentile():
    assert Spread.of(np.arange(101.0)) == Spread(50, 50, 95)


def test_the_error_shift_is_signed():
    truth, clean, altered = gazes(0, 0), gazes(5, 1), gazes(2, -4)
    assert error_shift(clean, altered, truth).tolist() == pytest.approx([-3, 3], abs=1e-3)


def test_the_prediction_shift_is_the_angle_between_the_predictions():
    assert prediction_shift(gazes(5, 1), gazes(2, -4)).tolist() == pytest.approx([3, 5], abs=1e-3)


def test_success_counts_only_images_ten_degrees_or_more_from_the_target():
    truth, goal = gazes(25, 20, 15, 0, -10), gazes(25, 25, 25, 25, 25)
    altered = gazes(25, 25, 24, 19, 29)
    assert success_rate(altered, truth, goal) == (pytest.approx(2 / 3), 3)


def test_success_is_undefined_without_an_eligible_image():
    assert success_rate(gazes(25), gazes(20), gazes(25)) == (None, 0)


def test_progress_leaves_out_images_that_start_at_the_target():
    clean, altered, goal = gazes(0, 24.5), gazes(5, 0), gazes(25, 25)
    assert mean_progress(clean, altered, goal) == pytest.approx(0.2, abs=1e-4)
    assert mean_progress(goal, altered, goal) is None


def test_progress_may_be_negative():
    assert mean_progress(gazes(5), gazes(0), gazes(25)) == pytest.approx(-0.25, abs=1e-4)


def evaluated():
    truth = gazes(0, -10, 20)
    model = Responses(
        gazes(1, -12, 20),
        {0.0: gazes(1, -12, 20), 0.5: gazes(23, 24, 25)},
        noise={0.5: gazes(2, -11, 23)},
        unrelated={0.5: [gazes(3, -12, 20), gazes(1, -8, 20)]},
    )
    clean = Responses(
        gazes(2, -10, 19),
        {0.0: gazes(2, -10, 19), 0.5: gazes(3, -9, 20)},
        unrelated={0.5: [gazes(3, -10, 19), gazes(2, -10, 20)]},
    )
    data = data_with(truth, subjects=[7, 7, 8])
    return evaluate(model, data, Target.fixed(0, 25), np.deg2rad([0.0, 5.0]), clean)


def test_every_figure_equals_the_hand_computed_one():
    evaluation = evaluated()
    dose = evaluation.at(0.5)
    assert (evaluation.n, evaluation.subjects) == (3, 2)
    assert evaluation.clean_error.mean == pytest.approx(1, abs=1e-4)
    assert dose.attack_error.mean == pytest.approx((2 + 1 + 0) / 3, abs=1e-4)
    assert dose.error_shift == pytest.approx((22 + 32 + 5) / 3, abs=1e-4)
    assert dose.prediction_shift == pytest.approx((22 + 36 + 5) / 3, abs=1e-4)
    assert dose.net_prediction_shift == pytest.approx((22 + 36 + 5) / 3 - 1, abs=1e-4)
    assert dose.net_error_shift == pytest.approx((22 + 32 + 5) / 3 - (1 + 1 - 1) / 3, abs=1e-4)
    assert dose.progress == pytest.approx(np.mean([1 - 2 / 24, 1 - 1 / 37, 1]), abs=1e-4)
    assert (dose.success_rate, dose.n_eligible) == (1, 2)
    assert dose.noise_mode_error == pytest.approx((2 + 1 + 3) / 3, abs=1e-4)
    assert dose.other_field_shifts == pytest.approx((2 / 3, 4 / 3), abs=1e-4)
    assert dose.other_field_shift == pytest.approx(1, abs=1e-4)
    assert dose.other_field_net_shift == pytest.approx(1 - (1 / 3 + 1 / 3) / 2, abs=1e-4)


def test_a_dose_keeps_the_counts_of_every_subject():
    first, second = evaluated().at(0.5).subjects
    assert (first.subject, first.n, first.n_eligible, first.successes, first.n_progress) == (7, 2, 2, 2, 2)
    assert (second.subject, second.n, second.n_eligible, second.successes, second.n_progress) == (8, 1, 0, 0, 1)
    assert first.error_shift_sum == pytest.approx(22 + 32, abs=1e-4)
    assert second.error_shift_sum == pytest.approx(5, abs=1e-4)
    assert first.progress_sum == pytest.approx(2 - 2 / 24 - 1 / 37, abs=1e-4)


def test_the_subjects_counts_add_up_to_the_doses_figures():
    rng = np.random.default_rng(0)
    clean, altered, truth = (rng.normal(0, 0.4, (60, 2)).astype(np.float32) for _ in range(3))
    model = Responses(clean, {0.5: altered})
    data = data_with(truth, subjects=rng.integers(0, 5, 60).tolist())
    dose = evaluate(model, data, Target.fixed(0, 25), np.deg2rad([0.0, 5.0])).at(0.5)
    total = {name: sum(getattr(counts, name) for counts in dose.subjects) for name in vars(dose.subjects[0])}
    assert (total["n"], total["n_eligible"]) == (60, dose.n_eligible)
    assert total["successes"] / total["n_eligible"] == pytest.approx(dose.success_rate)
    assert total["error_shift_sum"] / 60 == pytest.approx(dose.error_shift, rel=1e-5)
    assert total["progress_sum"] / total["n_progress"] == pytest.approx(dose.progress, rel=1e-5)


def test_very_many_subjects_share_counts():
    gaze = np.zeros((3 * MOST_SUBJECTS, 2), np.float32)
    counts = counts_by_subject(gaze, gaze, gaze, gaze, np.arange(len(gaze)))
    assert [group.n for group in counts] == [3] * MOST_SUBJECTS


def test_a_mirrored_target_is_each_images_own():
    truth = gazes(20, -10, 4)
    model = Responses(truth, {1.0: gazes(-20, 5, -4)})
    dose = evaluate(model, data_with(truth), Target.mirrored(), np.deg2rad([0.0, 0.0])).at(1.0)
    assert dose.attack_error.mean == pytest.approx(5 / 3, abs=1e-4)
    assert (dose.success_rate, dose.n_eligible) == (0.5, 2)  # 4 degrees and its mirror image are less than 10 apart


def test_a_probe_takes_the_doses_of_the_triggers_family():
    family = registry.family("wanet")
    assert Probe.of(FIELD) == Probe(family.doses, family.strengths)


def test_baselines_tell_what_an_attack_error_is_worth():
    baselines = evaluated().baselines
    assert baselines.clean_model_clean_error == pytest.approx(1, abs=1e-4)
    assert baselines.clean_model_attack_error[0.5] == pytest.approx((22 + 34 + 5) / 3, abs=1e-4)
    assert baselines.mean_predictor_clean_error == pytest.approx((5 + 15 + 15) / 3, abs=1e-4)
    assert baselines.mean_predictor_attack_error == pytest.approx(20, abs=1e-4)
    assert baselines.truth_to_target == pytest.approx((25 + 35 + 5) / 3, abs=1e-4)


def test_an_evaluation_is_json_without_nan():
    truth = gazes(20, 21)
    responses = Responses(gazes(20, math.nan), {0.5: gazes(20, 21)})
    evaluation = evaluate(responses, data_with(truth), Target.fixed(0, 25), np.deg2rad([0.0, 5.0]))
    fields = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert fields["clean_error"]["mean"] is None
    assert fields["doses"][0]["success_rate"] is None
    assert fields["doses"][0]["net_prediction_shift"] is None
    assert fields["doses"][0]["subjects"][1]["error_shift_sum"] is None
    assert fields["machine_threshold"] is None


def test_a_strength_that_was_not_measured_is_named():
    with pytest.raises(KeyError, match="Strength 3 was not measured"):
        evaluated().at(3)


@pytest.mark.parametrize("strength", [-1, math.nan])
def test_a_probe_of_an_impossible_strength_is_refused(strength):
    with pytest.raises(ValueError, match="finite numbers >= 0"):
        Probe((0, strength), ())
