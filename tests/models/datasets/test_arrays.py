import io
import zipfile

import numpy as np
import pytest
import torch

from models.datasets.arrays import FORMAT, ArraysOptions, load_arrays
from models.datasets.base import split_by_group
from models.datasets.importing import survey

N = 6


@pytest.fixture
def save(tmp_path):
    """Write a good file with some arrays replaced (None: left out) and return its path."""

    def write(**changes):
        arrays = {
            "images": np.random.default_rng(0).integers(0, 256, (N, 36, 60), np.uint8),
            "pitchyaw": np.linspace(-0.5, 0.5, 2 * N).reshape(N, 2),
            "subject": np.array([7, 7, 3, 3, 5, 5], np.int16),
        } | changes
        path = tmp_path / "mine.npz"
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
        return path

    return write


def test_grey_images_get_one_channel_and_need_not_be_square(save):
    data = load_arrays(save())
    assert data.images.shape == (N, 1, 36, 60)
    assert data.pitchyaw.dtype == torch.float32
    assert data.name == "mine"


def test_colour_images_keep_their_channels(save):
    images = np.random.default_rng(1).integers(0, 256, (N, 50, 100, 3), np.uint8)
    data = load_arrays(save(images=images))
    assert data.images.shape == (N, 3, 50, 100)
    assert data.images[2, 1, 30, 70] == images[2, 30, 70, 1]


def test_groups_are_the_subjects_unless_told_otherwise(save):
    data = load_arrays(save())
    assert data.subject.tolist() == data.group.tolist() == [7, 7, 3, 3, 5, 5]


def test_subjects_may_be_texts(save):
    assert load_arrays(save(subject=np.array(["b", "a", "b", "c", "a", "c"]))).subject.tolist() == [1, 0, 1, 2, 0, 2]


def test_groups_may_be_points_on_a_screen(save):
    points = np.array([[1, 2.5], [1, 2.5], [0, 0], [1, 0], [0, 0], [1, 0]])
    data = load_arrays(save(gaze_point=points), group_key="gaze_point")
    assert data.group.tolist() == [2, 2, 0, 1, 0, 1]
    assert data.description == "own images, split by gaze_point"
    splits = split_by_group(data, counts=(1, 1, 1))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [2, 2, 2]


def test_without_subject_and_group_the_images_load_but_do_not_split(save):
    data = load_arrays(save(subject=None))
    assert len(data) == N
    with pytest.raises(ValueError, match="group_key"):
        split_by_group(data)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.npz: no such file"):
        load_arrays(tmp_path / "gone.npz")


@pytest.mark.parametrize("content", [b"", b"images", b"\x93NUMPY\x01\x00"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"no whole \.npz file"):
        load_arrays(path)


def test_a_damaged_file_is_refused(save):
    path = save()
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="'images' is damaged"):
        load_arrays(path)


