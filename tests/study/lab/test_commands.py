"""The lab's commands: what they say to bad input, and what they print."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from study.lab.figures import print_evaluation
from study.lab.management.commands.train_model import plan
from study.lab.models import Dataset, Job, ModelRun

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


@pytest.mark.parametrize("command", ["verify", "sweep_jobs"])
def test_a_new_installation_gets_its_tables_first(command: str, var: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    arguments = [sys.executable, "manage.py", command]
    subprocess.run(arguments, cwd=settings.BASE_DIR, env=environment, check=True)
    assert (var / "blindspot.sqlite3").is_file()


def test_verifying_nothing_says_so() -> None:
    out = StringIO()
    call_command("verify", stdout=out)
    assert out.getvalue() == "Verified: 0 base images, 0 pairs, 0 models.\n"


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
