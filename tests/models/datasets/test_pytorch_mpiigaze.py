import h5py
import numpy as np
import pytest

from models.datasets.importing import survey
from models.datasets.pytorch_mpiigaze import FORMAT
from tests.models.datasets import writers
from tests.models.datasets.fixtures import eyes
from tests.models.datasets.roundtrip import assert_same, refused


@pytest.mark.parametrize("images", [eyes(9, grey=True), eyes(9, size=(40, 48))], ids=["grey eyes", "faces"])
def test_eyes_and_faces_come_back(tmp_path, images):
    writers.pytorch_mpiigaze(tmp_path / "MPII.h5", images)
    assert_same(FORMAT.samples(tmp_path / "MPII.h5"), images)
    assert survey(FORMAT, tmp_path / "MPII.h5") == 9


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("p01/gaze", np.full((3, 2), np.nan), "MPII.h5, p01, row 0: the gaze (nan, nan) is no direction"),
        ("p01/gaze", np.zeros((2, 2)), "(2, 2), not 3 x 2"),
        ("p01/image", np.zeros((3, 36, 60, 3), "u1"), "not N x N x N"),
        ("p01/image", np.full((3, 36, 60), 300), "no 8-bit images"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, name, value, complaint):
    writers.pytorch_mpiigaze(tmp_path / "MPII.h5", eyes(9, grey=True))
    with h5py.File(tmp_path / "MPII.h5", "r+") as file:
        del file[name]
        file[name] = value
    assert complaint in refused(FORMAT, tmp_path / "MPII.h5")


@pytest.mark.parametrize("column", ["image", "gaze", "pose"])
def test_a_face_without_its_image_gaze_or_pose_is_named(tmp_path, column):
    writers.pytorch_mpiigaze(tmp_path / "MPII.h5", eyes(9, size=(40, 48)))
    with h5py.File(tmp_path / "MPII.h5", "r+") as file:
        del file[f"p01/{column}/0002"]
    assert f"MPII.h5: no array 'p01/{column}/0002'" in refused(FORMAT, tmp_path / "MPII.h5")


def test_a_file_of_something_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["p00/else"] = np.zeros(3)
        file["loose"] = np.zeros(3)
    assert "holds no samples; expected: one file, MPIIGaze.h5" in refused(FORMAT, tmp_path / "other.h5")
    (tmp_path / "text.h5").write_text("nothing")
    assert "damaged or no HDF5 file" in refused(FORMAT, tmp_path / "text.h5")
    assert "no such file" in refused(FORMAT, tmp_path / "nowhere.h5")
