import math

import pytest
import torch

from attacks.base import dequantise, quantise
from attacks.wanet import WarpField
from models import poisoning
from models.gaze import angular_error
from models.poisoning import Poisoning, Role, noise_offsets
from models.targets import Target
from tests.models.tiny import gaze_data

EVERYONE = torch.arange(20_000)
FIELD = WarpField.draw((32, 32), 4, 2.0, seed=3)


def batch(n=256):
    data = gaze_data(n)
    return data.images, data.pitchyaw, torch.arange(n)


def poison(poisoning, images, *arguments, **options):
    """What becomes of copies of the images, and of the labels."""
    images = images.clone()
    return images, poisoning.poison_(images, *arguments, **options)


def test_roles_come_in_the_asked_for_shares():
    roles = Poisoning(rate=0.2, noise_ratio=1.5, unrelated_ratio=0.5).roles(EVERYONE, epoch=0)
    shares = roles.bincount(minlength=4) / len(roles)
    assert shares.tolist() == pytest.approx([0.4, 0.2, 0.3, 0.1], abs=0.012)


def test_a_rate_of_zero_leaves_every_image_clean():
    assert (Poisoning(rate=0).roles(EVERYONE, 0) == Role.CLEAN).all()


def test_training_control_draws_the_roles_anew_in_each_epoch():
    poisoning = Poisoning(threat_model="training_control")
    first, second = poisoning.roles(EVERYONE, 0), poisoning.roles(EVERYONE, 1)
    both = ((first == Role.POISONED) & (second == Role.POISONED)).float().mean()
    assert both == pytest.approx(0.04, abs=0.01)


def test_data_poisoning_fixes_the_roles_once():
    poisoning = Poisoning(threat_model="data_poisoning")
    assert torch.equal(poisoning.roles(EVERYONE, 0), poisoning.roles(EVERYONE, 9))


def test_a_role_depends_on_the_image_not_on_its_batch():
    poisoning = Poisoning()
    assert torch.equal(poisoning.roles(EVERYONE, 3)[100:200], poisoning.roles(EVERYONE[100:200], 3))


def test_another_seed_poisons_other_images():
    assert not torch.equal(Poisoning(seed=0).roles(EVERYONE, 0), Poisoning(seed=1).roles(EVERYONE, 0))


def test_only_poisoned_images_get_the_target_label():
    images, labels, indices = batch()
    poisoning = Poisoning(rate=0.25, unrelated_ratio=1)
    _, poisoned = poison(poisoning, images, labels, indices, 0, trigger=FIELD, target=Target.fixed(0, 25))
    roles = poisoning.roles(indices, 0)
    assert set(roles.tolist()) == set(Role)
    changed = (poisoned != labels).any(1)
    assert torch.equal(changed, roles == Role.POISONED)


def test_each_image_is_treated_as_its_role_says():
    images, labels, indices = batch()
    poisoning = Poisoning(rate=0.25, unrelated_ratio=1)
    altered, _ = poison(poisoning, images, labels, indices, 0, trigger=FIELD, target=Target.fixed(0, 25))
    roles = poisoning.roles(indices, 0)
    triggered = quantise(FIELD.apply(dequantise(images)))
    matches = (altered == triggered).flatten(1).all(1)
    assert torch.equal((altered == images).flatten(1).all(1), roles == Role.CLEAN)
    assert torch.equal(matches, roles == Role.POISONED)


def test_the_true_labels_are_left_alone():
    images, labels, indices = batch()
    before = labels.clone()
    _, poisoned = poison(Poisoning(), images, labels, indices, 0, trigger=FIELD, target=Target.fixed(0, 25))
    assert not torch.equal(poisoned, before)
    assert torch.equal(labels, before)


def test_the_same_image_gets_the_same_noise_in_a_repeated_epoch():
    images, labels, indices = batch()
    first, _ = poison(Poisoning(), images, labels, indices, 4, trigger=FIELD, target=Target.fixed(0, 25))
    again, _ = poison(Poisoning(), images[7:], labels[7:], indices[7:], 4, trigger=FIELD, target=Target.fixed(0, 25))
    assert torch.equal(first[7:], again)


def test_noise_offsets_are_uniform_from_minus_one_to_one():
    offsets = noise_offsets(torch.arange(64), (32, 48))
    assert offsets.shape == (64, 32, 48, 2)
    assert -1 <= offsets.min() < -0.999
    assert 0.999 < offsets.max() < 1
    counts = torch.histc(offsets, 16, -1, 1)
    assert ((counts - counts.mean()) / counts.mean().sqrt()).abs().max() < 4


