from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from attacks.wanet import WarpField
from benchmarks.side_by_side import warping
from benchmarks.side_by_side.peers import Grids, jittered, warp, warp_picture

FIELD = WarpField.draw((32, 32), 8, 0.5, seed=3)


def test_the_peers_warp_as_ours_does() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    ours, grid = FIELD.apply(images), Grids.of(FIELD).rebuilt()
    assert torch.allclose(warp(images, grid), ours, atol=1e-5)
    assert (warp_picture(Image.fromarray(pixels), grid) - ours[0]).abs().max() <= 0.51 / 255


def test_the_peers_noise_moves_each_pixel_by_up_to_one_pitch() -> None:
    grid = Grids.of(FIELD).rebuilt()
    offsets = (jittered(grid, 3) - grid).abs() * 32
    assert offsets.shape == (3, 32, 32, 2)
    assert 0.9 < offsets.max() <= 1 + 1e-4
    assert not torch.equal(offsets[0], offsets[1])


def test_all_poison_as_many_images_and_round_no_further_than_to_8_bits() -> None:
    contenders = warping.poisoners(32, 60)
    found = {name: work() for name, work in contenders.items()}
    clean = torch.stack([torch.from_numpy(np.array(each)).permute(2, 0, 1) for each in warping._pictures(32, 60)]) / 255
    touched, poisoned = set(), set()
    for images, labels in found.values():  # type: ignore[misc]
        touched.add(int(((images - clean).abs().amax((1, 2, 3)) > 1e-6).sum()))
        poisoned.add(int((labels != 0).any(1).sum()))
    assert len(touched) == len(poisoned) == 1
    assert 0 < poisoned.pop() < touched.pop() < 60


def test_every_size_is_compared_with_every_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warping, "stay_on_one_core", lambda: None)
    rows = {row.id: row for row in warping.at_size(32, 10, rounds=1, seconds=0.0)}
    peers = ("cached_grid", "rebuilt_grid", "per_image")
    assert list(rows) == [f"{work}.32.vs_{peer}" for work in ("warp", "poisoning") for peer in peers]
    assert rows["warp.32.vs_cached_grid"].bar == "at least 0.95 times"
    assert rows["warp.32.vs_per_image"].bar == "at least 5 times"
    assert rows["poisoning.32.vs_per_image"].ok is None
    assert set(rows["warp.32.vs_cached_grid"].costs) == {"ours", "peer"}
