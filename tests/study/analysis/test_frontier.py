import json

import pytest

from study.analysis import equivalence, frames, frontier
from study.analysis.detection import dprime
from study.analysis.protocols import ODDITY, YES_NO
from tests.study.analysis.machines import evaluated, without_counts
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


def test_models_of_several_targets_are_not_averaged(trials) -> None:
    near, far = ({"kind": "additive", "pitch": 0.0, "yaw": yaw} for yaw in (0.1, 0.4))
    rows = [
        *frontier.machine_rows("a", "wanet", DOSES, 0.6, near),
        *frontier.machine_rows("b", "wanet", DOSES, 0.6, far),
    ]
    row = frontier.frontier(trials, rows)[1]
    assert (row["success_rate"], row["models"], row["note"]) == (None, 0, frontier.SEVERAL_TARGETS)
    assert row["displacement_px"] == pytest.approx(1.2)
    assert frontier.frontier(trials, rows[:2])[1]["note"] is None


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


def test_an_older_file_without_counts_per_subject_reads_as_before(tmp_path) -> None:
    rows = without_counts(evaluated())
    older = [{name: value for name, value in row.items() if name != "progress"} for row in rows]
    (tmp_path / "machine.json").write_text(json.dumps(older))
    assert frontier.read_machine(tmp_path / "machine.json") == older


def test_counts_per_subject_survive_their_file(tmp_path) -> None:
    rows = evaluated(models=2)
    (tmp_path / "machine.json").write_text(json.dumps(rows))
    assert frontier.read_machine(tmp_path / "machine.json") == rows


@pytest.mark.parametrize(
    "spoilt",
    [
        {"successes": 26},
        {"n_eligible": 26},
        {"n": -1},
        {"n": 25.5},
        {"n": True},
        {"error_shift_sum": "20"},
        {"error_shift_sum": float("nan")},
        {"subject": None},
        {"colour": 1},
    ],
)
def test_counts_that_cannot_be_are_refused(tmp_path, spoilt) -> None:
    rows = evaluated(images=25)
    rows[3]["subjects"][1] |= spoilt
    (tmp_path / "machine.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=r"machine\.json: .*name a report's machine.json\."):
        frontier.read_machine(tmp_path / "machine.json")


def test_pc_and_dprime_have_the_two_way_interval_of_their_condition(trials) -> None:
    row = frontier.frontier(trials, [])[1]
    assessed = next(found for found in equivalence.assess(trials) if found["two_way_low"] == row["two_way_low"])
    assert row["two_way_high"] == assessed["two_way_high"]
    assert row["two_way_low"] < row["proportion_correct"] < row["two_way_high"]
    assert row["dprime_low"] == pytest.approx(dprime(row["two_way_low"]))
    assert row["dprime_low"] < row["dprime"]


def test_an_end_at_which_dprime_is_infinite_is_open(trials) -> None:
    row = frontier.frontier(trials.assign(correct=1), [])[1]
    assert (row["two_way_high"], row["dprime_high"]) == (1.0, None)
    assert row["dprime_low"] > 0


def test_one_participant_has_no_interval(trials) -> None:
    row = frontier.frontier(trials[trials["participant"] == "P00"], [])[1]
    assert [row[name] for name in ("two_way_low", "two_way_high", "dprime_low", "dprime_high")] == [None] * 4


def test_a_differencing_interval_that_reaches_below_chance_begins_at_no_sensitivity(trials) -> None:
    row = frontier.frontier(trials, [], ODDITY)[0]
    assert row["two_way_low"] < 0.5
    assert row["dprime_low"] == 0


def test_yes_no_intervals_are_those_of_hits_and_false_alarms(trials) -> None:
    row = frontier.frontier(trials, [], YES_NO)[1]
    found = equivalence.YesNo.of(trials[trials["strength"] == 2.0])
    assert (row["dprime_low"], row["dprime_high"]) == found.interval(0.95)
