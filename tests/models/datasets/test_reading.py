import math
import random

import h5py
import numpy as np
import pytest
from PIL import Image

from models.datasets import reading
from models.datasets.samples import FormatError

COLOURS = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)


def damaged(whole, draws):
    """Cut short, or with a few bytes changed, mostly near the beginning, where the structure is."""
    if draws.random() < 0.4:
        return whole[: draws.randrange(len(whole))]
    changed = bytearray(whole)
    for _ in range(draws.choice([1, 2, 6])):
        changed[draws.randrange(min(len(whole), draws.choice([64, 512, len(whole)])))] = draws.choice([0, 255, 77])
    return bytes(changed)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_a_damaged_picture_never_raises_anything_but_a_format_error(tmp_path, suffix):
    path = tmp_path / f"eye.{suffix}"
    Image.fromarray(COLOURS).save(path)
    whole, draws, refused = path.read_bytes(), random.Random(1), 0
    for _ in range(200):
        path.write_bytes(damaged(whole, draws))
        try:
            reading.picture(path)
        except FormatError as error:
            refused += str(error).startswith(f"the image {path}")
    assert refused > 60


def test_a_damaged_hdf5_file_never_raises_anything_but_a_format_error(tmp_path):
    path = tmp_path / "faces.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("faces", data=np.stack([COLOURS] * 5), chunks=(2, 20, 24, 3), compression="gzip")
        file["group/gaze"] = np.zeros((5, 2))
    whole, draws, refused = path.read_bytes(), random.Random(2), 0
    for _ in range(200):
        path.write_bytes(damaged(whole, draws))
        try:
            with reading.hdf5(path) as file:
                list(map(reading.images(reading.dataset(file, "faces", (None, None, None, 3))), range(5)))
                reading.dataset(file, "group/gaze", (None, 2))[:]
        except FormatError as error:
            refused += "faces.h5" in str(error)
    assert refused > 60


@pytest.mark.parametrize("chunks", [None, (1, 4, 5, 3), (4, 4, 5, 3), (7, 4, 5, 3)])
def test_rows_are_read_in_any_order_whatever_the_chunks(tmp_path, chunks, monkeypatch):
    faces = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), np.uint8)
    monkeypatch.setattr(reading, "BLOCK_BYTES", 3 * faces[0].nbytes)
    with h5py.File(tmp_path / "faces.h5", "w") as file:
        file.create_dataset("faces", data=faces, chunks=chunks)
        image = reading.images(file["faces"])
        for row in (0, 1, 2, 3, 6, 0, 5):
            assert (image(row) == faces[row, ..., ::-1]).all()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_and_coloured_pictures_stay_what_they_are(tmp_path, mode):
    image = Image.fromarray(COLOURS).convert(mode)
    image.save(tmp_path / "eye.png")
    read = reading.picture(tmp_path / "eye.png")
    assert read.mode == mode
    assert read.tobytes() == image.tobytes()


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1", "CMYK"])
def test_pictures_of_other_kinds_become_coloured(tmp_path, mode):
    path = tmp_path / ("eye.jpg" if mode == "CMYK" else "eye.png")
    Image.fromarray(COLOURS).convert(mode).save(path)
    assert reading.picture(path).mode == "RGB"


def test_sixteen_bits_a_colour_are_refused(tmp_path):
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(FormatError, match=r"^deep.png has more than 8 bits"):
        reading.picture(tmp_path / "deep.png")


def test_other_kinds_of_pictures_are_not_tried(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "eye.png", format="TIFF")
    with pytest.raises(FormatError, match="damaged or of another kind"):
        reading.picture(tmp_path / "eye.png")


def test_a_window_is_cut_out_at_whole_pixels_and_black_beyond_the_edge():
    image = Image.fromarray(COLOURS)
    assert (reading.window(image, (12, 10, 8, 6), (8, 6)) == COLOURS[7:13, 8:16]).all()
    corner = reading.window(image, (0, 0, 8, 6), (8, 6))
    assert (corner[3:, 4:] == COLOURS[:3, :4]).all()
    assert not corner[:3].any()
    assert not corner[:, :4].any()


def test_a_window_of_another_size_is_resampled():
    ramp = Image.fromarray(np.tile(np.arange(0, 240, 10, dtype=np.uint8), (20, 1)))
    small = reading.window(ramp, (12, 10, 24, 20), (12, 10))
    assert small.shape == (10, 12)
    assert small[5, 1:-1].tolist() == pytest.approx(np.arange(25, 220, 20), abs=1)


