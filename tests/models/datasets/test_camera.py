import math

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from models.datasets.camera import NormalisedView, heads, rotations
from models.datasets.samples import FormatError
from models.gaze import vector_to_pitchyaw

LENS = np.array([[1000.0, 0.0, 320.0], [0.0, 1000.0, 240.0], [0.0, 0.0, 1.0]])
CENTRE = np.array([40.0, -30.0, 500.0])
HEAD = Rotation.from_euler("yxz", [20, -10, 5], degrees=True).as_matrix()


def project(lens, point):
    x, y, z = lens @ point
    return np.array([x / z, y / z])


def test_a_head_that_is_turned_about_one_axis_has_that_angle():
    turned = rotations(np.array([[0.0, 0.3, 0.0], [-0.2, 0.0, 0.0], [0.0, 0.0, 0.7]]))
    assert heads(turned) == pytest.approx(np.array([[0.0, 0.3], [0.2, 0.0], [0.0, 0.0]]))


def test_the_face_centre_is_in_the_middle_of_the_view_and_600_mm_away():
    view = NormalisedView.of(CENTRE, HEAD, LENS, 224, "row 0")
    pixel = np.append(project(LENS, CENTRE), 1)
    assert project(view.warp, pixel) == pytest.approx([112, 112])
    assert view.turn @ CENTRE == pytest.approx([0, 0, np.linalg.norm(CENTRE)])


def test_the_turn_is_a_rotation_that_levels_the_x_axis_of_the_head():
    turn = NormalisedView.of(CENTRE, HEAD, LENS, 224, "row 0").turn
    assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    level = turn @ HEAD[:, 0]
    assert level[1] == pytest.approx(0, abs=1e-12)
    assert level[0] > 0


def test_who_looks_into_the_camera_looks_straight_ahead_whatever_the_pose():
    view = NormalisedView.of(CENTRE, HEAD, LENS, 224, "row 0")
    assert vector_to_pitchyaw(view.turn @ -CENTRE) == pytest.approx([0, 0], abs=1e-12)


def test_a_point_of_the_face_is_seen_where_the_virtual_camera_sees_it():
    view = NormalisedView.of(CENTRE, HEAD, LENS, 224, "row 0")
    corner = CENTRE + np.array([25.0, 12.0, 3.0])
    frame = np.zeros((480, 640), np.uint8)
    yy, xx = np.mgrid[:480, :640]
    spot = project(LENS, corner)
    frame = (255 * np.exp(-((xx - spot[0]) ** 2 + (yy - spot[1]) ** 2) / 18)).astype(np.uint8)
    seen = view.picture(Image.fromarray(frame)).astype(float)
    y, x = ((seen * grid).sum() / seen.sum() for grid in np.mgrid[:224, :224])
    nearer = view.turn @ corner * np.array([1, 1, 600 / np.linalg.norm(CENTRE)])
    expected = project(np.array([[960.0, 0, 112], [0, 960, 112], [0, 0, 1]]), nearer)
    assert (x, y) == pytest.approx(expected, abs=0.1)


def test_a_camera_that_is_the_virtual_one_already_changes_nothing():
    normal = np.array([[960.0, 0, 112], [0, 960, 112], [0, 0, 1]])
    frame = Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8))
    view = NormalisedView.of(np.array([0.0, 0.0, 600.0]), np.eye(3), normal, 224, "row 0")
    assert np.abs(view.picture(frame).astype(int) - np.array(frame)).max() <= 1


def test_half_the_pixels_show_the_same_window():
    small, large = (NormalisedView.of(CENTRE, HEAD, LENS, size, "row 0").warp for size in (112, 224))
    pixel = np.array([300.0, 200.0, 1.0])
    assert 2 * project(small, pixel) == pytest.approx(project(large, pixel))


@pytest.mark.parametrize(
    ("centre", "lens"),
    [
        (np.array([0.0, 0.0, -600.0]), LENS),
        (np.zeros(3), LENS),
        (np.array([0.0, 0.0, math.inf]), LENS),
        (CENTRE, np.zeros((3, 3))),
        (CENTRE, np.full((3, 3), np.nan)),
    ],
)
def test_a_face_behind_the_camera_and_a_singular_camera_are_refused_with_the_row(centre, lens):
    with pytest.raises(FormatError, match=r"^row 7: "):
        NormalisedView.of(centre, HEAD, lens, 224, "row 7")
