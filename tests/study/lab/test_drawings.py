"""Arrows: of a warp as `attacks.wanet` moves pixels there, of a gaze as the convention has it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from attacks.wanet import WarpField
from study.lab.drawings import Arrow, exaggeration, gaze_arrow, picture, warp_arrows

#: In these every control point of a 4 x 4 grid is a pixel: 24 / 3 and 36 / 3 are whole.
SIZE, CONTROL = (25, 37), 4


@pytest.mark.parametrize(("strength", "rescale"), [(0.5, 1.0), (2.0, 0.98), (40.0, 1.0)])
def test_a_warps_arrows_are_its_displacement_at_the_control_points(strength: float, rescale: float) -> None:
    field = WarpField.draw(SIZE, CONTROL, strength, seed=3, grid_rescale=rescale)
    arrows = warp_arrows(field.parameters(), field.control.tolist(), strength)
    height, width = SIZE
    scale = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    positions = ((field.grid[0] + 1) * scale)[:: (height - 1) // 3, :: (width - 1) // 3].reshape(-1, 2).numpy()
    ends = np.array([(arrow.x + arrow.dx, arrow.y + arrow.dy) for arrow in arrows])
    assert np.abs(ends - positions).max() < 1e-5
    starts = {(arrow.x, arrow.y) for arrow in arrows}
    assert starts == {(12.0 * column, 8.0 * row) for row in range(4) for column in range(4)}


@pytest.mark.parametrize(
    ("pitch", "yaw", "direction"),
    [(0.0, 0.5, (-1, 0)), (0.0, -0.5, (1, 0)), (0.5, 0.0, (0, -1)), (-0.5, 0.0, (0, 1)), (0.0, 0.0, (0, 0))],
)
def test_a_gaze_points_where_the_eye_looks_in_the_picture(pitch: float, yaw: float, direction: tuple[int, int]) -> None:
    arrow = gaze_arrow(pitch, yaw, (40, 60))
    assert (arrow.x, arrow.y) == (30, 20)
    length = 20 * math.sin(max(abs(pitch), abs(yaw)))
    assert (arrow.dx, arrow.dy) == pytest.approx((direction[0] * length, direction[1] * length), abs=1e-9)


def test_arrows_are_drawn_a_round_number_of_times_as_long_without_meeting() -> None:
    arrows = [Arrow(0, 0, 0.3, 0.4), Arrow(9, 0, 0.1, 0)]
    factor = exaggeration(arrows, spacing=9)
    assert factor == 10
    assert arrows[0].times(factor).length <= 9
    assert exaggeration([Arrow(0, 0, 0, 0)], spacing=9) == 1


def test_a_picture_says_what_is_seen_and_has_an_image_only_where_there_is_one() -> None:
    without = picture((10, 20), [Arrow(1, 2, 3, 4)], "Left & up.")
    assert 'viewBox="0 0 20 10"' in without
    assert 'aria-label="Left &amp; up."' in without
    assert "<image" not in without
    assert "M1.00 2.00L4.00 6.00" in without
    assert '<image href="/here.png" width="20" height="10"' in picture((10, 20), [], "", image="/here.png")
