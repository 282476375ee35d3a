import math

import numpy as np
import pytest

from models.datasets.samples import FormatError, Sample

GOOD = {"image": np.zeros((20, 32), np.uint8), "pitch": 0.1, "yaw": -0.2, "subject": "p00", "where": "fixture, row 7"}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"yaw": math.nan}, r"the gaze is not finite \(0.1, nan\)"),
        ({"pitch": math.inf}, r"the gaze is not finite"),
        ({"pitch": -20.0}, r"the gaze \(-20, -0.2\) lies beyond .*these look like degrees"),
        ({"yaw": 3.3}, r"the gaze .*beyond \+-pi/2 and \+-pi"),
        ({"head": (0.0, math.nan)}, r"the head is not finite"),
        ({"head": (2.0, 0.0)}, r"the head \(2, 0\) lies beyond"),
        ({"image": np.zeros((12, 40), np.uint8)}, r"the image is 12 x 40 px; 16 px is the least"),
        ({"image": np.zeros((20, 32, 3))}, r"the image is float64 \(20, 32, 3\), not uint8"),
        ({"image": np.zeros((20, 32, 4), np.uint8)}, r"the image is uint8 \(20, 32, 4\), not uint8"),
        ({"subject": ""}, r"no subject is named"),
    ],
)
def test_a_sample_that_cannot_be_is_refused_with_its_place(fields, complaint):
    with pytest.raises(FormatError, match=f"^fixture, row 7: {complaint}"):
        Sample(**GOOD | fields)


@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3)])
def test_the_smallest_images_and_angles_at_the_very_edge_are_kept(shape):
    edge = {"pitch": float(np.float32(math.pi / 2)), "yaw": float(np.float32(-math.pi))}
    sample = Sample(**GOOD | edge | {"image": np.zeros(shape, np.uint8)})
    assert (sample.pitch, sample.yaw) == (edge["pitch"], edge["yaw"])
