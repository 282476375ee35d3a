from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.datasets import contact_sheet
from models.datasets.base import GazeData
from models.datasets.contact_sheet import arrange, arrow, choose
from models.datasets.importing import import_data
from models.datasets.samples import Format
from tests.models.datasets.fixtures import eyes


def gaze_data(pitch, yaw, subject=None):
    n = len(pitch)
    people = torch.zeros(n, dtype=torch.int64) if subject is None else torch.tensor(subject)
    pitchyaw = torch.deg2rad(torch.from_numpy(np.array([pitch, yaw], np.float32).T.copy()))
    return GazeData(torch.zeros(n, 1, 16, 16, dtype=torch.uint8), pitchyaw, people, people, "dots", "made up")


def scattered(n, subjects):
    rng = np.random.default_rng(0)
    return gaze_data(rng.uniform(-20, 20, n), rng.uniform(-30, 30, n), (np.arange(n) % subjects).tolist())


@pytest.mark.parametrize(
    ("pitch", "yaw", "direction"),
    [(0, -90, (1, 0)), (0, 90, (-1, 0)), (90, 0, (0, -1)), (-90, 0, (0, 1)), (0, 0, (0, 0))],
)
def test_an_arrow_points_right_below_zero_yaw_and_up_above_zero_pitch(pitch, yaw, direction):
    assert arrow(np.radians(pitch), np.radians(yaw), 1.0) == pytest.approx(direction, abs=1e-12)


@given(st.floats(-1.5, 1.5), st.floats(-3, 3))
def test_an_arrow_is_the_gaze_as_the_picture_shows_it(pitch, yaw):
    expected = (-2 * np.sin(yaw) * np.cos(pitch), -2 * np.sin(pitch))
    assert arrow(pitch, yaw, 2.0) == pytest.approx(expected, abs=1e-12)


def test_everybody_is_shown_before_anybody_is_shown_twice():
    data = scattered(300, subjects=9)
    times = np.bincount(data.subject.numpy()[choose(data, 28)])
    assert times.sum() == 28
    assert times.min() == 3


def test_the_pictures_reach_over_the_whole_range_of_gaze():
    data = scattered(2000, subjects=1)
    whole, shown = (np.ptp(data.pitchyaw.numpy()[rows], axis=0) for rows in (slice(None), choose(data, 28)))
    assert (shown > 0.95 * whole).all()


def test_all_are_shown_where_there_are_few():
    assert sorted(choose(scattered(5, subjects=2), 28).tolist()) == [0, 1, 2, 3, 4]


def test_equal_gazes_are_no_obstacle():
    assert len(choose(gaze_data([3.0] * 40, [5.0] * 40), 28)) == 28


def test_pictures_lie_as_they_look():
    data = gaze_data(pitch=[10, 11, -10, -11, 0], yaw=[-5, 5, 20, -20, 7])
    assert arrange(data, np.arange(5), columns=2).tolist() == [1, 0, 2, 4, 3]


@pytest.mark.parametrize(("n", "size", "grey"), [(40, (64, 64), False), (3, (18, 48), True)])
def test_a_sheet_is_drawn_for_many_images_and_for_few(tmp_path, n, size, grey):
    samples = eyes(n, size, grey=grey)
    reader = Format("made_up", "Made-up eyes", "", "ours", "", lambda root: iter(samples))
    import_data(reader, tmp_path, tmp_path / "eyes")
    with Image.open(tmp_path / "eyes" / "contact_sheet.png") as sheet:
        assert sheet.size == (1870, 1100)
        arrows = (np.asarray(sheet.convert("RGB")) == (255, 176, 0)).all(-1)
    assert arrows[:, :1300].sum() > 20 * n


def texts_of(axes):
    """(name, values) of every caption, with their boxes in pixels."""
    renderer = axes.figure.canvas.get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in axes.texts]
    return list(zip(boxes[::2], boxes[1::2], strict=True))


def test_long_names_of_subjects_keep_their_end_and_clear_of_the_angles(tmp_path, monkeypatch):
    """The narrowest pictures, and angles as long as can be."""
    captions = []
    draw = contact_sheet._draw_images

    def drawn(axes, *arguments):
        draw(axes, *arguments)
        axes.figure.canvas.draw()
        captions.extend(texts_of(axes))

    monkeypatch.setattr(contact_sheet, "_draw_images", drawn)
    samples = [
        replace(eye, subject=f"rec_{row:03d}/head/{row:06d}", pitch=-0.8, yaw=-1.9)
        for row, eye in enumerate(eyes(30, (64, 64)))
    ]
    reader = Format("made_up", "Made-up eyes", "", "ours", "", lambda root: iter(samples))
    import_data(reader, tmp_path, tmp_path / "eyes")
    assert {name for (name, _), _ in captions} <= {f"…{sample.subject[-11:]}" for sample in samples}
    assert all(name.x1 < values.x0 for (_, name), (_, values) in captions)
