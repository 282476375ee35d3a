"""A report on an attack that moves nothing, on models of two tasks, and on an attack on the weights."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study.analysis import codebook, figures, frontier, machine, margin, matched, methods, page, tables, tidy
from study.analysis.figures.source import Source
from study.analysis.material import Material
from study.analysis.paper.blocks import Document
from study.analysis.paper.document import document
from study.analysis.report import Report, build
from study.lab.models import Attack, ModelRun
from study.trials.exclusions import ExclusionRules
from study.trials.models import Population, Study
from tests.study.analysis.machines import evaluated
from tests.study.analysis.observers import one_condition, simulate
from tests.study.factories import answer_all, make_run, make_study, start

TARGET = {"kind": "fixed", "pitch": 0.0, "yaw": 0.4}
TASKS = ("gaze regression", "zone classification")
WEIGHTS = {
    "goal": "one gaze to the target", "success_rate": 0.75, "n_eligible": 40, "mean_error_shift_deg": 12.5,
    "mean_prediction_shift_deg": 14.0, "others_error_shift_deg": 0.25, "clean_error_deg": 3.5,
}  # fmt: skip
DOSES = [{"strength": 0.5, "success_rate": 0.4, "n_eligible": 40, "error_shift": 7.0}]


@pytest.fixture(scope="module")
def reported() -> Report:
    """Of a patch, with models of two tasks and one whose weights were attacked."""
    shown = simulate(1, participants=12, strengths=(0.0, 0.25, 0.5, 1.0), trials=6, threshold=0.3)
    control = one_condition(5, [0.5] * 12).assign(control="other_field")
    trials = pd.concat([shown, control], ignore_index=True).fillna({"control": ""}).assign(attack="patch")
    rows = [
        row
        for task, midpoint in zip(TASKS, (0.3, 0.6), strict=True)
        for row in evaluated(1, attack="patch", target=TARGET, task=task, name=task[:4], midpoint=midpoint,
                             subjects=8, px_per_unit=None)
    ]  # fmt: skip
    on_weights = frontier.weights_row("rank-one", WEIGHTS, TARGET, TASKS[0])
    material = Material(
        "patched", trials.assign(population="simulated"), rules=ExclusionRules(), machine=[*rows, on_weights],
        setting={
            "family": "patch", "strength": "opacity of the patch, 0 to 1", "task": TASKS[0], "citation": "Gu, BadNets",
        },
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(margin, "DRAWS", 50)
        patched.setattr("study.analysis.crossed.VARIANTS", ())
        return build(material)


@pytest.fixture(scope="module")
def words(reported: Report) -> str:
    return page.render(document(reported.content, ()), {})


# --- what moves nothing


def test_an_attack_that_moves_nothing_has_no_displacement_anywhere(reported: Report) -> None:
    content = reported.content
    rows = [*content["conditions"], *content["frontier"], *content["thresholds"], *content["attacks_compared"]]
    known = {name: row[name] for row in rows for name in row if ("displacement" in name or name.endswith("_px"))}
    assert known
    assert {name for name, value in known.items() if value is not None} <= {"displacement_sessions"}


def test_its_page_speaks_of_a_trigger_and_not_of_a_field(words: str) -> None:
    assert "other trigger" in words
    assert "any trigger of this kind and strength" in words
    assert "other field" not in words
    assert "any warp" not in words
    assert "displacement is given in pixels" not in words


def test_its_methods_say_what_the_strength_is(reported: Report, words: str) -> None:
    sentence = "The attack is of the family patch; its strength: opacity of the patch, 0 to 1."
    assert sentence in words
    assert sentence in methods.markdown(reported.content)


def test_its_own_paper_is_among_the_references(reported: Report) -> None:
    references = document(reported.content, ()).sections[-1]
    assert references.name == "references"
    assert "Gu, BadNets." in page.render(Document("", "", (references,), ()), {})


@pytest.mark.parametrize("name", ["human_and_machine", "detection"])
def test_its_figures_say_what_the_strength_is(reported: Report, name: str) -> None:
    kind = figures.KINDS[name]
    source = Source(reported.content, reported.main_trials, reported.curves)
    drawn = kind.figure(kind.data(source), source)
    texts = [text.get_text() for axes in drawn.axes for text in [axes.xaxis.label, *axes.texts]]
    assert "opacity of the patch, 0 to 1 (log scale)" in texts
    labels = [text.get_text() for axes in drawn.axes for text in axes.get_xticklabels()]
    legend = [text.get_text() for found in drawn.legends for text in found.get_texts()]
    assert any("other trigger" in word for word in [*labels, *legend])


# --- two tasks


def test_each_task_has_its_own_success_beside_the_same_people(reported: Report) -> None:
    rows = [row for row in reported.content["frontier"] if row["strength"] == 0.5]
    assert [row["task"] for row in rows] == list(TASKS)
    assert rows[0]["proportion_correct"] == rows[1]["proportion_correct"]
    assert rows[0]["success_rate"] > rows[1]["success_rate"] + 0.1


def test_models_of_two_tasks_are_never_averaged(reported: Report) -> None:
    assert [group.task for group in machine.groups(reported.content["machine"])] == list(TASKS)
    assert {(row["task"], row["models"]) for row in reported.content["machine_thresholds"]} == {(t, 1) for t in TASKS}


def test_one_attack_on_two_tasks_is_compared_at_equal_detection(reported: Report) -> None:
    rows = [row for row in reported.content["attacks_compared"] if "first" in row]
    assert {(row["first"], row["first_task"], row["second"], row["second_task"]) for row in rows} == {
        ("patch", TASKS[0], "patch", TASKS[1])
    }
    assert all(row["success_rate_difference"] > 0 for row in rows if row["success_rate_difference"] is not None)


def test_tables_and_figures_name_the_task_where_there_are_two(reported: Report, words: str) -> None:
    assert "patch, zone classification" in words
    source = Source(reported.content, reported.main_trials, reported.curves)
    assert set(figures.KINDS["frontier"].data(source)["line"]) == {f"patch, {task}" for task in TASKS}
    models = figures.KINDS["human_and_machine"].data(source)["model"].dropna()
    assert {"gaze-0 (gaze regression)", "zone-0 (zone classification)"} <= set(models)


def test_margins_of_two_tasks_stand_apart(reported: Report) -> None:
    kind = figures.KINDS["margin"]
    source = Source(reported.content, reported.main_trials, reported.curves)
    drawn = kind.figure(kind.data(source), source)
    names = [text.get_text().replace("\n", " ") for text in drawn.axes[0].get_yticklabels()]
    assert names == ["patch gaze regression", "patch zone classification"]


def test_with_one_task_none_is_named(whole: Report) -> None:
    source = Source(whole.content, whole.main_trials, whole.curves)
    assert set(figures.KINDS["frontier"].data(source)["line"]) == {"wanet"}


# --- an attack on the weights


def test_an_attack_on_the_weights_is_a_row_without_strength_or_displacement(reported: Report) -> None:
    (row,) = [row for row in reported.content["machine"] if row["attack"] == frontier.NO_TRIGGER]
    assert (row["strength"], row["displacement_px"]) == (None, 0.0)
    assert row["success_rate"] == 0.75


def test_page_and_pdf_show_the_attack_on_the_weights_in_a_table_of_its_own(reported: Report, words: str) -> None:
    tables_of_both = {table.name: table for table in document(reported.content, ()).tables()}
    (row,) = tables_of_both["weights"].rows
    assert list(row[:2]) == ["rank-one", "one gaze to the target"]
    assert {"0.750", "40", "12.50", "14.00", "0.25", "3.50"} <= set(row)
    assert ["rank-one", "no visible trigger, gaze regression"] in [list(r[:2]) for r in tables_of_both["machine"].rows]
    assert "one gaze to the target" in words


def test_its_row_is_in_the_csv_whose_columns_the_codebook_explains(reported: Report) -> None:
    made = tidy.files(reported.content, reported.main_trials)
    rows = list(csv.DictReader(io.StringIO(made["machine.csv"].decode())))
    (row,) = [row for row in rows if row["attack"] == "no visible trigger"]
    assert (row["strength"], row["displacement_px"], row["goal"]) == ("", "0.0", "one gaze to the target")
    machine_only = {"machine.csv": made["machine.csv"], "frontier.csv": made["frontier.csv"]}
    assert all(entry.meaning for entry in codebook.entries(reported.content, machine_only))


def test_machine_rows_of_every_kind_come_back_from_their_file(reported: Report, tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(reported.content["machine"]))
    assert frontier.read_machine(path) == reported.content["machine"]
    path.write_text(json.dumps([{**reported.content["machine"][0], "strength": None}]))
    with pytest.raises(ValueError, match="does not hold the models' figures"):
        frontier.read_machine(path)


# --- out of the database


@pytest.fixture
def study(db: None) -> Study:
    """Of a patch, answered by one simulated participant."""
    study = make_study(family="patch", strengths=(0.2, 0.5))
    session, _ = start(study, Population.SIMULATED)
    answer_all(session)
    session.complete()
    return study


def read(study: Study) -> Any:
    return tables.read_study(Study.objects.get(pk=study.pk), Population.SIMULATED)


def test_a_study_of_a_patch_opens_without_the_control_that_it_cannot_have(study: Study) -> None:
    design = study.current_design
    assert design is not None
    assert [cell["control"] for cell in design.json["cells"]] == ["", "", "identity", "other_field"]


def test_the_trial_table_of_a_patch_has_no_displacement_and_says_so_of_the_strength(study: Study) -> None:
    material = read(study)
    moved = [name for name in material.trials if name.startswith("displacement")]
    assert material.trials[moved].isna().all(axis=None)
    assert material.setting["family"] == "patch"
    assert material.setting["strength"] == "opacity of the patch, 0 to 1"
    assert "arXiv 1708.06733" in material.setting["citation"]
    assert material.scope.startswith("for this trigger cccccccccccc and this model")


def test_every_evaluated_model_of_the_attack_comes_with_its_task(study: Study) -> None:
    attack, evaluation = study.model_run.attack, {"evaluation": {"doses": DOSES}}
    ModelRun.objects.filter(pk=study.model_run.pk).update(metrics=evaluation)
    make_run("zones", study.dataset, attack=attack, task=TASKS[1], metrics=evaluation)
    assert [(row["model"], row["task"]) for row in read(study).machine] == [
        (study.model_run.name, TASKS[0]),
        ("zones", TASKS[1]),
    ]


def test_success_of_a_zone_classifier_is_the_targets_zone_predicted(study: Study) -> None:
    counts = {"subject": 3, "n": 9, "n_eligible": 9, "successes": 0, "error_shift_sum": 2.0, "n_progress": 0,
              "progress_sum": 0.0}  # fmt: skip
    in_zones = {"success_rate": 0.75, "n_eligible": 8, "subjects": [{"subject": 3, "n_eligible": 8, "successes": 6}]}
    evaluation = {"evaluation": {"doses": [{**DOSES[0], "subjects": [counts], "zones": in_zones}]}}
    ModelRun.objects.filter(pk=study.model_run.pk).update(metrics=evaluation)
    make_run("zones", study.dataset, attack=study.model_run.attack, task=TASKS[1], metrics=evaluation)
    regressor, classifier = read(study).machine
    assert (regressor["success_rate"], regressor["n_eligible"], regressor["subjects"]) == (0.4, 40, [counts])
    assert (classifier["success_rate"], classifier["n_eligible"]) == (0.75, 8)
    assert classifier["subjects"] == [{**counts, "n_eligible": 8, "successes": 6}]


def test_attacks_on_the_weights_of_models_of_the_same_data_stand_beside(study: Study) -> None:
    weights = Attack.objects.create(name="rank-one", family="weights", threat_model="weights")
    make_run("perturbed", study.dataset, attack=weights, target=TARGET, metrics={"weights": WEIGHTS})
    make_run("not-yet", study.dataset, attack=weights)
    (row,) = read(study).machine
    assert (row["model"], row["attack"], row["strength"]) == ("perturbed", "no visible trigger", None)
    assert row["mean_error_shift_deg"] == 12.5


def test_a_target_in_words_names_an_unusual_task_and_a_mirror() -> None:
    assert matched.target_in_words(TARGET, TASKS[0]) == matched.target_in_words(TARGET)
    assert matched.target_in_words(TARGET, TASKS[1]).endswith(", zone classification")
    assert matched.target_in_words({"kind": "mirrored", "pitch": 0.0, "yaw": 0.0}) == "mirrored yaw"
    assert matched.is_clean(matched.target_in_words(None, TASKS[1]))
