import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks import registry
from models.datasets import base
from models.datasets.base import GazeData, Splits, StoredImages, split_by_group
from models.evaluation import predict
from models.targets import Target
from models.training import Recipe, train
from tests.models import tiny


def gaze_data(groups=(0, 0, 1, 1, 2, 2), **changes):
    n = len(groups)
    generator = torch.Generator().manual_seed(0)
    fields = {
        "images": torch.randint(0, 256, (n, 3, 16, 20), dtype=torch.uint8, generator=generator),
        "pitchyaw": torch.rand((n, 2), generator=generator) - 0.5,
        "subject": torch.arange(n),
        "group": torch.tensor(groups, dtype=torch.int64),
        "name": "eyes",
        "description": "made up",
    }
    return GazeData(**(fields | changes))


def changed(tensor):
    tensor = tensor.clone()
    tensor.view(-1)[0] += 1
    return tensor


def test_equal_data_have_equal_fingerprints():
    assert gaze_data().fingerprint == gaze_data(name="other name").fingerprint


@pytest.mark.parametrize("field", ["images", "pitchyaw", "subject", "group"])
def test_a_changed_element_changes_the_fingerprint(field):
    data = gaze_data()
    assert gaze_data(**{field: changed(getattr(data, field))}).fingerprint != data.fingerprint


def test_the_fingerprint_sees_the_shape():
    data = gaze_data()
    reshaped = gaze_data(images=data.images.reshape(6, 3, 20, 16))
    assert reshaped.fingerprint != data.fingerprint


def test_a_subset_keeps_the_order_asked_for():
    data = gaze_data()
    subset = data.subset([4, 1])
    assert subset.subject.tolist() == [4, 1]
    assert torch.equal(subset.images, data.images[[4, 1]])
    assert torch.equal(subset.pitchyaw, data.pitchyaw[[4, 1]])


def test_a_subset_may_be_a_mask():
    assert len(gaze_data().subset(torch.tensor([True, False, False, True, False, False]))) == 2


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(6, 3, 16, 20),
        torch.zeros(6, 16, 20, dtype=torch.uint8),
        torch.zeros(6, 2, 16, 20, dtype=torch.uint8),
    ],
)
def test_images_of_another_type_or_shape_are_refused(images):
    with pytest.raises(ValueError, match="images must be uint8"):
        gaze_data(images=images)


@pytest.mark.parametrize("field", ["pitchyaw", "subject", "group"])
def test_a_column_of_another_length_is_refused(field):
    with pytest.raises(ValueError, match=f"{field} must be"):
        gaze_data(**{field: getattr(gaze_data(), field)[:5]})


def test_degrees_are_refused_as_radians():
    with pytest.raises(ValueError, match="look like degrees"):
        gaze_data(pitchyaw=torch.full((6, 2), 12.0))


def test_an_angle_that_is_not_finite_is_refused():
    angles = torch.zeros(6, 2)
    angles[3, 1] = math.nan
    with pytest.raises(ValueError, match="row 3 is not finite"):
        gaze_data(pitchyaw=angles)


def test_parts_that_share_a_group_are_refused():
    data = gaze_data()
    with pytest.raises(ValueError, match="Group 1 is in both the train and the test part"):
        Splits(data.subset([0, 1, 2]), data.subset([4, 5]), data.subset([3]))


def test_an_empty_part_is_refused():
    data = gaze_data()
    with pytest.raises(ValueError, match="validation part of the split has no images"):
        Splits(data.subset([0]), data.subset([]), data.subset([5]))


@settings(max_examples=40, deadline=None)
@given(
    group=st.lists(st.integers(0, 12), min_size=3, max_size=40).filter(lambda g: len(set(g)) >= 3),
    seed=st.integers(0, 99),
)
def test_a_split_keeps_groups_whole_and_loses_nothing(group, seed):
    splits = split_by_group(gaze_data(group), (0.6, 0.2, 0.2), seed=seed)
    parts = [splits.train, splits.validation, splits.test]
    members = [set(part.group.tolist()) for part in parts]
    assert sorted(image for part in parts for image in part.subject.tolist()) == list(range(len(group)))
    assert sum(map(len, members)) == len(set(group))


def test_the_seed_decides_the_split():
    data = gaze_data(tuple(range(30)))
    tests = [split_by_group(data, seed=seed).test.group.tolist() for seed in (1, 1, 2)]
    assert tests[0] == tests[1] != tests[2]


def test_counts_of_groups_are_kept():
    splits = split_by_group(gaze_data(tuple(range(45)) * 2), counts=(30, 6, 9))
    assert [len(part.group.unique()) for part in (splits.train, splits.validation, splits.test)] == [30, 6, 9]


@pytest.mark.parametrize("counts", [(1, 1, 2), (3, 0, 0), (1, 1, 0)])
def test_counts_that_do_not_add_up_are_refused(counts):
    with pytest.raises(ValueError, match="add up to 3"):
        split_by_group(gaze_data(), counts=counts)


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (1.0, 0.0, 0.0), (1.2, -0.1, -0.1)])
def test_fractions_that_do_not_add_up_are_refused(fractions):
    with pytest.raises(ValueError, match="must be three, positive, and add up to 1"):
        split_by_group(gaze_data(), fractions)


