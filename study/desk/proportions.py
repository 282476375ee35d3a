"""Shares of a count, without the statistics' libraries: web processes do not load them (`study.analysis.detection`)."""

from __future__ import annotations

from math import exp, lgamma, log, sqrt
from statistics import NormalDist
from typing import Final

#: As `study.analysis.equivalence` has it: at this level an identity control off chance is a fault of the study.
CONTROL_ALPHA: Final = 0.01


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share of k out of n independent trials, n >= 1; two numbers in [0, 1]."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, weight = k / n, z * z / n
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * sqrt(share * (1 - share) / n + weight / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def chance_p(k: int, n: int) -> float:
    """Two-sided p of k right out of n fair coins, exact."""
    most = max(k, n - k)
    tail = sum(exp(lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) - n * log(2)) for i in range(most, n + 1))
    return min(1.0, 2 * tail)
