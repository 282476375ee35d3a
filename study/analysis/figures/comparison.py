"""Several studies side by side: what each detects, and each one's thresholds and margins."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analysis.figures import axes as draw
from study.analysis.figures.source import Source, margin_values
from study.analysis.figures.style import GREY, WIDTH, Look, looks, shortened
from study.analysis.psychometric import MEDIAN_PERSON, POOLED

COLUMNS: Final = ("panel", "study", "attack", "series", "strength", "value", "low", "high", "unit", "n", "censored")
DETECTION, CURVE, THRESHOLD, MARGIN = "detection", "curve", "threshold", "stealth margin"
_UNITS: Final = {
    "strength": "strength s",
    "% of width": "% of the image's width",
    "ratio of strengths": "people / models",
}
_WORDS: Final = {MEDIAN_PERSON: "median person", POOLED: "pooled"}


@dataclass(frozen=True)
class Named:
    """One study of the comparison, under the name it is printed with."""

    name: str
    source: Source


def data(studies: Sequence[Named]) -> pd.DataFrame:
    """One row for each condition, point of a curve, threshold and margin of each study."""
    rows = [{"study": one.name} | row for one in studies for row in _rows(one.source)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = {name: pd.to_numeric(table[name]) for name in ("strength", "value", "low", "high")}
    return table.assign(**numbers, n=table["n"].astype("Int64"))


def _rows(source: Source) -> Iterator[dict[str, Any]]:
    for attack in source.attacks:
        for row in source.rows("conditions", attack):
            ends = {"low": row.get("two_way_low"), "high": row.get("two_way_high")}
            where = {"panel": DETECTION, "attack": attack, "strength": row["strength"], "n": row["n"]}
            if not source.is_adaptive:
                yield where | {"value": row["proportion_correct"], "unit": "proportion correct"} | ends
        for point in source.pooled_curve(attack):
            yield {"panel": CURVE, "attack": attack, "unit": "proportion correct"} | point
        for population, words in _WORDS.items():
            threshold = source.threshold(attack, population)
            if threshold is not None:
                yield {"panel": THRESHOLD, "attack": attack, "series": words} | _of_threshold(threshold)
        for margin in source.rows("stealth_margin", attack):
            if (margin["human_level"], margin["machine_level"]) == ("PC .75", "success rate .9"):
                yield {"panel": MARGIN, "attack": attack, "unit": "ratio of strengths"} | margin_values(margin)


def _of_threshold(row: Mapping[str, Any]) -> dict[str, Any]:
    """In % of the image's width where it is known, which differs between attacks less than strength does."""
    if row.get("threshold_percent_of_width"):
        names = {"value": "threshold_percent_of_width", "low": "low_percent_of_width", "high": "high_percent_of_width"}
        return {new: row.get(old) for new, old in names.items()} | {"unit": "% of width", "strength": row["threshold"]}
    return {
        "value": row["threshold"],
        "low": row["low"],
        "high": row["high"],
        "unit": "strength",
        "strength": row["threshold"],
    }


def figure(table: pd.DataFrame, bound: float | None) -> Figure:
    """Draw `data`: detection of all studies over one axis of strength above; thresholds and margins below.

    Args:
        bound: the bound of the studies, where it is the same for all of them.
    """
    lines = list(dict.fromkeys(zip(table["study"], table["attack"], strict=True)))
    of_line = dict(zip(lines, looks([f"{study}, {attack}" for study, attack in lines]).values(), strict=True))
    forests = [(panel, unit) for panel in (THRESHOLD, MARGIN)
               for unit in dict.fromkeys(table.loc[table["panel"] == panel, "unit"])]  # fmt: skip
    forest_height = 0.75 + 0.24 * len(lines) if forests else 0.0
    made = Figure(figsize=(WIDTH, 3.0 + forest_height + 0.17 * len(lines)), layout="constrained")
    parts: Any = made.subfigures(2, 1, height_ratios=[3.0, forest_height]) if forests else [made]
    _draw_detection(parts[0].subplots(), table, of_line, bound)
    if forests:
        grid = parts[1].subplots(1, len(forests), sharey=True, squeeze=False)[0]
        for (panel, unit), axes in zip(forests, grid, strict=True):
            _draw_forest(axes, table[(table["panel"] == panel) & (table["unit"] == unit)], of_line)
            axes.set_title("Stealth margin" if panel == MARGIN else "Threshold, PC .75")
            axes.set_xlabel(_UNITS[unit])
        grid[0].set_yticks(range(len(lines)), [shortened(f"{study}, {attack}", 34) for study, attack in lines])
        grid[0].set_ylim(len(lines) - 0.5, -0.5)
    return made


def _draw_detection(axes: Axes, table: pd.DataFrame, of_line: Mapping[Any, Look], bound: float | None) -> None:
    shown = table[table["panel"].isin([DETECTION, CURVE])]
    zero = draw.strength_axis(axes, list(shown.loc[shown["panel"] == DETECTION, "strength"]), WIDTH - 3.2)
    draw.chance(axes, 0.5)
    if bound is not None:
        axes.axhspan(1 - bound, bound, color="#E4E4E4", lw=0, zorder=0, label="bound")
    aside = np.geomspace(0.94, 1.06, len(of_line)) if len(of_line) > 1 else np.ones(len(of_line))
    for beside, ((study, attack), look) in zip(aside, of_line.items(), strict=True):
        rows = shown[(shown["study"] == study) & (shown["attack"] == attack)]
        points, curve = rows[rows["panel"] == DETECTION], rows[rows["panel"] == CURVE]
        x = points["strength"].where(points["strength"] > 0, zero)
        name = shortened(f"{study}, {attack}", 34)
        draw.points(axes, x * beside, points, look, label=name)
        label = name if points.empty else None
        axes.plot(curve["strength"], curve["value"], ls=look.dash, lw=1.1, color=look.colour, label=label)
    if (table["panel"] == THRESHOLD).any():
        for words, face in ((_WORDS[MEDIAN_PERSON], GREY), (_WORDS[POOLED], "white")):
            axes.plot([], [], "o", color=GREY, mfc=face, label=f"threshold: {words}")
    axes.set(xlabel="strength s (log scale)", ylabel="proportion correct")
    if len(shown):
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    else:
        axes.text(0.5, 0.6, "no proportions to compare", ha="center", transform=axes.transAxes)


def _draw_forest(axes: Axes, rows: pd.DataFrame, of_line: Mapping[Any, Look]) -> None:
    known = rows[["value", "low", "high"]].to_numpy(float)
    known = known[np.isfinite(known) & (known > 0)]
    is_margin = bool((rows["panel"] == MARGIN).all())
    axes.set_xscale("log")
    axes.set_xlim(min(known, default=1.0) / 1.3, max(known, default=1.0) * 1.3)
    draw.round_ticks(axes, 2.0, "×" if is_margin else "")
    if is_margin:
        axes.axvline(1, color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=0)
    places = {line: place for place, line in enumerate(of_line)}
    for row in rows.itertuples():
        look = of_line[row.study, row.attack]
        aside = {_WORDS[MEDIAN_PERSON]: -0.16, _WORDS[POOLED]: 0.16}.get(row.series, 0.0)
        own = Look(look.marker, look.colour, hollow=row.series == _WORDS[POOLED])
        y = places[row.study, row.attack] + aside
        if is_margin and np.isnan(row.value):
            draw.bound(axes, row, y, look.colour)
        else:
            draw.threshold(axes, row._replace(strength=row.value), y, own)
