import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import bench_strips
from benchmarks.bench_strips import IMAGES, RECORDINGS, RUN, people, ridge_error, runs
from models.datasets.base import GazeData, split_by_group
from models.run import load_splits


@pytest.fixture
def strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As many images of noise as the published file has, and a place of its own for what is made of them."""
    monkeypatch.setattr(bench_strips, "BENCH", tmp_path / "bench")
    monkeypatch.setattr("models.datasets.contact_sheet.draw", lambda data, manifest, path: path.touch())
    rng = np.random.default_rng(0)
    path = tmp_path / "strips.npz"
    gaze = rng.uniform(-0.3, 0.3, (IMAGES, 2)).astype(np.float32)
    np.savez(path, images=rng.integers(0, 256, (IMAGES, 25, 50, 3), dtype=np.uint8), pitchyaw=gaze)
    return path


def test_every_image_is_of_one_of_eight_people_and_in_a_run_of_its_recording():
    assert len(people()) == len(runs()) == IMAGES
    assert len(set(people())) == 8
    assert np.bincount(runs()).max() == RUN
    starts = [start for start, _ in RECORDINGS]
    for start, stop in pairwise([*starts, IMAGES]):
        assert len(set(people()[start:stop])) == 1
        assert not set(runs()[start:stop]) & set(runs()[stop:])


def test_whole_people_are_held_out(strips):
    photographs, _ = bench_strips.read(strips, "subject")
    splits = load_splits({"data": photographs.split(seed=0)}, lambda: False)
    assert [len(part.group.unique()) for part in (splits.train, splits.validation, splits.test)] == [5, 1, 2]
    assert splits.test.description == "unseen people, eight in all, told apart by looks"
    assert photographs.image_size == (25, 50)


def test_another_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "other.npz"
    np.savez(path, images=np.zeros((4, 25, 50, 3), np.uint8), pitchyaw=np.zeros((4, 2), np.float32))
    monkeypatch.setattr(sys, "argv", ["bench_strips", str(path)])
    with pytest.raises(SystemExit, match=r"expected 855 colour images of 25 x 50 px, found \(4, 3, 25, 50\)"):
        bench_strips.main()


def test_ridge_regression_finds_a_gaze_that_is_a_brightness():
    level = torch.arange(60) * 4
    images = level.to(torch.uint8)[:, None, None, None].expand(60, 1, 16, 16).contiguous()
    pitchyaw = torch.stack([torch.zeros(60), level / 400], 1)
    data = GazeData(images, pitchyaw, level, level, "levels", "grey levels")
    assert ridge_error(split_by_group(data)) < 1.0
