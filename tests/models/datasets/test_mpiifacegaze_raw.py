import math
from dataclasses import replace

import pytest
from scipy.io import savemat

from models.datasets.importing import survey
from models.datasets.mpiifacegaze_raw import FORMAT, MPIIFaceGazeRawOptions
from tests.models.datasets import writers
from tests.models.datasets.fixtures import eyes
from tests.models.datasets.roundtrip import JPEG_LEVELS, assert_same, refused

# heads that are only turned, not tilted: the normalised view levels the others
FACES = [replace(eye, head=(0.0, eye.head[1])) for eye in eyes(6, size=(48, 48))]
CROP = MPIIFaceGazeRawOptions(size=48)
NORMALISED = MPIIFaceGazeRawOptions(size=48, view="normalised")


@pytest.fixture
def root(tmp_path):
    writers.mpiifacegaze_raw(tmp_path, FACES)
    return tmp_path


def edit(root, row, field, text):
    path = root / "p01" / "p01.txt"
    rows = [line.split() for line in path.read_text().splitlines()]
    rows[row][field] = text
    path.write_text("\n".join(" ".join(fields) for fields in rows))


@pytest.mark.parametrize("options", [CROP, NORMALISED], ids=["crop", "normalised"])
def test_faces_come_back_from_the_middle_of_their_frames(root, options):
    assert_same(FORMAT.samples(root, options), FACES, JPEG_LEVELS)
    assert survey(FORMAT, root, options) == 6


def test_the_gaze_of_a_crop_is_target_minus_face_centre_in_the_cameras_frame(root):
    for field, value in zip(range(21, 27), (100, 0, 500, 0, -100, 400), strict=True):
        edit(root, 1, field, str(value))
    sample = list(FORMAT.samples(root, CROP))[3]
    assert (sample.pitch, sample.yaw) == pytest.approx((math.asin(1 / math.sqrt(3)), math.atan2(100, 100)))


def test_who_looks_into_the_camera_from_the_side_looks_straight_in_the_normalised_view_only(root):
    for field, value in zip(range(21, 27), (100, 0, 500, 0, 0, 0), strict=True):
        edit(root, 1, field, str(value))
    crop, normalised = (list(FORMAT.samples(root, options))[3] for options in (CROP, NORMALISED))
    assert crop.yaw == pytest.approx(math.atan2(100, 500))
    assert (normalised.pitch, normalised.yaw) == pytest.approx((0, 0), abs=1e-9)


@pytest.mark.parametrize(
    ("field", "text", "complaint"),
    [
        (24, "nan", "p01/p01.txt, line 2: "),
        (5, "inf", "p01/p01.txt, line 2: "),
        (5, "left", "p01/p01.txt, line 2: could not convert"),
        (27, "", "p01/p01.txt, line 2: 27 fields; expected 28"),
        (27, "left left", "p01/p01.txt, line 2: 29 fields; expected 28"),
        (5, "1e9", "p01/p01.txt, line 2: a window"),
        (0, "day01/0009.jpg", "missing, the first in p01/p01.txt, line 2; fetch them: p01/day01/0009.jpg"),
        (0, "../p00/day01/0001.jpg", "p01/p01.txt, line 2: '../p00/day01/0001.jpg' does not name a file inside"),
        (0, "/etc/passwd", "p01/p01.txt, line 2: '/etc/passwd' does not name a file inside"),
    ],
)
def test_a_row_that_is_not_as_published_is_refused_with_its_line(root, field, text, complaint):
    edit(root, 1, field, text)
    assert complaint in refused(FORMAT, root, CROP)


def test_a_target_at_the_face_centre_is_no_direction(root):
    for field in range(21, 27):
        edit(root, 0, field, "500")
    assert "p01/p01.txt, line 1: the gaze (nan, nan) is no direction" in refused(FORMAT, root, CROP)


def test_missing_images_are_named_when_counting_and_when_reading(root):
    (root / "p01" / "day01" / "0002.jpg").unlink()
    assert "missing, the first in p01/p01.txt, line 2; fetch them: p01/day01/0002.jpg." in refused(FORMAT, root, CROP)
    with pytest.raises(ValueError, match=r"p01/p01.txt, line 2: the image .*0002.jpg is missing"):
        _ = [sample.image for sample in FORMAT.samples(root, CROP)]


def test_images_without_a_row_are_refused_or_skipped_as_one_likes(root):
    writers.save_jpeg(FACES[0].image, root / "p01" / "day01" / "0077.jpg")
    assert "1 image file(s) without a label" in refused(FORMAT, root, CROP)
    assert survey(FORMAT, root, CROP, refuse_others=False) == 6


def test_a_damaged_image_is_named_with_its_row(root):
    path = root / "p02" / "day01" / "0001.jpg"
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:size])
        assert "p02/p02.txt, line 1: the image" in refused(FORMAT, root, CROP)


def test_to_normalise_takes_a_camera(root):
    path = root / "p01" / "Calibration" / "Camera.mat"
    savemat(path, {"cameraMatrix": [[1.0, 0.0]]})
    assert "Camera.mat: cameraMatrix must be numbers of shape" in refused(FORMAT, root, NORMALISED)
    savemat(path, {"else": 1})
    assert "Camera.mat: no variable 'cameraMatrix'" in refused(FORMAT, root, NORMALISED)
    path.unlink()
    assert "Camera.mat: no such file" in refused(FORMAT, root, NORMALISED)
    assert len(list(FORMAT.samples(root, CROP))) == 6


def test_a_person_without_labels_and_a_missing_folder_are_named(root):
    (root / "p01" / "p01.txt").write_bytes(b"\xff\xfe\x00\x80")
    assert "p01.txt: not a text file" in refused(FORMAT, root, CROP)
    (root / "p01" / "p01.txt").unlink()
    assert "p01.txt: no such file" in refused(FORMAT, root, CROP)
    assert "holds no samples; expected: a folder with p00/p00.txt" in refused(FORMAT, root / "p02", CROP)
    assert "no such folder" in refused(FORMAT, root / "nowhere", CROP)


def test_too_small_a_size_is_refused():
    with pytest.raises(ValueError, match="at least 16 px"):
        MPIIFaceGazeRawOptions(size=0)
