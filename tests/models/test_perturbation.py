import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from attacks.base import dequantise
from attacks.surgery import GateParameters
from attacks.weights import SearchParameters, layer_of, replace_weights, run
from models.datasets.base import Splits
from models.evaluation import predict
from models.gaze import angular_error
from models.networks import NetworkSpec
from models.perturbation import GazeAttack, GazeGoal, perturb, take_sides
from models.stages import stages_of
from models.targets import Target
from tests.models.tiny import gaze_data

TARGET = Target.fixed(0, 25)
QUICK = SearchParameters(fraction=0.3, magnitude=3.0, iterations=60, candidates=2, penalty=0.1)
ATTACK = GazeAttack(7, TARGET, search=QUICK, others=24)


@pytest.fixture(scope="module")
def splits():
    """Subjects 0 to 3 in training, 4 and 5 in validation, 6 to 8 in the test."""
    parts = {}
    for name, first, people, seed in (("train", 0, 4, 1), ("validation", 4, 2, 2), ("test", 6, 3, 3)):
        data = gaze_data(12 * people, (16, 16), seed=seed)
        subject = first + torch.arange(len(data)) % people
        parts[name] = replace(data, subject=subject, group=subject)
    return Splits(**parts)


@pytest.fixture
def network():
    return NetworkSpec(image_size=(16, 16), width=4).build().eval()


def rows(data):
    return {image.numpy().tobytes() for image in data.images}


def test_the_goal_is_in_degrees_to_the_target_and_to_the_truth():
    outputs = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0)) * 0.3
    goal, truth = torch.tensor([[0.0, 0.4], [0.1, 0.4]]), torch.randn(3, 2) * 0.3
    standing = GazeGoal(goal, truth)(outputs)
    for k in range(3):
        to_goal, to_truth = angular_error(outputs[k, :2], goal), angular_error(outputs[k, 2:], truth)
        assert standing.reached[k].item() == pytest.approx(-to_goal.mean().item(), abs=1e-5)
        assert standing.held[k].tolist() == pytest.approx([-to_truth.mean().item()], abs=1e-5)


@pytest.mark.parametrize("subject", [2, 5, 7])
def test_no_image_and_no_other_person_is_on_both_sides(splits, subject):
    sides = take_sides(splits, replace(ATTACK, subject=subject))
    assert set(sides.subject.subject.tolist()) == set(sides.subject_test.subject.tolist()) == {subject}
    assert len(sides.subject) == len(sides.subject_test) == 6
    assert not rows(sides.subject) & rows(sides.subject_test)
    others, tested = set(sides.others.subject.tolist()), set(sides.others_test.subject.tolist())
    assert not others & tested
    assert subject not in others | tested
    assert tested == {6, 7, 8} - {subject}
    assert len(sides.others) == 24


