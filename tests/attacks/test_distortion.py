"""How much an altered image differs."""

import math

import pytest
import torch

from attacks.distortion import max_level_difference, measure, psnr


def test_psnr_agrees_with_its_definition() -> None:
    clean = torch.full((1, 10, 10), 100, dtype=torch.uint8)
    altered = clean.clone()
    altered[0, 0, 0] = 110
    assert psnr(clean, altered) == pytest.approx(10 * math.log10(255**2 / (10**2 / 100)))


def test_equal_images_have_no_finite_psnr() -> None:
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    assert psnr(image, image.clone()) is None
    assert max_level_difference(image, image.clone()) == 0


def test_the_largest_difference_does_not_wrap_around() -> None:
    assert max_level_difference(torch.tensor([[[0]]]).byte(), torch.tensor([[[255]]]).byte()) == 255


def test_a_measure_holds_displacement_in_px_and_per_cent_of_the_width_and_goes_to_json() -> None:
    clean = torch.zeros(3, 32, 64, dtype=torch.uint8)
    assert measure(clean, clean, (0.32, 0.9)).to_json() == {
        "displacement_mean_px": 0.32,
        "displacement_max_px": 0.9,
        "displacement_percent_of_width": 0.5,
        "psnr_db": None,
        "max_level_difference": 0,
    }


def test_an_attack_that_moves_nothing_has_no_displacement() -> None:
    clean = torch.zeros(1, 8, 8, dtype=torch.uint8)
    found = measure(clean, clean + 2)
    assert (found.displacement_mean_px, found.displacement_max_px, found.displacement_percent_of_width) == (None,) * 3
    assert found.max_level_difference == 2


@pytest.mark.parametrize("altered", [torch.zeros(1, 8, 9).byte(), torch.zeros(1, 8, 8)])
def test_images_that_cannot_be_compared_are_refused(altered: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="one shape"):
        psnr(torch.zeros(1, 8, 8).byte(), altered)
