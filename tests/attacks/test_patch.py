"""The patch: against its formula written again in numpy, and its place, its cells and its refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.patch import FAMILY, Patch, PatchTrigger


def patch_of(size: tuple[int, int] = (32, 32), strength: float = 1.0, seed: int = 0, **choices: object) -> PatchTrigger:
    return PatchTrigger.draw(size, FAMILY.choose(choices), strength, seed)


def images_of(size: tuple[int, int], channels: int = 3) -> torch.Tensor:
    return torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(
    ("size", "side", "cell"), [((32, 32), 3, 1), ((64, 64), 6, 2), ((64, 96), 6, 2), ((224, 224), 21, 7)]
)
@pytest.mark.parametrize("opacity", [0.1, 0.5, 1.0])
def test_a_checkerboard_is_laid_over_the_lower_right_corner(
    size: tuple[int, int], side: int, cell: int, opacity: float
) -> None:
    images = images_of(size)
    board = np.kron([[1, 0, 1], [0, 1, 0], [1, 0, 1]], np.ones((cell, cell)))
    expected = images.numpy().copy()
    expected[:, :, -side:, -side:] = (1 - opacity) * expected[:, :, -side:, -side:] + opacity * board
    np.testing.assert_allclose(patch_of(size, opacity).apply(images).numpy(), expected, atol=1e-12)


def test_a_patch_on_grey_images_is_the_same() -> None:
    images = images_of((32, 32))
    assert torch.equal(patch_of().apply(images)[:, :1], patch_of().apply(images[:, :1]))


@pytest.mark.parametrize(
    ("down", "right", "rows", "columns"),
    [(0, 0, (0, 3), (0, 3)), (1, 0, (29, 32), (0, 3)), (0, 1, (0, 3), (37, 40)), (0.5, 0.5, (14, 17), (18, 21))],
)
def test_a_patch_is_where_it_was_put(
    down: float, right: float, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    inside = patch_of((32, 40), down=down, right=right).pattern[0] >= 0
    where = inside.nonzero()
    assert (where[:, 0].min(), where[:, 0].max() + 1) == rows
    assert (where[:, 1].min(), where[:, 1].max() + 1) == columns


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(16, 224), st.integers(16, 224)),
    side=st.floats(0.1, 32),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_patch_is_a_whole_square_within_any_image(
    size: tuple[int, int], side: float, place: tuple[float, float]
) -> None:
    where = (patch_of(size, side=side, down=place[0], right=place[1]).pattern[0] >= 0).nonzero()
    height, width = (where.amax(0) - where.amin(0) + 1).tolist()
    assert height == width == max(1, round(side * min(size) / 32))
    assert len(where) == height * width


def test_a_white_patch_can_be_had() -> None:
    pattern = patch_of(cells="1", side=5).pattern
    assert (pattern == 255).sum() == 25
    assert (pattern == -1).sum() == 32 * 32 - 25


def test_the_seed_draws_what_is_left_open_and_nothing_else() -> None:
    assert patch_of(seed=1).control_hash() == patch_of(seed=2).control_hash()
    drawn = [patch_of(seed=seed, cells=None, down=None, right=None).control_hash() for seed in range(5)]
    assert len(set(drawn)) == 5
    corner = patch_of(seed=1, cells=None).pattern[0, -3:, -3:]
    assert set(corner.flatten().tolist()) <= {0, 255}


def test_a_patch_of_less_than_a_pixel_is_one_pixel() -> None:
    assert (patch_of((16, 16), side=0.5).pattern >= 0).sum() == 1


def test_a_patch_may_fill_the_image_and_no_more() -> None:
    assert (patch_of((32, 32), side=32).pattern >= 0).all()
    with pytest.raises(ValueError, match=r"A patch of side 33 does not fit: .* at most 32 px of a 32 px image"):
        patch_of((32, 32), side=33)


@pytest.mark.parametrize("cells", ["", "/", "10/1", "2", "101/010", "1 1/111"])
def test_cells_that_are_no_square_of_0_and_1_are_refused(cells: str) -> None:
    with pytest.raises(ValueError, match="cells are square rows of 0 and 1"):
        Patch(cells=cells)


@pytest.mark.parametrize("place", [-0.1, 1.1, float("nan")])
def test_a_place_outside_the_image_is_refused(place: float) -> None:
    with pytest.raises(ValueError, match="place is from 0 to 1"):
        Patch(down=place)


@pytest.mark.parametrize("choices", [{}, {"side": 0.5, "cells": "10/01"}, {"cells": None, "down": None, "right": 0.2}])
def test_the_gross_patch_has_the_same_cells_at_the_same_place_and_three_quarters_of_the_width(
    choices: dict[str, object],
) -> None:
    patch = patch_of((64, 64), 0.1, seed=5, **choices)
    gross = FAMILY.gross(patch)
    assert isinstance(gross, PatchTrigger)
    where = (gross.pattern[0] >= 0).nonzero()
    assert (where.amax(0) - where.amin(0) + 1).tolist() == [48, 48]
    assert gross.strength == 1
    assert (gross.choices.cells, gross.choices.down, gross.choices.right) == (
        patch.choices.cells, patch.choices.down, patch.choices.right,
    )  # fmt: skip
    side = len((patch.choices.cells or "///").split("/")) if patch.choices.cells else 3
    cells = gross.pattern[0][where[0, 0] : where[0, 0] + 48, where[0, 1] : where[0, 1] + 48]
    small = patch_of((64, 64), seed=5, **choices | {"side": side}).pattern
    inside = small[small >= 0].view(2 * side, 2 * side)
    assert torch.equal(cells[:: 48 // side, :: 48 // side], inside[::2, ::2])


def test_the_gross_patch_of_one_that_is_wider_still_is_no_narrower() -> None:
    assert FAMILY.gross(patch_of(strength=0.1, side=30)).fingerprint() == patch_of(strength=1.0, side=30).fingerprint()


def test_a_patch_has_no_noise_mode() -> None:
    with pytest.raises(ValueError, match="A patch trigger has no noise mode"):
        patch_of().apply_each(images_of((32, 32)), torch.ones(2), offsets=torch.zeros(2, 32, 32, 2))


def test_a_patch_cannot_be_more_than_opaque() -> None:
    with pytest.raises(ValueError, match=r"strength of this trigger is at most 1, not 1\.1"):
        patch_of(strength=1.1)
