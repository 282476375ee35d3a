import math

import numpy as np
import pytest

from models.datasets.eye_renderer import Framing, render_eyes
from models.datasets.eye_renderer.geometry import head_rotation, optical_axis
from models.datasets.eye_renderer.scene import KAPPA_PITCH_SD, KAPPA_YAW_SD, PITCH_LIMIT, YAW_LIMIT, draw_traits

FRAMING = Framing()


def render(index, subject, framing=FRAMING, **options):
    return render_eyes(framing, 1, "train", np.atleast_1d(index), np.atleast_1d(subject), **options)


def eyes_looking(pitch, yaw, subjects=12, framing=FRAMING):
    """One image per subject, heads still, all looking the same way (degrees)."""
    gaze = np.tile(np.radians(np.array([pitch, yaw], np.float32)), (subjects, 1))
    head = np.zeros((subjects, 3), np.float32)
    return render(np.arange(subjects), np.arange(subjects), framing, gaze=gaze, head=head)


def pupil_centres(images):
    """(N, 2) centroid (x, y) of the darkest pixels of the eye, without brow and corners."""
    grey = images[:, :, 24:52, 14:50].astype(float).mean(1)
    centres = []
    for eye in grey:
        dark = eye <= np.sort(eye.ravel())[25]
        rows, columns = dark.nonzero()
        centres.append((columns.mean(), rows.mean()))
    return np.array(centres)


@pytest.mark.parametrize("framing", [FRAMING, Framing(37, 21), Framing(150, 90)], ids=str)
def test_an_image_alone_is_the_image_in_a_batch(framing):
    index = np.arange(32) * 7
    together = render(index, index % 5, framing)
    for i in (0, 5, 31):
        alone = render(index[i], index[i] % 5, framing)
        assert np.array_equal(alone.images[0], together.images[i])
        assert np.array_equal(alone.pitchyaw[0], together.pitchyaw[i])
        assert np.array_equal(alone.head[0], together.head[i])


def test_the_order_of_a_batch_does_not_matter():
    index = np.arange(40)
    forward, backward = render(index, index % 3), render(index[::-1], index[::-1] % 3)
    assert np.array_equal(forward.images, backward.images[::-1])


def test_another_index_another_seed_and_another_stream_are_other_images():
    index, subject = np.array([4]), np.array([2])
    pictures = [
        render_eyes(FRAMING, 1, "train", index, subject),
        render_eyes(FRAMING, 1, "train", index + 1, subject),
        render_eyes(FRAMING, 2, "train", index, subject),
        render_eyes(FRAMING, 1, "test", index, subject),
    ]
    assert len({picture.images.tobytes() for picture in pictures}) == 4


@pytest.mark.parametrize(
    "framing", [Framing(16, 16), Framing(32, 32), Framing(60, 36, 37.5, 0.0), Framing(224, 224)], ids=str
)
def test_every_size_renders(framing):
    images = render([0, 1], [0, 1], framing).images
    assert images.shape == (2, 3, framing.height, framing.width)
    assert images.dtype == np.uint8
    assert images.std() > 10


def test_the_pupil_moves_against_yaw_along_x():
    left, right = eyes_looking(0, 20), eyes_looking(0, -20)
    moved = pupil_centres(left.images)[:, 0] - pupil_centres(right.images)[:, 0]
    expected = -2 * 11 * math.sin(math.radians(20)) * 64 / 46
    assert np.median(moved) == pytest.approx(expected, rel=0.15)


def test_the_pupil_moves_against_pitch_along_y():
    up, down = eyes_looking(15, 0), eyes_looking(-15, 0)
    moved = pupil_centres(up.images)[:, 1] - pupil_centres(down.images)[:, 1]
    expected = -2 * 11 * math.sin(math.radians(15)) * 64 / 46
    assert np.median(moved) == pytest.approx(expected, rel=0.3)


def test_the_iris_follows_the_gaze_and_not_the_head():
    gaze = np.zeros((12, 2), np.float32)
    turned = np.tile(np.array([0, 0.3, 0], np.float32), (12, 1))
    index = np.arange(12)
    ahead = render(index, index, gaze=gaze, head=np.zeros((12, 3), np.float32))
    aside = render(index, index, gaze=gaze, head=turned)
    shift = pupil_centres(aside.images)[:, 0] - pupil_centres(ahead.images)[:, 0]
    assert abs(np.median(shift)) < 1
    assert np.abs(aside.images.astype(int) - ahead.images).mean() > 3


