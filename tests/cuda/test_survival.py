"""Treatments of a model on a device: every one runs, and those that nothing trains give the CPU's figures."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from attacks.wanet import WarpField
from models.recipe import Recipe
from models.survival.outcomes import Models
from models.survival.survive import Survival, survive
from models.targets import Target
from models.training import train
from tests.models.survival.small import DEFENCE
from tests.models.tiny import splits

FIELD = WarpField.draw((32, 32), 4, 2.0, seed=3)
TARGET = Target.fixed(0, 25)


@pytest.fixture(scope="module")
def survived() -> tuple[Survival, Survival]:
    """On the CPU and on the device."""
    data = splits(640, 64, 64)
    recipe = Recipe(strength_schedule=((2, 3),), width=4, precision="float32")
    networks = [train(recipe, data, trigger, TARGET, device="cuda").network for trigger in (FIELD, None)]
    on_cpu, on_cuda = (Models(*(copy.deepcopy(each).to(device) for each in networks)) for device in ("cpu", "cuda"))
    return survive(on_cpu, data, FIELD, TARGET, DEFENCE), survive(on_cuda, data, FIELD, TARGET, DEFENCE)


def test_treated_images_and_pruned_models_have_the_cpus_figures(survived: tuple[Survival, Survival]) -> None:
    on_cpu, on_cuda = survived
    for part in ("images", "pruning"):
        for one, other in zip(getattr(on_cpu, part), getattr(on_cuda, part), strict=True):
            assert other.treatment == one.treatment
            assert other.clean_error == pytest.approx(one.clean_error, abs=0.05)
            assert other.attack_error == pytest.approx(one.attack_error, abs=0.05)
    assert on_cuda.stopped_at == on_cpu.stopped_at


def test_fine_tuning_ends_near_the_cpus(survived: tuple[Survival, Survival]) -> None:
    on_cpu, on_cuda = survived
    assert len(on_cuda.fine_tuning) == len(on_cpu.fine_tuning)
    assert on_cuda.fine_tuning[-1].clean_error == pytest.approx(on_cpu.fine_tuning[-1].clean_error, abs=2)


def test_an_inversion_searches_every_candidate(survived: tuple[Survival, Survival]) -> None:
    on_cpu, on_cuda = survived
    for one, other in zip(on_cpu.inversion, on_cuda.inversion, strict=True):
        assert replace(other, candidates=()).kind == one.kind
        assert len(other.candidates) == len(one.candidates)
