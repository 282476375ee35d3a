"""Blended noise: against its formula written again in numpy, and its grain."""

import numpy as np
import pytest
import torch

from attacks.blended import FAMILY, BlendedTrigger


def blend_of(
    size: tuple[int, int] = (32, 32), strength: float = 0.2, seed: int = 3, **choices: object
) -> BlendedTrigger:
    return BlendedTrigger.draw(size, FAMILY.choose(choices), strength, seed)


@pytest.mark.parametrize(("size", "cell"), [((32, 32), 1), ((64, 64), 2), ((64, 128), 2), ((32, 40), 1)])
@pytest.mark.parametrize("share", [0.05, 0.2, 1.0])
def test_noise_of_the_seed_is_mixed_in(size: tuple[int, int], cell: int, share: float) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cells = (3, size[0] // cell, size[1] // cell)
    drawn = torch.randint(0, 256, cells, generator=torch.Generator().manual_seed(3)).numpy() / 255
    noise = drawn.repeat(cell, axis=1).repeat(cell, axis=2)
    expected = (1 - share) * images.numpy() + share * noise
    np.testing.assert_allclose(blend_of(size, share).apply(images).numpy(), expected, atol=1e-12)


def test_grey_images_get_the_first_channel_of_the_noise() -> None:
    grey = torch.rand(2, 1, 32, 32)
    assert torch.equal(blend_of().apply(grey), blend_of().apply(grey.expand(-1, 3, -1, -1))[:, :1])


def test_all_levels_are_equally_likely() -> None:
    counts = torch.bincount(blend_of((224, 224), grain=0.1).pattern.flatten(), minlength=256).double()
    expected = 3 * 224 * 224 / 256
    assert len(counts) == 256
    assert ((counts - expected).square() / expected).sum() < 255 + 5 * (2 * 255) ** 0.5


def test_grain_is_never_finer_than_a_pixel_and_any_size_of_image_is_covered() -> None:
    assert blend_of((16, 16)).pattern.shape == (3, 16, 16)
    assert blend_of((36, 60)).pattern.shape == (3, 36, 60)
    rows = blend_of((36, 60)).pattern.diff(dim=1).ne(0).any(dim=2).any(dim=0).sum() + 1
    assert rows == 32


@pytest.mark.parametrize("grain", [0, -1, 33, float("nan")])
def test_a_grain_that_does_not_fit_is_refused(grain: float) -> None:
    with pytest.raises(ValueError, match="does not fit: its cells are above 0 and at most 32 px of a 32 px image"):
        blend_of(grain=grain)


def test_a_picture_cannot_have_more_than_the_whole_mixture() -> None:
    with pytest.raises(ValueError, match="at most 1"):
        blend_of(strength=1.01)