def test_gaze_fills_its_range():
    pitchyaw = render(np.arange(400), np.arange(400), Framing(16, 16)).pitchyaw
    assert (np.abs(pitchyaw) <= [PITCH_LIMIT, YAW_LIMIT]).all()
    assert np.percentile(pitchyaw, 5, axis=0) == pytest.approx([-0.9 * PITCH_LIMIT, -0.9 * YAW_LIMIT], rel=0.15)
    assert np.percentile(pitchyaw, 95, axis=0) == pytest.approx([0.9 * PITCH_LIMIT, 0.9 * YAW_LIMIT], rel=0.15)


@pytest.mark.filterwarnings("error")
def test_the_limits_of_gaze_and_head_render_without_a_warning():
    corners = np.array([(p, y) for p in (-1, 1) for y in (-1, 1)], np.float32)
    gaze = corners * np.array([PITCH_LIMIT, YAW_LIMIT], np.float32)
    for sign in (-1, 1):
        head = np.column_stack([-sign * 0.35 * corners[:, 0], sign * 0.45 * corners[:, 1], [0.1] * 4]).astype(
            np.float32
        )
        images = render(np.arange(4), np.arange(4), gaze=gaze, head=head).images
        assert (images.reshape(4, -1).std(1) > 5).all()


def test_subjects_differ_and_stay_themselves():
    index = np.arange(60)
    cheeks = [
        render(index, np.full(60, subject), Framing(32, 32)).images[:, :, 26:, 8:24].mean((0, 2, 3))
        for subject in (0, 1, 0)
    ]
    again = render(index + 500, np.zeros(60, int), Framing(32, 32)).images[:, :, 26:, 8:24].mean((0, 2, 3))
    colours = [cheek / cheek.sum() for cheek in (*cheeks, again)]
    assert np.array_equal(colours[0], colours[2])
    assert np.abs(colours[0] - colours[3]).max() < 0.5 * np.abs(colours[0] - colours[1]).max()


def test_a_subject_keeps_its_traits_whoever_is_drawn_beside_it():
    alone, among = draw_traits(1, np.array([7])), draw_traits(1, np.arange(20))
    for name, value in vars(alone).items():
        assert np.array_equal(value[0], vars(among)[name][7]), name


def test_skin_blotches_stay_with_the_subject():
    """Two images of one subject, all else equal but noise and light, share their texture; two subjects do not."""
    gaze, head = np.zeros((40, 2), np.float32), np.zeros((40, 3), np.float32)
    images = render(np.arange(40), np.repeat([3, 4], 20), Framing(96, 96), gaze=gaze, head=head).images
    cheeks = images[:, 1, 70:, 20:80].astype(float)
    cheeks -= cheeks.mean((1, 2), keepdims=True)
    mean_of = [cheeks[:10].mean(0), cheeks[10:20].mean(0), cheeks[20:].mean(0)]
    # A light from the side slopes over all cheeks alike: look at what is left without the slope.
    textures = [texture - texture.mean(0) - texture.mean(1, keepdims=True) for texture in mean_of]
    same = np.corrcoef(textures[0].ravel(), textures[1].ravel())[0, 1]
    other = np.corrcoef(textures[0].ravel(), textures[2].ravel())[0, 1]
    assert same > other + 0.2


def test_kappa_has_the_stated_spread():
    kappa = draw_traits(1, np.arange(4000)).kappa
    assert kappa.std(0) == pytest.approx([KAPPA_PITCH_SD, KAPPA_YAW_SD], rel=0.05)
    assert np.abs(kappa.mean(0)).max() < 0.001


def test_the_optical_axis_is_the_gaze_convention_seen_from_the_camera():
    gaze = np.radians(np.array([[0, 0], [20, 0], [0, 20]], np.float32))
    axis = optical_axis(gaze)
    assert axis[0] == pytest.approx([0, 0, 1])
    assert axis[1, 1] < 0  # up
    assert axis[2, 0] < 0  # to the left of the image


def test_a_head_rotation_is_a_rotation():
    rotation = head_rotation(np.array([[0.3, -0.2, 0.1]], np.float32))[0].astype(float)
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-6)
    assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-6)
    turned_to = head_rotation(np.array([[0.3, 0.2, 0.0]], np.float32))[0, :, 2]
    assert turned_to == pytest.approx(optical_axis(np.array([[0.3, 0.2]], np.float32))[0], abs=1e-6)


def test_texture_scale_is_in_mm_and_not_in_pixels():
    """The same eye at twice the size is the same picture, but for blur and noise."""
    gaze, head = np.zeros((16, 2), np.float32), np.zeros((16, 3), np.float32)
    index = np.arange(16)
    blocks = []
    for size in (64, 128):
        images = render(index, index, Framing(size, size), gaze=gaze, head=head).images.astype(float)
        blocks.append(images.reshape(16, 3, 16, size // 16, 16, size // 16).mean((3, 5)))
    assert np.abs(blocks[0] - blocks[1]).mean() < 1
