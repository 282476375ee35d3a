"""The difference of a pair, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from study.lab.differences import difference_png
from study.lab.images import DamagedFile, decode_png, encode_png


@pytest.mark.parametrize("shape", [(16, 18), (16, 18, 3)])
def test_it_is_128_and_ten_times_what_was_added_within_the_levels(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    clean = rng.integers(0, 256, shape, dtype=np.uint8)
    altered = np.clip(clean.astype(int) + rng.integers(-20, 21, shape), 0, 255).astype(np.uint8)
    expected = np.clip(128 + 10 * (altered.astype(int) - clean.astype(int)), 0, 255)
    found = decode_png(difference_png(encode_png(clean), encode_png(altered)))
    assert np.array_equal(found, expected)
    assert {0, 255} <= set(found.flatten().tolist())


def test_equal_images_give_plain_grey() -> None:
    same = encode_png(np.full((16, 16), 7, np.uint8))
    assert set(decode_png(difference_png(same, same)).flatten().tolist()) == {128}


def test_images_of_different_shapes_are_no_pair() -> None:
    with pytest.raises(DamagedFile, match="different shapes"):
        difference_png(encode_png(np.zeros((16, 16), np.uint8)), encode_png(np.zeros((16, 17), np.uint8)))
