import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from models.datasets.columbia import FORMAT, ColumbiaOptions
from models.datasets.importing import survey
from tests.models.datasets import writers
from tests.models.datasets.fixtures import eyes
from tests.models.datasets.roundtrip import JPEG_LEVELS, assert_same, refused

FACES = eyes(6, size=(60, 60))
MIDDLE = ColumbiaOptions(size=60, share=0.6)


def whole_degrees(angle):
    return math.radians(round(math.degrees(angle)))


@pytest.fixture
def root(tmp_path):
    writers.columbia(tmp_path, FACES)
    return tmp_path


def test_the_angles_in_the_names_come_back_to_the_degree(root):
    expected = {
        (
            f"{int(eye.subject[1:]) + 1:04d}",
            round(math.degrees(eye.pitch)),
            round(math.degrees(eye.yaw)),
            round(math.degrees(eye.head[1])),
        ): eye
        for eye in FACES
    }
    samples = list(FORMAT.samples(root, MIDDLE))
    keys = [(s.subject, *(round(math.degrees(a), 9) for a in (s.pitch, s.yaw, s.head[1]))) for s in samples]
    assert set(keys) == set(expected)
    exact = [
        replace(s, pitch=whole_degrees(expected[k].pitch), yaw=whole_degrees(expected[k].yaw), read=expected[k].read)
        for s, k in zip(samples, keys, strict=True)
    ]
    assert_same(samples, exact, JPEG_LEVELS)
    assert survey(FORMAT, root, MIDDLE) == 6


def test_a_positive_v_looks_up(tmp_path):
    writers.save_jpeg(FACES[0].image, tmp_path / "0001" / "0001_2m_-15P_10V_-5H.jpg")
    (sample,) = FORMAT.samples(tmp_path, MIDDLE)
    assert (sample.pitch, sample.yaw) == pytest.approx((math.radians(10), math.radians(-5)))
    assert sample.head == pytest.approx((0, math.radians(-15)))


def test_a_large_photograph_is_decoded_at_a_fraction_of_its_size(tmp_path):
    photograph = np.zeros((400, 600, 3), np.uint8)
    photograph[100:300, 200:400] = 200
    writers.save_jpeg(photograph, tmp_path / "0001" / "0001_2m_0P_0V_0H.jpg")
    (sample,) = FORMAT.samples(tmp_path, ColumbiaOptions(size=32, share=1.0))
    assert sample.image.shape == (32, 32, 3)
    assert sample.image[10:22, 10:22].mean() == pytest.approx(200, abs=3)
    assert sample.image[:6].mean() == pytest.approx(0, abs=3)


@pytest.mark.parametrize("name", ["0001_2m_15P_10V.jpg", "0002_2m_0P_0V_0H.jpg", "photo.jpg", "0001_2m_xP_0V_0H.jpg"])
def test_a_photograph_whose_name_says_no_angles_is_named(root, name):
    writers.save_jpeg(FACES[0].image, root / "0001" / name)
    assert f"{name}: the name says no angles" in refused(FORMAT, root, MIDDLE)


def test_angles_beyond_a_sphere_are_refused(tmp_path):
    writers.save_jpeg(FACES[0].image, tmp_path / "0001" / "0001_2m_0P_100V_0H.jpg")
    assert "0001/0001_2m_0P_100V_0H.jpg: the gaze" in refused(FORMAT, tmp_path, MIDDLE)


def test_a_damaged_photograph_and_a_missing_folder_are_named(root):
    path = next((root / "0002").glob("*.jpg"))
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2):
        path.write_bytes(whole[:size])
        assert f"0002/{path.name}: the image" in refused(FORMAT, root, MIDDLE)
    Image.new("I;16", (40, 40)).save(path, format="PNG")
    assert "more than 8 bits" in refused(FORMAT, root, MIDDLE)
    assert "holds no samples; expected: a folder with 0001/" in refused(FORMAT, root / "0001", MIDDLE)
    assert "no such folder" in refused(FORMAT, root / "nowhere", MIDDLE)


def test_too_small_a_size_is_refused():
    with pytest.raises(ValueError, match="at least 16 px"):
        ColumbiaOptions(size=0)


@pytest.mark.parametrize("share", [0, -0.1, 1.01])
def test_a_share_beyond_the_photograph_is_refused(share):
    with pytest.raises(ValueError, match="share of the height"):
        ColumbiaOptions(share=share)
