"""How far the alteration moved the image: in image pixels, and on the retina where a session's screen was measured.

Screens differ, so an angle is the median over the sessions that measured theirs, with the range beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from study.analysis.psychometric import POOLED

_ARCMIN: Final = "displacement_arcmin"
_EMPTY: Final = pd.Series(dtype=float)


def of_condition(cell: pd.DataFrame) -> dict[str, Any]:
    """The displacement of one condition's pairs: px, and arcmin over sessions. What was not measured is None.

    `displacement_px`: mean over trials, image px. `displacement_arcmin` with `_low` and `_high`: median, least and most
    of the sessions' means, `displacement_sessions` their number.
    """
    px = cell["displacement_px"].dropna() if "displacement_px" in cell else _EMPTY
    return {"displacement_px": float(px.mean()) if len(px) else None} | _over_sessions(_per_session(cell))


def per_strength(trials: pd.DataFrame, attack: str) -> dict[str, Any]:
    """Displacement at strength 1: `px`, and `arcmin` of each session {participant: arcmin}.

    None and {} where displacement does not grow in proportion to strength, so that a threshold has no displacement.
    """
    rows = trials[(trials["attack"] == attack) & (trials["strength"] > 0)]
    means = [
        {"attack": attack, "strength": float(strength), "displacement_px": of_condition(cell)["displacement_px"]}
        for strength, cell in rows.groupby("strength")
    ]
    px = px_per_strength(means, attack)
    if px is None or _ARCMIN not in rows:
        return {"px": px, "arcmin": {}}
    ratio = (rows[_ARCMIN] / rows["strength"]).groupby(rows["participant"]).mean().dropna()
    return {"px": px, "arcmin": {str(person): float(value) for person, value in ratio.items()}}


def of_threshold(row: Mapping[str, Any], unit: Mapping[str, Any]) -> dict[str, Any]:
    """Threshold and interval of a report's row in px and arcmin; `unit` as `per_strength` gives it.

    A pooled threshold is that of the median screen, one person's that of the person's own.
    """
    pooled = _over_sessions(pd.Series(unit["arcmin"], dtype=float))[_ARCMIN]
    arcmin = pooled if row["population"] == POOLED else unit["arcmin"].get(row["population"])
    return {
        f"{name}_{suffix}": None if row[name] is None or factor is None else row[name] * factor
        for suffix, factor in (("px", unit["px"]), ("arcmin", arcmin))
        for name in ("threshold", "low", "high")
    }


def px_per_strength(rows: Sequence[Mapping[str, Any]], attack: str) -> float | None:
    """Mean displacement in image px per unit of strength, where it grows in proportion to strength; None elsewhere."""
    ratios = [
        row["displacement_px"] / row["strength"]
        for row in rows
        if row["attack"] == attack and row["strength"] > 0 and row["displacement_px"]
    ]
    if not ratios or max(ratios) > 1.02 * min(ratios):
        return None
    return float(np.mean(ratios))


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


def _per_session(cell: pd.DataFrame) -> pd.Series:
    return cell.groupby("participant")[_ARCMIN].mean().dropna() if _ARCMIN in cell else _EMPTY


def _over_sessions(values: pd.Series) -> dict[str, Any]:
    known = len(values) > 0
    return {
        _ARCMIN: float(values.median()) if known else None,
        f"{_ARCMIN}_low": float(values.min()) if known else None,
        f"{_ARCMIN}_high": float(values.max()) if known else None,
        "displacement_sessions": len(values),
    }
