import numpy as np
import pytest

from models.dose_response import first_crossing, first_crossings, responses_at


@pytest.mark.parametrize(
    ("values", "crossing"),
    [
        ([0, 0.2, 0.8, 1], 0.375),
        ([0, 0.8, 0.1, 1], 0.25 * 0.5 / 0.8),
        ([0, 0.1, 0.2, 0.3], None),
        ([0, None, 0.5, 1], 0.5),
        ([0.6, 0.7, 0.8, 0.9], 0.0),
        ([], None),
    ],
)
def test_the_first_crossing_of_one_half_counts(values, crossing):
    doses = (0.0, 0.25, 0.5, 1.0)[: len(values)]
    assert first_crossing(doses, values) == (None if crossing is None else pytest.approx(crossing))


def test_a_crossing_reads_back_as_its_level():
    rng = np.random.default_rng(3)
    doses, curves = np.sort(rng.random(6)), np.cumsum(rng.random((50, 6)), axis=1)
    crossings = first_crossings(doses, curves, 1.5)
    reached = np.isfinite(crossings) & (curves[:, 0] < 1.5)
    assert reached.sum() > 20
    assert responses_at(doses, curves, crossings)[reached] == pytest.approx(1.5)


def test_a_curve_that_never_reaches_the_level_crosses_at_infinity():
    assert first_crossings([1, 2], [[0, 0.4], [0, 0.6]], 0.5).tolist() == [np.inf, pytest.approx(1 + 0.5 / 0.6)]


def test_a_curve_with_a_missing_value_has_no_known_crossing():
    assert np.isnan(first_crossings([1, 2], [[np.nan, 0.6]], 0.5)).all()


def test_each_curve_is_read_at_a_dose_of_its_own():
    curves = [[0, 1, 3], [5, 5, 9]]
    assert responses_at([0, 1, 2], curves, [0.5, 2.0]).tolist() == [0.5, 9]


@pytest.mark.parametrize("dose", [-0.1, 2.1, np.inf, np.nan])
def test_beyond_the_doses_measured_nothing_is_read(dose):
    assert np.isnan(responses_at([0, 1, 2], [[0, 1, 3]], [dose])).all()


def test_a_single_dose_can_be_read():
    assert responses_at([1.0], [[0.4]], [1.0]).tolist() == [0.4]
    assert first_crossing([1.0], [0.4], 0.3) == 1.0
