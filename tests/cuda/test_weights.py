"""The search for a change of weights on a device: draws are the CPU's, and so is what comes of them."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from attacks.weights import SearchParameters, Standing, layer_of, replace_weights, run, search
from models.devices import repeatable
from models.networks import NetworkSpec
from models.stages import stages_of
from tests.models.tiny import gaze_data

IMAGES = gaze_data(24).images.float() / 255


def network() -> nn.Module:
    return NetworkSpec(image_size=(32, 32), width=4).build(seed=1).eval()


def first_output_up(outputs: Tensor) -> Standing:
    """The first images' first output is to grow, everybody's second to stay."""
    return Standing(outputs[:, :8, 0].mean(-1), -outputs[..., 1].std(-1, keepdim=True))


@pytest.mark.parametrize("layer", ["conv2.0.weight", "hidden.1.weight", "output.weight"])
def test_a_search_on_the_device_finds_what_the_cpus_finds(layer: str) -> None:
    parameters = SearchParameters(layers=(layer,), iterations=30, fraction=0.2)
    with repeatable():
        on_cpu = search(stages_of(network()), IMAGES, first_output_up, parameters)
        on_cuda = search(stages_of(network().cuda()), IMAGES.cuda(), first_output_up, parameters)
    assert on_cuda.weights[layer].device.type == "cuda"
    assert on_cuda.tried == on_cpu.tried
    assert on_cuda.after > on_cuda.before
    # A tie of two candidates may be broken either way where a device rounds otherwise; the first steps have none.
    assert [step.iteration for step in on_cuda.steps[:3]] == [step.iteration for step in on_cpu.steps[:3]]
    assert on_cuda.steps[0].objective == pytest.approx(on_cpu.steps[0].objective, rel=1e-3)


def test_the_changed_network_does_on_the_device_what_the_search_saw() -> None:
    changed = network().cuda()
    stages = OrderedDict(stages_of(changed))
    found = search(stages, IMAGES.cuda(), first_output_up, SearchParameters(layers=("output.weight",), iterations=30))
    before = copy.deepcopy(layer_of(stages, "output.weight"))
    replace_weights(stages, {name: weight.cpu() for name, weight in found.weights.items()})
    assert not torch.equal(layer_of(stages, "output.weight"), before)
    outputs = run(stages, IMAGES.cuda())
    assert first_output_up(outputs[None]).reached.item() == pytest.approx(found.steps[-1].reached, rel=1e-4)
