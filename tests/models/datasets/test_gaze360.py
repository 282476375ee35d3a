import math

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from models.datasets.gaze360 import FORMAT, Gaze360Options
from models.datasets.importing import survey
from tests.models.datasets import writers
from tests.models.datasets.fixtures import eyes
from tests.models.datasets.roundtrip import JPEG_LEVELS, assert_same, refused

HEADS = eyes(12, size=(40, 40))
USED = Gaze360Options(size=40)


@pytest.fixture
def root(tmp_path):
    writers.gaze360(tmp_path, HEADS)
    return tmp_path


def rewrite(root, change):
    content = {key: value for key, value in loadmat(root / "metadata.mat").items() if not key.startswith("__")}
    change(content)
    savemat(root / "metadata.mat", content)


def test_used_heads_come_back_in_our_convention(root):
    used = [eye for number, eye in enumerate(HEADS) if number % 4 != 3]
    assert_same(FORMAT.samples(root, USED), used, JPEG_LEVELS, subjects=False)
    assert survey(FORMAT, root, USED) == 9


@pytest.mark.parametrize(("split", "first"), [("train", 0), ("val", 1), ("test", 2), ("unused", 3)])
def test_a_published_part_can_be_asked_for(root, split, first):
    assert_same(FORMAT.samples(root, Gaze360Options(split, size=40)), HEADS[first::4], JPEG_LEVELS, subjects=False)


def test_identities_are_unique_over_recordings_and_whole_recordings_stay_together(root):
    samples = list(FORMAT.samples(root, USED))
    assert {(sample.subject, sample.group) for sample in samples} == {
        (f"rec_{number:03d}/000005", f"rec_{number:03d}") for number in range(3)
    }


def test_the_lists_of_the_authors_code_do_in_place_of_the_metadata(tmp_path):
    writers.gaze360(tmp_path, HEADS, lists=True)
    order = [*HEADS[2::4], *HEADS[0::4], *HEADS[1::4]]  # test, train, validation
    assert_same(FORMAT.samples(tmp_path, USED), order, JPEG_LEVELS, subjects=False)
    assert survey(FORMAT, tmp_path, Gaze360Options("val")) == 3
    assert "metadata.mat: no such file" in refused(FORMAT, tmp_path, Gaze360Options(crop="face"))
    (tmp_path / "validation.txt").unlink()
    assert "validation.txt: no such file" in refused(FORMAT, tmp_path, USED)


def test_faces_are_cut_out_of_heads_where_one_was_detected(tmp_path):
    writers.gaze360(tmp_path, HEADS, splits=[0], margin=10)
    faces = Gaze360Options(crop="face", size=40)
    assert_same(FORMAT.samples(tmp_path, faces), HEADS[1:], JPEG_LEVELS, subjects=False)  # the first has no face
    assert survey(FORMAT, tmp_path, faces) == 11


def test_a_face_that_reaches_over_the_edge_is_no_missing_face(tmp_path):
    writers.gaze360(tmp_path, HEADS, splits=[0], margin=10)
    boxes = loadmat(tmp_path / "metadata.mat")
    for box in ("person_head_bbox", "person_face_bbox"):
        boxes[box][1:, 0] -= boxes["person_face_bbox"][1, 0] + 0.001
    rewrite(tmp_path, lambda c: c.update({box: boxes[box] for box in ("person_head_bbox", "person_face_bbox")}))
    faces = Gaze360Options(crop="face", size=40)
    assert_same(FORMAT.samples(tmp_path, faces), HEADS[1:], JPEG_LEVELS, subjects=False)


def test_heads_of_any_size_become_squares_of_one_size(tmp_path):
    writers.gaze360(tmp_path, [*eyes(3, size=(30, 50)), *eyes(3, size=(61, 47))], splits=[0])
    assert {sample.image.shape for sample in FORMAT.samples(tmp_path, Gaze360Options(size=32))} == {(32, 32, 3)}


