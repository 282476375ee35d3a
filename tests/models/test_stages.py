import pytest
import torch
from torch import nn

from attacks.weights import SearchParameters, Standing, replace_weights, run, search
from models.networks import NetworkSpec
from models.stages import last_hidden_layer, stages_of

WIDTHS = {"five_layer_cnn": 4, "lenet": 4, "resnet18": 4, "resnet50": 4}


def built(name):
    return NetworkSpec(name, image_size=(32, 32), width=WIDTHS[name], outputs=3).build().eval()


def images(n=4):
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", WIDTHS)
def test_the_stages_one_after_the_other_are_the_network(name):
    network = built(name)
    assert torch.equal(run(stages_of(network), images()), network(images()))


@pytest.mark.parametrize("name", WIDTHS)
def test_the_stages_hold_every_weight_of_the_network(name):
    network = built(name)
    held = {id(weight) for stage in stages_of(network).values() for weight in stage.parameters()}
    assert held == {id(weight) for weight in network.parameters()}


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("five_layer_cnn", "conv1.0.weight"),
        ("five_layer_cnn", "conv5.0.weight"),
        ("five_layer_cnn", "hidden.1.weight"),
        ("five_layer_cnn", "output.weight"),
        ("resnet50", "stem.0.weight"),
        ("resnet50", "block14.downsample.0.weight"),
        ("resnet50", "block16.conv3.weight"),
        ("resnet50", "output.weight"),
    ],
)
def test_an_iteration_from_the_cache_says_what_the_whole_network_says(name, layer):
    network, seen = built(name), []

    def goal(outputs):
        seen.append(outputs)
        return Standing(outputs[..., 0].mean(-1), torch.zeros(len(outputs), 1))

    parameters = SearchParameters((layer,), iterations=4, candidates=2, magnitude=0.5)
    found = search(stages_of(network), images(), goal, parameters)
    replace_weights(stages_of(network), found.weights)
    full = network(images())
    winners = seen[found.steps[-1].iteration]
    assert min((full - each).abs().max().item() for each in winners) <= 1e-6 * max(1.0, full.abs().max().item())


@pytest.mark.parametrize(
    ("name", "layer"),
    [("five_layer_cnn", "hidden.1.weight"), ("lenet", "hidden.1.weight"), ("resnet50", "block16.conv3.weight")],
)
def test_the_last_hidden_layer_is_the_one_below_the_output(name, layer):
    assert last_hidden_layer(stages_of(built(name))) == layer


def test_a_network_of_unknown_stages_is_named():
    with pytest.raises(ValueError, match="what stages a Linear has"):
        stages_of(nn.Linear(2, 2))
