import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.survival.inversion import Candidate, InversionSetting, _Mask, _Warp, anomaly_index, invert, summarise

#: 8 grey planes from dark to bright, black in the corner.
SHADES = torch.linspace(50, 200, 8).to(torch.uint8)[:, None, None, None].repeat(1, 3, 16, 16)
SHADES[:, :, 0, 0] = 0


class Planted(nn.Module):
    """Yaw is the image's brightness, 30 degrees to either side; but the whiter one corner is, the nearer to 20."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, images: Tensor) -> Tensor:
        yaw = torch.lerp(60 * (images.mean(dim=(1, 2, 3)) - 0.5), torch.tensor(20.0), images[:, :, 0, 0].mean(1))
        return torch.stack([torch.zeros_like(yaw), yaw.deg2rad() * self.gain], 1)


def test_a_planted_target_takes_the_smallest_mask() -> None:
    found = invert(Planted(), SHADES, "mask", InversionSetting((0.0,), (-20.0, 0.0, 20.0), steps=80), (0.0, 18.0))
    sizes = {candidate.yaw_deg: candidate.size or math.inf for candidate in found.candidates}
    assert 1 / 256 * 0.5 < sizes[20.0] < 0.2 * min(sizes[-20.0], sizes[0.0])
    assert found.target_offset_deg == pytest.approx(2.0)


def test_a_constant_control_moves_the_image_by_so_many_pixels() -> None:
    images = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    warp = _Warp(images, InversionSetting())
    with torch.no_grad():
        warp.control[:] = torch.tensor([1.0, 0.0])[None, :, None, None]
    assert warp.size().item() == pytest.approx(1.0, abs=1e-4)
    assert torch.allclose(warp.apply(images)[..., :-1], images[..., 1:], atol=1e-5)


def test_a_closed_mask_changes_nothing_and_an_open_one_shows_the_pattern() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    mask = _Mask(images, InversionSetting())
    with torch.no_grad():
        mask.mask[:] = -40.0
        assert torch.allclose(mask.apply(images), images)
        assert mask.size().item() == pytest.approx(0.0, abs=1e-6)
        mask.mask[:] = 40.0
        assert torch.allclose(mask.apply(images), mask.pattern.sigmoid().expand_as(images))


def test_the_network_is_left_as_it_was() -> None:
    network = Planted()
    invert(network, SHADES, "warp", InversionSetting((0.0,), (-5.0, 0.0, 5.0), images=2, steps=2), None)
    assert network.gain.item() == 1.0
    assert network.gain.grad is None


def test_the_same_seed_finds_the_same() -> None:
    setting = InversionSetting((0.0,), (-5.0, 0.0, 5.0), images=4, steps=6)
    assert invert(Planted(), SHADES, "mask", setting, None) == invert(Planted(), SHADES, "mask", setting, None)


def test_the_anomaly_index_counts_deviations_below_the_median() -> None:
    sizes = [1.0, 9.0, 10.0, 11.0, 12.0]
    mad = np.median(np.abs(np.array(sizes) - 10))
    index = anomaly_index(list(sizes))
    assert index(1.0) == pytest.approx(9 / (1.4826 * mad))
    assert index(12.0) == pytest.approx(-2 / (1.4826 * mad))


def test_a_candidate_out_of_reach_counts_as_larger_than_all() -> None:
    index = anomaly_index([1.0, 9.0, 10.0, 11.0, None])
    assert index(1.0) == pytest.approx(9 / 1.4826)
    assert index(None) is None
    assert anomaly_index([1.0, None, None])(1.0) is None  # half or more out of reach: nothing to compare with
    assert anomaly_index([1.0, 2.0, 2.0, 2.0])(1.0) is None  # no spread


def test_the_candidate_that_stands_out_is_suspected_with_its_angle_to_the_target() -> None:
    sizes = [0.1, 1.0, 1.1, 0.9, 1.05]
    grid = [Candidate(0.0, 10.0 * i, size, 1.0) for i, size in enumerate(sizes)]
    found = summarise("mask", grid, Candidate(0.0, 4.0, 0.08, 1.0))
    assert found.suspected == (0.0, 0.0)
    assert found.suspected_offset_deg == pytest.approx(4.0)
    assert found.at_target is not None
    assert found.at_target.anomaly is not None
    assert found.at_target.anomaly > 2
    assert summarise("mask", grid[1:], None).suspected is None


def test_too_few_candidates_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 candidate gazes"):
        InversionSetting(pitches_deg=(0.0,), yaws_deg=(0.0, 1.0))