def test_the_published_frame_has_x_to_the_left_and_y_up(root):
    rewrite(root, lambda c: c.update(gaze_dir=np.tile([0.6, 0.0, -0.8], (12, 1))))
    sample = next(iter(FORMAT.samples(root, USED)))
    assert (sample.pitch, sample.yaw) == pytest.approx((0, math.atan2(0.6, 0.8)), abs=1e-12)
    rewrite(root, lambda c: c.update(gaze_dir=np.tile([0.0, 0.6, -0.8], (12, 1))))
    sample = next(iter(FORMAT.samples(root, USED)))
    assert (sample.pitch, sample.yaw) == pytest.approx((math.asin(0.6), 0))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c["gaze_dir"].__setitem__((5, 1), np.nan), "metadata.mat, row 5: the gaze"),
        (lambda c: c["gaze_dir"].__setitem__(5, 0), "metadata.mat, row 5: the gaze (nan, nan) is no direction"),
        (lambda c: c["recording"].__setitem__((0, 5), 3), "metadata.mat, row 5: recording 3"),
        (lambda c: c["frame"].__setitem__((0, 5), -1), "metadata.mat, row 5: recording"),
        (lambda c: c["frame"].__setitem__((0, 5), 77), "1 labelled file(s) missing, the first in metadata.mat, row 5"),
        (lambda c: c.update(gaze_dir=c["gaze_dir"][:-1]), "gaze_dir has 11 rows where there should be 12"),
        (lambda c: c.update(gaze_dir=c["gaze_dir"][:, :2]), "gaze_dir must be numbers of shape ('N', 3)"),
        (lambda c: c.update(split="train"), "metadata.mat: split must be numbers"),
        (lambda c: c.pop("split"), "no variable 'split'"),
    ],
)
def test_metadata_that_are_not_as_published_are_refused_with_the_row(root, change, complaint):
    rewrite(root, change)
    assert complaint in refused(FORMAT, root, USED)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("rec_000/head/000005/000000.jpg 0.1 0.2", 'line 1: expected "rec_000/head'),
        ("000000.jpg 0.1 0.2 0.3", 'line 1: expected "rec_000/head'),
        ("rec_000/head/000005/000000.jpg 0.1 nan 0.3", "line 1: 0.1 nan 0.3 is not finite"),
        ("rec_000/head/000005/000000.jpg 0 0 0", "train.txt, line 1: the gaze (nan, nan) is no direction"),
        ("rec_000/head/../000000.jpg 0 0 1", "does not name a file inside"),
        ("rec_000/head/000005/000099.jpg 0 0 1", "1 labelled file(s) missing"),
    ],
)
def test_a_line_of_a_list_that_is_not_as_published_is_refused(tmp_path, line, complaint):
    writers.gaze360(tmp_path, HEADS, lists=True)
    (tmp_path / "train.txt").write_text(line)
    assert complaint in refused(FORMAT, tmp_path, USED)


def test_a_damaged_or_missing_file_is_named(root):
    image = root / "imgs" / "rec_001" / "head" / "000005" / "000005.jpg"
    image.write_bytes(image.read_bytes()[:300])
    assert "metadata.mat, row 5: the image" in refused(FORMAT, root, USED)
    whole = (root / "metadata.mat").read_bytes()
    for size in (0, 130, len(whole) // 2):
        (root / "metadata.mat").write_bytes(whole[:size])
        assert "metadata.mat" in refused(FORMAT, root, USED)
    (root / "metadata.mat").unlink()
    assert "holds no samples; expected: a folder with imgs/rec_000" in refused(FORMAT, root, USED)
    assert "no such folder" in refused(FORMAT, root / "nowhere", USED)


def test_too_small_a_size_is_refused():
    with pytest.raises(ValueError, match="at least 16 px"):
        Gaze360Options(size=-3)
