"""Reading a dose-response: where it first reaches a level, and what it is at a given dose.

Between the doses measured it is taken to be linear on the axis that is given, be that strength or its logarithm.
Plain numpy, so that a statistics module may use it without torch.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def first_crossing(doses: Sequence[float], values: Iterable[float | None], level: float = 0.5) -> float | None:
    """The smallest dose at which the curve reaches `level`; None when it never does.

    The first crossing, because the curve need not rise above the strengths a model was trained with. Values that are
    None were not measured; a curve that starts at or above the level gives the first dose measured.
    """
    measured = [(dose, value) for dose, value in zip(doses, values, strict=True) if value is not None]
    if not measured:
        return None
    x, y = np.asarray(measured, dtype=float).T
    crossing = float(first_crossings(x, y[None], level)[0])
    return crossing if np.isfinite(crossing) else None


def first_crossings(doses: npt.ArrayLike, curves: npt.ArrayLike, level: float) -> Floats:
    """The first crossing of each of many curves.

    Args:
        doses: (S,), ascending.
        curves: (D, S), one curve a row.

    Returns:
        (D,): infinity where a curve never reaches the level, NaN where a value of it is NaN.
    """
    x, y = np.asarray(doses, dtype=float), np.asarray(curves, dtype=float)
    reached = y >= level
    at = reached.argmax(1)
    before = np.maximum(at - 1, 0)
    row = np.arange(len(y))
    rise = y[row, at] - y[row, before]
    share = np.divide(level - y[row, before], rise, out=np.zeros(len(y)), where=rise > 0)
    crossing = x[before] + share * (x[at] - x[before])
    crossing[~reached.any(1)] = np.inf
    crossing[np.isnan(y).any(1)] = np.nan
    return crossing


def responses_at(doses: npt.ArrayLike, curves: npt.ArrayLike, at: npt.ArrayLike) -> Floats:
    """Each curve's value at a dose of its own: (S,) doses ascending, (D, S) curves, (D,) doses asked for.

    Returns (D,): NaN where the dose asked for lies beyond those measured, or is NaN itself.
    """
    x, y, asked = (np.asarray(array, dtype=float) for array in (doses, curves, at))
    inside = (asked >= x[0]) & (asked <= x[-1])
    asked = np.where(inside, asked, x[0])
    upper = np.clip(np.searchsorted(x, asked), min(1, len(x) - 1), len(x) - 1)
    lower = np.maximum(upper - 1, 0)
    row = np.arange(len(y))
    width = x[upper] - x[lower]
    share = np.divide(asked - x[lower], width, out=np.zeros(len(y)), where=width > 0)
    value: Any = y[row, lower] + share * (y[row, upper] - y[row, lower])
    return np.where(inside, value, np.nan)
