"""A model says the same on both kinds of device, and its figures are the same."""

from __future__ import annotations

import copy
from dataclasses import asdict

import pytest
import torch

from attacks.base import dequantise
from attacks.wanet import WarpField
from models.devices import repeatable
from models.evaluation import evaluate, measure, predict
from models.networks import NetworkSpec
from models.recipe import Recipe
from models.targets import Target
from models.training import train
from models.zones import Zones, as_gaze_model
from tests.models.tiny import gaze_data, splits

FIELD = WarpField.draw((32, 32), 4, 2.0, seed=3)
TARGET = Target.fixed(0, 25)
#: Radians: what float32 may differ by. TF32, the default of cuDNN, is a hundred times as far off.
FLOAT32 = 2e-5


@pytest.mark.parametrize("name", ["five_layer_cnn", "lenet", "resnet18", "resnet50"])
def test_predictions_are_those_of_the_cpu_in_float32(name: str) -> None:
    data = gaze_data(48, (64, 64))
    network = NetworkSpec(name, image_size=(64, 64)).build(seed=1)
    on_cpu = predict(network, data.images)
    on_cuda = predict(network.cuda(), data.images)
    assert on_cuda.device.type == "cpu"
    assert (on_cpu - on_cuda).abs().max() < FLOAT32 * max(1.0, on_cpu.abs().max().item())


def test_convolutions_are_in_float32_and_not_in_tf32() -> None:
    generator = torch.Generator().manual_seed(0)
    images, weight = torch.rand(8, 16, 32, 32, generator=generator), torch.randn(32, 16, 3, 3, generator=generator)
    exact = torch.nn.functional.conv2d(images.double(), weight.double())
    with repeatable():
        found = torch.nn.functional.conv2d(images.cuda(), weight.cuda()).cpu()
    assert ((found - exact).norm() / exact.norm()).item() < 1e-6


def test_the_number_of_images_at_once_changes_next_to_nothing() -> None:
    data = gaze_data(48, (64, 64))
    network = NetworkSpec(image_size=(64, 64)).build(seed=1).cuda()
    together, few = (predict(network, data.images, batch_size=size) for size in (None, 7))
    assert (together - few).abs().max() < FLOAT32


def test_all_figures_are_those_of_the_cpu() -> None:
    data = splits(640, 64, 256)
    model = train(Recipe(strength_schedule=((2, 2),), width=8), data, FIELD, TARGET, device="cuda")
    network = model.network
    first, second = (measure(each, data.test.images, FIELD) for each in (copy.deepcopy(network).cpu(), network))
    on_cpu, on_cuda = first.tensors(), second.tensors()
    assert on_cpu.keys() == on_cuda.keys()
    # A pixel that lies halfway between two levels may be rounded either way, and is then one level off.
    assert max((on_cpu[name] - on_cuda[name]).abs().max().item() for name in on_cpu) < 2e-3
    mean_gaze = data.train.pitchyaw.mean(0).numpy()
    one, other = (evaluate(each, data.test, TARGET, mean_gaze).clean_error for each in (first, second))
    assert asdict(one) == pytest.approx(asdict(other), abs=1e-3)


def test_a_classifiers_zones_are_those_of_the_cpu() -> None:
    data, zones = gaze_data(64, (32, 32)), Zones.between((-20, 20, -30, 30), (3, 3))
    network = as_gaze_model(NetworkSpec(image_size=(32, 32), outputs=9).build(seed=2), zones)
    on_cpu = predict(network, data.images)
    assert torch.equal(predict(network.cuda(), data.images), on_cpu)
    assert torch.equal(zones.of(data.pitchyaw.cuda()).cpu(), zones.of(data.pitchyaw))


def test_a_network_in_training_mode_is_left_in_it_on_the_device() -> None:
    network = NetworkSpec(image_size=(32, 32)).build().cuda().train()
    predict(network, gaze_data(4).images)
    assert network.training
    assert network(dequantise(gaze_data(4).images).cuda()).requires_grad


def test_a_large_network_is_run_on_as_many_images_as_small_devices_can_hold() -> None:
    network = NetworkSpec("resnet50", image_size=(224, 224), width=64).build().cuda()
    torch.cuda.reset_peak_memory_stats()
    predict(network, gaze_data(256, (224, 224)).images)
    assert torch.cuda.max_memory_allocated() < 2**32
