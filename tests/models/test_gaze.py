"""Angles: the convention, the way back, and small angles."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.gaze import angular_error, pitchyaw_to_vector, vector_to_pitchyaw

pitches = st.floats(-1.5, 1.5)
yaws = st.floats(-3.1, 3.1)


def test_zero_looks_into_the_camera_and_positive_angles_look_up_and_to_the_left() -> None:
    ahead, up, left = pitchyaw_to_vector(np.array([[0.0, 0.0], [np.pi / 2, 0.0], [0.0, np.pi / 2]]))
    np.testing.assert_allclose(ahead, [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(up, [0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(left, [-1, 0, 0], atol=1e-12)


@given(pitches, yaws)
def test_angles_survive_the_way_to_vectors_and_back(pitch: float, yaw: float) -> None:
    angles = np.array([pitch, yaw])
    np.testing.assert_allclose(vector_to_pitchyaw(3 * pitchyaw_to_vector(angles)), angles, atol=1e-9)


@given(pitches, yaws, pitches, yaws)
def test_the_error_is_symmetric_and_between_0_and_180(p1: float, y1: float, p2: float, y2: float) -> None:
    a, b = np.array([p1, y1]), np.array([p2, y2])
    assert 0 <= angular_error(a, b) <= 180
    assert angular_error(a, b) == pytest.approx(angular_error(b, a))


def test_a_turn_of_ten_degrees_is_ten_degrees() -> None:
    assert angular_error(torch.zeros(2), torch.tensor([0.0, math.radians(10)])).item() == pytest.approx(10, abs=1e-5)


def test_thousandths_of_a_degree_are_resolved_in_float32() -> None:
    assert angular_error(torch.zeros(2), torch.tensor([math.radians(0.005), 0.0])).item() == pytest.approx(
        0.005, rel=1e-3
    )


def test_numpy_and_torch_agree_and_leading_shapes_broadcast() -> None:
    a, b = np.random.default_rng(0).normal(size=(5, 2)), np.zeros(2)
    errors = angular_error(torch.from_numpy(a), torch.from_numpy(b))
    assert errors.shape == (5,)
    np.testing.assert_allclose(angular_error(a, b), errors.numpy(), rtol=1e-12)


def test_another_last_axis_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 2\)"):
        angular_error(np.zeros(3), np.zeros(3))