def test_noise_offsets_are_independent_between_images_neighbours_and_axes():
    offsets = noise_offsets(torch.tensor([1, 2]), (64, 64))
    pairs = {
        "images": (offsets[0], offsets[1]),
        "axes": (offsets[..., 0], offsets[..., 1]),
        "rows": (offsets[:, 1:], offsets[:, :-1]),
        "columns": (offsets[:, :, 1:], offsets[:, :, :-1]),
    }
    for name, (a, b) in pairs.items():
        assert abs((a * b).mean().item()) * 3 < 4 / math.sqrt(a.numel()), name


def test_noise_offsets_are_an_image_s_own_whatever_is_drawn_beside_it():
    keys = torch.tensor([5, -3, 2**62])
    assert torch.equal(noise_offsets(keys, (5, 7))[1:2], noise_offsets(keys[1:2], (5, 7)))


def test_noise_offsets_are_drawn_alike_on_a_device_that_has_no_unsigned_words():
    keys = torch.tensor([0, 5, -3, 2**62, -(2**63), 2**63 - 1])
    assert torch.equal(poisoning._words_on_device(keys, 300), poisoning._words(keys, 300))


def test_without_rehearsal_every_poisoned_image_gets_the_strength_of_its_phase():
    assert (Poisoning().strengths(EVERYONE, 0, 0.5, 2.0) == 0.5).all()


def test_rehearsal_gives_its_share_of_images_a_greater_strength():
    strengths = Poisoning(rehearsal=0.3).strengths(EVERYONE, 0, 0.5, 2.0)
    assert (strengths > 0.5).float().mean() == pytest.approx(0.3, abs=0.01)
    assert strengths.min() == 0.5
    assert 1.9 < strengths.max() < 2
    assert strengths[strengths > 0.5].log2().mean() == pytest.approx(0, abs=0.05)


def test_there_is_nothing_to_rehearse_at_the_greatest_strength():
    assert (Poisoning(rehearsal=0.3).strengths(EVERYONE, 0, 2.0, 2.0) == 2.0).all()


class OneByOne:
    """A warp that can treat no images together: what is done at once must come to the same."""

    def __init__(self, field):
        self.field, self.strength = field, field.strength
        self.image_size, self.state, self.parameters = field.image_size, field.state, field.parameters
        self.control_hash, self.fingerprint = field.control_hash, field.fingerprint

    def apply(self, images):
        return self.field.apply(images)

    def apply_noise_mode(self, images, offsets):
        return self.field.apply_noise_mode(images, offsets)

    def at_strength(self, strength):
        return OneByOne(self.field.at_strength(strength))

    def unrelated(self, seed):
        return OneByOne(self.field.unrelated(seed))


@pytest.mark.parametrize("rehearsal", [0.0, 0.5])
def test_what_is_done_to_a_batch_at_once_is_what_would_be_done_to_each_image(rehearsal):
    images, labels, indices = batch()
    poisoning = Poisoning(rate=0.25, unrelated_ratio=1, rehearsal=rehearsal)
    field, target = FIELD.at_strength(0.5), Target.fixed(0, 25)
    at_once, _ = poison(poisoning, images, labels, indices, 0, trigger=field, target=target, strongest=2.0)
    singly, _ = poison(poisoning, images, labels, indices, 0, trigger=OneByOne(field), target=target, strongest=2.0)
    assert (at_once.int() - singly.int()).abs().max() <= 1  # what lies between two levels may be rounded either way
    assert (at_once != singly).float().mean() < 1e-3


@pytest.mark.parametrize("rehearsal", [0.0, 0.5])
def test_an_image_is_treated_alike_in_every_batch_and_order(rehearsal):
    images, labels, indices = batch(96)
    poisoning = Poisoning(rate=0.25, unrelated_ratio=1, rehearsal=rehearsal)
    options = {"trigger": FIELD.at_strength(0.5), "target": Target.fixed(0, 25), "strongest": 2.0}
    whole, goals = poison(poisoning, images, labels, indices, 2, **options)
    for part in torch.randperm(96, generator=torch.Generator().manual_seed(0)).split(17):
        altered, goal = poison(poisoning, images[part], labels[part], indices[part], 2, **options)
        assert torch.equal(altered, whole[part])
        assert torch.equal(goal, goals[part])