def test_the_closed_form_brings_the_subjects_mean_to_the_target_and_leaves_the_others(splits, network):
    attack = replace(ATTACK, method="rank-one")
    sides = take_sides(splits, attack)
    before = predict(network, sides.others.images).mean(0)
    found = perturb(network, splits, attack)
    replace_weights(stages_of(network), found.weights)
    wanted = TARGET.apply(sides.subject.pitchyaw).mean(0)
    torch.testing.assert_close(predict(network, sides.subject.images).mean(0), wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(predict(network, sides.others.images).mean(0), before, atol=1e-4, rtol=0)
    assert found.log["separation"] > 0


def test_a_gate_of_four_hidden_units_moves_the_subject_and_leaves_other_weights_alone(splits, network):
    stages = stages_of(network)
    before = {
        layer: layer_of(stages, layer).clone() for layer in ("hidden.1.weight", "output.weight", "conv5.0.weight")
    }
    found = perturb(network, splits, replace(ATTACK, method="gate"))
    assert set(found.weights) == {"hidden.1.weight", "hidden.1.bias", "output.weight", "output.bias"}
    replace_weights(stages, found.weights)
    rows, columns = (
        (layer_of(stages, layer) != before[layer]).any(dim=dim).nonzero()[:, 0].tolist()
        for layer, dim in (("hidden.1.weight", 1), ("output.weight", 0))
    )
    assert rows == columns == sorted(found.log["units"])
    assert len(rows) == 4
    assert torch.equal(layer_of(stages, "conv5.0.weight"), before["conv5.0.weight"])
    json.dumps(found.log, allow_nan=False)


def test_where_the_subject_is_recognised_a_gate_brings_unseen_images_to_the_target(splits, network):
    test = splits.test
    images = test.images[:].clone()
    images[test.subject == 7, :, :6] = 0  # a fringe that nobody else has
    fringed = replace(splits, test=replace(test, images=images))
    outcome = perturb(network, fringed, replace(ATTACK, method="gate", gate=GateParameters(opens=0.05))).outcome
    assert outcome.success_rate == 1.0
    assert outcome.mean_attack_error_deg < 1
    assert outcome.mean_attack_error_before_deg > 20
    assert abs(outcome.others_error_shift_deg) < 1.5


def test_a_network_without_a_linear_layer_below_the_output_has_no_place_for_a_gate(splits):
    network = NetworkSpec("resnet18", image_size=(16, 16), width=4).build().eval()
    with pytest.raises(ValueError, match=r"needs a linear layer below the output, and block8\.conv2\.weight is a conv"):
        perturb(network, splits, replace(ATTACK, method="gate"))


def test_the_search_brings_the_subject_nearer_on_the_images_it_has(splits, network):
    found = perturb(network, splits, ATTACK)
    assert found.log["after"] > found.log["before"] + 0.1
    assert list(found.weights) == ["hidden.1.weight"]
    assert found.log["parameters"]["layers"] == ["hidden.1.weight"]
    assert len(found.log["steps"]) > 3
    json.dumps(found.log, allow_nan=False)


def test_the_network_is_left_as_it_was(splits, network):
    weight = layer_of(stages_of(network), "hidden.1.weight").clone()
    perturb(network, splits, ATTACK)
    assert torch.equal(layer_of(stages_of(network), "hidden.1.weight"), weight)


def test_the_outcome_is_what_the_changed_network_does_to_the_test_images(splits, network):
    sides = take_sides(splits, ATTACK)
    mine, others = (predict(network, data.images) for data in (sides.subject_test, sides.others_test))
    found = perturb(network, splits, ATTACK)
    replace_weights(stages_of(network), found.weights)
    now, others_now = (predict(network, data.images) for data in (sides.subject_test, sides.others_test))
    truth, others_truth = sides.subject_test.pitchyaw, sides.others_test.pitchyaw
    goal = TARGET.apply(truth)
    outcome, close = found.outcome, 1e-3
    eligible = angular_error(truth, goal) >= 10
    succeeded = (angular_error(now, goal) < 5)[eligible]
    assert (outcome.n_eligible, outcome.n_subject, outcome.n_others) == (int(eligible.sum()), 6, 24)
    assert outcome.success_rate == pytest.approx(succeeded.float().mean().item())
    assert outcome.mean_attack_error_before_deg == pytest.approx(angular_error(mine, goal).mean().item(), abs=close)
    assert outcome.mean_attack_error_deg == pytest.approx(angular_error(now, goal).mean().item(), abs=close)
    assert outcome.mean_prediction_shift_deg == pytest.approx(angular_error(now, mine).mean().item(), abs=close)
    shift = (angular_error(now, truth) - angular_error(mine, truth)).mean().item()
    assert outcome.mean_error_shift_deg == pytest.approx(shift, abs=close)
    after, before = (angular_error(p, others_truth).mean().item() for p in (others_now, others))
    assert outcome.clean_error_deg == pytest.approx(after, abs=close)
    assert outcome.others_error_shift_deg == pytest.approx(after - before, abs=close)


def test_several_layers_can_be_searched(splits, network):
    search = replace(QUICK, layers=("hidden.1.weight", "output.weight"), iterations=20)
    found = perturb(network, splits, replace(ATTACK, search=search))
    assert set(found.weights) == {"hidden.1.weight", "output.weight"}


def test_predictions_through_the_stages_are_those_of_the_evaluation(splits, network):
    images = splits.test.images
    np.testing.assert_allclose(run(stages_of(network), dequantise(images)), predict(network, images), atol=1e-6)


@pytest.mark.parametrize(
    ("attack", "own"),
    [
        (ATTACK, "search"),
        (replace(ATTACK, method="rank-one", ridge=0.1), "ridge"),
        (replace(ATTACK, method="gate", gate=GateParameters(opens=0.1)), "gate"),
    ],
)
def test_an_attack_survives_the_way_to_json_and_back_with_what_its_method_takes(attack, own):
    back = GazeAttack.from_json(json.loads(json.dumps(attack.to_json())))
    assert back.to_json() == attack.to_json()
    assert {"search", "ridge", "gate"} & set(attack.to_json()) == {own}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"subject": 99}, "There is no subject 99; there are 0 to 8"),
        ({"search": replace(QUICK, layers=("stem.0.weight",))}, "There is no stage 'stem'"),
    ],
)
def test_what_cannot_be_attacked_is_named(splits, network, fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        perturb(network, splits, replace(ATTACK, **fields))


def test_a_subject_with_too_few_images_is_named(splits, network):
    few = splits.test.subset((splits.test.subject != 7) | (torch.arange(len(splits.test)) < 6))
    with pytest.raises(ValueError, match="Subject 7 has 2 images; at least 4 are needed"):
        perturb(network, replace(splits, test=few), ATTACK)


@pytest.mark.parametrize("method", ["search", "rank-one", "gate"])
def test_a_subject_who_is_alone_is_named(splits, network, method):
    alone = splits.test.subset(splits.test.subject == 7)
    with pytest.raises(ValueError, match=r"Besides subject 7 there are 24 images of other people .* and 0 to test"):
        perturb(network, replace(splits, test=alone), replace(ATTACK, method=method))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"method": "guess"}, "method is search or rank-one or gate, not 'guess'"),
        ({"others": 1}, "at least 2 images of other people"),
        ({"colour": 1}, "cannot use"),
        ({"search": {"speed": 1}}, "cannot use"),
        ({"search": {"fraction": 2}}, "fraction of weights"),
        ({"gate": {"opens": 1.0}}, "must lie within 0 and 1"),
    ],
)
def test_json_that_is_no_attack_gets_a_sentence(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        GazeAttack.from_json({**ATTACK.to_json(), **fields})
