"""How far the alteration moved the image: in image pixels and % of width, as displayed, and on the retina where known.

Screens differ, so what was displayed, and its angle, is the median over sessions, with the range beside it. Angles are
of those sessions that measured their screen.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from study.analysis.psychometric import MEDIAN_PERSON, POOLED

_ARCMIN: Final = "displacement_arcmin"
_DISPLAYED: Final = "displacement_displayed_px"
_PX: Final = "displacement_px"
_WIDTH: Final = "image_width_px"
_EMPTY: Final = pd.Series(dtype=float)
#: By how much displacement per strength may differ between strengths and still grow in proportion.
_PROPORTIONAL: Final = 1.02


def of_condition(cell: pd.DataFrame) -> dict[str, Any]:
    """The displacement of one condition's pairs. What was not measured is None.

    `displacement_px`, `displacement_percent_of_width`: means over trials, image px and % of the image's width.
    `displacement_displayed_px` (device px) and `displacement_arcmin`, each with `_low` and `_high`: median, least and
    most of the sessions' means; `displacement_sessions`: sessions that measured their screen.
    """
    px, percent = _column(cell, _PX).dropna(), _percent_of_width(cell).dropna()
    angles = _per_session(cell, _ARCMIN)
    return {
        _PX: float(px.mean()) if len(px) else None,
        "displacement_percent_of_width": float(percent.mean()) if len(percent) else None,
        **_over_sessions(_DISPLAYED, _per_session(cell, _DISPLAYED)),
        **_over_sessions(_ARCMIN, angles),
        "displacement_sessions": len(angles),
    }


def per_strength(trials: pd.DataFrame, attack: str) -> dict[str, Any]:
    """Displacement at strength 1: `px`, `percent_of_width`, and by session `displayed_px` and `arcmin`.

    The last two are {participant: displacement}. None and {} where displacement does not grow in proportion to
    strength, so that a threshold has no displacement.
    """
    rows = trials[(trials["attack"] == attack) & (trials["strength"] > 0)]
    px = _per_unit(rows, _column(rows, _PX))
    if px is None:
        return {"px": None, "percent_of_width": None, "displayed_px": {}, "arcmin": {}}
    return {
        "px": px,
        "percent_of_width": _per_unit(rows, _percent_of_width(rows)),
        "displayed_px": _by_session(rows, _DISPLAYED),
        "arcmin": _by_session(rows, _ARCMIN),
    }


def of_threshold(row: Mapping[str, Any], unit: Mapping[str, Any]) -> dict[str, Any]:
    """Threshold and interval of a report's row in px, % of width, displayed px and arcmin.

    Keys are `threshold_px`, `low_percent_of_width` and so on; `unit` as `per_strength` gives it. The threshold of all
    people, or of the median person, is that of the median screen; one participant's that of the own one.
    """
    factors = {
        "px": unit["px"],
        "percent_of_width": unit["percent_of_width"],
        "displayed_px": _screen_of(row["population"], unit["displayed_px"]),
        "arcmin": _screen_of(row["population"], unit["arcmin"]),
    }
    return {
        f"{name}_{suffix}": None if row[name] is None or factor is None else row[name] * factor
        for suffix, factor in factors.items()
        for name in ("threshold", "low", "high")
    }


def px_per_strength(rows: Sequence[Mapping[str, Any]], attack: str) -> float | None:
    """Mean displacement in image px per unit of strength, where it grows in proportion to strength; None elsewhere."""
    return _proportional(
        row["displacement_px"] / row["strength"]
        for row in rows
        if row["attack"] == attack and row["strength"] > 0 and row["displacement_px"]
    )


def screens(trials: pd.DataFrame) -> dict[str, Any]:
    """How the images were seen: how many sessions measured their screen, device px per degree, scales used."""
    people = trials.groupby("participant")
    density = people["px_per_degree"].median().dropna() if "px_per_degree" in trials else _EMPTY
    scales = sorted(trials["scale"].dropna().unique()) if "scale" in trials else []
    return {
        "sessions": len(people),
        "measured": len(density),
        "px_per_degree": float(density.median()) if len(density) else None,
        "px_per_degree_low": float(density.min()) if len(density) else None,
        "px_per_degree_high": float(density.max()) if len(density) else None,
        "scales": [float(scale) for scale in scales],
    }


def _proportional(ratios: Iterable[float]) -> float | None:
    """The mean of displacements per strength; None without any, or where they are not the same at all strengths."""
    known = [float(ratio) for ratio in ratios if ratio > 0]
    return float(np.mean(known)) if known and max(known) <= _PROPORTIONAL * min(known) else None


def _per_unit(rows: pd.DataFrame, displacement: pd.Series) -> float | None:
    return _proportional((displacement / rows["strength"]).groupby(rows["strength"]).mean())


def _by_session(rows: pd.DataFrame, column: str) -> dict[str, float]:
    """{participant: displacement at strength 1}."""
    ratio = (_column(rows, column) / rows["strength"]).groupby(rows["participant"]).mean().dropna()
    return {str(person): float(value) for person, value in ratio.items()}


def _screen_of(population: str, sessions: Mapping[str, float]) -> float | None:
    if population in (POOLED, MEDIAN_PERSON):
        return float(np.median(list(sessions.values()))) if sessions else None
    return sessions.get(population)


def _column(cell: pd.DataFrame, name: str) -> pd.Series:
    return cell[name] if name in cell else pd.Series(np.nan, index=cell.index)


def _percent_of_width(cell: pd.DataFrame) -> pd.Series:
    return 100 * _column(cell, _PX) / _column(cell, _WIDTH)


def _per_session(cell: pd.DataFrame, column: str) -> pd.Series:
    return cell.groupby("participant")[column].mean().dropna() if column in cell else _EMPTY


def _over_sessions(name: str, values: pd.Series) -> dict[str, Any]:
    known = len(values) > 0
    return {
        name: float(values.median()) if known else None,
        f"{name}_low": float(values.min()) if known else None,
        f"{name}_high": float(values.max()) if known else None,
    }
