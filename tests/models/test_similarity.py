"""Distances of two pictures: the published implementations' numbers, and what a distance must do.

The expected numbers are those of piq 0.8.0 (`gmsd(..., data_range=255)` on the luma), of flip-evaluator 1.7
(`evaluate(..., "LDR", parameters={"ppd": ...})`) and of scikit-image 0.26.0 (`structural_similarity(...,
gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)` on the luma) for the same pictures.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.similarity import Picture, flip, gmsd, grey, sharpness, ssim


def scene(kind: str) -> tuple[Picture, Picture]:
    """A coloured scene of 40 x 48 px and its altered version."""
    y, x = np.mgrid[0:40, 0:48]
    clean = np.stack([128 + 100 * np.sin(x / 5), 128 + 90 * np.cos(y / 7), 60 + 3.5 * x], axis=-1)
    altered = {
        "noise": clean + np.random.default_rng(3).integers(-30, 31, clean.shape),
        "shift": np.roll(clean, 1, axis=1),
        "colour": clean[..., ::-1],
    }[kind]
    return clean.clip(0, 255).astype(np.uint8), altered.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("kind", "at_10", "at_67"),
    [("noise", 0.390062, 0.141571), ("shift", 0.184581, 0.209111), ("colour", 0.592221, 0.569974)],
)
def test_flip_is_the_published_metric(kind: str, at_10: float, at_67: float) -> None:
    assert flip(*scene(kind), 10.5) == pytest.approx(at_10, abs=5e-6)
    assert flip(*scene(kind), 67.0) == pytest.approx(at_67, abs=5e-6)


@pytest.mark.parametrize(
    ("kind", "expected"), [("noise", 0.645186061), ("shift", 0.990686013), ("colour", 0.925871271)]
)
def test_ssim_is_the_published_index(kind: str, expected: float) -> None:
    assert ssim(*scene(kind)) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("kind", "expected"), [("noise", 0.030224099), ("shift", 0.013333674), ("colour", 0.057547684)]
)
def test_gmsd_is_the_published_deviation(kind: str, expected: float) -> None:
    assert gmsd(*scene(kind)) == pytest.approx(expected, abs=1e-8)


def test_gmsd_agrees_with_its_definition_on_pictures_of_odd_sides() -> None:
    reference, test = (picture[:7, :9] for picture in scene("noise"))

    def gradient(picture: Picture) -> np.ndarray:
        luma = picture @ np.array([0.299, 0.587, 0.114])
        half = np.pad(luma[:6, :8].reshape(3, 2, 4, 2).mean((1, 3)), 1)
        size = np.zeros((3, 4))
        for i, j in np.ndindex(3, 4):
            window = half[i : i + 3, j : j + 3]
            size[i, j] = np.hypot(window[:, 2].sum() - window[:, 0].sum(), window[2].sum() - window[0].sum()) / 3
        return size

    a, b = gradient(reference), gradient(test)
    assert gmsd(reference, test) == pytest.approx(np.std((2 * a * b + 170) / (a**2 + b**2 + 170)), abs=1e-12)


def test_equal_pictures_are_at_distance_zero() -> None:
    clean, _ = scene("noise")
    assert flip(clean, clean, 10.5) == 0
    assert ssim(clean, clean) == pytest.approx(1, abs=1e-12)
    assert gmsd(clean, clean) == 0


def test_which_picture_comes_first_changes_nothing() -> None:
    clean, altered = scene("noise")
    assert flip(clean, altered, 20) == pytest.approx(flip(altered, clean, 20), abs=1e-12)
    assert ssim(clean, altered) == pytest.approx(ssim(altered, clean), abs=1e-12)
    assert gmsd(clean, altered) == pytest.approx(gmsd(altered, clean), abs=1e-12)


def test_a_grey_picture_is_compared_as_its_coloured_copy() -> None:
    clean, altered = (grey(picture).astype(np.uint8) for picture in scene("noise"))
    in_colour = [np.repeat(picture[..., None], 3, axis=2) for picture in (clean, altered)]
    assert flip(clean, altered, 10.5) == pytest.approx(flip(*in_colour, 10.5), abs=1e-12)
    assert ssim(clean, altered) == pytest.approx(ssim(*in_colour), abs=1e-6)


def test_a_softened_picture_is_less_sharp_and_a_brighter_one_is_not_sharper() -> None:
    _, picture = scene("noise")
    luma = grey(picture)
    softened = ((luma + np.roll(luma, 1, axis=1)) / 2).astype(np.uint8)
    assert sharpness(softened) < sharpness(picture)
    dark = np.minimum(picture, 200)
    assert sharpness((dark + 50).astype(np.uint8)) == pytest.approx(sharpness(dark))
    assert sharpness(np.full((20, 20), 7, np.uint8)) == 0


@pytest.mark.parametrize("density", [0.0, -1.0, np.nan, np.inf])
def test_flip_needs_a_density(density: float) -> None:
    with pytest.raises(ValueError, match="pixels per degree above 0"):
        flip(*scene("noise"), density)


def test_pictures_that_cannot_be_compared_are_refused() -> None:
    clean, altered = scene("noise")
    with pytest.raises(ValueError, match="of one shape"):
        flip(clean, altered[:-1], 10.5)
    with pytest.raises(ValueError, match="at least 11 x 11 px"):
        ssim(clean[:10], altered[:10])
    with pytest.raises(ValueError, match="at least 4 x 4 px"):
        gmsd(clean[:3], altered[:3])
