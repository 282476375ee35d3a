import json

import numpy as np
import pytest
import torch

from models.evaluation import Responses, evaluate, predict, zone_dose
from models.targets import Target
from models.zones import ZonePredictor, Zones, as_gaze_model
from tests.models.tiny import gaze_data

GRID = Zones.between((-15, 15, -30, 30), (3, 3))


def gazes(*pitch_yaw_deg):
    return torch.deg2rad(torch.tensor(pitch_yaw_deg, dtype=torch.float32))


def test_zones_between_limits_are_of_equal_size():
    assert np.rad2deg(GRID.pitch) == pytest.approx([-10, 0, 10])
    assert np.rad2deg(GRID.yaw) == pytest.approx([-20, 0, 20])


def test_zones_are_numbered_row_by_row_from_the_lowest_pitch_and_the_least_yaw():
    assert GRID.of(gazes((-12, -25), (-12, 0), (0, -25), (0, 0), (12, 25))).tolist() == [0, 1, 3, 4, 8]


def test_a_gaze_is_in_the_zone_whose_centre_is_nearest_along_each_axis():
    pitchyaw = (torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) - 0.5) * 2
    away = (pitchyaw[:, None] - GRID.centres()).abs()
    assert torch.equal(GRID.of(pitchyaw), (away / gazes((10, 20))).square().sum(2).argmin(1))


def test_the_outer_zones_take_in_what_lies_beyond_the_limits():
    assert GRID.of(gazes((-80, -170), (80, 170))).tolist() == [0, 8]


def test_every_centre_lies_in_its_own_zone():
    assert GRID.of(GRID.centres()).tolist() == list(range(9))


@pytest.mark.parametrize("draw", [torch.rand, torch.randn])
@pytest.mark.parametrize("grid", [(3, 3), (2, 5), (1, 2)])
def test_zones_of_labels_hold_similar_shares(draw, grid):
    labels = draw(20_000, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([0.2, 0.5])
    zones = Zones.of_labels(labels, grid)
    shares = torch.bincount(zones.of(labels), minlength=len(zones)) / len(labels) * len(zones)
    assert len(zones) == grid[0] * grid[1]
    assert 0.7 < shares.min() <= shares.max() < 1.4


def test_even_labels_are_shared_out_evenly():
    even = torch.linspace(-0.5, 0.5, 901)
    zones = Zones.of_labels(torch.stack([even, even], 1), (1, 9))
    assert set(torch.bincount(zones.of(torch.stack([even, even], 1))).tolist()) <= {99, 100, 101}


def test_the_zone_of_a_moved_gaze_is_the_targets():
    truth = gazes((0, -20), (0, 20))
    assert GRID.of(Target.fixed(10, 20).apply(truth)).tolist() == [8, 8]
    assert GRID.of(Target.additive(0, 20).apply(truth)).tolist() == [4, 5]
    assert GRID.of(Target.mirrored().apply(truth)).tolist() == [5, 3]


def test_zones_survive_json():
    zones = Zones.of_labels(torch.randn(100, 2), (2, 4))
    assert Zones.from_json(json.loads(json.dumps(zones.to_json()))) == zones


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Zones((0,), (0,)), "at least two"),
        (lambda: Zones((0, 0), (0, 1)), "pitch centres must rise"),
        (lambda: Zones.between((5, -5, -10, 10), (3, 3)), "Zone limits are"),
        (lambda: Zones.between((-5, 5), (3, 3)), "Zone limits are"),
        (lambda: Zones.of_labels(torch.zeros(10, 2), (3, 3)), "ask for fewer zones where labels take few values"),
    ],
)
def test_zones_that_are_none_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


class Brightness(torch.nn.Module):
    """Finds zone 0 in dark and zone 8 in bright images."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images):
        level = images.flatten(1).mean(1) - 0.5
        return torch.stack([-level, *[torch.full_like(level, -1)] * 7, level], 1) * self.scale


def test_a_classifier_predicts_the_centres_of_zones():
    images = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 1, 16, 16)
    predicted = predict(ZonePredictor(Brightness(), GRID), images)
    assert torch.equal(predicted, GRID.centres()[[0, 8]])


def test_a_predictor_keeps_nothing_but_the_classifiers_tensors():
    assert list(ZonePredictor(Brightness(), GRID).state_dict()) == ["classifier.scale"]


def test_a_regressor_is_a_gaze_model_already():
    network = Brightness()
    assert as_gaze_model(network, None) is network


def zones_at(*numbers):
    """Gazes (N, 2) at the centres of these zones."""
    return GRID.centres()[list(numbers)].numpy()


def test_the_figures_of_zones_equal_the_hand_counted_ones():
    truth, goal = zones_at(0, 1, 8, 4), zones_at(8, 8, 8, 8)
    model = Responses(
        zones_at(0, 1, 8, 5),
        {0.5: zones_at(8, 1, 8, 8)},
        noise={0.5: zones_at(0, 2, 8, 5)},
        unrelated={0.5: [zones_at(0, 1, 8, 4), zones_at(0, 1, 8, 5)]},
    )
    dose = zone_dose(0.5, model, truth, goal, GRID)
    assert (dose.success_rate, dose.n_eligible) == (pytest.approx(2 / 3), 3)  # the third image is in the zone already
    assert dose.accuracy == 0.5
    assert dose.noise_mode_accuracy == 0.5
    assert dose.other_field_change_rate == pytest.approx((1 / 4 + 0) / 2)


def test_zone_success_is_counted_by_subject_too():
    model = Responses(zones_at(0, 1, 2, 8), {0.5: zones_at(8, 1, 8, 8)})
    subject = np.array([7, 7, 9, 9])
    dose = zone_dose(0.5, model, zones_at(0, 1, 2, 8), zones_at(8, 8, 8, 8), GRID, subject=subject)
    assert [(row.subject, row.n_eligible, row.successes) for row in dose.subjects] == [(7, 2, 1), (9, 1, 1)]


def test_zone_success_is_undefined_where_every_image_lies_in_the_targets_zone():
    model = Responses(zones_at(8), {1.0: zones_at(8)})
    dose = zone_dose(1.0, model, zones_at(8), zones_at(8), GRID)
    assert (dose.success_rate, dose.n_eligible) == (None, 0)
    assert dose.noise_mode_accuracy is None
    assert dose.other_field_change_rate is None


def test_an_evaluation_reads_any_model_in_the_zones_it_is_given():
    data = gaze_data(8)
    responses = Responses(data.pitchyaw.numpy(), {1.0: data.pitchyaw.numpy()})
    mean = data.pitchyaw.mean(0).numpy()
    with_zones = evaluate(responses, data, Target.fixed(0, 25), mean, zones=GRID)
    without = evaluate(responses, data, Target.fixed(0, 25), mean)
    assert with_zones.clean_accuracy == 1
    assert with_zones.at(1.0).zones.success_rate == 0
    assert without.clean_accuracy is None
    assert without.at(1.0).zones is None
    assert with_zones.at(1.0).attack_error == without.at(1.0).attack_error