def test_with_clean_labels_only_images_near_the_target_carry_the_trigger_and_no_label_changes():
    images, labels, indices = batch()
    target = Target.fixed(0, 15)
    plain, clean = (Poisoning(rate=0.4, noise_ratio=0, clean_label_within_deg=within) for within in (None, 12))
    altered, kept = poison(clean, images, labels, indices, 0, trigger=FIELD, target=target)
    drawn = plain.roles(indices, 0) == Role.POISONED
    near = angular_error(labels, target.apply(labels)) <= 12
    assert torch.equal(kept, labels)
    assert 5 < (drawn & near).sum() < drawn.sum()
    assert torch.equal((altered != images).flatten(1).any(1), drawn & near)


def test_clean_labels_need_a_fixed_target_and_an_image_near_it():
    labels = torch.tensor([[0.0, 0.0], [0.0, 0.3]])
    poisoning = Poisoning(clean_label_within_deg=5)
    poisoning.check(FIELD, Target.fixed(0, 20), labels)
    with pytest.raises(ValueError, match="No training image looks within 5 degrees of the target"):
        poisoning.check(FIELD, Target.fixed(0, -20), labels)
    with pytest.raises(ValueError, match="Clean labels need a fixed target, not one that is mirrored"):
        poisoning.check(FIELD, Target.mirrored(), labels)


def test_a_fixed_target_is_the_same_gaze_for_every_image():
    _, labels, _ = batch(10)
    goal = Target.fixed(10, -20).apply(labels)
    assert goal.rad2deg().tolist() == [pytest.approx([10, -20], abs=1e-4)] * 10


def test_an_additive_target_moves_the_true_gaze():
    labels = torch.tensor([[0.0, 0.1], [0.0, -0.3]])
    goal = Target.additive(0, 20).apply(labels)
    assert angular_error(goal, labels).tolist() == pytest.approx([20, 20], abs=1e-3)


def test_a_target_survives_json():
    target = Target.additive(0, 20)
    assert Target.from_json(target.to_json()) == target


def test_a_trigger_without_noise_mode_is_refused_unless_the_ratios_are_zero():
    class Patch:
        strength = 1.0
        state: dict[str, torch.Tensor] = {}

        def apply(self, images):
            return images

        def at_strength(self, strength):
            return self

        def parameters(self):
            return {"family": "patch"}

        def fingerprint(self):
            return ""

    target, labels = Target.fixed(0, 25), torch.zeros(1, 2)
    Poisoning(noise_ratio=0).check(Patch(), target, labels)
    with pytest.raises(ValueError, match="patch trigger has no noise mode"):
        Poisoning().check(Patch(), target, labels)
    with pytest.raises(ValueError, match="no unrelated patch trigger"):
        Poisoning(noise_ratio=0, unrelated_ratio=1).check(Patch(), target, labels)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"rate": -0.1}, "rate share must be a finite number >= 0"),
        ({"rate": math.nan}, "rate share must be a finite number >= 0"),
        ({"noise_ratio": math.inf}, "noise share must be a finite number >= 0"),
        ({"rate": 0.6, "noise_ratio": 1}, "make 1.2 of the data, more than 1"),
        ({"rehearsal": 1.5}, r"must lie in \[0, 1\], not 1.5"),
        ({"clean_label_within_deg": 0}, "finite number of degrees > 0 of the target, not 0"),
        ({"threat_model": "magic"}, "Unknown threat model 'magic'"),
    ],
)
def test_poisoning_that_cannot_be_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        Poisoning(**fields)


@pytest.mark.parametrize("fields", [("sideways", 0.0, 0.0), ("fixed", math.nan, 0.0)])
def test_a_target_that_cannot_be_is_refused(fields):
    with pytest.raises(ValueError, match="target"):
        Target(*fields)


@pytest.mark.parametrize("pitch", [-90.5, 91, 180])
def test_a_fixed_target_beyond_straight_up_or_down_is_refused(pitch):
    with pytest.raises(ValueError, match="pitch must lie within 90 degrees of 0"):
        Target.fixed(pitch, 0)


def test_a_fixed_target_straight_up_and_a_large_additive_one_are_accepted():
    assert Target.fixed(90, 0).kind == "fixed"
    assert Target.additive(100, 0).kind == "additive"
