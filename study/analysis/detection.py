"""Detection in a two-alternative forced choice: proportion correct, d' and criterion.

The intervals of this module take trials as independent. They describe; `equivalence` decides.
"""

import math
from typing import Any

import pandas as pd
from scipy.special import ndtri
from statsmodels.stats.proportion import proportion_confint


def proportion_intervals(correct: int, n: int, level: float = 0.95) -> dict[str, float]:
    """Wilson and Clopper-Pearson intervals of a proportion of `correct` out of `n` independent trials (n >= 1)."""
    wilson = proportion_confint(correct, n, alpha=1 - level, method="wilson")
    exact = proportion_confint(correct, n, alpha=1 - level, method="beta")
    return {
        "wilson_low": float(wilson[0]),
        "wilson_high": float(wilson[1]),
        "clopper_pearson_low": float(exact[0]),
        "clopper_pearson_high": float(exact[1]),
    }


def dprime(proportion_correct: float) -> float | None:
    """d' = sqrt(2) z(PC) of a forced choice between two; None where it is infinite (PC of 0 or 1)."""
    d = math.sqrt(2) * float(ndtri(proportion_correct))
    return d if math.isfinite(d) else None


def dprime_se(proportion_correct: float, n: int) -> float | None:
    """Standard error of d' over `n` independent trials by the delta method: sqrt(2 PC (1 - PC)/n)/phi(z(PC))."""
    if dprime(proportion_correct) is None:
        return None
    z = float(ndtri(proportion_correct))
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(2 * proportion_correct * (1 - proportion_correct) / n) / density


def dprime_unbiased(left_left: int, n_left: int, left_right: int, n_right: int) -> tuple[float | None, float | None]:
    """d' and criterion without the bias of people who prefer one side.

    Args:
        left_left: answers "left" among the `n_left` trials whose altered image was on the left.
        left_right: answers "left" among the `n_right` trials whose altered image was on the right.

    Returns:
        (d', c) = ((zH - zF)/sqrt(2), -(zH + zF)/2), H and F log-linear corrected, (x + .5)/(n + 1) (Hautus 1995).
        A negative c means that people prefer "left". (None, None) where one side was never altered.
    """
    if not n_left or not n_right:
        return None, None
    z_hit = float(ndtri((left_left + 0.5) / (n_left + 1)))
    z_false = float(ndtri((left_right + 0.5) / (n_right + 1)))
    return (z_hit - z_false) / math.sqrt(2), -(z_hit + z_false) / 2


def describe(cell: pd.DataFrame, level: float = 0.95) -> dict[str, Any]:
    """The descriptive part of one condition's row of the report, from the trials of that condition."""
    n, correct = len(cell), int(cell["correct"].sum())
    altered_left = cell["clean_side"] == "right"
    said_left = cell["response_side"] == "left"
    unbiased, criterion = dprime_unbiased(
        int((said_left & altered_left).sum()),
        int(altered_left.sum()),
        int((said_left & ~altered_left).sum()),
        int((~altered_left).sum()),
    )
    return {
        "n": n,
        "correct": correct,
        "proportion_correct": correct / n,
        **proportion_intervals(correct, n, level),
        "dprime": dprime(correct / n),
        "dprime_se": dprime_se(correct / n, n),
        "dprime_unbiased": unbiased,
        "criterion": criterion,
    }
