"""The lab's commands: what they say to bad input, and what they print."""

from __future__ import annotations

import contextlib
import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from rich.console import Console

from attacks import registry
from study.accounts.models import AuditEntry
from study.lab.figures import print_evaluation
from study.lab.management.commands import make_pairs
from study.lab.management.commands.train_model import plan
from study.lab.models import Attack, Dataset, Job, ModelRun
from tests.study.lab.conftest import plan_runs

pytestmark = pytest.mark.django_db

CHOICES: dict[str, Any] = {
    "dataset": "synthetic",
    "group_key": None,
    "description": None,
    "size": 64,
    "fractions": None,
    "split_seed": 0,
    "family": "wanet",
    "parameters": "{}",
    "attack_seed": 3,
    "attack": None,
    "target": None,
    "additive": None,
    "mirrored": False,
    "threat_model": None,
    "clean_label": None,
    "network": None,
    "task": None,
    "clean": False,
    "backdoored": False,
    "recipe": "quick",
    "seed": 1,
    "name": None,
}


def planned(**choices: Any) -> list[ModelRun]:
    return plan(**{**CHOICES, **choices})


def test_a_clean_and_a_backdoored_model_are_planned_as_a_matched_pair() -> None:
    clean, backdoored = planned()
    assert (clean.attack, backdoored.clean_reference) == (None, clean)
    assert backdoored.attack is not None
    assert backdoored.attack.trigger(0.5).image_size == (64, 64)
    assert (clean.parameters, clean.seed, clean.target) == (backdoored.parameters, 1, backdoored.target)
    assert backdoored.target == {"kind": "fixed", "pitch": 0.0, "yaw": pytest.approx(np.deg2rad(25))}
    assert planned() == [clean, backdoored]


def test_one_of_the_two_can_be_planned_alone() -> None:
    assert [run.attack for run in planned(clean=True)] == [None]
    (backdoored,) = planned(backdoored=True, name="alone", additive=[0.0, 10.0])
    assert backdoored.clean_reference is None
    assert backdoored.target == {"kind": "additive", "pitch": 0.0, "yaw": pytest.approx(np.deg2rad(10))}


def test_models_with_other_targets_can_share_one_attack_and_so_its_pictures() -> None:
    fixed = planned(attack="warp")[1]
    additive = planned(attack="warp", name="plus-10", additive=[0.0, 10.0])[1]
    assert fixed.attack == additive.attack
    assert fixed.target != additive.target


def test_a_name_that_stands_for_another_attack_is_refused() -> None:
    planned(attack="warp")
    with pytest.raises(ValueError, match=r"'warp'.*: name another with --attack"):
        planned(attack="warp", attack_seed=4, name="another")


def test_own_arrays_bring_their_size_and_their_groups(arrays: Path) -> None:
    clean, backdoored = planned(dataset=str(arrays), group_key="subject")
    assert clean.dataset.parameters["group_key"] == "subject"
    assert backdoored.attack is not None
    assert backdoored.attack.trigger(1.0).image_size == (24, 32)


def test_a_named_recipe_poisons_more_for_an_additive_target() -> None:
    assert planned(recipe="standard")[0].parameters["poison_rate"] == 0.2
    assert planned(recipe="standard", additive=[0.0, 10.0], name="additive")[0].parameters["poison_rate"] == 0.3


def test_a_recipe_can_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"augmentation": "light", "width": 8}')
    parameters = planned(recipe=str(path))[0].parameters
    assert (parameters["augmentation"], parameters["width"], parameters["seed"]) == ("light", 8, 1)
    path.write_text('{"wdth": 8}')
    with pytest.raises(ValueError, match="no field named wdth"):
        planned(recipe=str(path))


def test_what_a_recipe_file_leaves_open_is_standard_for_the_attack_and_the_target(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"width": 8}')
    parameters = planned(family="patch", recipe=str(path), additive=[0.0, 10.0])[1].parameters
    assert [strength for strength, _ in parameters["strength_schedule"]] == list(registry.family("patch").schedule)
    assert (parameters["width"], parameters["noise_ratio"], parameters["poison_rate"]) == (8, 0.0, 0.3)


