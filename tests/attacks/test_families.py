"""What every family of triggers in the registry promises, tried on each."""

from __future__ import annotations

import json
import re

import pytest
import torch

from attacks import registry
from attacks.base import AltersEach, Family, HasLookAlikes, Trigger, dequantise, quantise
from models.similarity import flip, picture

SIZES = [(16, 16), (24, 40), (40, 24), (36, 60)]

every_family = pytest.mark.parametrize("family", registry.FAMILIES.values(), ids=registry.FAMILIES)


def trigger_of(family: Family, size: tuple[int, int] = (24, 40), seed: int = 3) -> Trigger:
    """At the strongest of the family's usual strengths."""
    return family.draw(size, family.parameters(), family.strengths[-1], seed)


def levels(size: tuple[int, int], channels: int = 3, n: int = 2) -> torch.Tensor:
    """Noise in which every one of the 256 levels occurs."""
    drawn = torch.randint(0, 256, (n, channels, *size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    drawn.view(-1)[:256] = torch.arange(256)
    return drawn


# --- what is done to images


@every_family
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_type_and_range_are_kept_and_the_images_given_are_left_alone(
    family: Family, size: tuple[int, int], channels: int, dtype: torch.dtype
) -> None:
    images = dequantise(levels(size, channels), dtype)
    before = images.clone()
    altered = trigger_of(family, size).apply(images)
    assert (altered.shape, altered.dtype) == (images.shape, dtype)
    assert altered.min() >= 0
    assert altered.max() <= 1
    assert not torch.equal(altered, images)
    assert torch.equal(images, before)


@every_family
def test_the_altered_images_stay_on_the_device_of_the_clean_ones(family: Family) -> None:
    assert trigger_of(family).apply(torch.zeros(2, 3, 24, 40, device="meta")).device.type == "meta"


@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_strength_zero_alters_nothing(family: Family, channels: int, dtype: torch.dtype) -> None:
    clean = levels((24, 40), channels)
    assert torch.equal(quantise(trigger_of(family).at_strength(0.0).apply(dequantise(clean, dtype))), clean)


@every_family
def test_a_greater_strength_alters_more(family: Family) -> None:
    trigger = trigger_of(family, (32, 32))
    smooth = torch.nn.functional.avg_pool2d(dequantise(levels((36, 36)), torch.float64), 5, stride=1)
    strengths = sorted({0.0, *family.doses, *family.strengths})
    errors = [(trigger.at_strength(s).apply(smooth) - smooth).square().mean().item() for s in strengths]
    assert errors == sorted(set(errors))


@every_family
def test_single_precision_moves_few_pixels_and_those_by_one_level(family: Family) -> None:
    trigger, clean = trigger_of(family), levels((24, 40))
    single, double = (
        quantise(trigger.apply(dequantise(clean, dtype))).int() for dtype in (torch.float32, torch.float64)
    )
    assert (single - double).abs().max() <= 1
    assert (single != double).double().mean() < 0.06


@every_family
def test_images_of_one_batch_are_altered_each_by_itself(family: Family) -> None:
    trigger, images = trigger_of(family), dequantise(levels((24, 40)), torch.float64)
    assert torch.equal(trigger.apply(images)[1:], trigger.apply(images[1:]))


@every_family
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("unrelated", [None, [5, 70, 2**63 - 1, -3, 5]])
def test_a_batch_altered_at_once_is_what_each_of_its_images_would_be_on_its_own(
    family: Family, channels: int, unrelated: list[int] | None
) -> None:
    trigger = trigger_of(family, (36, 60))
    if not (isinstance(trigger, AltersEach) and isinstance(trigger, HasLookAlikes)):
        pytest.fail(f"{family.name} alters images one by one: every family of this package alters them at once.")
    images = dequantise(levels((36, 60), channels, n=5), torch.float64)
    strengths = torch.tensor([*family.schedule[:2], 0.0, family.strengths[0], family.schedule[0]], dtype=torch.float64)
    altered = trigger.apply_each(images, strengths, unrelated=unrelated)
    for nth, strength in enumerate(strengths.tolist()):
        alone = trigger if unrelated is None else trigger.unrelated(unrelated[nth])
        expected = alone.at_strength(strength).apply(images[nth : nth + 1])
        torch.testing.assert_close(altered[nth : nth + 1], expected, atol=1e-4, rtol=0)


# --- which trigger it is


@every_family
@pytest.mark.parametrize("look_alike", [False, True])
def test_parameters_that_went_through_json_and_the_state_rebuild_the_trigger(family: Family, look_alike: bool) -> None:
    trigger = trigger_of(family)
    if look_alike and isinstance(trigger, HasLookAlikes):
        trigger = trigger.unrelated(2)
    again = registry.rebuild(json.loads(json.dumps(trigger.parameters())), trigger.state)
    images = dequantise(levels((24, 40)))
    assert again.fingerprint() == trigger.fingerprint()
    assert again.control_hash() == trigger.control_hash()
    assert again.parameters() == trigger.parameters()
    assert torch.equal(again.apply(images), trigger.apply(images))


@every_family
def test_parameters_that_went_through_json_draw_the_trigger(family: Family) -> None:
    trigger = trigger_of(family)
    parameters = json.loads(json.dumps(trigger.parameters()))
    name, size, strength, seed = (parameters.pop(key) for key in ("family", "image_size", "strength", "seed"))
    assert registry.draw(name, size, strength, seed, parameters).fingerprint() == trigger.fingerprint()


@every_family
def test_the_control_hash_is_the_same_at_every_strength_and_the_fingerprint_is_not(family: Family) -> None:
    trigger = trigger_of(family)
    doses = [trigger.at_strength(strength) for strength in {*family.doses, 1.0}]
    assert {dose.control_hash() for dose in doses} == {trigger.control_hash()}
    assert len({dose.fingerprint() for dose in doses}) == len(doses)
    assert all(re.fullmatch("[0-9a-f]{64}", dose.fingerprint()) for dose in doses)


@every_family
def test_unrelated_triggers_are_others_of_the_same_strength_and_come_again(family: Family) -> None:
    trigger = trigger_of(family, (32, 32))
    if not isinstance(trigger, HasLookAlikes):
        pytest.fail(f"{family.name} has no look-alikes: every family of this package has them.")
    images = dequantise(levels((32, 32)))
    others = [trigger.unrelated(seed) for seed in range(5)]
    altered = [tuple(quantise(one.apply(images)).flatten().tolist()) for one in (trigger, *others)]
    assert len({one.control_hash() for one in (trigger, *others)}) == len(set(altered)) == 6
    assert {one.strength for one in others} == {trigger.strength}
    assert [one.fingerprint() for one in others] == [trigger.unrelated(seed).fingerprint() for seed in range(5)]


@every_family
def test_a_trigger_says_its_family_its_strength_and_its_image_size(family: Family) -> None:
    trigger = trigger_of(family)
    assert registry.family_of(trigger) is family
    assert trigger.image_size == (24, 40)
    assert trigger.at_strength(family.strengths[0]).strength == family.strengths[0]


@every_family
def test_a_trigger_that_is_not_the_recorded_one_is_not_rebuilt(family: Family) -> None:
    trigger = trigger_of(family)
    assert registry.rebuild(trigger.parameters(), trigger.state, trigger.control_hash()).strength == trigger.strength
    with pytest.raises(ValueError, match="is not the one that was recorded: its control hash is"):
        registry.rebuild(trigger.parameters(), trigger.state, "0" * 64)


@every_family
def test_a_damaged_record_of_a_trigger_is_refused(family: Family) -> None:
    trigger = trigger_of(family)
    whole = trigger.parameters()
    without_size = {name: value for name, value in whole.items() if name != "image_size"}
    for damaged in (without_size, {**whole, "strength": "strong"}, {**whole, "image_size": 32}):
        with pytest.raises(
            ValueError, match=f"The record of a {family.name} trigger is damaged, or of another version"
        ):
            registry.rebuild(damaged, trigger.state)


# --- what a family says of itself


@every_family
def test_usual_strengths_doses_and_schedule_can_all_be_had(family: Family) -> None:
    trigger = trigger_of(family, (64, 64))
    assert list(family.strengths) == sorted(set(family.strengths))
    assert list(family.doses) == sorted(set(family.doses))
    assert list(family.schedule) == sorted(set(family.schedule), reverse=True)
    assert family.doses[0] == 0 < family.strengths[0]
    assert set(family.schedule) <= set(family.doses)
    assert family.schedule[-1] in family.strengths
    for strength in (*family.strengths, *family.doses, *family.schedule):
        assert trigger.at_strength(strength).strength == strength


@every_family
@pytest.mark.parametrize("size", [(64, 64), (36, 60)])
def test_the_gross_alteration_is_far_above_what_can_be_overlooked(family: Family, size: tuple[int, int]) -> None:
    clean = quantise(torch.nn.functional.avg_pool2d(dequantise(levels(size, n=1)), 3, 1, 1))
    trigger = trigger_of(family, size)

    def seen(applied: Trigger) -> float:
        return flip(picture(clean[0]), picture(quantise(applied.apply(dequantise(clean)))[0]), 10.5)

    gross = family.gross(trigger)
    assert gross.image_size == size
    assert seen(gross) > max(0.15, seen(trigger))


@every_family
def test_the_gross_alteration_is_the_same_whatever_the_strength_and_can_be_rebuilt(family: Family) -> None:
    trigger = trigger_of(family, (64, 64))
    gross = family.gross(trigger)
    assert family.gross(trigger.at_strength(family.strengths[0])).fingerprint() == gross.fingerprint()
    assert registry.rebuild(gross.parameters(), gross.state, gross.control_hash()).fingerprint() == gross.fingerprint()
    assert gross.control_hash() != trigger.control_hash() or gross.strength > family.strengths[-1]


@every_family
def test_a_family_names_its_paper(family: Family) -> None:
    assert re.search(r"arXiv \d{4}\.\d{5}", family.citation)
    assert family.title
    assert family.strength


# --- refusals


@every_family
@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf")])
def test_an_impossible_strength_is_refused(family: Family, strength: float) -> None:
    with pytest.raises(ValueError, match="strength must be a finite number >= 0"):
        trigger_of(family).at_strength(strength)


@every_family
@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 3, 16, 16),
        torch.zeros(3, 24, 40),
        torch.zeros(1, 3, 24, 40, dtype=torch.uint8),
        torch.zeros(1, 2, 24, 40),
        torch.zeros(1, 4, 24, 40),
    ],
)
def test_images_of_another_size_or_kind_are_refused(family: Family, images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"This trigger is for float images \(N, 1 or 3, 24, 40\)"):
        trigger_of(family).apply(images)


@every_family
def test_an_image_of_one_row_is_refused(family: Family) -> None:
    with pytest.raises(ValueError, match="image size must be"):
        trigger_of(family, (1, 32))


@every_family
def test_an_unknown_parameter_is_refused_by_name(family: Family) -> None:
    with pytest.raises(ValueError, match=f"The {family.name} attack has no parameter colour; it has "):
        family.choose({"colour": "red"})


@every_family
@pytest.mark.parametrize("value", [{"nested": 1}, True])
def test_a_parameter_of_the_wrong_type_is_refused_by_name(family: Family, value: object) -> None:
    for name in family.parameters.__dataclass_fields__:
        with pytest.raises(ValueError, match=f"The {family.name} attack's {name} must be of type"):
            family.choose({name: value})


@every_family
def test_a_whole_number_will_do_for_a_fraction(family: Family) -> None:
    whole = {name: int(value) for name, value in vars(family.parameters()).items() if isinstance(value, float)}
    assert family.choose(whole) == family.parameters(**whole)


def test_an_unknown_family_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"Unknown attack family 'nobody'; known: blended, patch, .*wanet"):
        registry.draw("nobody", (32, 32), 1.0)
