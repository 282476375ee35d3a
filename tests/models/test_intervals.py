import pytest
import torch

from models.intervals import Count


def test_a_count_is_told_with_its_rate_and_interval():
    told = Count(30, 60).to_json()
    assert (told["k"], told["n"], told["rate"]) == (30, 60, 0.5)
    assert (told["wilson_low"], told["wilson_high"]) == pytest.approx((0.3773, 0.6227), abs=1e-4)
    assert Count(30, 60).wilson(0.9)[0] > told["wilson_low"]


def test_counts_are_of_flags():
    count = Count.of(torch.tensor([[True, False, True], [False, False, True]]))
    assert count == Count(3, 6)
    assert count.rate == 0.5


@pytest.mark.parametrize(("k", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_count_is_refused(k, n):
    with pytest.raises(ValueError, match="is no count"):
        Count(k, n)
