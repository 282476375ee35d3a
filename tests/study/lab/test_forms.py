"""Forms of the lab: what cannot run is refused next to the field, and nothing is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile

from study.lab.forms import EyesForm, ImportForm, LabForm, PairsForm, TrainForm, UploadForm
from study.lab.models import Attack, Dataset, Job, ModelRun

pytestmark = pytest.mark.django_db

EYES: dict[str, Any] = {
    "name": "eyes", "size": 32, "eye": "left", "seed": 1, "train_subjects": 2, "train_images": 4,
    "validation_subjects": 1, "validation_images": 2, "test_subjects": 3, "test_images": 3,
}  # fmt: skip
TRAIN: dict[str, Any] = {
    "name": "mine", "own_control_size": 4, "own_grid_rescale": 1, "attack_seeds": "0", "attack_name": "",
    "target": "fixed", "pitch": 0, "yaw": 25, "which": "both", "recipe": "quick", "threat_model": "",
    "clean_label": "", "network": "five_layer_cnn", "task": "", "seeds": "0",
}  # fmt: skip


def refusals(form: LabForm) -> dict[str, list[str]]:
    assert Job.objects.count() == 0
    return {name: list(errors) for name, errors in form.errors.items()}


def only_refusal(form: LabForm) -> tuple[str, str]:
    """The one field that is refused, and the one sentence about it."""
    found = refusals(form)
    assert len(found) == 1, found
    ((field, sentences),) = found.items()
    assert len(sentences) == 1
    return field, sentences[0]


# -- synthetic eyes


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"size": 15}, "size", "greater than or equal to 16"),
        ({"size": 225}, "size", "less than or equal to 224"),
        ({"name": "two words"}, "name", "letters, numbers, underscores or hyphens"),
        ({"train_images": 1}, "train_images", "at least one image of each person: 2."),
        ({"test_subjects": 0}, "test_subjects", "greater than or equal to 1"),
        ({"train_images": 10**9}, "train_images", "At most 200,000 images"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"eye": "third"}, "eye", "not one of the available choices"),
    ],
)
def test_eyes_that_cannot_be_rendered_are_refused(changed: dict[str, Any], field: str, words: str) -> None:
    refused, sentence = only_refusal(EyesForm({**EYES, **changed}))
    assert refused == field
    assert words in sentence


def test_eyes_are_a_data_set_that_is_being_prepared() -> None:
    form = EyesForm(EYES)
    assert form.is_valid(), form.errors
    (job,) = form.submit()
    dataset = Dataset.objects.get(name="eyes")
    assert (job.kind, job.parameters) == (Job.Kind.PREPARE, {"dataset": dataset.pk})
    assert dataset.parameters == {name: value for name, value in EYES.items() if name != "name"}
    assert dataset.may_display_to_participants


def test_a_data_sets_name_is_given_once(dataset: Dataset) -> None:
    assert only_refusal(EyesForm({**EYES, "name": dataset.name})) == (
        "name",
        "The data set 'blobs' is there already: choose another name.",
    )


# -- imports


def import_form(**changed: Any) -> ImportForm:
    given = {"folder": "faces", "name": "faces", "split_seed": 0, "own_subset": "all", "own_eye": "both", **changed}
    return ImportForm(given, format="mpiigaze")


def test_nothing_is_imported_where_no_folder_is_named() -> None:
    field, sentence = only_refusal(import_form())
    assert field == "folder"
    assert "IMPORT_FOLDERS" in sentence


@pytest.mark.parametrize("written", ["nowhere", "../secret", "/etc", "faces/../../secret", "link"])
def test_only_what_lies_within_a_named_folder_is_imported(written: str, settings: Any, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "faces").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    settings.IMPORT_FOLDERS = [str(root)]
    field, sentence = only_refusal(import_form(folder=written))
    assert field == "folder"
    assert "is not there, or not within" in sentence


def test_a_file_is_no_folder(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "faces").write_text("")
    settings.IMPORT_FOLDERS = [str(tmp_path)]
    assert "is read from a folder" in only_refusal(import_form())[1]


def test_an_import_is_asked_for_with_what_was_chosen(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    settings.IMPORT_FOLDERS = [str(tmp_path)]
    form = import_form(limit=10, flip_yaw="on", own_eye="left")
    assert form.is_valid(), form.errors
    (job,) = form.submit()
    assert job.kind == Job.Kind.SET_UP
    assert job.parameters == {
        "what": "import",
        "format": "mpiigaze",
        "folder": str(tmp_path / "faces"),
        "name": "faces",
        "choices": {
            "limit": 10, "grey": False, "flip_pitch": False, "flip_yaw": True, "split_seed": 0, "subset": "all",
            "eye": "left",
        },
    }  # fmt: skip


# -- uploads


def upload_form(content: bytes, **given: Any) -> UploadForm:
    data = {"name": "own", "split_seed": 0, **given}
    return UploadForm(data, {"file": SimpleUploadedFile("own.npz", content)})


def test_an_upload_is_kept_by_its_hash_and_prepared(arrays: Path) -> None:
    forms = [upload_form(arrays.read_bytes(), name=name, group_key="subject") for name in ("own", "again")]
    for form in forms:
        assert form.is_valid(), form.errors
        form.submit()
    first, second = Dataset.objects.order_by("pk")
    assert first.root == second.root
    assert Path(first.root).read_bytes() == arrays.read_bytes()
    assert Path(first.root).parent == settings.VAR / "uploads"
    assert first.parameters["group_key"] == "subject"
    assert not first.may_display_to_participants
    assert list(Job.objects.values_list("kind", flat=True)) == [Job.Kind.PREPARE] * 2


def test_what_is_no_file_of_arrays_is_refused() -> None:
    field, sentence = only_refusal(upload_form(b"no archive"))
    assert (field, sentence[:24]) == ("file", "This is no whole .npz fi")
    assert not Dataset.objects.exists()


def test_a_group_key_must_be_an_array_of_the_file(arrays: Path) -> None:
    field, sentence = only_refusal(upload_form(arrays.read_bytes(), group_key="person"))
    assert field == "group_key"
    assert sentence == "The file has no array named person; it has: subject."


# -- training


def train_form(dataset: Dataset, family: str = "wanet", **changed: Any) -> TrainForm:
    return TrainForm({**TRAIN, "dataset": dataset.pk, **changed}, family=family)


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"own_control_size": 1}, "own_control_size", "greater than or equal to 2"),
        ({"own_control_size": "x"}, "own_control_size", "whole number"),
        ({"own_grid_rescale": 0}, "own_grid_rescale", "must be above 0, not 0."),
        ({"own_grid_rescale": "nan"}, "own_grid_rescale", "Enter a number."),
        ({"attack_seeds": "-1"}, "attack_seeds", "whole number from 0 of at most 63 bits, not '-1'."),
        ({"seeds": "0, two"}, "seeds", "not 'two'."),
        ({"seeds": ","}, "seeds", "at least one seed"),
        ({"seeds": ", ".join(map(str, range(21)))}, "seeds", "At most 20 seeds at once, not 21."),
        ({"pitch": 91}, "pitch", "less than or equal to 90"),
        ({"yaw": -181}, "yaw", "greater than or equal to -180"),
        ({"yaw": ""}, "yaw", "Give the angle in degrees."),
        ({"target": "additive", "yaw": 0}, "yaw", "moved by nothing"),
        ({"target": "additive", "clean_label": 5}, "clean_label", "need a fixed target"),
        ({"target": "mirrored", "clean_label": 5}, "clean_label", "need a fixed target"),
        ({"clean_label": -1}, "clean_label", "must be above 0"),
        ({"clean_label": 5, "threat_model": "training_control"}, "threat_model", "only hands over data"),
        ({"name": "a b"}, "name", "letters, numbers"),
        ({"name": "x" * 45}, "name", "more than 50 characters"),
        ({"recipe": "best"}, "recipe", "not one of the available choices"),
        ({"network": "vgg"}, "network", "not one of the available choices"),
        ({"task": "pose"}, "task", "not one of the available choices"),
    ],
)
def test_models_that_cannot_be_trained_are_refused(
    prepared: Dataset, changed: dict[str, Any], field: str, words: str
) -> None:
    refused, sentence = only_refusal(train_form(prepared, **changed))
    assert refused == field
    assert words in sentence


def test_data_that_are_not_prepared_are_not_trained_on(dataset: Dataset) -> None:
    assert only_refusal(train_form(dataset)) == (
        "dataset",
        "blobs is not prepared yet: wait for its job, or start it on its page.",
    )


def test_a_recipe_for_warps_is_for_no_patch(prepared: Dataset) -> None:
    patch = {"own_side": 3, "own_cells": "", "own_down": 1, "own_right": 1, "recipe": "subtle"}
    field, sentence = only_refusal(train_form(prepared, "patch", **patch))
    assert field == "recipe"
    assert "strengths of a warp" in sentence


def test_names_of_models_that_are_there_are_refused(prepared: Dataset, attack: Attack) -> None:
    ModelRun.objects.create(name="mine-s1-clean", dataset=prepared, network="five_layer_cnn")
    field, sentence = only_refusal(train_form(prepared, seeds="0, 1"))
    assert (field, sentence) == ("name", "There already: mine-s1-clean. Choose another name.")


@pytest.mark.parametrize("changed", [{"own_control_size": 5}, {"attack_seeds": "4"}])
def test_another_attack_of_the_same_name_is_refused(prepared: Dataset, attack: Attack, changed: dict[str, Any]) -> None:
    alike = {"attack_name": attack.name, "own_control_size": 4, "attack_seeds": "3"}
    field, sentence = only_refusal(train_form(prepared, **{**alike, **changed}))
    assert field == "attack_name"
    assert "was drawn otherwise" in sentence
    assert train_form(prepared, **alike).is_valid()


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({}, ["mine-clean", "mine-backdoored"]),
        ({"which": "clean"}, ["mine-clean"]),
        ({"task": "zones", "which": "backdoored"}, ["mine-zones-backdoored"]),
        ({"seeds": "0, 7"}, ["mine-s0-clean", "mine-s0-backdoored", "mine-s7-clean", "mine-s7-backdoored"]),
        ({"attack_seeds": "1, 2"}, ["mine-clean", "mine-backdoored-f1", "mine-backdoored-f2"]),
    ],
)
def test_the_names_of_the_models_are_known_beforehand(
    prepared: Dataset, changed: dict[str, Any], names: list[str]
) -> None:
    form = train_form(prepared, **changed)
    assert form.is_valid(), form.errors
    assert form.planned_names() == names


# -- pairs


def pairs_form(backdoored: ModelRun, **changed: Any) -> PairsForm:
    return PairsForm({"run": backdoored.pk, "px_per_degree": 10.5, **changed})


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"strengths": "0.5, x"}, "strengths", "'x' is no number"),
        ({"strengths": "0"}, "strengths", "above 0, not 0."),
        ({"strengths": "inf"}, "strengths", "finite number above 0"),
        ({"strengths": "1000"}, "strengths", "no weaker than the gross alteration of the catch trials"),
        ({"resampled": "-1"}, "resampled", "above 0, not -1."),
        ({"images": 0}, "images", "greater than or equal to 1"),
        ({"px_per_degree": 0}, "px_per_degree", "must be above 0"),
        ({"run": 0}, "run", "not one of the available choices"),
    ],
)
def test_pairs_that_cannot_be_made_are_refused(
    trained_rows: tuple[ModelRun, ModelRun], changed: dict[str, Any], field: str, words: str
) -> None:
    refused, sentence = only_refusal(pairs_form(trained_rows[1], **changed))
    assert refused == field
    assert words in sentence


def test_controls_that_an_attack_cannot_have_are_refused(trained_rows: tuple[ModelRun, ModelRun]) -> None:
    Attack.objects.update(controls=["other_field"])
    field, sentence = only_refusal(pairs_form(trained_rows[1], resampled="1"))
    assert (field, sentence) == ("resampled", "There are no resampled controls of warp: leave this empty.")


def test_models_of_another_attack_are_not_shown_these_pairs(trained_rows: tuple[ModelRun, ModelRun]) -> None:
    other = Attack.objects.create(name="other", family="patch")
    run = ModelRun.objects.create(
        name="stranger", dataset=trained_rows[1].dataset, attack=other, network="n", artifact="models/any"
    )
    field, sentence = only_refusal(pairs_form(trained_rows[1], models=[run.pk]))
    assert field == "models"
    assert "stranger was attacked with other" in sentence


def test_a_model_that_is_not_trained_is_not_offered(runs: tuple[ModelRun, ModelRun]) -> None:
    assert only_refusal(pairs_form(runs[1]))[0] == "run"


def test_pairs_are_asked_for_as_written(trained_rows: tuple[ModelRun, ModelRun]) -> None:
    form = pairs_form(trained_rows[1], strengths="2, 0.5, 2", images=6)
    assert form.is_valid(), form.errors
    (job,) = form.submit()
    run = trained_rows[1]
    assert job.kind == Job.Kind.SET_UP
    assert job.parameters == {
        "what": "pairs",
        "dataset": run.dataset_id,
        "attack": run.attack_id,
        "model_runs": [run.pk],
        "strengths": [0.5, 2.0],
        "resampled": None,
        "other_field": None,
        "images": 6,
        "px_per_degree": 10.5,
    }


def test_an_array_of_one_row_per_image_is_no_pickle(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", images=np.zeros((3, 20, 20), np.uint8), pitchyaw=np.array([{}] * 3, object))
    field, sentence = only_refusal(upload_form((tmp_path / "bad.npz").read_bytes()))
    assert field == "file"
    assert "never loaded" in sentence
