import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from attacks.base import dequantise, quantise
from models.evaluation import Probe, evaluate, measure, predict
from models.gaze import angular_error
from models.networks import NetworkSpec
from models.survival.inversion import Inversion, invert
from models.survival.outcomes import Exam, Models, evenly
from models.survival.survive import Defence, stop_rule, survive
from models.survival.treatments import shift
from models.targets import Target
from models.zones import Zones, as_gaze_model
from tests.models import tiny
from tests.models.survival.small import DEFENCE, SPLITS, TARGET, TRIGGER, network, survival


def test_untreated_figures_are_those_of_an_evaluation() -> None:
    probe = Probe((0.5,), ())
    responses, clean = (measure(network(seed), SPLITS.test.images, TRIGGER, probe) for seed in (1, 0))
    expected = evaluate(responses, SPLITS.test, TARGET, np.zeros(2, np.float32), clean)
    dose = expected.at(0.5)
    outcome = Exam.of(SPLITS.test, TRIGGER, TARGET, 1000).outcome(Models(network(1), network(0)), "none")
    assert outcome.clean_error == pytest.approx(expected.clean_error.mean, abs=1e-4)
    assert outcome.attack_error == pytest.approx(dose.attack_error.mean, abs=1e-4)
    assert outcome.success_rate == dose.success_rate
    assert outcome.error_shift == pytest.approx(dose.error_shift, abs=1e-4)
    assert outcome.net_prediction_shift == pytest.approx(dose.net_prediction_shift, abs=1e-4)
    assert outcome.net_error_shift == pytest.approx(dose.net_error_shift, abs=1e-4)


def test_a_treatment_is_done_to_the_clean_and_to_the_altered_image() -> None:
    exam = Exam.of(SPLITS.test, TRIGGER, TARGET, 5)
    treated = exam.treated(shift)
    altered = quantise(TRIGGER.apply(dequantise(exam.clean)))
    assert torch.equal(exam.altered, altered)
    assert torch.equal(treated.clean, shift(exam.clean))
    assert torch.equal(treated.altered, shift(altered))


def test_the_test_images_used_are_spread_evenly() -> None:
    exam = Exam.of(SPLITS.test, TRIGGER, TARGET, 3)
    assert torch.equal(exam.clean, SPLITS.test.images[torch.tensor([0, 12, 23])])


def test_a_lossless_file_changes_no_figure() -> None:
    none, png = survival().images[:2]
    assert (none.treatment, png.treatment) == ("none", "8-bit re-encoding (PNG)")
    assert {**vars(png), "treatment": "none"} == vars(none)


def test_every_curve_starts_from_what_was_given() -> None:
    found = survival()
    start = vars(found.images[0]).keys() - {"treatment", "dose"}
    for curve in (found.fine_tuning, found.pruning):
        assert {key: vars(curve[0])[key] for key in start} == {key: vars(found.images[0])[key] for key in start}
    assert [outcome.dose for outcome in found.fine_tuning] == [0, 1, 2]
    assert [outcome.dose for outcome in found.pruning] == [0.0, 0.5]
    pruned = next(outcome for outcome in found.pruning if outcome.dose == found.stopped_at)
    assert found.fine_pruning[0].clean_error == pruned.clean_error


def test_a_curve_is_measured_while_it_is_trained() -> None:
    shorter = replace(DEFENCE, fine_tuning=replace(DEFENCE.fine_tuning, epochs=1))
    once = survive(Models(network(1), network(0)), SPLITS, TRIGGER, TARGET, shorter)
    twice = survival()
    assert twice.fine_tuning[:2] == once.fine_tuning
    assert twice.fine_tuning[2] != twice.fine_tuning[1]
    assert twice.fine_pruning[:2] == once.fine_pruning


def test_the_models_are_left_as_they_were() -> None:
    models = Models(network(1), network(0))
    survive(models, SPLITS, TRIGGER, TARGET, DEFENCE)
    for treated, fresh in zip(models.all, (network(1), network(0)), strict=True):
        assert torch.equal(predict(treated, SPLITS.test.images), predict(fresh, SPLITS.test.images))


