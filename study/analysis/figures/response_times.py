"""How long people took to answer at each strength, rightly and wrongly."""

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from study.analysis.figures import axes as draw
from study.analysis.figures.source import Source
from study.analysis.figures.style import BLUE, VERMILLION, WIDTH, Look

COLUMNS: Final = ("attack", "strength", "series", "n", "value", "low", "high", "unit")
RIGHT: Final = "right answers"
WRONG: Final = "wrong answers"
_LOOKS: Final = {RIGHT: Look("o", BLUE), WRONG: Look("s", VERMILLION, (0, (4, 2)), hollow=True)}
#: Fewer answers than this have no quartiles worth drawing.
_FEWEST = 4


def data(source: Source) -> pd.DataFrame:
    """Median and quartiles (s) of each condition, right and wrong answers apart. Empty where no times are known."""
    trials = source.trials
    if trials.empty or "rt_ms" not in trials or not (trials["rt_ms"] > 0).any():
        return pd.DataFrame(columns=list(COLUMNS))
    timed = trials.loc[trials["rt_ms"] > 0, ["attack", "strength", "correct", "rt_ms"]]
    groups = timed.groupby(["attack", "strength", "correct"])["rt_ms"]
    quartiles = (groups.quantile([0.25, 0.5, 0.75]).unstack() / 1000).set_axis(["low", "value", "high"], axis=1)
    table = quartiles.join(groups.size().rename("n")).reset_index()
    table["series"] = np.where(table["correct"] == 1, RIGHT, WRONG)
    return table[table["n"] >= _FEWEST].assign(unit="s").reindex(columns=list(COLUMNS)).reset_index(drop=True)


def figure(table: pd.DataFrame, source: Source) -> Figure:
    """Draw `data`, with the model's slope over strength in words."""
    attacks = sorted(table["attack"].unique())
    made, panels = draw.panels(len(attacks), 2.6)
    columns = min(len(attacks), 3)
    for attack, axes in zip(attacks, panels, strict=True):
        rows = table[table["attack"] == attack]
        zero = draw.strength_axis(axes, list(rows["strength"]), WIDTH / columns - 0.7)
        axes.set_yscale("log")
        for aside, (series, look) in zip((0.96, 1.04), _LOOKS.items(), strict=True):
            of_kind = rows[rows["series"] == series].sort_values("strength")
            x = of_kind["strength"].where(of_kind["strength"] > 0, zero) * aside
            draw.points(axes, x, of_kind, look, label=f"{series}: median, quartiles", ls=look.dash, lw=0.9)
        axes.set_title(draw.in_lines(attack, WIDTH / columns - 0.7))
        axes.set_xlabel("strength s (log scale)")
    _seconds(panels, table)
    panels[0].set_ylabel("response time (s, log scale)")
    draw.legend_below(made, panels, _slope_in_words(source))
    return made


def _seconds(panels: Any, table: pd.DataFrame) -> None:
    low, high = table["low"].min() / 1.15, table["high"].max() * 1.15
    marks = [m * 10.0**e for e in range(-2, 4) for m in (1, 1.5, 2, 3, 5, 7) if low <= m * 10.0**e <= high]
    for axes in panels:
        axes.set_ylim(low, high)
        axes.set_yticks(marks, [f"{m:g}" for m in marks])
        axes.set_yticks([], minor=True)


def _slope_in_words(source: Source) -> str | None:
    """What one unit of strength does to the time of a right answer, by the crossed model."""
    model = (source.report.get("quality") or {}).get("response_times") or {}
    slope = (model.get("coefficients") or {}).get("strength")
    if not slope or slope.get("low") is None:
        return None
    change, low, high = (100 * np.expm1(slope[name]) for name in ("estimate", "low", "high"))
    words = f"{change:+.0f} % per unit of strength [{low:+.0f}, {high:+.0f}]".replace("-", "−")
    return f"right answers, crossed model: {words}"
