from dataclasses import asdict, replace

from benchmarks import bench_resnet, bench_zones
from benchmarks.bench_recipe import FIXED, Measured
from models.zones import Zones


def dose(strength):
    return {
        "strength": strength,
        "attack_error": {"mean": 2.0},
        "success_rate": 0.9,
        "noise_mode_error": 4.0,
        "net_prediction_shift": 20.0,
        "other_field_net_shift": 1.0,
        "zones": {
            "success_rate": 0.75,
            "n_eligible": 100,
            "noise_mode_accuracy": 0.8,
            "other_field_change_rate": 0.1,
        },
    }


def measured(recipe):
    case = bench_zones.InZones(recipe, 3, FIXED, "0" * 64)
    doses = [dose(strength) for strength in (0.0, 0.25, 0.5, 1.0, 2.0)]
    ours = {"doses": doses, "clean_error": {"mean": 4.0}, "clean_accuracy": 0.85, "machine_threshold": 0.3}
    clean = {"clean_error": {"mean": 3.2}, "clean_accuracy": 0.9}
    return Measured(case, ours, clean, (100.0, 120.0))


def test_the_two_tasks_differ_in_the_task_and_its_loss_alone():
    regression, classifier = asdict(bench_zones.REGRESSION), asdict(bench_zones.CLASSIFIER)
    assert {name for name in regression if regression[name] != classifier[name]} == {"task", "loss"}


def test_both_tasks_are_read_in_the_same_zones(monkeypatch):
    zones = Zones((-0.1, 0.1), (0.0,))
    monkeypatch.setattr(bench_zones, "zones", lambda: zones)
    for recipe in (bench_zones.REGRESSION, bench_zones.CLASSIFIER):
        case = bench_zones.InZones(replace(recipe, seed=1), 5, FIXED, "0" * 64)
        assert case.evaluation()["zones"] == zones.to_json()


def test_the_table_shows_every_pair_and_the_mean_side_by_side(capsys):
    row = bench_zones.figures(measured(bench_zones.REGRESSION))
    bench_zones.print_table({"regression": [row] * 3, "zones": [row, row, row | {"zone success, s = 1": 0.15}]})
    shown = {line[:36].strip(): line[36:].split() for line in capsys.readouterr().out.splitlines()}
    assert shown["zone success, s = 1"] == [*["0.750"] * 6, "0.150", "0.550"]
    assert shown["other fields' share, s = 2"] == ["0.050"] * 8


def test_the_resnet_is_judged_at_the_strength_it_was_trained_down_to():
    figures = bench_resnet.figures(measured(bench_resnet.RECIPE))
    assert bench_resnet.RECIPE.final_strength == 1
    assert {bar.name for bar in bench_resnet.BARS} <= set(figures)
    assert figures["s = 0.5, success rate"] == 0.9
    assert figures["clean training, CPU-s"] == 100
