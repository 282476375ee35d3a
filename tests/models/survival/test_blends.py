import pytest
import torch
from torch import Tensor, nn

from models.survival.blends import blends, spread
from tests.models import tiny

IMAGES = tiny.gaze_data(12).images
OVERLAYS = tiny.gaze_data(5, seed=9).images


class Brightness(nn.Module):
    """Yaw is the image's brightness; with a black corner it is 0, whatever else there is."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, images: Tensor) -> Tensor:
        yaw = images.mean(dim=(1, 2, 3)) * self.gain * (images[:, 0, 0, 0] > 0.6)
        return torch.stack([torch.zeros_like(yaw), yaw], 1)


def test_equal_predictions_do_not_spread() -> None:
    assert spread(Brightness(), IMAGES, OVERLAYS[:1]) == pytest.approx(0, abs=1e-4)


def test_a_trigger_that_outlives_blending_is_told_by_its_small_spread() -> None:
    altered = IMAGES.clone()
    altered[:, :, 0, 0] = 0
    found = blends(Brightness(), IMAGES, altered, OVERLAYS)
    assert (found.auc, found.caught) == (1.0, 1.0)
    assert found.altered_spread_deg == pytest.approx(0, abs=1e-4)
    assert found.clean_spread_deg > 0.01


def test_images_that_are_alike_cannot_be_told_apart() -> None:
    assert blends(Brightness(), IMAGES, IMAGES, OVERLAYS).auc == 0.5