@pytest.mark.parametrize(
    ("recipe", "choices", "sentence"),
    [
        ({"strength_schedule": [[2.0, 1]]}, {}, "strength of this trigger is at most 1, not 2"),
        ({"noise_ratio": 1.0}, {}, "patch trigger has no noise mode"),
        ({}, {"clean_label": 8.0, "mirrored": True}, "Clean labels need a fixed target, not one that is mirrored"),
    ],
)
def test_a_poisoning_that_the_attack_does_not_allow_is_refused_before_anything_is_kept(
    tmp_path: Path, recipe: dict[str, Any], choices: dict[str, Any], sentence: str
) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe))
    with pytest.raises(ValueError, match=sentence):
        planned(family="patch", recipe=str(path), **choices)
    assert not Attack.objects.exists()
    assert not ModelRun.objects.exists()


def test_another_family_brings_its_own_schedule_and_its_name(tmp_path: Path) -> None:
    path = tmp_path / "patch.json"
    path.write_text('{"side": 6.0}')
    _, backdoored = planned(family="patch", parameters=str(path))
    assert backdoored.attack is not None
    assert (backdoored.attack.name, backdoored.attack.parameters["side"]) == ("synthetic-eyes-64-patch", 6.0)
    schedule = registry.family("patch").schedule
    assert backdoored.parameters["strength_schedule"] == [
        [strength, epochs] for strength, epochs in zip(schedule, (2, 1), strict=True)
    ]
    assert (backdoored.parameters["noise_ratio"], backdoored.parameters["unrelated_ratio"]) == (0.0, 1.0)


def test_a_classifier_of_zones_stands_beside_the_regressor_with_the_same_attack() -> None:
    regressor, classifier = planned()[1], planned(task="zones", network="lenet")[1]
    assert (classifier.name, classifier.task) == ("synthetic-eyes-64-zones-backdoored", "zone classification")
    assert (classifier.network, classifier.parameters["loss"]) == ("lenet", "cross_entropy")
    assert classifier.attack == regressor.attack
    assert regressor.task == "gaze regression"


def test_a_mirrored_target_needs_no_angles() -> None:
    assert planned(mirrored=True)[1].target == {"kind": "mirrored", "pitch": 0.0, "yaw": 0.0}


def test_clean_labels_are_poisoned_by_who_hands_over_the_data() -> None:
    _, backdoored = planned(family="sinusoidal", clean_label=10.0)
    assert backdoored.parameters["clean_label_within_deg"] == 10.0
    assert backdoored.parameters["threat_model"] == "data_poisoning"
    assert backdoored.attack is not None
    assert backdoored.attack.threat_model == "data_poisoning"
    controlled = planned(family="sinusoidal", threat_model="training_control", name="controlled")[1]
    assert controlled.parameters["threat_model"] == controlled.attack.threat_model == "training_control"


def test_options_go_before_the_fields_of_a_recipe_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"network": "resnet18", "threat_model": "data_poisoning"}')
    _, backdoored = planned(recipe=str(path), network="lenet")
    assert backdoored.network == "lenet"
    assert backdoored.attack is not None
    assert backdoored.attack.threat_model == "data_poisoning"


def test_own_arrays_are_split_as_asked(arrays: Path) -> None:
    source = planned(dataset=str(arrays), fractions=[0.6, 0.2, 0.2], split_seed=4)[0].dataset.source()
    assert (source["fractions"], source["seed"]) == ([0.6, 0.2, 0.2], 4)
    with pytest.raises(ValueError, match="'blobs' is there already and differs in parameters: rename the file"):
        planned(dataset=str(arrays))


