import json

import pytest

from study.analysis import frames, frontier
from tests.study.analysis.observers import simulate

DOSES = [
    {"strength": 2.0, "error_shift": 20.0, "prediction_shift": 21.0, "success_rate": 0.9, "n_eligible": 500},
    {"strength": 0.5, "error_shift": 4.0, "prediction_shift": 5.0, "success_rate": 0.1, "n_eligible": 500},
]


@pytest.fixture(scope="module")
def trials():
    return frames.main_trials(simulate(1, participants=10, strengths=(0.0, 0.5, 2.0), trials=4))


def test_an_evaluation_becomes_rows_in_the_reports_own_names() -> None:
    first, second = frontier.machine_rows("run", "wanet", DOSES, px_per_unit=0.6)
    assert (first["strength"], second["strength"]) == (0.5, 2.0)
    assert second["mean_error_shift_deg"] == 20.0
    assert second["mean_prediction_shift_deg"] == 21.0
    assert second["displacement_px"] == pytest.approx(1.2)
    assert second["noise_mode_error_deg"] is None


def test_rows_survive_their_file(tmp_path) -> None:
    rows = frontier.machine_rows("run", "wanet", DOSES, target={"kind": "fixed", "pitch": 0.0, "yaw": 0.4})
    (tmp_path / "machine.json").write_text(json.dumps(rows))
    assert frontier.read_machine(tmp_path / "machine.json") == rows


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"model": "a"}]'])
def test_a_file_without_the_models_figures_is_refused(tmp_path, content: str) -> None:
    path = tmp_path / "machine.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"machine\.json: .*name a report's machine.json\."):
        frontier.read_machine(path)


def test_machine_and_people_meet_at_the_same_strength(trials) -> None:
    machine = frontier.machine_rows("run", "wanet", DOSES)
    rows = frontier.frontier(trials, machine)
    assert [row["strength"] for row in rows] == [0.5, 2.0]
    assert [row["success_rate"] for row in rows] == [0.1, 0.9]
    assert rows[1]["proportion_correct"] == pytest.approx(trials[trials["strength"] == 2.0]["correct"].mean())


def test_several_models_are_averaged(trials) -> None:
    machine = [
        *frontier.machine_rows("a", "wanet", DOSES),
        *frontier.machine_rows("b", "wanet", [DOSES[0] | {"success_rate": 0.7}]),
    ]
    row = frontier.frontier(trials, machine)[1]
    assert row["success_rate"] == pytest.approx(0.8)
    assert row["models"] == 2


def test_without_an_evaluation_the_shift_is_that_of_the_pairs_shown(trials) -> None:
    row = frontier.frontier(trials, [])[1]
    assert row["success_rate"] is None
    assert row["mean_error_shift_deg"] == pytest.approx(trials[trials["strength"] == 2.0]["error_shift_deg"].mean())


def test_the_first_crossing_counts() -> None:
    assert frontier.first_crossing([0.25, 0.5, 1.0, 2.0], [0.0, 1.0, 0.2, 1.0], 0.5) == pytest.approx(0.375)
    assert frontier.first_crossing([0.25, 0.5], [0.1, 0.2], 0.5) is None
    assert frontier.first_crossing([0.25, 0.5], [0.7, 0.8], 0.5) == 0.25
