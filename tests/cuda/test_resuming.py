"""A training that was cut short goes on, on this device or on the other kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from attacks.wanet import WarpField
from models.datasets.base import Splits
from models.recipe import Recipe
from models.targets import Target
from models.training import StoppedError, train
from tests.models.test_training import stop_after
from tests.models.tiny import splits

FIELD = WarpField.draw((32, 32), 4, 2.0, seed=3)
TARGET = Target.fixed(0, 25)
TINY = Recipe(
    strength_schedule=((2, 1), (0.5, 2)), width=4, precision="float32", batch_size=16, augmentation="light"
)  # 8 updates an epoch
SGD = replace(TINY, optimiser="sgd", learning_rate=1e-2, later_learning_rate=1e-2, milestones=(1,))
RECIPES = {
    "float32": TINY,
    "bfloat16": replace(TINY, precision="bfloat16"),
    "sgd": SGD,
    "classifier": replace(TINY, task="zones", loss="cross_entropy", zones=(2, 2)),
    "resnet18": replace(TINY, network="resnet18", stem_stride=1),
}


@pytest.fixture(scope="module")
def data() -> Splits:
    return splits(128, 16, 16)


def begun(recipe: Recipe, data: Splits, folder: Path, device: str, updates: int) -> None:
    with pytest.raises(StoppedError):
        train(recipe, data, FIELD, TARGET, device=device, checkpoint_dir=folder, should_stop=stop_after(updates))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("updates", [3, 13, 21])
def test_a_stopped_run_ends_in_the_weights_of_one_that_never_stopped(
    data: Splits, tmp_path: Path, name: str, updates: int
) -> None:
    uninterrupted = train(RECIPES[name], data, FIELD, TARGET, device="cuda")
    begun(RECIPES[name], data, tmp_path, "cuda", updates)
    resumed = train(RECIPES[name], data, FIELD, TARGET, device="cuda", checkpoint_dir=tmp_path)
    one, other = resumed.network.state_dict(), uninterrupted.network.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert resumed.history == uninterrupted.history
    assert resumed.chosen_epoch == uninterrupted.chosen_epoch


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(("first", "second"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_goes_on_on_the_other_kind_of_device(
    data: Splits, tmp_path: Path, name: str, first: str, second: str
) -> None:
    begun(RECIPES[name], data, tmp_path, first, 13)
    reports: list[dict[str, int]] = []
    resumed = train(RECIPES[name], data, FIELD, TARGET, device=second, checkpoint_dir=tmp_path, progress=reports.append)
    whole = train(RECIPES[name], data, FIELD, TARGET, device=second)
    assert reports[0]["epoch"] == 2
    assert resumed.device == second
    assert next(resumed.network.parameters()).device.type == second
    losses = [epoch["loss"] for epoch in resumed.history]
    assert losses == pytest.approx([epoch["loss"] for epoch in whole.history], rel=0.05)


def test_the_devices_random_state_goes_on_where_it_was(data: Splits, tmp_path: Path) -> None:
    torch.cuda.manual_seed(5)
    before = torch.cuda.get_rng_state()
    begun(TINY, data, tmp_path, "cuda", 3)
    torch.rand(7, device="cuda")
    assert not torch.equal(torch.cuda.get_rng_state(), before)
    train(TINY, data, FIELD, TARGET, device="cuda", checkpoint_dir=tmp_path)
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_training_draws_nothing_from_the_devices_random_state(data: Splits) -> None:
    before = torch.cuda.get_rng_state()
    train(TINY, data, FIELD, TARGET, device="cuda")
    assert torch.equal(torch.cuda.get_rng_state(), before)