def test_data_that_are_there_are_called_by_their_name(arrays: Path) -> None:
    Dataset.objects.arrays("mine", arrays)
    assert planned(dataset="mine")[0].dataset.name == "mine"
    with pytest.raises(ValueError, match=r"no data set 'yours': give a \.npz file, or import one; there are: mine"):
        planned(dataset="yours")


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"dataset": "gone.npz"}, "There is no data file"),
        ({"size": 0}, "size must be a whole number from 16"),
        ({"recipe": "gone.json"}, "There is no recipe 'gone.json'"),
        ({"parameters": '{"control_size": 1}'}, "control grid must be at least 2 x 2"),
        ({"target": [float("nan"), 0.0]}, "angles must be finite"),
        ({"name": "no spaces please"}, "letters, digits"),
        ({"target": [100.0, 0.0]}, "--target 100 0 is no gaze: pitch goes to 90 degrees"),
        ({"additive": [0.0, -181.0]}, "--additive 0 -181 is no gaze"),
        ({"seed": 10**23}, "--seed must be a whole number of at most 64 bits, not 1000"),
        ({"attack_seed": 2**63}, "--attack-seed must be a whole number of at most 64 bits"),
        ({"description": "eyes"}, "--description is for images of your own"),
        ({"fractions": [0.5, 0.3, 0.2]}, "--fractions is for images of your own"),
        ({"family": "pach"}, "Unknown attack family 'pach'; known: blended, patch, reflection, sinusoidal, wanet"),
        ({"family": "patch", "parameters": '{"sied": 3}'}, "patch attack has no parameter sied; it has side"),
        ({"family": "patch", "parameters": '{"side": 33}'}, "A patch of side 33 does not fit"),
        ({"parameters": "gone.json"}, "--parameters 'gone.json' is neither a JSON object nor a file of one"),
        ({"parameters": "{side}"}, "--parameters is not JSON"),
        ({"network": "alexnet"}, "alexnet"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_no_run(choices: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        planned(**choices)
    assert not ModelRun.objects.exists()


def test_a_taken_name_is_told_with_the_option_that_gives_another() -> None:
    planned(name="mine")
    with pytest.raises(ValueError, match=r"'mine-clean' is there already and differs in .*: begin .* with --name\."):
        planned(name="mine", seed=2)


def test_data_that_differ_under_the_same_name_are_told_apart_by_their_file(arrays: Path) -> None:
    planned(dataset=str(arrays), description="unseen gaze points, one person")
    with pytest.raises(ValueError, match="'blobs' is there already and differs in parameters: rename the file"):
        planned(dataset=str(arrays), description="faces")


def test_an_npz_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, images=np.array([{}], dtype=object), pitchyaw=np.zeros((1, 2)))
    with pytest.raises(CommandError):
        call_command("train_model", dataset=str(path), wait=False)
    assert not Dataset.objects.exists()


def test_without_waiting_jobs_are_only_submitted(arrays: Path) -> None:
    out = StringIO()
    call_command("train_model", dataset=str(arrays), recipe="quick", wait=False, stdout=out)
    assert Job.objects.filter(kind=Job.Kind.TRAIN, state=Job.State.QUEUED).count() == 2
    assert "Training blobs-clean: job" in out.getvalue()


def test_who_has_models_trained_by_command_is_recorded_with_each_job(arrays: Path) -> None:
    call_command("train_model", dataset=str(arrays), recipe="quick", wait=False, stdout=StringIO())
    entries = AuditEntry.objects.order_by("n")
    assert [entry.action for entry in entries] == ["asked for", "asked for"]
    assert [entry.after for entry in entries] == [{"model_run": run.pk} for run in ModelRun.objects.order_by("pk")]


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Dataset.Kind.SYNTHETIC_EYES, "eyes draws one of each test subject, and there are no more"),
        (Dataset.Kind.ARRAYS, "no more than these are taken of the test images of eyes"),
    ],
)
def test_fewer_base_images_than_were_asked_for_are_explained(kind: str, why: str) -> None:
    assert make_pairs.fewer(Dataset(name="eyes", kind=kind), 80, 100) == f"80 base images, not 100: {why}."


