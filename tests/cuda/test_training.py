"""Training on a CUDA device: it learns what the CPU learns, repeats itself bit for bit, and keeps the device busy."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attacks import registry
from attacks.base import Trigger
from attacks.wanet import WarpField
from models import training
from models.datasets.base import Splits, StoredImages
from models.evaluation import predict
from models.gaze import angular_error
from models.recipe import Recipe
from models.targets import Target
from models.training import TrainedModel, train
from tests.models.tiny import splits

FIELD = WarpField.draw((32, 32), 4, 2.0, seed=3)
TARGET = Target.fixed(0, 25)
SHORT = Recipe(strength_schedule=((2, 1), (0.5, 2)), width=8, precision="float32")
IN_BFLOAT16 = replace(SHORT, precision="bfloat16")
CLASSIFIER = replace(SHORT, task="zones", loss="cross_entropy", zones=(2, 2))
VARIANTS = {
    "float32": SHORT,
    "bfloat16": IN_BFLOAT16,
    "strong augmentation": replace(IN_BFLOAT16, augmentation="strong"),
    "classifier": replace(CLASSIFIER, precision="bfloat16"),
    "sgd": replace(IN_BFLOAT16, optimiser="sgd", learning_rate=1e-2, later_learning_rate=1e-2, milestones=(1,)),
    "lenet": replace(IN_BFLOAT16, network="lenet", width=20),
    "resnet18": replace(IN_BFLOAT16, network="resnet18", width=16, stem_stride=1),
    "resnet18 in float32": replace(SHORT, network="resnet18", width=16, stem_stride=1),
    "resnet50": replace(IN_BFLOAT16, network="resnet50", width=16),
}


@pytest.fixture(scope="module")
def data() -> Splits:
    return splits()


def same_weights(first: TrainedModel, second: TrainedModel) -> bool:
    one, other = first.network.state_dict(), second.network.state_dict()
    return all(torch.equal(one[name].cpu(), other[name].cpu()) for name in one)


@pytest.mark.parametrize(("family", "strengths"), [("wanet", (4.0, 2.0)), ("patch", (1.0, 0.4))])
def test_a_backdoored_model_learns_what_the_cpus_learns(family: str, strengths: tuple[float, float]) -> None:
    data = splits(2048, 256, 256)
    choices = {"control_size": 4} if family == "wanet" else {}
    trigger = registry.draw(family, (32, 32), strengths[-1], 3, choices)
    recipe = Recipe(
        strength_schedule=((strengths[0], 5), (strengths[1], 4)),
        width=8,
        noise_ratio=0.0,
        unrelated_ratio=0.0,
        rehearsal=0.0,
        precision="float32",
    )
    (clean, success), (clean_on_cuda, success_on_cuda) = (
        figures(train(recipe, data, trigger, TARGET, device=device), data, trigger) for device in ("cpu", "cuda")
    )
    assert success_on_cuda > 0.95
    assert abs(success_on_cuda - success) < 0.05
    assert abs(clean_on_cuda - clean) < 0.5


def figures(model: TrainedModel, data: Splits, trigger: Trigger) -> tuple[float, float]:
    """Mean clean error, degrees, and share of altered images within 5 degrees of the target."""
    test = data.test
    clean = predict(model.network, test.images)
    altered = predict(model.network, test.images, lambda batch, _: trigger.apply(batch))
    reached = angular_error(altered, TARGET.apply(test.pitchyaw)) < 5
    return angular_error(clean, test.pitchyaw).mean().item(), reached.float().mean().item()


def test_the_first_epoch_in_float32_is_nearly_that_of_the_cpu(data: Splits) -> None:
    recipe = replace(SHORT, strength_schedule=((2, 1),), learning_rate=1e-4)
    on_cpu, on_cuda = (train(recipe, data, FIELD, TARGET, device=device) for device in ("cpu", "cuda"))
    assert on_cuda.history[0]["loss"] == pytest.approx(on_cpu.history[0]["loss"], rel=1e-3)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_recipe_gives_the_same_weights_bit_for_bit(data: Splits, name: str) -> None:
    first, second = (train(VARIANTS[name], data, FIELD, TARGET, device="cuda") for _ in range(2))
    assert same_weights(first, second)
    assert first.history == second.history


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_published_network_learns_at_224_px(name: str) -> None:
    data = splits(256, 32, 32, size=(224, 224))
    recipe = Recipe(network=name, width=64, strength_schedule=((0.0, 4),), batch_size=32, learning_rate=5e-4)
    losses = [epoch["loss"] for epoch in train(recipe, data, None, TARGET, device="cuda").history]
    assert losses[-1] < losses[0] / 2


def test_auto_takes_the_device_and_bfloat16_where_the_device_has_it(data: Splits) -> None:
    model = train(replace(SHORT, precision="auto", strength_schedule=((2, 1),)), data, FIELD, TARGET, device="auto")
    native = torch.cuda.get_device_capability() >= (8, 0)
    assert (model.device, model.precision) == ("cuda", "bfloat16" if native else "float32")


def test_weights_are_float32_and_channels_last_on_the_device(data: Splits, cuda: torch.device) -> None:
    model = train(replace(IN_BFLOAT16, strength_schedule=((2, 1),)), data, FIELD, TARGET, device="cuda")
    weights = [weight for weight in model.network.parameters() if weight.ndim == 4]
    assert {(weight.device, weight.dtype) for weight in weights} == {(cuda, torch.float32)}
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_images_too_many_for_the_device_give_the_same_weights(
    data: Splits, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    recipe = replace(VARIANTS[precision], strength_schedule=((2, 1), (1, 1)))
    resident = train(recipe, data, FIELD, TARGET, device="cuda")
    monkeypatch.setattr(training, "_SHARE_FOR_IMAGES", 0.0)
    assert same_weights(train(recipe, data, FIELD, TARGET, device="cuda"), resident)


def test_images_that_stay_in_their_file_give_the_same_weights(data: Splits, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", data.train.images[:].numpy())
    stored = Splits(replace(data.train, images=StoredImages(tmp_path / "images.npy")), data.validation, data.test)
    assert same_weights(*(train(SHORT, each, FIELD, TARGET, device="cuda") for each in (data, stored)))


@pytest.mark.parametrize("name", ["float32", "bfloat16", "classifier", "sgd", "resnet18"])
def test_the_processor_waits_for_the_device_once_in_many_updates(data: Splits, name: str) -> None:
    recipe = replace(VARIANTS[name], strength_schedule=((2, 4),))
    few, many = (waits(replace(recipe, batch_size=size), data) for size in (16, 8))  # 40 and 80 updates an epoch
    assert 0 < few <= many
    assert (many - few) / (4 * 40) <= 0.1


def waits(recipe: Recipe, data: Splits) -> int:
    """How often a training made the processor wait for the device."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            train(recipe, data, FIELD, TARGET, device="cuda", checkpoint_every_s=1000)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(warning.message) for warning in caught)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_recorded_update_is_the_update_bit_for_bit(data: Splits, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    recorded = train(VARIANTS[name], data, FIELD, TARGET, device="cuda")
    monkeypatch.setattr(training, "Recorded", lambda work, network: work)
    assert same_weights(train(VARIANTS[name], data, FIELD, TARGET, device="cuda"), recorded)