@pytest.mark.parametrize(
    "box",
    [(10, 10, 0, 5), (10, 10, -5, 5), (10, 10, 5, math.nan), (math.inf, 10, 5, 5), (1e9, 1, 5, 5), (10, 10, 49, 49)],
)
def test_a_window_that_makes_no_sense_is_refused(box):
    with pytest.raises(FormatError, match=r"^a window of .* does not fit an image of 24 x 20 px"):
        reading.window(Image.fromarray(COLOURS), box, (8, 8))


def test_missing_files_are_named_the_first_few_and_how_many(tmp_path):
    listed = {tmp_path / "day01" / f"{number:04d}.jpg": f"p00.txt, line {number}" for number in range(12)}
    (tmp_path / "day01").mkdir()
    (tmp_path / "day01" / "0000.jpg").touch()
    with pytest.raises(FormatError) as refusal:
        reading.check_files(tmp_path, listed)
    said = str(refusal.value)
    assert (
        "11 labelled file(s) missing, the first in p00.txt, line 1; fetch them: day01/0001.jpg, day01/0002.jpg" in said
    )
    assert said.endswith("day01/0005.jpg and 6 more.")


@pytest.mark.parametrize("name", ["", ".", "..", "/etc/passwd", "a/../../b.jpg", r"..\b.jpg", "a\0.jpg"])
def test_a_label_cannot_name_a_file_outside_the_folder(tmp_path, name):
    with pytest.raises(FormatError, match=r"^row 0: .* does not name a file inside"):
        reading.inside(tmp_path, name, "row 0")


def test_pictures_beside_those_that_are_listed_are_refused_if_one_likes(tmp_path):
    for name in ("1.jpg", "2.PNG", "notes.txt"):
        (tmp_path / name).touch()
    reading.check_files(tmp_path, {tmp_path / "1.jpg": "row 0"})
    with pytest.raises(FormatError, match=r"1 image file\(s\) without a label; .* --unlabelled skip: 2.PNG.$"):
        reading.check_files(tmp_path, {tmp_path / "1.jpg": "row 0"}, refuse_others=True)


def test_a_table_names_its_columns_in_the_first_line(tmp_path):
    (tmp_path / "p00.label").write_text("Face 2DGaze\n1.jpg 0.1,0.2\n\n2.jpg 0.3,0.4\n")
    assert list(reading.table(tmp_path / "p00.label", "p00")) == [
        ("p00, line 2", {"Face": "1.jpg", "2DGaze": "0.1,0.2"}),
        ("p00, line 4", {"Face": "2.jpg", "2DGaze": "0.3,0.4"}),
    ]


@pytest.mark.parametrize(
    ("values", "shape", "rows"),
    [
        (np.arange(6.0).reshape(2, 3), (3,), [[0, 1, 2], [3, 4, 5]]),
        (np.arange(3.0), (3,), [[0, 1, 2]]),
        (np.arange(3.0)[None], (), [0, 1, 2]),
        (np.float64(4), (), [4]),
    ],
)
def test_columns_of_matlab_come_back_row_by_row_whatever_axes_they_lost(tmp_path, values, shape, rows):
    (column,) = reading.columns({"gaze": values}, {"gaze": shape}, tmp_path)
    assert column.tolist() == rows


@pytest.mark.parametrize(
    ("gaze", "frame", "complaint"),
    [
        (np.zeros((3, 2)), np.zeros(2), r"gaze must be numbers of shape \('N', 3\), not float64 \(3, 2\)"),
        (["x", "y"], np.zeros(2), r"gaze must be numbers of shape"),
        ([np.zeros((1, 3)), np.zeros((1, 2))], np.zeros(2), r"gaze must be numbers of shape"),
        (np.float64(4), np.zeros(1), r"gaze must be numbers of shape \('N', 3\), not float64 \(\)"),
        (np.zeros((2, 3)), np.zeros((1, 3)), r"frame has 3 rows where there should be 2"),
    ],
)
def test_columns_that_are_no_table_are_refused_by_name(tmp_path, gaze, frame, complaint):
    path = tmp_path / "day01.mat"
    with pytest.raises(FormatError, match=f"day01.mat: {complaint}"):
        reading.columns({"gaze": gaze, "frame": frame}, {"gaze": (3,), "frame": ()}, path)


def test_a_vector_without_a_direction_has_no_angles():
    vectors = np.array([[0, 0, -2.0], [0, 0, 0], [0, np.nan, 1.0], [0, np.inf, 1.0]])
    assert np.isnan(reading.pitchyaw(vectors)).all(1).tolist() == [False, True, True, True]
    assert reading.pitchyaw(vectors)[0].tolist() == [0, 0]
