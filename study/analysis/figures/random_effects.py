"""How people and images differ: the crossed model's random effects, sorted, with the images that give it away most."""

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analysis.figures import axes as draw
from study.analysis.figures.source import Source
from study.analysis.figures.style import BLUE, GREY, SKY, SMALL, VERMILLION, shortened

COLUMNS: Final = ("unit", "name", "value", "low", "high", "sd")
PANELS: Final = {"participant": "Participants", "stimulus": "Images"}
#: How many of the images most often detected are named.
NAMED: Final = 5
#: More units than this are drawn as a band.
_MANY = 150


def data(source: Source) -> pd.DataFrame:
    """One row for each participant and image, from the least to the greatest effect; interval = mode ± 1.96 SD.

    Units among which no spread was found have none.
    """
    effects = source.report.get("random_effects") or {}
    rows = [
        {"unit": unit, "name": row["name"], "value": row["mode"], "sd": row["sd"], "low": low, "high": high}
        for unit in PANELS
        if any(row["mode"] for row in effects.get(unit) or ())
        for row in sorted(effects[unit], key=lambda row: (row["mode"], row["name"]))
        for low, high in [_interval(row)]
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _interval(row: Any) -> tuple[float | None, float | None]:
    return (None, None) if row["sd"] is None else (row["mode"] - 1.96 * row["sd"], row["mode"] + 1.96 * row["sd"])


def figure(table: pd.DataFrame, source: Source) -> Figure:
    """Draw `data` as one caterpillar for people and one for images."""
    units = [unit for unit in PANELS if (table["unit"] == unit).any()]
    made, panels = draw.panels(len(units), 3.3)
    for unit, axes in zip(units, panels, strict=True):
        rows = table[table["unit"] == unit]
        _caterpillar(axes, rows)
        axes.set_title(f"{PANELS[unit]} ({len(rows)})")
        axes.set_xlabel(f"{PANELS[unit].lower()}, sorted")
        if unit == "stimulus":
            _name_the_most_detected(axes, rows)
    link = ((source.report.get("models") or {}).get("glmm_lapse") or {}).get("link")
    panels[0].set_ylabel(
        "seen less often   ←   0   →   seen more often" + (f"\n({link} units, ± 1.96 SD)" if link else "")
    )
    return made


def _caterpillar(axes: Axes, rows: pd.DataFrame) -> None:
    place = np.arange(1, len(rows) + 1)
    draw.chance(axes, 0.0)
    if len(rows) > _MANY:
        axes.fill_between(place, rows["low"], rows["high"], color=SKY, alpha=0.45, lw=0)
        axes.plot(place, rows["value"], color=BLUE, lw=1.6)
        return
    axes.vlines(place, rows["low"], rows["high"], color=GREY, lw=1)
    axes.plot(place, rows["value"], "o", color=BLUE, ms=3.2 if len(rows) > 60 else 4)


def _name_the_most_detected(axes: Axes, rows: pd.DataFrame) -> None:
    top = rows.tail(NAMED)
    places = np.arange(len(rows) - len(top) + 1, len(rows) + 1)
    axes.plot(places, top["value"], "D", color=VERMILLION, ms=4.5, ls="none")
    names = [shortened(str(name), 22) for name in top["name"][::-1]]
    axes.text(
        0.03, 0.98, "seen most often:\n" + "\n".join(names), transform=axes.transAxes, va="top", fontsize=SMALL,
        color="#8A3B00", linespacing=1.25,
    )  # fmt: skip
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.25 * (high - low))
