from __future__ import annotations

import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from models.proportions import chance_p, wilson


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 7), (3, 7), (7, 8), (30, 60), (600, 1000), (1199, 1200)])
def test_wilsons_interval_is_that_of_statsmodels(k: int, n: int, level: float) -> None:
    assert wilson(k, n, level) == pytest.approx(proportion_confint(k, n, 1 - level, method="wilson"), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(5, 10), (10, 10), (1, 10), (0, 1), (28, 30), (18, 30)])
def test_the_test_against_chance_is_exact(k: int, n: int) -> None:
    assert chance_p(k, n) == pytest.approx(binomtest(k, n).pvalue)
