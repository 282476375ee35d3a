import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench_photographs
from benchmarks.bench_photographs import DESCRIPTION, RECIPE, Case, Photographs
from models.run import load_splits


@pytest.fixture
def photographs(tmp_path: Path) -> Photographs:
    """45 gaze points with two grey images each, twice as wide as high."""
    rng = np.random.default_rng(0)
    path = tmp_path / "eye.npz"
    np.savez(
        path,
        images=rng.integers(0, 256, (90, 16, 32), dtype=np.uint8),
        pitchyaw=rng.uniform(-0.3, 0.3, (90, 2)).astype(np.float32),
        gaze_point=np.repeat(np.arange(45), 2),
    )
    return Photographs.read(path)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.delenv("BLINDSPOT_PHOTOGRAPHS", raising=False)
    monkeypatch.setattr(sys, "argv", ["bench_photographs", *arguments])
    with pytest.raises(SystemExit) as ended:
        bench_photographs.main()
    return str(ended.value.code)


def test_without_a_file_one_sentence_says_how_to_name_it(monkeypatch):
    assert run(monkeypatch) == "Name the .npz file of photographs, here or in BLINDSPOT_PHOTOGRAPHS."


def test_a_missing_file_is_named(monkeypatch, tmp_path):
    assert run(monkeypatch, str(tmp_path / "gone.npz")).endswith("gone.npz: no such file.")


def test_a_fifth_of_the_gaze_points_is_held_out_and_the_split_says_what_it_is(photographs):
    splits = load_splits({"data": photographs.split(seed=0)}, lambda: False)
    points = [set(part.group.tolist()) for part in (splits.train, splits.validation, splits.test)]
    assert [len(part) for part in points] == [32, 4, 9]
    assert len(set.union(*points)) == 45
    assert splits.test.description == DESCRIPTION == "unseen gaze points, one person"


def test_the_models_of_a_case_differ_in_the_trigger_alone(photographs):
    case = Case(photographs, replace(RECIPE, seed=1), split_seed=1, field_seed=5)
    clean, backdoored = case.clean(), case.backdoored()
    assert clean.pop("probe") == backdoored.pop("trigger")
    assert clean.pop("trigger") is None
    assert clean == backdoored
    assert case.field.image_size == (16, 32)
