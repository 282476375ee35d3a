"""What an attack achieves against how well people detect it: one line for each attack, a point for each strength."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analysis.detection import dprime
from study.analysis.figures import axes as draw
from study.analysis.figures.source import Source
from study.analysis.figures.style import GREY, SMALL, looks
from study.analysis.frontier import names_tasks

COLUMNS: Final = (
    "panel",
    "attack",
    "task",
    "line",
    "strength",
    "value",
    "low",
    "high",
    "dprime",
    "dprime_low",
    "dprime_high",
    "unit",
)
_PANELS: Final = {
    "success_rate": ("share of images", "success rate"),
    "mean_error_shift_deg": ("degrees", "mean error shift (deg)"),
}
#: Where a label is tried, in widths and lines from its point: to the left above first, as the line rises to the right.
_SIDES: Final = ((-0.6, 1), (0, 1.2), (0.7, -1), (0, -1.3), (-0.7, -1), (0.7, 1), (0, 2.2), (0, -2.3), (-1, 2), (1, -2))


def data(source: Source) -> pd.DataFrame:
    """One row for each point of each panel; conditions whose d' is not known have none."""
    return pd.DataFrame(list(_rows(source)), columns=list(COLUMNS))


def _rows(source: Source) -> Iterator[dict[str, Any]]:
    """A line is an attack, or what it does to models of one task where there are several."""
    several = names_tasks(source.rows("frontier"))
    for name, (unit, _) in _PANELS.items():
        for row in source.rows("frontier"):
            if row[name] is not None and row["dprime"] is not None:
                yield {
                    "panel": name, "attack": row["attack"], "task": row.get("task"),
                    "line": f"{row['attack']}, {row['task']}" if several else row["attack"],
                    "strength": row["strength"], "value": row[name],
                    "low": row.get(f"{name}_low"), "high": row.get(f"{name}_high"), "unit": unit,
                    "dprime": row["dprime"], "dprime_low": row.get("dprime_low"), "dprime_high": row.get("dprime_high"),
                }  # fmt: skip


def figure(table: pd.DataFrame, source: Source) -> Figure:
    """Draw `data`: success rate and, beside it, error shift against d'."""
    shown = [name for name in _PANELS if (table["panel"] == name).any()]
    made, panels = draw.panels(len(shown), 2.8, share_y=False)
    at_bound = dprime(source.report["bound"], source.protocol.model)
    of_line = looks(sorted(table["line"].unique()) if table["task"].nunique() > 1 else source.attacks)
    for name, axes in zip(shown, panels, strict=True):
        rows = table[table["panel"] == name]
        for name_of_line, line in rows.sort_values("strength").groupby("line"):
            look = of_line[str(name_of_line)]
            _crosses(axes, line, look.colour)
            axes.plot(
                line["dprime"], line["value"], marker=look.marker, ls=look.dash, color=look.colour, label=name_of_line
            )
        axes.axvline(0, color=GREY, lw=0.8, ls=(0, (1, 2)), zorder=0)
        if at_bound is not None:
            axes.axvline(at_bound, color=GREY, lw=0.9, ls=(0, (5, 3)), zorder=0, label="d′ at the bound")
        axes.set(xlabel="detection by people, d′", ylabel=_PANELS[name][1])
        axes.margins(x=0.1, y=0.14)
        _name_strengths(axes, rows, of_line)
    draw.legend_below(made, panels, "numbers at the points: strength s")
    return made


def _crosses(axes: Axes, line: pd.DataFrame, colour: str) -> None:
    x, y = (line[name].to_numpy(float) for name in ("dprime", "value"))
    reach = {
        f"{side}err": np.maximum(
            np.nan_to_num([middle - line[low].to_numpy(float), line[high].to_numpy(float) - middle]), 0
        )
        for side, middle, low, high in (("x", x, "dprime_low", "dprime_high"), ("y", y, "low", "high"))
    }
    axes.errorbar(x, y, **reach, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.55, zorder=1)


def _name_strengths(axes: Axes, rows: pd.DataFrame, of_line: Any) -> None:
    """Write each strength beside its point, on the first side where no point, line or label stands."""
    width, height = (size * 72 for size in (2.9 if len(axes.figure.axes) > 1 else 6.2, 2.2))
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    scale = np.array([width / (right - left), height / (top - bottom)])
    corners = np.array([[left, bottom], [right, top]]) * scale
    taken = [(x, y, 3.5, 3.5) for x, y in rows[["dprime", "value"]].to_numpy(float) * scale]
    for _, line in rows.sort_values("strength").groupby("line"):
        points = line[["dprime", "value"]].to_numpy(float) * scale
        steps = np.linspace(0, 1, 25)[:, None]
        for first, second in pairwise(points):
            taken += [(x, y, 0.5, 0.5) for x, y in first + steps * (second - first)]
    for row in rows.itertuples():
        x, y = np.array([row.dprime, row.value]) * scale
        words = f"{row.strength:g}"
        half = 2.7 * len(words)
        sides = [(across * (half + 5), up * 9) for across, up in _SIDES]
        inside = [side for side in sides if _is_inside(x + side[0], y + side[1], half, corners)]
        free = [side for side in inside if not _collides((x + side[0], y + side[1], half, 4.5), taken)]
        if not free:
            continue  # better without than illegible; the neighbours tell the order, and the data have it
        side = free[0]
        taken.append((x + side[0], y + side[1], half, 4.5))
        axes.annotate(
            words, (row.dprime, row.value), xytext=side, textcoords="offset points", ha="center", va="center",
            fontsize=SMALL, color=of_line[row.line].colour, zorder=6,
            bbox={"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.4},
        )  # fmt: skip


def _is_inside(x: float, y: float, half: float, corners: Any) -> bool:
    (left, bottom), (right, top) = corners
    return bool(left < x - half and x + half < right and bottom < y - 5 and y + 5 < top)


def _collides(box: tuple[float, float, float, float], taken: list[tuple[float, float, float, float]]) -> bool:
    return any(abs(box[0] - x) < box[2] + w and abs(box[1] - y) < box[3] + h for x, y, w, h in taken)
