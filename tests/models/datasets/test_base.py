import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.datasets.base import GazeData, Splits, split_by_group


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