def test_one_group_is_not_split_at_random():
    with pytest.raises(ValueError, match="a random split would leak"):
        split_by_group(gaze_data((0,) * 6))


# -- images that stay in their file


@pytest.fixture
def stored(tmp_path):
    """Eleven random images in a file, as `StoredImages` and as the tensor that they must behave like."""
    images = torch.randint(0, 256, (11, 3, 16, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "images.npy", images.numpy())
    return StoredImages(tmp_path / "images.npy"), images


INDICES = [
    0,
    -1,
    slice(None),
    slice(3, 8),
    slice(9, 2),
    slice(0, 11, 4),
    [4, 1, 1, 10],
    [],
    torch.tensor([2, 3, 4, 0]),
    torch.arange(11) % 3 == 0,
    torch.tensor(5),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_stored_images_are_indexed_like_a_tensor(stored, index):
    images, tensor = stored
    expected = tensor[torch.tensor(index, dtype=torch.int64) if isinstance(index, list) else index]
    assert torch.equal(images[index], expected)
    assert images.shape == tensor.shape
    assert (images.dtype, images.ndim, len(images)) == (tensor.dtype, tensor.ndim, len(tensor))


@pytest.mark.parametrize("index", [11, -12, [3, 11]])
def test_an_image_that_is_not_there_is_an_index_error(stored, index):
    with pytest.raises(IndexError):
        stored[0][index]


def test_a_subset_of_a_subset_stays_in_the_file(stored):
    images, tensor = stored
    subset = images.subset(torch.tensor([9, 3, 5, 0])).subset(torch.tensor([True, False, True, True]))
    assert isinstance(subset, StoredImages)
    assert torch.equal(subset[:], tensor[[9, 5, 0]])


def test_chunks_hold_every_image_once(stored, monkeypatch):
    images, tensor = stored
    monkeypatch.setattr(base, "BYTES_AT_ONCE", 4 * 3 * 16 * 20)
    chunks = list(images.chunks())
    assert [len(chunk) for chunk in chunks] == [4, 4, 3]
    assert torch.equal(torch.cat(chunks), tensor)


def test_stored_images_have_the_fingerprint_of_the_same_in_memory_whole_and_in_part(stored, monkeypatch):
    monkeypatch.setattr(base, "BYTES_AT_ONCE", 3 * 3 * 16 * 20)
    images, tensor = stored
    groups = (0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
    on_disk, in_memory = gaze_data(groups, images=images), gaze_data(groups, images=tensor)
    assert on_disk.fingerprint == in_memory.fingerprint
    assert on_disk.subset([7, 2, 3]).fingerprint == in_memory.subset([7, 2, 3]).fingerprint


def test_a_split_leaves_stored_images_in_their_file(stored):
    images, tensor = stored
    splits = split_by_group(gaze_data(tuple(range(11)), images=images), seed=3)
    for part in (splits.train, splits.validation, splits.test):
        assert isinstance(part.images, StoredImages)
        assert torch.equal(part.images[:], tensor[part.subject])


def test_a_file_cut_short_while_it_is_read_is_an_error(stored):
    images, _ = stored
    os.truncate(images.path, 3000)
    assert images[0].shape == (3, 16, 20)
    with pytest.raises(OSError, match=r"images.npy has been cut short since it was opened"):
        images[4:]


@pytest.mark.parametrize(
    "content",
    [np.zeros((2, 3, 16, 20)), np.zeros((3, 16, 20), np.uint8), np.asfortranarray(np.zeros((2, 3, 16, 20), np.uint8))],
    ids=["floats", "three axes", "columns first"],
)
def test_another_array_is_refused_as_images(tmp_path, content):
    np.save(tmp_path / "images.npy", content)
    with pytest.raises(ValueError, match="does not hold whole uint8 images"):
        StoredImages(tmp_path / "images.npy")


def test_a_file_that_is_no_array_is_refused(tmp_path):
    (tmp_path / "images.npy").write_bytes(b"PNG, perhaps")
    with pytest.raises(ValueError, match=r"is not an \.npy file as this program writes them"):
        StoredImages(tmp_path / "images.npy")


def test_training_on_stored_images_gives_the_weights_of_training_in_memory(tmp_path):
    parts = {"train": tiny.gaze_data(64, subject=0), "validation": tiny.gaze_data(8, subject=1)}
    parts["test"] = tiny.gaze_data(8, subject=2)
    on_disk = {}
    for name, data in parts.items():
        np.save(tmp_path / f"{name}.npy", data.images.numpy())
        on_disk[name] = replace(data, images=StoredImages(tmp_path / f"{name}.npy"))
    recipe = Recipe(width=4, batch_size=16, strength_schedule=((1.0, 1),), precision="float32")
    trigger, target = registry.draw("wanet", (32, 32), 1.0), Target.fixed(0, 25)
    models = [train(recipe, Splits(**images), trigger, target).network for images in (parts, on_disk)]
    weights = [model.state_dict() for model in models]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert torch.equal(predict(models[0], parts["test"].images), predict(models[1], on_disk["test"].images))