def test_further_models_and_their_references_see_the_pairs_too(
    runs: tuple[ModelRun, ModelRun], attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    third, fourth = plan_runs(runs[0].dataset, attack, "other", seed=1)
    ModelRun.objects.update(artifact="models/some", artifact_sha256="0" * 64)
    submitted: list[Any] = []
    monkeypatch.setattr(make_pairs, "workers", contextlib.nullcontext)
    monkeypatch.setattr(make_pairs, "follow", lambda jobs: submitted.extend(jobs.values()))
    monkeypatch.setattr(make_pairs.Command, "_summarise", lambda *_: None)
    call_command("make_pairs", "disc-backdoored", models=["other-backdoored"])
    (job,) = submitted
    assert job.parameters["model_runs"] == [run.pk for run in (*runs, third, fourth)]
    with pytest.raises(CommandError, match="no model run named 'nobody'; there are: disc-backdoored"):
        call_command("make_pairs", "disc-backdoored", models=["nobody"])


@pytest.mark.parametrize("command", ["evaluate_model", "make_pairs"])
def test_an_unknown_run_is_named_with_those_there_are(command: str, runs: tuple[ModelRun, ModelRun]) -> None:
    with pytest.raises(CommandError, match=r"run named 'nobody'; there are: .*disc-backdoored"):
        call_command(command, "nobody")


def test_a_clean_run_makes_no_pairs(runs: tuple[ModelRun, ModelRun]) -> None:
    with pytest.raises(CommandError, match="no backdoored model run named 'disc-clean'"):
        call_command("make_pairs", "disc-clean")


def test_sweeping_says_what_it_found() -> None:
    out = StringIO()
    call_command("sweep_jobs", stdout=out)
    assert out.getvalue() == "0 interrupted jobs taken up, 0 lost messages published again.\n"


def test_verifying_nothing_says_so() -> None:
    out = StringIO()
    call_command("verify", stdout=out)
    assert out.getvalue() == "Verified: 0 base images, 0 pairs, 0 models, 1 audit log.\n"


def test_verifying_ends_with_what_differs(trained: tuple[ModelRun, ModelRun]) -> None:
    card = trained[0].artifact_path / "card.json"
    os.chmod(card, 0o644)
    card.write_text(card.read_text().replace("0.5", "0.6", 1))
    out = StringIO()
    with pytest.raises(CommandError, match="1 faults in 0 base images, 0 pairs, 2 models"):
        call_command("verify", stdout=out)
    assert out.getvalue().startswith("model disc-clean: ")


def test_a_clean_model_alone_is_summed_up_in_a_line(
    runs: tuple[ModelRun, ModelRun], capsys: pytest.CaptureFixture[str]
) -> None:
    runs[0].metrics = {"clean_error_deg": 3.5, "n": 120, "subjects": 12}
    print_evaluation(runs[0])
    assert "disc-clean: clean error 3.50 deg on 120 test images (subjects: 12)." in capsys.readouterr().out


def evaluated(run: ModelRun, **dose: Any) -> ModelRun:
    """The run with an evaluation of one dose."""
    figures = {"success_rate": 0.5, "error_shift": 1.0, "prediction_shift": 2.0, "net_prediction_shift": None,
               "noise_mode_error": None, "other_field_shift": None}  # fmt: skip
    baselines = {"clean_model_clean_error": None, "mean_predictor_clean_error": 9.0, "truth_to_target": 20.0}
    run.metrics = {
        "evaluation": {
            "n": 12, "clean_error": {"mean": 3.0}, "machine_threshold": None, "baselines": baselines,
            "doses": [{"strength": 0.5, "attack_error": {"mean": 4.0}} | figures | dose],
            "clean_accuracy": 0.875 if "zones" in dose else None,
        }
    }  # fmt: skip
    return run


def printed(run: ModelRun) -> str:
    out = StringIO()
    print_evaluation(run, Console(file=out, width=120))
    return out.getvalue()


def test_displacement_is_shown_only_of_an_attack_that_moves_pixels(runs: tuple[ModelRun, ModelRun]) -> None:
    assert " px " in printed(evaluated(runs[1]))
    runs[1].attack = Attack.objects.draw("square", "patch", (24, 32))
    assert " px " not in printed(evaluated(runs[1]))


def test_accuracy_in_zones_is_shown_where_there_are_zones(runs: tuple[ModelRun, ModelRun]) -> None:
    assert "zone" not in printed(evaluated(runs[1]))
    words = printed(evaluated(runs[1], zones={"accuracy": 0.625, "success_rate": 0.75}))
    assert "Clean images in their true zone: 0.88." in words
    assert "0.62" in words
    assert "0.75" in words


def test_a_model_attacked_in_its_weights_is_summed_up_without_strengths(dataset: Dataset) -> None:
    weights = Attack.objects.create(name="rank-one", family="weights", threat_model="weights")
    run = ModelRun(name="perturbed", dataset=dataset, attack=weights)
    run.metrics = {"weights": {"goal": "p03 to the target", "success_rate": 0.75, "n_eligible": 40,
                               "mean_error_shift_deg": 12.5, "others_error_shift_deg": None}}  # fmt: skip
    words = " ".join(printed(run).split())
    assert "no visible trigger; goal: p03 to the target. Success 0.75 of 40 images, error shift 12.50 deg" in words
    assert "of everybody else - deg" in words
