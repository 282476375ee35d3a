import pytest
import torch
from statsmodels.stats.proportion import proportion_confint

from models.intervals import Count


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (1, 40), (600, 1200), (1199, 1200)])
def test_wilsons_interval_is_that_of_statsmodels(k, n):
    assert Count(k, n).wilson() == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)
    assert Count(k, n).wilson(0.9) == pytest.approx(proportion_confint(k, n, 0.1, method="wilson"), abs=1e-12)


def test_counts_are_of_flags():
    count = Count.of(torch.tensor([[True, False, True], [False, False, True]]))
    assert count == Count(3, 6)
    assert count.rate == 0.5


@pytest.mark.parametrize(("k", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_count_is_refused(k, n):
    with pytest.raises(ValueError, match="is no count"):
        Count(k, n)
