import h5py
import numpy as np
import pytest

from models.datasets.importing import survey
from models.datasets.mpiifacegaze import FORMAT
from tests.models.datasets import writers
from tests.models.datasets.fixtures import eyes
from tests.models.datasets.roundtrip import assert_same, refused

FACES = eyes(9, size=(40, 48))


@pytest.fixture
def root(tmp_path):
    writers.mpiifacegaze(tmp_path, FACES)
    return tmp_path


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_planes_of_blue_first_numbers_come_back_as_rgb_images(tmp_path, dtype):
    writers.mpiifacegaze(tmp_path, FACES, dtype)
    assert_same(FORMAT.samples(tmp_path), FACES)
    assert survey(FORMAT, tmp_path) == 9


def test_red_stays_red_and_rows_stay_rows(tmp_path):
    writers.mpiifacegaze(tmp_path, FACES[:1])
    with h5py.File(tmp_path / "p00.mat", "r+") as file:
        file["Data/data"][...] = 0
        file["Data/data"][0, 2, :10, :] = 255  # the third plane is red, the third axis runs down
    (image,) = [sample.image for sample in FORMAT.samples(tmp_path)]
    assert (image[:10] == [255, 0, 0]).all()
    assert (image[10:] == 0).all()


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("Data/label", lambda a: a.__setitem__((2, 1), np.nan), "p01.mat, row 2: the gaze ("),
        ("Data/label", lambda a: a.__setitem__((1, 0), 30.0), "p01.mat, row 1: the gaze (30, "),
        ("Data/label", lambda a: a.__setitem__((0, 3), np.inf), "p01.mat, row 0: the head ("),
    ],
)
def test_a_label_that_is_no_angle_is_refused_with_its_row(root, name, change, complaint):
    with h5py.File(root / "p01.mat", "r+") as file:
        change(file[name])
    assert complaint in refused(FORMAT, root)


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"Data/label": np.zeros((3, 16))}, "no array 'Data/data'"),
        ({"Data/data": np.zeros((3, 3, 20, 20), "u1")}, "no array 'Data/label'"),
        ({"Data/data": np.zeros((3, 3, 20, 20), "u1"), "Data/label": np.zeros((2, 16))}, "(2, 16), not 3 x N"),
        ({"Data/data": np.zeros((3, 3, 20, 20), "u1"), "Data/label": np.zeros((3, 2))}, "2 columns"),
        ({"Data/data": np.zeros((3, 20, 20, 3), "u1"), "Data/label": np.zeros((3, 16))}, "not N x 3 x N x N"),
        ({"Data/data": np.full((3, 3, 20, 20), 0.5), "Data/label": np.zeros((3, 16))}, "no 8-bit images"),
        ({"Data/data": np.full((3, 3, 20, 20), "a", "S1"), "Data/label": np.zeros((3, 16))}, "no 8-bit images"),
        ({"Data/data": np.zeros((3, 3, 20, 20), "u1"), "Data/label": np.full((3, 16), "a", "S1")}, "damaged"),
    ],
)
def test_a_file_that_is_not_as_published_is_refused(root, arrays, complaint):
    with h5py.File(root / "p01.mat", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    message = refused(FORMAT, root)
    assert complaint in message
    assert "p01.mat" in message


def test_a_damaged_file_and_an_empty_folder_are_named(root):
    whole = (root / "p01.mat").read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 100):
        (root / "p01.mat").write_bytes(whole[:size])
        assert "p01.mat" in refused(FORMAT, root)
    (root / "empty").mkdir()
    assert "holds no samples; expected: a folder with p00.mat" in refused(FORMAT, root / "empty")
    assert "no such folder" in refused(FORMAT, root / "nowhere")
