"""The same images are poisoned on the device as on the CPU, in the same way, with the same labels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attacks import registry
from models.poisoning import Poisoning
from models.targets import Target
from tests.models.tiny import gaze_data

DATA = gaze_data(256, (32, 32), seed=4)
INDICES = torch.arange(1000, 1256)
WAYS = {
    "wanet": Poisoning(),
    "wanet, rehearsing": Poisoning(unrelated_ratio=1.0, rehearsal=0.5),
    "wanet, clean labels": Poisoning(clean_label_within_deg=20.0),
    "patch": Poisoning(noise_ratio=0.0, unrelated_ratio=1.0, rehearsal=0.5),
    "blended": Poisoning(noise_ratio=0.0, unrelated_ratio=1.0),
    "sinusoidal": Poisoning(noise_ratio=0.0, unrelated_ratio=1.0),
    "reflection": Poisoning(noise_ratio=0.0, unrelated_ratio=1.0, rehearsal=0.5),
}


def poisoned(way: str, device: str) -> tuple[Tensor, Tensor]:
    family = registry.family(way.partition(",")[0])
    trigger = family.draw((32, 32), family.parameters(), family.strengths[-2], 3)
    images, labels = DATA.images.clone().to(device), DATA.pitchyaw.clone().to(device)
    labels = WAYS[way].poison_(
        images,
        labels,
        INDICES,
        1,
        trigger=trigger,
        target=Target.fixed(0, 25),
        strongest=family.strengths[-1],
    )
    assert labels.device == images.device
    return images.cpu(), labels.cpu()


@pytest.mark.parametrize("way", WAYS)
def test_poisoning_on_the_device_is_that_of_the_cpu(way: str) -> None:
    (images, labels), (images_on_cuda, labels_on_cuda) = poisoned(way, "cpu"), poisoned(way, "cuda")
    assert torch.equal(labels_on_cuda, labels)
    levels = (images_on_cuda.short() - images.short()).abs()
    assert levels.max() <= 1
    assert (levels > 0).float().mean() < 1e-4
    assert 0.15 < (images != DATA.images).flatten(1).any(1).float().mean() < 0.7
