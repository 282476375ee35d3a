import json
import math

import numpy as np
import pytest

from models.datasets.importing import survey
from models.datasets.unityeyes import FORMAT, UnityEyesOptions
from tests.models.datasets import writers
from tests.models.datasets.fixtures import eyes
from tests.models.datasets.roundtrip import JPEG_LEVELS, assert_same, refused

EYES = UnityEyesOptions()


@pytest.fixture
def root(tmp_path):
    writers.unityeyes(tmp_path, eyes(12))
    return tmp_path


def edit(root, change):
    label = json.loads((root / "2.json").read_text())
    change(label)
    (root / "2.json").write_text(json.dumps(label))


def test_eyes_come_back_from_the_windows_round_their_corners(root):
    assert_same(FORMAT.samples(root, EYES), eyes(12), JPEG_LEVELS)
    assert survey(FORMAT, root, EYES) == 12


def test_eyes_are_read_in_the_order_of_their_numbers(root):
    assert [sample.where for sample in FORMAT.samples(root, EYES)] == [f"{number}.json" for number in range(1, 13)]


def test_images_have_the_size_that_is_asked_for(root):
    sample = next(iter(FORMAT.samples(root, UnityEyesOptions(width=80, height=40))))
    assert sample.image.shape == (40, 80, 3)


def test_the_published_frame_has_x_to_the_right_and_y_up(root):
    edit(root, lambda label: label["eye_details"].update(look_vec="(-0.4800, 0.6000, -0.6400, 0.0000)"))
    sample = list(FORMAT.samples(root, EYES))[1]
    assert (sample.pitch, sample.yaw) == pytest.approx((math.asin(0.6), math.atan2(0.48, 0.64)))


def test_landmarks_are_counted_from_the_bottom(root):
    def raise_by_7_px(label):
        shifted = [np.add(json.loads(f"[{text[1:-1]}]"), (0, 7, 0)) for text in label["interior_margin_2d"]]
        label["interior_margin_2d"] = [str(tuple(point.tolist())) for point in shifted]

    before = list(FORMAT.samples(root, EYES))[1].image
    edit(root, raise_by_7_px)
    after = list(FORMAT.samples(root, EYES))[1].image
    assert (after[7:] == before[:-7]).all()  # the window moved up, so the eye moved down in it


def test_an_eye_without_a_known_skin_is_a_person_of_its_own(root):
    edit(root, lambda label: label.pop("eye_region_details"))
    assert list(FORMAT.samples(root, EYES))[1].subject == "2"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda label: label["eye_details"].update(look_vec="(nan, 0.1, -0.9, 0)"), "nan"),
        (lambda label: label["eye_details"].update(look_vec="(0, 0, 0, 0)"), "the gaze (nan, nan) is no direction"),
        (lambda label: label["eye_details"].update(look_vec="(0.1, 0.2)"), "damaged, or not written by UnityEyes"),
        (
            lambda label: label["eye_details"].update(look_vec="__import__('os').abort()"),
            "damaged, or not written by UnityEyes",
        ),
        (lambda label: label["eye_details"].update(look_vec=None), "damaged, or not written by UnityEyes"),
        (lambda label: label["eye_details"].pop("look_vec"), "look_vec"),
        (lambda label: label.pop("caruncle_2d"), "caruncle_2d"),
        (lambda label: label.update(caruncle_2d=[]), "damaged, or not written by UnityEyes"),
        (lambda label: label.update(caruncle_2d=3), "damaged, or not written by UnityEyes"),
        (lambda label: label.update(interior_margin_2d=label["interior_margin_2d"][:5]), "damaged, or not written"),
        (lambda label: label.update(caruncle_2d=[label["interior_margin_2d"][8]] * 7), "a window of 0 x 0 px"),
        (lambda label: label.update(caruncle_2d=["(1e30, 0, 0)"]), "a window"),
    ],
)
def test_a_label_that_is_not_as_published_is_refused_by_name(root, change, complaint):
    edit(root, change)
    message = refused(FORMAT, root, EYES)
    assert complaint in message
    assert "2.json" in message


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\x00", "[" * 9999])
def test_a_damaged_label_is_refused_by_name(root, text):
    (root / "2.json").write_text(text)
    assert "2.json" in refused(FORMAT, root, EYES)


def test_a_label_without_image_and_an_image_without_label_are_named(root):
    (root / "2.jpg").rename(root / "77.jpg")
    assert "1 labelled file(s) missing, the first in 2.json; fetch them: 2.jpg" in refused(FORMAT, root, EYES)
    (root / "2.json").unlink()
    assert "without a label; remove them, or give --unlabelled skip: 77.jpg" in refused(FORMAT, root, EYES)
    assert survey(FORMAT, root, EYES, refuse_others=False) == 11


def test_a_damaged_image_and_a_missing_folder_are_named(root):
    whole = (root / "2.jpg").read_bytes()
    for size in (0, 10, len(whole) // 2):
        (root / "2.jpg").write_bytes(whole[:size])
        assert "2.json: the image" in refused(FORMAT, root, EYES)
    (root / "empty").mkdir()
    assert "holds no samples; expected: a folder with 1.jpg" in refused(FORMAT, root / "empty", EYES)
    assert "no such folder" in refused(FORMAT, root / "nowhere", EYES)


def test_too_small_a_size_is_refused():
    with pytest.raises(ValueError, match="at least 16 px"):
        UnityEyesOptions(height=0)
