"""The parts that figures share: axes of strength, marks with intervals, legends."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from matplotlib.transforms import ScaledTranslation

from study.analysis.censoring import bound_in_words
from study.analysis.figures.style import GREY, SMALL, WIDTH, Look, shortened

_MARKS: Final = tuple(float(f"{m}e{e}") for e in range(-4, 5) for m in (1, 2, 5))
_FINER_MARKS: Final = tuple(float(f"{m}e{e}") for e in range(-4, 5) for m in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))
#: Width of a digit and of what must be free between two labels, and height of a line, in points.
_DIGIT, _BETWEEN, _LINE = 5.1, 5.0, 12.0


def panels(n: int, height: float, *, per_row: int = 3, share_y: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure as wide as a page with `n` panels, `height` inches for each row of them."""
    columns = min(n, per_row)
    rows = -(-n // columns)
    figure = Figure(figsize=(WIDTH, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=share_y, squeeze=False).ravel()
    for axes in grid[n:]:
        axes.set_visible(False)
    return figure, list(grid[:n])


def strength_axis(axes: Axes, strengths: Sequence[float], inches: float, *, ticks: bool = True) -> float:
    """A logarithmic axis with a tick at each strength; strength 0 gets the place that is returned.

    Args:
        inches: width of the axes, about; ticks whose labels would run into each other are left out.
    """
    positive = sorted({s for s in strengths if s > 0}) or [1.0]
    zero = positive[0] / 2.5
    has_zero = 0 in strengths
    axes.set_xscale("log")
    axes.set_xlim((zero if has_zero else positive[0]) / 1.35, positive[-1] * 1.4)
    places = _apart(axes, positive, inches)
    shown = [zero, *places] if has_zero else places
    labels = [f"{s:g}" for s in ([0, *places] if has_zero else places)]
    axes.set_xticks(shown, labels if ticks else [""] * len(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    if has_zero:
        axes.axvline(positive[0] / 1.58, color="#BBBBBB", lw=0.8, ls="-")
    return zero


def rulers(axes: Axes, units: Mapping[str, float], weakest: float, inches: float) -> float:
    """Below the axis of strength, one more for each unit of displacement; returns their height in points.

    Args:
        units: name of the unit and what strength 1 is in it.
        weakest: smallest strength above 0; left of it the axis may show strength 0, which moves nothing.
    """
    first, last = weakest / 1.35, axes.get_xlim()[1]
    for i, (unit, per_strength) in enumerate(units.items()):
        below = 17 + (_LINE + 3) * i
        marks = [m / per_strength for m in _MARKS if weakest / 1.2 < m / per_strength < last]
        places = _apart(axes, marks, inches, per_strength)
        on_ruler = axes.get_xaxis_transform() + ScaledTranslation(0, -below / 72, axes.figure.dpi_scale_trans)
        style: dict[str, Any] = {"color": GREY, "transform": on_ruler, "clip_on": False}
        axes.plot([first, last], [0, 0], lw=0.6, **style)
        axes.plot(places, np.zeros(len(places)), ls="none", marker=3, ms=3, **style)
        for place in places:
            _beneath(axes, place, f"{place * per_strength:.3g}", below)
        axes.annotate(
            unit, (0, 0), xycoords="axes fraction", xytext=(-5, -below - 3), textcoords="offset points",
            ha="right", va="top", fontsize=SMALL, color="#444444",
        )  # fmt: skip
    return (_LINE + 3) * len(units)


def _beneath(axes: Axes, place: float, text: str, points: float) -> None:
    axes.annotate(
        text, (place, 0), xycoords=axes.get_xaxis_transform(), xytext=(0, -points - 3), textcoords="offset points",
        ha="center", va="top", fontsize=SMALL, color="#444444",
    )  # fmt: skip


def _apart(axes: Axes, places: Sequence[float], inches: float, unit: float = 1.0) -> list[float]:
    """Those places whose labels do not run into each other, from the right: the strongest keeps its label."""
    low, high = np.log(axes.get_xlim())
    points = 72 * inches / (high - low)
    kept: list[float] = []
    for place in sorted(places, reverse=True):
        width = _DIGIT * max(len(f"{p * unit:.3g}") for p in [place, *kept[-1:]])
        if not kept or points * np.log(kept[-1] / place) >= width + _BETWEEN:
            kept.append(place)
    return kept[::-1]


def in_lines(title: str, inches: float) -> str:
    """A bold title on two lines at most, no wider than that; the rest is left out."""
    letters = int(inches * 10.5)
    lines = textwrap.wrap(title, letters)
    return title if len(lines) < 2 else "\n".join([lines[0], shortened(" ".join(lines[1:]), letters)])


def label(words: str, inches: float) -> str:
    """The words on one line of an axis that is no wider than that; the middle of longer ones is left out."""
    return shortened(words, int(inches * 13))


def points(
    axes: Axes,
    x: Any,
    data: pd.DataFrame,
    look: Look,
    *,
    label: str | None = None,
    horizontal: bool = False,
    **style: Any,
) -> None:
    """A marker for each row of `data` (value, low, high), with an interval where there is one."""
    if data.empty:
        return
    value = data["value"].to_numpy(float)
    ends = [np.where(np.isnan(end), value, end) for end in (data["low"].to_numpy(float), data["high"].to_numpy(float))]
    reach = np.maximum([value - ends[0], ends[1] - value], 0)
    at: dict[str, Any] = {"x": value, "y": x, "xerr": reach} if horizontal else {"x": x, "y": value, "yerr": reach}
    of_intervals: dict[str, Any] = {"elinewidth": 1.1, "capsize": 2, "zorder": 4, "ls": "none"}
    axes.errorbar(**at, fmt=look.marker, color=look.colour, mfc=look.face, label=label, **(of_intervals | style))


def chance(axes: Axes, at: float) -> None:
    axes.axhline(at, color=GREY, lw=0.8, ls=(0, (1, 2)), zorder=1)


def arrow(axes: Axes, start: float, end: float, y: float, colour: str) -> None:
    """A horizontal arrow in the axes' own units: what is sought lies beyond."""
    axes.annotate(
        "", (end, y), (start, y), annotation_clip=False,
        arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.3, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8},
    )  # fmt: skip


def legend_of(axes: Sequence[Axes]) -> dict[str, Any]:
    """Label and handle of what these axes show, each label once."""
    return {label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)}


def legend_below(figure: Figure, axes: Sequence[Axes], note: str | None = None, letters: int = 44) -> None:
    """One legend for all panels under the figure, which grows by its height; `note` is its last entry."""
    shown = legend_of(axes)
    labels, handles = [shortened(label, letters) for label in shown], list(shown.values())
    if note:
        labels, handles = [*labels, note], [*handles, Line2D([], [], ls="none")]
    if not labels:
        return
    columns = columns_that_fit(labels)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, columnspacing=1.6, handlelength=2.2,
        borderaxespad=0.2,
    )  # fmt: skip
    figure.set_figheight(figure.get_figheight() + 0.17 * -(-len(labels) // columns) + 0.1)


def columns_that_fit(labels: Sequence[str], inches: float = WIDTH) -> int:
    """How many columns a legend of these labels may have; the widest label of each column counts."""
    widths = [4.9 * len(label) + 38 for label in labels]
    for columns in range(min(len(labels), 5), 1, -1):
        rows, longer = divmod(len(labels), columns)
        ends = np.cumsum([rows + (column < longer) for column in range(columns)])
        if sum(max(part) for part in np.split(np.array(widths), ends[:-1])) < 72 * inches - 8:
            return columns
    return 1


def threshold(axes: Axes, row: Any, y: float, look: Look) -> None:
    """A threshold (`strength`, `low`, `high`, `censored`) at the height `y`, its interval as a bar.

    An arrow to the edge of the axes stands for what lies beyond: an open end of the interval, or the threshold itself
    (`censored`: "above", "below").
    """
    first, last = axes.get_xlim()
    stub = (last / first) ** 0.12
    side = getattr(row, "censored", None)
    if not np.isnan(row.strength):
        side = "below" if row.strength < first else "above" if row.strength > last else None
    if side in ("below", "above"):
        is_below = side == "below"
        arrow(axes, first * stub if is_below else last / stub, first if is_below else last, y, look.colour)
        return
    if np.isnan(row.strength):
        axes.annotate("none found", (0.03, y), xycoords=axes.get_yaxis_transform(), va="center", fontsize=SMALL)
        return
    has_interval = not (np.isnan(row.low) and np.isnan(row.high))
    low, high = (edge if np.isnan(end) else end for end, edge in ((row.low, first), (row.high, last)))
    if has_interval:
        axes.plot([max(low, first), min(high, last)], [y, y], color=look.colour, lw=1.6, solid_capstyle="butt")
        for end, edge in ((low, first), (high, last)):
            if (end - edge) * (edge - row.strength) >= 0:
                arrow(axes, row.strength, edge, y, look.colour)
    axes.plot(row.strength, y, look.marker, color=look.colour, mfc=look.face, ms=4.6, zorder=5)


def bound(axes: Axes, row: Any, y: float, colour: str) -> None:
    """At the height `y`, what is known of a margin without an estimate, which lies between `low` and `high`."""
    first, last = axes.get_xlim()
    at, side = last, "right"
    if not math.isnan(row.low):
        arrow(axes, row.low, last, y, colour)
        at, side = row.low, "right"
    elif not math.isnan(row.high):
        arrow(axes, row.high, first, y, colour)
        at, side = row.high, "left"
    words = f" {bound_in_words(row.low, row.high, 1)} "
    axes.text(at, y, words, ha=side, va="center", fontsize=SMALL, color=colour)


def round_ticks(axes: Axes, inches: float, sign: str = "") -> None:
    """Ticks at round numbers along a logarithmic horizontal axis, as many as their labels leave room for."""
    first, last = axes.get_xlim()
    marks = [m for m in _MARKS if first <= m <= last]
    if len(marks) < 3:
        marks = [m for m in _FINER_MARKS if first <= m <= last]
    places = _apart(axes, marks, inches / (1 + 0.25 * bool(sign)))
    axes.set_xticks(places, [f"{sign}{m:g}" for m in places])
    axes.xaxis.set_minor_locator(NullLocator())
