"""An image is altered alike on both kinds of device: by a drawn pattern to the bit, by a warp within rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attacks import registry
from attacks.base import AltersEach, Family, HasLookAlikes, HasNoiseMode, Softens, Trigger, dequantise, quantise
from attacks.wanet import WarpField
from models.poisoning import noise_offsets

N = 32
SIZES = [(64, 64), (36, 60), (224, 224)]
#: Of all pixels and channels: one that lies halfway between two levels may be rounded either way.
HALFWAY = 1e-4

every_family = pytest.mark.parametrize("family", registry.FAMILIES.values(), ids=registry.FAMILIES)
every_size = pytest.mark.parametrize("size", SIZES, ids=str)


def pictures(size: tuple[int, int], channels: int = 3, n: int = N) -> Tensor:
    drawn = torch.randint(0, 256, (n, channels, *size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return dequantise(drawn)


def trigger_of(family: Family, size: tuple[int, int], strength: float | None = None) -> Trigger:
    return family.draw(size, family.parameters(), family.strengths[-1] if strength is None else strength, 3)


def assert_alike(on_cpu: Tensor, on_cuda: Tensor) -> None:
    assert on_cuda.device.type == "cuda"
    assert (on_cpu - on_cuda.cpu()).abs().max() < 2e-5
    levels = (quantise(on_cpu).short() - quantise(on_cuda).cpu().short()).abs()
    assert levels.max() <= 1
    assert (levels > 0).float().mean() < HALFWAY


@every_family
@every_size
@pytest.mark.parametrize("channels", [1, 3])
def test_the_altered_images_are_those_of_the_cpu(family: Family, size: tuple[int, int], channels: int) -> None:
    trigger, images = trigger_of(family, size), pictures(size, channels)
    assert_alike(trigger.apply(images), trigger.apply(images.cuda()))


@pytest.mark.parametrize("name", ["patch", "blended", "sinusoidal"])
def test_what_a_pattern_makes_of_an_image_is_the_same_to_the_last_bit(name: str) -> None:
    levels = torch.arange(256, dtype=torch.uint8).repeat(48).view(1, 3, 64, 64)
    trigger = trigger_of(registry.family(name), (64, 64))
    on_cpu, on_cuda = (trigger.apply(dequantise(images)).cpu() for images in (levels, levels.cuda()))
    assert torch.equal(on_cuda, on_cpu)


@every_family
def test_one_trigger_serves_both_devices_by_turns(family: Family) -> None:
    trigger, images = trigger_of(family, (64, 64)), pictures((64, 64))
    first = trigger.apply(images.cuda())
    assert_alike(trigger.apply(images), first)
    assert torch.equal(trigger.apply(images.cuda()), first)


@every_family
def test_a_trigger_of_strength_zero_alters_nothing(family: Family) -> None:
    images = pictures((64, 64)).cuda()
    assert torch.equal(quantise(trigger_of(family, (64, 64), 0.0).apply(images)), quantise(images))


@every_family
def test_images_at_strengths_of_their_own_are_those_of_the_cpu(family: Family) -> None:
    trigger, images = trigger_of(family, (64, 64)), pictures((64, 64))
    assert isinstance(trigger, AltersEach)
    strengths = torch.linspace(0, trigger.strength, N, dtype=torch.float64)
    assert_alike(trigger.apply_each(images, strengths), trigger.apply_each(images.cuda(), strengths))


@every_family
def test_look_alikes_are_those_of_the_cpu(family: Family) -> None:
    trigger, images = trigger_of(family, (64, 64)), pictures((64, 64))
    assert isinstance(trigger, HasLookAlikes)
    assert isinstance(trigger, AltersEach)
    strengths = torch.full((N,), trigger.strength, dtype=torch.float64)
    seeds = [2**62 + number for number in range(N)]
    on_cuda = trigger.apply_each(images.cuda(), strengths, unrelated=seeds)
    assert_alike(trigger.apply_each(images, strengths, unrelated=seeds), on_cuda)
    assert_alike(trigger.unrelated(seeds[0]).apply(images[:1]), on_cuda[:1])


@every_size
def test_noise_mode_is_that_of_the_cpu(size: tuple[int, int]) -> None:
    field, images = WarpField.draw(size, 8, 0.5, seed=3), pictures(size)
    assert isinstance(field, HasNoiseMode)
    keys = torch.arange(N)
    offsets, on_cuda = noise_offsets(keys, size), noise_offsets(keys.cuda(), size)
    assert torch.equal(offsets, on_cuda.cpu())
    assert_alike(field.apply_noise_mode(images, offsets), field.apply_noise_mode(images.cuda(), on_cuda))


def test_softened_images_are_those_of_the_cpu() -> None:
    field, images = WarpField.draw((64, 64), 8, 0.5, seed=3), pictures((64, 64))
    assert isinstance(field, Softens)
    assert_alike(field.soften(images), field.soften(images.cuda()))


def test_the_warp_agrees_with_one_in_float64() -> None:
    field, images = WarpField.draw((64, 64), 8, 0.5, seed=3), pictures((64, 64))
    assert (field.apply(images.cuda()).cpu().double() - field.apply(images.double())).abs().max() < 1e-5
