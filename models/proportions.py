"""A share of independent trials: its interval, its test. Plain: web processes use it as well (`study.desk.live`)."""

from math import exp, lgamma, log, sqrt
from statistics import NormalDist


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share of k out of n independent trials, n >= 1; two numbers in [0, 1]."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * sqrt(k * (n - k) / n + z * z / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def chance_p(k: int, n: int) -> float:
    """Two-sided p of k right out of n fair coins, exact."""
    most = max(k, n - k)
    tail = sum(exp(lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) - n * log(2)) for i in range(most, n + 1))
    return min(1.0, 2 * tail)
