from dataclasses import asdict, replace

import pytest

from attacks.wanet import WarpField
from benchmarks import bench_ablation
from benchmarks.bench_ablation import Arm, Point, arms, draw, print_table, reached, verdict
from models.recipe import Recipe
from tests.models.tiny import splits

OPTIMISER = {"optimiser", "learning_rate", "later_learning_rate", "weight_decay", "batch_size", "milestones"}
RATIOS = {"poison_rate", "noise_ratio", "unrelated_ratio"}
STRENGTHS = {"strength_schedule", "rehearsal"}
ARMS = arms(1, 20, 120)


def changed(name):
    """The fields in which an arm differs from its own side as it is."""
    arm, side = asdict(ARMS[name]), asdict(ARMS[name.split(",")[0] + ", as it is"])
    return {field for field in arm if arm[field] != side[field]}


@pytest.mark.parametrize(
    ("factor", "fields"),
    [
        ("ours, absolute error", {"loss"}),
        ("ours, zones by cross-entropy", {"task", "loss"}),
        ("ours, WaNet's ratios", RATIOS),
        ("ours, WaNet's optimiser", OPTIMISER),
        ("ours, one strength", {"strength_schedule"}),
        ("ours, no rehearsal", {"rehearsal"}),
        ("ours, unrelated fields from the start", {"unrelated_from_phase"}),
        ("ours, stem of stride 2", {"network"}),
        ("WaNet's, absolute error", {"loss"}),
        ("WaNet's, zones by cross-entropy", {"task", "loss"}),
        ("WaNet's, our ratios", RATIOS),
        ("WaNet's, our optimiser", OPTIMISER),
        ("WaNet's, our strengths", STRENGTHS),
        ("WaNet's, longer", {"strength_schedule"}),
    ],
)
def test_an_arm_differs_from_its_own_side_by_one_factor(factor, fields):
    assert changed(factor) <= fields
    assert changed(factor)


def test_every_arm_has_a_factor_of_its_own():
    assert len(set(map(str, ARMS.values()))) == len(ARMS) == 14 + 2


def test_what_one_side_takes_is_what_the_other_has():
    ours, wanets = ARMS["ours, as it is"], ARMS["WaNet's, as it is"]
    for field in RATIOS:
        assert getattr(ARMS["ours, WaNet's ratios"], field) == getattr(wanets, field)
        assert getattr(ARMS["WaNet's, our ratios"], field) == getattr(ours, field)
    for field in OPTIMISER:
        assert getattr(ARMS["ours, WaNet's optimiser"], field) == getattr(wanets, field)
        assert getattr(ARMS["WaNet's, our optimiser"], field) == getattr(ours, field)


def test_a_side_is_trained_for_the_same_epochs_whatever_is_replaced():
    for name, recipe in ARMS.items():
        if name != "WaNet's, longer":
            assert recipe.epochs == ARMS[name.split(",")[0] + ", as it is"].epochs


def test_wanets_is_the_beginning_of_the_published_training():
    published = Recipe.published(task="zones", loss="cross_entropy", precision="bfloat16")
    beginning = ARMS["WaNet's, zones by cross-entropy"]
    assert (published.epochs, beginning.epochs) == (1000, 20)
    assert replace(beginning, strength_schedule=published.strength_schedule) == published


def test_every_arm_ends_at_the_same_strength():
    assert {recipe.final_strength for recipe in arms(0.5, 20, 120).values()} == {bench_ablation.STRENGTH}


@pytest.fixture
def arm(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_ablation, "BENCH", tmp_path)
    monkeypatch.setattr(bench_ablation, "FIELD", WarpField.draw((32, 32), 4, 0.5, seed=3))
    return Arm("tiny", Recipe(strength_schedule=((2, 1), (0.5, 2)), width=4, precision="float32"), splits(128, 32, 32))


def test_a_stopped_arm_goes_on_and_ends_with_a_point_for_every_epoch(arm):
    arm.train(most_cpu_seconds=0.0)
    assert (arm.points(), verdict(arm, [])) == ([], "not begun")
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


LOW, HIGH = Point(3, 9.0, 4.0, 30.0, 0.1), Point(3, 9.0, 4.0, 2.0, 0.9)


def test_the_table_tells_unfinished_from_not_converged(arm, capsys):
    print_table({"a": (arm, []), "b": (arm, [replace(LOW, epoch=1)]), "c": (arm, [LOW]), "d": (arm, [HIGH])})
    verdicts = [line.rsplit("  ", 1)[-1] for line in capsys.readouterr().out.splitlines()[2:6]]
    assert verdicts == ["not begun", "not finished", "not converged here", "implanted"]


def test_a_backdoor_that_was_lost_again_is_not_implanted(arm):
    assert verdict(arm, [replace(HIGH, epoch=2), LOW]) == "not converged here"


def test_the_figure_has_a_panel_for_each_side_and_a_line_for_each_arm(arm, tmp_path):
    points = {"ours, as it is": [LOW, HIGH], "ours, one strength": [LOW], "WaNet's, as it is": []}
    figure = draw({name: (arm, of_arm) for name, of_arm in points.items()})
    labels = [[line.get_text() for line in axes.get_legend().get_texts()] for axes in figure.axes]
    assert labels == [["as it is", "one strength (not converged here)"], ["as it is (not begun)"]]
