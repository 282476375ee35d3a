import torch

from attacks.base import dequantise, quantise
from models.augmentation import augment, augment_batch, mix
from tests.models.tiny import splits


def test_light_augmentation_moves_whole_pixels_and_keeps_to_8_bits():
    images = splits(64).train.images.float() / 255
    moved = augment(images, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert torch.equal(moved, dequantise(quantise(moved)))
    assert not torch.equal(moved, images)


def test_mixing_blends_images_and_labels_by_the_same_weight():
    images = torch.tensor([0.0, 1.0]).repeat(32)[:, None, None, None].expand(64, 1, 4, 4)
    labels = images[:, 0, 0, :1].expand(64, 2)
    blended, mixed = mix(images, labels, torch.Generator().manual_seed(0))
    assert torch.allclose(blended[:, 0, 0, :1].expand(64, 2), mixed, atol=0.5 / 255)
    assert 0.1 < ((mixed[:, 0] > 0) & (mixed[:, 0] < 1)).float().mean() < 0.4  # half of the half that meet another


def test_each_augmentation_does_what_it_says():
    data = splits(64).train
    images, labels = data.images.float() / 255, data.pitchyaw
    results = {
        name: augment_batch(images, labels, name, torch.Generator().manual_seed(0))
        for name in ("none", "light", "strong")
    }
    assert [torch.equal(results[name][0], images) for name in results] == [True, False, False]
    assert [torch.equal(results[name][1], labels) for name in results] == [True, True, False]
    assert all(torch.equal(dequantise(quantise(floats)), floats) for floats, _ in results.values())
