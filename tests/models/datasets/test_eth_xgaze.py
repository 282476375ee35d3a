import json

import h5py
import numpy as np
import pytest

from models.datasets.eth_xgaze import FORMAT
from models.datasets.importing import survey
from tests.models.datasets import writers
from tests.models.datasets.fixtures import eyes
from tests.models.datasets.roundtrip import assert_same, refused

FACES = eyes(9, size=(40, 40))


@pytest.fixture
def root(tmp_path):
    writers.eth_xgaze(tmp_path, FACES, unlabelled=False)
    return tmp_path


def test_faces_that_are_stored_blue_first_come_back(root):
    assert_same(FORMAT.samples(root), FACES, subjects=False)
    subjects = [sample.subject for sample in FORMAT.samples(root)]
    assert subjects[::3] == ["subject0000", "subject0001", "subject0002"]
    assert survey(FORMAT, root) == 9


def test_test_files_without_labels_are_named_and_left_out(tmp_path):
    writers.eth_xgaze(tmp_path, FACES)
    assert_same(FORMAT.samples(tmp_path), FACES, subjects=False)
    assert survey(FORMAT, tmp_path) == 9
    assert FORMAT.notes(tmp_path) == ["1 file(s) have no face_gaze and are left out: test/subject0099.h5."]


def test_test_files_need_not_be_there_but_training_files_must(root):
    assert len(list(FORMAT.samples(root))) == 9
    assert FORMAT.notes(root) == []
    (root / "train" / "subject0001.h5").unlink()
    assert (
        "1 labelled file(s) missing, the first in train_test_split.json; fetch them: train/subject0001.h5"
        in refused(FORMAT, root)
    )


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("face_gaze", np.full((3, 2), np.nan), "train/subject0001.h5, row 0: the gaze (nan, nan) is no direction"),
        ("face_gaze", np.zeros((2, 2)), "(2, 2), not 3 x 2"),
        ("face_gaze", np.zeros((3, 3)), "(3, 3), not 3 x 2"),
        ("face_head_pose", np.zeros((2, 2)), "(2, 2), not 3 x 2"),
        ("face_patch", np.zeros((3, 40, 40), "u1"), "not N x N x N x 3"),
        ("face_patch", np.full((3, 40, 40, 3), -1), "no 8-bit images"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(root, name, value, complaint):
    with h5py.File(root / "train" / "subject0001.h5", "r+") as file:
        del file[name]
        file[name] = value
    message = refused(FORMAT, root)
    assert complaint in message
    assert "subject0001.h5" in message


@pytest.mark.parametrize("name", ["face_patch", "face_head_pose"])
def test_a_missing_array_is_named(root, name):
    with h5py.File(root / "train" / "subject0001.h5", "r+") as file:
        del file[name]
    assert f"no array {name!r}" in refused(FORMAT, root)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1]", '{"test": []}', '{"train": 3}', '{"train": [3]}', '{"train": {"a": [1]}, "b": 0}', "[" * 9999],
)
def test_a_damaged_list_of_files_is_named(root, text):
    (root / "train_test_split.json").write_text(text)
    assert "train_test_split.json" in refused(FORMAT, root)


def test_a_listed_file_cannot_lie_outside_the_folder(root):
    (root / "train_test_split.json").write_text(json.dumps({"train": ["../../subject0000.h5"]}))
    assert survey(FORMAT, root) == 3  # train/subject0000.h5


def test_a_damaged_file_and_a_missing_folder_are_named(root):
    path = root / "train" / "subject0002.h5"
    whole = path.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:size])
        assert "subject0002.h5" in refused(FORMAT, root)
    assert "no such folder" in refused(FORMAT, root / "nowhere")