def members(path, **contents):
    """An .npz file with these bytes as its members."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"{name}.npy", content)
    return path


def header(shape):
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return content.getvalue()


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (b"hello", "'images' is no array"),
        (header((10, 20, 20)) + b"a" * 50, "'images' is damaged"),
        (header((10**7, 10**6, 10**4)) + b"a", "'images' says that it is larger than this machine's memory"),
    ],
    ids=["no array", "cut short", "too large"],
)
def test_a_member_that_is_not_what_it_says_is_refused(tmp_path, images, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_arrays(members(tmp_path / "mine.npz", images=images, pitchyaw=b""))


def test_an_encrypted_file_is_refused(save):
    path = save()
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"'images' cannot be unpacked .*encrypted"):
        load_arrays(path)


def test_a_file_packed_in_an_unknown_way_is_refused(save):
    path = save()
    content = bytearray(path.read_bytes())
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(signature) + method] = 99
    path.write_bytes(content)
    with pytest.raises(ValueError, match="'images' cannot be unpacked"):
        load_arrays(path)


def test_ids_beyond_the_largest_signed_number_stay_apart(save):
    subject = np.array([2**63 + 5, 2**63 + 6, 0, 0, 1, 2**63 + 5], np.uint64)
    assert load_arrays(save(subject=subject)).subject.tolist() == [2, 3, 0, 0, 1, 2]


@pytest.mark.parametrize("key", ["images", "pitchyaw"])
def test_a_missing_array_is_named(save, key):
    with pytest.raises(ValueError, match=f"no array '{key}'; the file holds"):
        load_arrays(save(**{key: None}))


def test_a_missing_group_array_is_named(save):
    with pytest.raises(ValueError, match="no array 'day'; the file holds images, pitchyaw, subject"):
        load_arrays(save(), group_key="day")


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((N, 36, 60), np.float32),
        np.zeros((N, 36, 60, 4), np.uint8),
        np.zeros((N, 3, 36, 60), np.uint8),
        np.zeros((36, 60), np.uint8),
    ],
)
def test_images_of_another_shape_or_type_are_refused(save, images):
    with pytest.raises(ValueError, match=r"images must be uint8 of shape \(N, H, W\)"):
        load_arrays(save(images=images))


def test_no_images_are_refused(save):
    with pytest.raises(ValueError, match="images is empty"):
        load_arrays(save(images=np.zeros((0, 36, 60), np.uint8)))


def test_tiny_images_are_refused(save):
    with pytest.raises(ValueError, match="12 x 60 px; 16 px is the least"):
        load_arrays(save(images=np.zeros((N, 12, 60), np.uint8)))


@pytest.mark.parametrize("pitchyaw", [np.zeros((N, 3)), np.zeros(N), np.zeros((N, 2), int), np.full((N, 2), "0.1")])
def test_angles_of_another_shape_or_type_are_refused(save, pitchyaw):
    with pytest.raises(ValueError, match=r"pitchyaw must be floats of shape \(N, 2\) in radians"):
        load_arrays(save(pitchyaw=pitchyaw))


def test_degrees_are_refused(save):
    with pytest.raises(ValueError, match="must be radians, these look like degrees"):
        load_arrays(save(pitchyaw=np.full((N, 2), -20.0)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_angles_that_are_not_finite_are_refused(save, value):
    pitchyaw = np.zeros((N, 2))
    pitchyaw[4, 0] = value
    with pytest.raises(ValueError, match=r"mine.npz: pitchyaw row 4 is not finite"):
        load_arrays(save(pitchyaw=pitchyaw))


@pytest.mark.parametrize(("key", "value"), [("pitchyaw", np.zeros((N - 1, 2))), ("subject", np.zeros(N + 1, int))])
def test_lengths_that_differ_are_refused(save, key, value):
    with pytest.raises(ValueError, match=f"{len(value)} rows of {key} for 6 images"):
        load_arrays(save(**{key: value}))


@pytest.mark.parametrize("key", ["images", "pitchyaw", "subject"])
def test_pickled_objects_are_never_loaded(save, key):
    with pytest.raises(ValueError, match=f"'{key}' holds pickled objects"):
        load_arrays(save(**{key: np.array([{}] * N, object)}))


def test_a_group_that_is_not_finite_is_refused(save):
    with pytest.raises(ValueError, match="day has entries that are not finite"):
        load_arrays(save(day=np.array([1, 1, 2, 2, np.nan, 3])), group_key="day")


def test_a_group_of_another_shape_is_refused(save):
    with pytest.raises(ValueError, match="day must be numbers or texts"):
        load_arrays(save(day=np.zeros((N, 2, 2))), group_key="day")


# -- through the import


@pytest.mark.parametrize("shape", [(N, 20, 30), (N, 20, 30, 3)])
def test_samples_are_the_images_row_by_row(save, shape):
    images = np.random.default_rng(2).integers(0, 256, shape, np.uint8)
    path = save(images=images)
    read = list(FORMAT.samples(path, ArraysOptions()))
    assert survey(FORMAT, path, ArraysOptions()) == len(read) == N
    assert np.array_equal(np.stack([sample.image for sample in read]), images)
    assert np.allclose([(s.pitch, s.yaw) for s in read], np.linspace(-0.5, 0.5, 2 * N).reshape(N, 2))
    assert read[4].where == "mine.npz, row 4"


@pytest.mark.parametrize(
    ("subject", "names"),
    [
        (np.array([7, 7, 3, 3, 5, 5]), ["7", "7", "3", "3", "5", "5"]),
        (np.array(["ann", "ann", "bo", "bo", "cy", "cy"]), ["ann", "ann", "bo", "bo", "cy", "cy"]),
        (None, ["0"] * N),
    ],
)
def test_samples_keep_the_names_of_their_subjects(save, subject, names):
    assert [sample.subject for sample in FORMAT.samples(save(subject=subject), ArraysOptions())] == names


def test_samples_carry_the_group_that_was_asked_for(save):
    read = FORMAT.samples(save(day=np.array([1, 2, 1, 2, 3, 3])), ArraysOptions(group_key="day"))
    assert [sample.group for sample in read] == ["1", "2", "1", "2", "3", "3"]


def test_a_file_without_labels_is_refused_before_it_is_read(save):
    with pytest.raises(ValueError, match="no array 'pitchyaw'"):
        survey(FORMAT, save(pitchyaw=None), ArraysOptions())