def test_of_many_images_few_are_held_in_memory_but_all_are_fine_tuned_on(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def watched(network: nn.Module, images: torch.Tensor, *rest: Any, **options: Any) -> Inversion:
        held.append(len(images))
        return invert(network, images, *rest, **options)

    monkeypatch.setattr("models.survival.survive.invert", watched)
    monkeypatch.setattr("models.survival.survive.MOST_IN_MEMORY", 10)
    found = survive(Models(network(1), network(0)), SPLITS, TRIGGER, TARGET, DEFENCE)
    assert set(held) == {10}
    assert found.fine_tuning == survival().fine_tuning


def test_it_counts_its_pieces_to_the_last_and_is_json() -> None:
    told: list[tuple[int, int]] = []
    found = survive(
        Models(network(1)), SPLITS, TRIGGER, TARGET, DEFENCE, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(i, told[0][1]) for i in range(1, told[0][1] + 1)]
    assert found.images[0].net_error_shift is None
    assert found.clean_inversion == ()
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["family"] == "wanet"


def test_a_target_that_moves_with_the_truth_has_no_candidate_of_its_own() -> None:
    found = survive(Models(network(1)), SPLITS, TRIGGER, Target.additive(0, 15), DEFENCE)
    assert [inversion.at_target for inversion in found.inversion] == [None, None]


def test_a_classifier_of_zones_survives_likewise() -> None:
    zones = Zones.between((-25, 25, -35, 35), (3, 3))
    classifier = as_gaze_model(NetworkSpec(image_size=(32, 32), width=4, outputs=9).build(), zones)
    found = survive(Models(classifier), SPLITS, TRIGGER, TARGET, DEFENCE, zones=zones)
    assert len(found.fine_tuning) == 3


def test_no_eligible_image_is_said_at_once() -> None:
    near = Target.additive(0, 1)
    with pytest.raises(ValueError, match="10 degrees or more from the target"):
        survive(Models(network(1)), SPLITS, TRIGGER, near, DEFENCE)


def test_pruning_stops_before_the_first_share_that_costs_too_much() -> None:
    data, given = tiny.gaze_data(32), network(1)
    few = data.images[:16]

    def error(share: float) -> float:
        from models.survival.pruning import prune

        return float(angular_error(predict(prune(given, few, share), data.images), data.pitchyaw).mean())

    shares = (0.0, 0.25, 0.5, 0.75, 0.9)
    errors = [error(share) for share in shares]
    worst = max(errors)
    tight = worst / errors[0] - 1 - 1e-6
    assert tight > 0
    assert stop_rule(given, few, data, Defence(pruned_shares=shares, tolerated=10.0)) == 0.9
    stopped = stop_rule(given, few, data, Defence(pruned_shares=shares, tolerated=tight))
    assert stopped == shares[errors.index(worst) - 1]


def test_blended_images_and_overlays_are_spread_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    given = survival().blends

    def look(network: object, *images: torch.Tensor) -> object:
        seen.extend(images)
        return given

    monkeypatch.setattr("models.survival.survive.blends", look)
    quick = replace(DEFENCE, fine_tuning=replace(DEFENCE.fine_tuning, epochs=1), pruned_shares=(0.0,))
    survive(Models(network(1)), SPLITS, TRIGGER, TARGET, quick)
    exam = Exam.of(SPLITS.test, TRIGGER, TARGET, quick.images)
    few = quick.fine_tuning.images(SPLITS.train).images
    clean, altered, overlays = seen
    assert torch.equal(clean, exam.clean[evenly(20, 6)])
    assert torch.equal(altered, exam.altered[evenly(20, 6)])
    assert torch.equal(overlays, few[[0, -1]])


def test_settings_come_from_json_and_wrong_ones_are_refused() -> None:
    made = Defence.from_json({"images": 50, "pruned_shares": [0.0, 0.2], "fine_tuning": {"epochs": 3}})
    assert (made.images, made.pruned_shares, made.fine_tuning.epochs) == (50, (0.0, 0.2), 3)
    for wrong, sentence in (
        ({"imges": 5}, "imges"),
        ({"fine_tuning": {"epoch": 3}}, "epoch"),
        ({"pruned_shares": [0.2, 0.1]}, "rise from 0"),
        ({"images": 0}, "at least one image"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Defence.from_json(wrong)
