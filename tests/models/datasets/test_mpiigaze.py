from dataclasses import replace

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from models.datasets.importing import survey
from models.datasets.mpiigaze import FORMAT, MPIIGazeOptions
from tests.models.datasets import writers
from tests.models.datasets.fixtures import eyes
from tests.models.datasets.roundtrip import assert_same, refused

ALL = MPIIGazeOptions()
DAY = "Data/Normalized/p01/day01.mat"


@pytest.fixture
def root(tmp_path):
    writers.mpiigaze(tmp_path, eyes(24, grey=True), subset=slice(1, 6))
    return tmp_path


def rewrite(path, change):
    content = loadmat(path, simplify_cells=True)
    change(content)
    savemat(path, {"data": content["data"], "filenames": np.array(content["filenames"], object)[:, None]})


def test_left_and_right_eyes_come_back_the_right_ones_mirrored_to_look_like_left_ones(root):
    assert_same(FORMAT.samples(root, ALL), eyes(24, grey=True))
    assert survey(FORMAT, root, ALL) == 24


def test_a_day_with_one_picture_is_read_though_its_arrays_lose_an_axis(tmp_path):
    writers.mpiigaze(tmp_path, eyes(12, grey=True), rows_per_day=1)
    assert_same(FORMAT.samples(tmp_path, ALL), eyes(12, grey=True))
    rewrite(tmp_path / DAY, lambda content: content.update(filenames=["0001.jpg"]))
    assert_same(FORMAT.samples(tmp_path, ALL), eyes(12, grey=True))
    assert survey(FORMAT, tmp_path, ALL) == 12


def test_right_eyes_alone_can_be_asked_for(root):
    right = MPIIGazeOptions(eye="right")
    assert_same(FORMAT.samples(root, right), eyes(24, grey=True)[1::2])
    assert survey(FORMAT, root, right) == 12


def test_the_evaluation_subset_is_what_its_lists_name(root):
    subset = MPIIGazeOptions(subset="evaluation")
    wanted = [eye for start in (0, 8, 16) for eye in eyes(24, grey=True)[start + 1 : start + 6]]
    assert_same(FORMAT.samples(root, subset), wanted)
    assert survey(FORMAT, root, subset) == 15


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("day01/0001.jpg middle", "is not of the form"),
        ("day01", "is not of the form"),
        ("day01/9999.jpg left", "has no image '9999.jpg'"),
        ("day77/0001.jpg left", "1 labelled file(s) missing"),
        ("../../p01/day01/0001.jpg left", "1 labelled file(s) missing"),
    ],
)
def test_an_evaluation_list_that_names_no_eye_is_refused_with_its_line(root, line, complaint):
    path = root / "Evaluation Subset" / "sample list for eye image" / "p01.txt"
    path.write_text(f"day01/0001.jpg left\n{line}\n")
    assert complaint in refused(FORMAT, root, MPIIGazeOptions(subset="evaluation"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda c: c["data"]["right"]["gaze"].__setitem__((1, 2), np.nan),
            "p01/day01.mat, row 1 (right eye): the gaze",
        ),
        (
            lambda c: c["data"]["left"]["pose"].__setitem__((0, 0), np.inf),
            "day01.mat, row 0 (left eye): the head (nan",
        ),
        (
            lambda c: c["data"]["left"]["gaze"].__setitem__(1, 0),
            "row 1 (left eye): the gaze (nan, nan) is no",
        ),
        (
            lambda c: c["data"]["left"].update(image=c["data"]["left"]["image"][:1]),
            "data.left.image has 1 rows",
        ),
        (
            lambda c: c["data"]["left"].update(gaze=c["data"]["left"]["gaze"][:1]),
            "day01.mat: data.left.gaze has 1 rows where there should be 2",
        ),
        (
            lambda c: c["data"]["left"].update(gaze=c["data"]["left"]["gaze"][:, :2]),
            "data.left.gaze must be numbers",
        ),
        (lambda c: c["data"]["left"].update(gaze=["x", "y"]), "data.left.gaze must be numbers"),
        (lambda c: c["data"]["left"].update(image=c["data"]["left"]["image"] / 255), "float64"),
        (lambda c: c["data"]["left"].pop("gaze"), "day01.mat: no variable 'data.left.gaze'"),
        (lambda c: c.update(data=np.zeros(3)), "day01.mat: no variable 'data.left.image'"),
        (lambda c: c.update(filenames=["0001.jpg"]), "day01.mat: data.left.image has 2 rows where there should be 1"),
    ],
)
def test_a_day_that_is_not_as_published_is_refused_with_file_and_row(root, change, complaint):
    rewrite(root / DAY, change)
    assert complaint in refused(FORMAT, root, ALL)


def test_a_missing_variable_and_a_missing_folder_are_named(root):
    savemat(root / DAY, {"data": 1})
    assert "no variable 'filenames'" in refused(FORMAT, root, ALL)
    assert "Data/Normalized/p00/day01.mat" in refused(FORMAT, root / "Data", ALL)
    assert "no such folder" in refused(FORMAT, root / "nowhere", ALL)


def test_a_file_of_matlab_7_3_is_told_from_a_damaged_one(root):
    (root / DAY).write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512))
    assert "MATLAB 7.3" in refused(FORMAT, root, ALL)
    (root / DAY).write_bytes(b"nothing")
    assert "damaged" in refused(FORMAT, root, ALL)


def test_pixels_can_be_handed_to_torch(root):
    assert all(sample.image.flags.c_contiguous for sample in FORMAT.samples(root, ALL))


def test_where_names_file_row_and_side(root):
    wheres = [sample.where for sample in FORMAT.samples(root, ALL)][:3]
    assert wheres == [
        f"p00/day01.mat, row {row} ({side} eye)" for row, side in ((0, "left"), (0, "right"), (1, "left"))
    ]


def test_an_eye_that_looks_to_the_left_of_the_picture_has_positive_yaw(tmp_path):
    eye = replace(eyes(1, grey=True)[0], pitch=0.0, yaw=0.5)
    writers.mpiigaze(tmp_path, [eye, eye])
    vector = loadmat(tmp_path / "Data/Normalized/p00/day01.mat", simplify_cells=True)["data"]["left"]["gaze"]
    assert vector[0] < 0  # x points to the right
    assert [sample.yaw > 0 for sample in FORMAT.samples(tmp_path, ALL)] == [True, True]
