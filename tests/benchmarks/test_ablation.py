from dataclasses import asdict, replace

import pytest

from attacks.wanet import WarpField
from benchmarks import bench_ablation
from benchmarks.bench_ablation import Arm, Point, arms, print_table, reached
from models.recipe import Recipe
from tests.models.tiny import splits

SCHEDULE = {"optimiser", "learning_rate", "later_learning_rate", "batch_size", "milestones"}
FACTORS = {
    "ours, absolute error": {"loss"},
    "ours, WaNet's ratios": {"poison_rate", "noise_ratio", "unrelated_ratio"},
    "ours, stem of stride 2": {"network"},
    "ours, s = 0.5 throughout": {"strength_schedule"},
    "ours, SGD": SCHEDULE - {"milestones", "batch_size"},
    "WaNet's, zones, cross-entropy": {"task", "loss"},
    "WaNet's, absolute error": {"loss"},
    "WaNet's, our ratios": {"poison_rate", "noise_ratio", "unrelated_ratio"},
    "WaNet's, annealed": {"strength_schedule", "milestones"},
    "WaNet's, AdamW in one cycle": SCHEDULE - {"later_learning_rate"},
}


@pytest.mark.parametrize("name", FACTORS)
def test_an_arm_differs_from_its_own_side_by_one_factor(name):
    every = arms(1, 60)
    side = every["ours" if name.startswith("ours") else "WaNet's, squared error"]
    ours, base = asdict(every[name]), asdict(side)
    assert {field for field in ours if ours[field] != base[field]} == FACTORS[name]
    assert every[name].epochs == side.epochs


def test_every_arm_ends_at_the_same_strength():
    assert {recipe.final_strength for recipe in arms(0.5, 60).values()} == {bench_ablation.STRENGTH}


@pytest.fixture
def arm(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_ablation, "BENCH", tmp_path)
    monkeypatch.setattr(bench_ablation, "FIELD", WarpField.draw((32, 32), 4, 0.5, seed=3))
    return Arm("tiny", Recipe(strength_schedule=((2, 1), (0.5, 2)), width=4, precision="float32"), splits(128, 32, 32))


def test_a_stopped_arm_goes_on_and_ends_with_a_point_for_every_epoch(arm):
    arm.train(most_cpu_seconds=0.0)
    assert arm.points() == []
    arm.train(most_cpu_seconds=100.0)
    points = arm.points()
    assert [point.epoch for point in points] == [1, 2, 3]
    assert points[0].cpu_seconds < points[1].cpu_seconds < points[2].cpu_seconds
    assert arm.points() == points


def test_an_arm_of_zones_is_measured_too(arm, tmp_path):
    recipe = replace(arm.recipe, task="zones", loss="cross_entropy", strength_schedule=((0.5, 1),))
    zones = Arm("zones", recipe, arm.splits)
    zones.train(most_cpu_seconds=100.0)
    assert 0 <= zones.points()[0].success <= 1


def test_the_time_it_took_is_that_of_the_first_point_so_high():
    points = [Point(1, 5.0, 4, 30, 0.1), Point(2, 10.0, 4, 9, 0.6), Point(3, 15.0, 4, 9, 0.5)]
    assert reached(points, 0.5) == 10.0
    assert reached(points, 0.9) is None


def test_the_table_tells_unfinished_from_not_converged(arm, capsys):
    low, high = Point(3, 9.0, 4.0, 30.0, 0.1), Point(3, 9.0, 4.0, 2.0, 0.9)
    print_table({"a": (arm, []), "b": (arm, [replace(low, epoch=1)]), "c": (arm, [low]), "d": (arm, [high])})
    verdicts = [
        line.split()[0] + " " + " ".join(line.split()[-3:]) for line in capsys.readouterr().out.splitlines()[2:6]
    ]
    assert verdicts[0].endswith("not begun")
    assert verdicts[1].endswith("not finished")
    assert verdicts[2].endswith("not converged here")
    assert verdicts[3].endswith("implanted")
