"""From pixels and millimetres to degrees: known geometry, and one sentence for what cannot be."""

from __future__ import annotations

import math

import pytest

from study.trials import viewing


def test_at_57_cm_a_degree_is_a_centimetre() -> None:
    assert viewing.px_per_degree(px_per_mm=4.0, distance_mm=572.9) == pytest.approx(40.0, abs=0.01)


def test_pixels_per_degree_grow_with_distance_and_with_density() -> None:
    near = viewing.px_per_degree(4.0, 300.0)
    assert viewing.px_per_degree(4.0, 600.0) == pytest.approx(2 * near)
    assert viewing.px_per_degree(12.0, 300.0) == pytest.approx(3 * near)


@pytest.mark.parametrize("px_per_mm", [1.99, 60.1, 0.0, -4.0, math.nan, math.inf])
def test_a_density_that_no_screen_has_is_refused_in_one_sentence(px_per_mm: float) -> None:
    with pytest.raises(ValueError, match=r"device pixels per millimetre must be from 2 to 60, not .*\.$"):
        viewing.px_per_degree(px_per_mm, 570.0)


@pytest.mark.parametrize("distance_mm", [199.0, 1501.0, 57.0, math.nan])
def test_a_distance_that_nobody_keeps_is_refused_in_one_sentence(distance_mm: float) -> None:
    with pytest.raises(ValueError, match=r"distance in millimetres must be from 200 to 1500, not .*\.$"):
        viewing.px_per_degree(4.0, distance_mm)


@pytest.mark.parametrize("edges", [(2.0, 200.0), (60.0, 1500.0)])
def test_the_edges_of_the_ranges_belong_to_them(edges: tuple[float, float]) -> None:
    assert viewing.px_per_degree(*edges) > 0


def test_the_blind_spot_of_an_eye_at_50_cm_is_12_cm_beside_the_cross() -> None:
    assert viewing.distance_from_blind_spot(120.04) == pytest.approx(500.0, abs=0.1)


@pytest.mark.parametrize("separation_mm", [0.0, 47.0, 361.0, math.nan])
def test_a_separation_of_no_plausible_distance_is_refused(separation_mm: float) -> None:
    with pytest.raises(ValueError, match="found from the blind spot, must be from 200 to 1500"):
        viewing.distance_from_blind_spot(separation_mm)


@pytest.mark.parametrize(("px_per_degree", "scale"), [(32.0, 2), (39.9, 2), (40.1, 3), (160.0, 10)])
def test_the_scale_is_the_whole_number_nearest_to_the_size(px_per_degree: float, scale: int) -> None:
    assert viewing.scale_for(4.0, 64, px_per_degree) == scale


def test_the_scale_may_miss_the_size_by_a_quarter_and_no_more() -> None:
    assert viewing.scale_for(1.0, 64, 64 / 1.25) == 1
    with pytest.raises(ValueError, match=r"nearest whole scale is 1, which is off by more than 25%\.$"):
        viewing.scale_for(1.0, 64, 64 / 1.26)


def test_an_image_too_wide_at_one_device_pixel_is_refused() -> None:
    with pytest.raises(ValueError, match="can't be 2 degrees wide at 20 px per degree"):
        viewing.scale_for(2.0, 128, 20.0)


def test_a_displacement_is_seen_in_minutes_of_arc() -> None:
    assert viewing.arcmin(displacement_px=0.5, scale=4, px_per_degree=40.0) == pytest.approx(3.0)


def test_no_displacement_is_no_angle() -> None:
    assert viewing.arcmin(0.0, 4, 40.0) == 0.0


@pytest.mark.parametrize(("scale", "px_per_degree"), [(0, 40.0), (-1, 40.0), (4, 0.0), (4, math.nan), (4, math.inf)])
def test_angles_need_a_positive_scale_and_screen(scale: float, px_per_degree: float) -> None:
    with pytest.raises(ValueError, match=r"must be a positive number, not .*\.$"):
        viewing.arcmin(1.0, scale, px_per_degree)
