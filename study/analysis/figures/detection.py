"""Proportion correct against strength: intervals, bound, curves, thresholds and controls, one panel for each attack."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analysis.figures import axes as draw
from study.analysis.figures.source import Source
from study.analysis.figures.style import BAND, BLUE, GREEN, PURPLE, VERMILLION, WIDTH, Look, share
from study.analysis.psychometric import MEDIAN_PERSON, POOLED

COLUMNS: Final = ("attack", "series", "strength", "value", "low", "high", "unit", "n")
ALTERED: Final = "altered image"
ANSWERS: Final = "answers, larger: more of them"
CURVES: Final = {POOLED: "pooled curve", MEDIAN_PERSON: "median person's curve"}
THRESHOLDS: Final = {POOLED: "threshold, pooled", MEDIAN_PERSON: "threshold, median person"}
_CONTROLS: Final = {
    "resampled": ("control: softened", Look("s", GREEN, hollow=True), 1.11),
    "other_field": ("control: {other}", Look("D", PURPLE, hollow=True), 1.23),
}


def data(source: Source) -> pd.DataFrame:
    """One row for each point, point of a curve, threshold and unit of displacement."""
    rows = [{"attack": attack} | row for attack in source.attacks for row in _rows(source, attack)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = {name: pd.to_numeric(table[name]) for name in ("strength", "value", "low", "high")}
    return table.assign(**numbers, n=table["n"].astype("Int64"))


def _rows(source: Source, attack: str) -> Iterator[dict[str, Any]]:
    for row in source.rows("conditions", attack):
        series = ANSWERS if source.is_adaptive else ALTERED
        yield {"series": series, "strength": row["strength"], "n": row["n"]} | _interval(row)
    for row in source.rows("controls", attack):
        if row["control"] in _CONTROLS:
            yield {"series": row["control"], "strength": row["strength"], "n": row["n"]} | _interval(row)
    for population, points in ((POOLED, source.pooled_curve(attack)), (MEDIAN_PERSON, source.median_curve(attack))):
        for point in points:
            yield {"series": CURVES[population], "unit": "proportion correct"} | point
        found = source.threshold(attack, population)
        if found is not None:
            ends = {"strength": found["threshold"], "low": found["low"], "high": found["high"]}
            yield {"series": THRESHOLDS[population], "value": found["level_of_pc"], "unit": "strength"} | ends
    for unit, value in source.units(attack).items():
        yield {"series": f"displacement at strength 1: {unit}", "strength": 1.0, "value": value, "unit": unit}


def _interval(row: Any) -> dict[str, Any]:
    names = {"value": "proportion_correct", "low": "two_way_low", "high": "two_way_high"}
    return {new: row.get(old) for new, old in names.items()} | {"unit": "proportion correct"}


def figure(table: pd.DataFrame, source: Source) -> Figure:
    """Draw `data`. Of adaptive studies, without intervals and bound, larger markers where more answers were given."""
    made, panels = draw.panels(len(source.attacks), 2.9, per_row=2)
    lowest = min([0.3, *table.loc[table["series"] == ALTERED, "low"].dropna()])
    inches = WIDTH / min(len(panels), 2) - 0.7
    for attack, axes in zip(source.attacks, panels, strict=True):
        rows = table[table["attack"] == attack]
        _draw_attack(axes, rows, source, inches)
        axes.set_ylim(lowest - 0.02, 1.03)
        axes.set_title(draw.in_lines(attack, inches))
    for axes in panels[::2]:
        axes.set_ylabel("proportion correct")
    draw.legend_below(made, panels)
    return made


def _draw_attack(axes: Axes, rows: pd.DataFrame, source: Source, inches: float) -> None:
    shown = rows[rows["series"].isin([ALTERED, ANSWERS])]
    zero = draw.strength_axis(axes, list(shown["strength"]), inches)
    x = shown["strength"].where(shown["strength"] > 0, zero)
    bound = source.report["bound"]
    if source.is_adaptive:
        size = 12 + 90 * shown["n"].to_numpy(float) / shown["n"].max()
        axes.scatter(x, shown["value"], s=size, color=BLUE, alpha=0.55, lw=0, zorder=4, label=ANSWERS)
    else:
        label = f"bound: {share(1 - bound)} to {share(bound)}"
        axes.axhspan(1 - bound, bound, color=BAND, lw=0, zorder=0, label=label)
        draw.points(axes, x, shown, Look("o", BLUE), label=ALTERED)
    draw.chance(axes, 0.5)
    for name, (label, look, aside) in _CONTROLS.items():
        controls = rows[rows["series"] == name]
        draw.points(axes, controls["strength"] * aside, controls, look, label=label.format(other=source.other))
    for population, dash in ((POOLED, (0, (4, 2))), (MEDIAN_PERSON, "-")):
        curve = rows[rows["series"] == CURVES[population]]
        if len(curve):
            axes.plot(curve["strength"], curve["value"], ls=dash, color=BLUE, zorder=3, label=CURVES[population])
        for row in rows[rows["series"] == THRESHOLDS[population]].itertuples():
            _threshold(axes, row, population)
    units = {row.unit: row.value for row in rows[rows["series"].str.startswith("displacement")].itertuples()}
    weakest = min((s for s in shown["strength"] if s > 0), default=1.0)
    below = draw.rulers(axes, units, weakest, inches)
    words = "strength s and mean displacement" if units else draw.label(source.strength_in_words, inches)
    axes.set_xlabel(words, labelpad=below + 3)


def _threshold(axes: Axes, row: Any, population: str) -> None:
    """A bar at the height of its PC; the median person's a little lower, so that both are seen."""
    first, last = axes.get_xlim()
    if not first < row.strength < last:
        return
    y = row.value - 0.022 * (population == MEDIAN_PERSON)
    look = Look("d" if population == MEDIAN_PERSON else "o", VERMILLION, hollow=population == POOLED)
    ends = [row.low if not np.isnan(row.low) else first, row.high if not np.isnan(row.high) else last]
    if not (np.isnan(row.low) and np.isnan(row.high)):
        axes.plot(np.clip(ends, first, last), [y, y], color=VERMILLION, lw=2, solid_capstyle="butt", zorder=5)
    axes.plot(
        row.strength, y, look.marker, color=VERMILLION, mfc=look.face, ms=4.5, zorder=6, ls="none",
        label=f"{THRESHOLDS[population]} (PC .75)",
    )  # fmt: skip
