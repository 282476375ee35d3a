import math

import numpy as np
import pytest

from models.datasets.samples import FormatError, Sample
from tests.models.datasets.fixtures import held

EYE = np.zeros((20, 32), np.uint8)
GOOD = {"read": held(EYE), "pitch": 0.1, "yaw": -0.2, "subject": "p00", "where": "fixture, row 7"}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"yaw": math.nan}, r"the gaze \(0.1, nan\) is no direction"),
        ({"pitch": math.inf}, r"the gaze \(inf, -0.2\) is no direction"),
        ({"pitch": -20.0}, r"the gaze \(-20, -0.2\) lies beyond .*these look like degrees"),
        ({"yaw": 3.3}, r"the gaze .*beyond \+-pi/2 and \+-pi"),
        ({"head": (0.0, math.nan)}, r"the head \(0, nan\) is no direction"),
        ({"head": (2.0, 0.0)}, r"the head \(2, 0\) lies beyond"),
        ({"subject": ""}, r"no subject is named"),
    ],
)
def test_a_label_that_cannot_be_is_refused_with_its_place(fields, complaint):
    with pytest.raises(FormatError, match=f"^fixture, row 7: {complaint}"):
        Sample(**GOOD | fields)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (np.zeros((12, 40), np.uint8), r"the image is 12 x 40 px; 16 px is the least"),
        (np.zeros((20, 32, 3)), r"the image is float64 \(20, 32, 3\), not uint8"),
        (np.zeros((20, 32, 4), np.uint8), r"the image is uint8 \(20, 32, 4\), not uint8"),
    ],
)
def test_an_image_that_cannot_be_is_refused_with_its_place(image, complaint):
    with pytest.raises(FormatError, match=f"^fixture, row 7: {complaint}"):
        _ = Sample(**GOOD | {"read": held(image)}).image


@pytest.mark.parametrize("error", [FormatError("eye.png is damaged."), OSError("eye.png is damaged.")])
def test_what_is_wrong_with_an_image_is_said_with_its_place(error):
    def read():
        raise error

    with pytest.raises(FormatError, match=r"^fixture, row 7: eye.png is damaged.$"):
        _ = Sample(**GOOD | {"read": read}).image


def test_an_image_is_read_once_and_only_when_it_is_asked_for():
    reads = []
    sample = Sample(**GOOD | {"read": lambda: reads.append(1) or EYE})
    assert not reads
    assert sample.image is sample.image is EYE
    assert reads == [1]


@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3)])
def test_the_smallest_images_and_angles_at_the_very_edge_are_kept(shape):
    edge = {"pitch": float(np.float32(math.pi / 2)), "yaw": float(np.float32(-math.pi))}
    sample = Sample(**GOOD | edge | {"read": held(np.zeros(shape, np.uint8))})
    assert (sample.pitch, sample.yaw, sample.image.shape) == (edge["pitch"], edge["yaw"], shape)
