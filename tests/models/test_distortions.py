import numpy as np
import pytest
import torch

from attacks import registry
from attacks.base import dequantise, quantise
from models.distortions import IMAGES, distortions
from models.similarity import flip, ssim
from tests.models import tiny

DATA = tiny.gaze_data(IMAGES + 9).images


def test_figures_are_means_over_the_same_images_at_every_strength() -> None:
    trigger = registry.draw("wanet", (32, 32), 1.0, seed=2)
    small = DATA[torch.tensor([0, 20, 40])]
    weak, strong = distortions(trigger, small, (0.5, 2.0), 12.0)
    altered = quantise(trigger.at_strength(2.0).apply(dequantise(small)))
    pictures = [tuple(np.ascontiguousarray(p.permute(1, 2, 0).numpy()) for p in pair) for pair in zip(small, altered)]  # noqa: B905
    assert strong["ssim"] == pytest.approx(np.mean([ssim(*pair) for pair in pictures]))
    assert strong["flip"] == pytest.approx(np.mean([flip(*pair, 12.0) for pair in pictures]))
    mse = ((altered.double() - small.double()) ** 2).mean(dim=(1, 2, 3))
    assert strong["psnr_db"] == pytest.approx(float((10 * torch.log10(255**2 / mse)).mean()))
    assert strong["displacement_px"] == pytest.approx(trigger.at_strength(2.0).displacement_px()[0])
    assert weak["psnr_db"] > strong["psnr_db"]
    assert (strong["images"], strong["px_per_degree"]) == (3, 12.0)


def test_a_patch_moves_nothing_and_at_strength_0_alters_nothing() -> None:
    found = distortions(registry.draw("patch", (32, 32), 1.0), DATA[:2], (0.0,), 10.5)[0]
    assert (found["displacement_px"], found["psnr_db"], found["flip"]) == (None, None, 0.0)


def test_small_grey_images_have_no_ssim() -> None:
    grey = torch.randint(0, 255, (2, 1, 10, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert distortions(registry.draw("patch", (10, 10), 1.0), grey, (0.5,), 10.5)[0]["ssim"] is None


def test_no_more_than_a_fixed_number_of_images_is_used() -> None:
    assert distortions(registry.draw("patch", (32, 32), 1.0), DATA, (0.5,), 10.5)[0]["images"] == IMAGES
