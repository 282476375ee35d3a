"""A survival that is quick to measure, on networks that have learnt nothing."""

from __future__ import annotations

from functools import cache

from torch import nn

from attacks.wanet import WarpField
from models.networks import NetworkSpec
from models.survival.fine_tuning import FineTuning
from models.survival.inversion import InversionSetting
from models.survival.outcomes import Models
from models.survival.survive import Defence, Survival, survive
from models.targets import Target
from tests.models import tiny

SPLITS = tiny.splits(train=64, validation=16, test=24)
TRIGGER = WarpField.draw((32, 32), 4, 0.5, seed=3)
TARGET = Target.fixed(0, 25)
DEFENCE = Defence(
    images=20,
    fine_tuning=FineTuning(share=0.5, epochs=2, batch_size=16),
    pruned_shares=(0.0, 0.5),
    inversion=InversionSetting((0.0,), (-20.0, 0.0, 20.0), images=4, steps=2),
    blend_images=6,
    overlays=2,
)


def network(seed: int) -> nn.Module:
    return NetworkSpec(image_size=(32, 32), width=4).build(seed)


@cache
def survival() -> Survival:
    return survive(Models(network(1), network(0)), SPLITS, TRIGGER, TARGET, DEFENCE)
