"""Over the course of a session: detection and response time in blocks of trials."""

from typing import Any, Final

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.analysis.figures import axes as draw
from study.analysis.figures.source import Source
from study.analysis.figures.style import BLUE, VERMILLION, Look, number, share

COLUMNS: Final = ("panel", "block", "first_trial", "last_trial", "n", "value", "low", "high", "unit")
DETECTION: Final = "proportion correct"
TIME: Final = "median response time"


def data(source: Source) -> pd.DataFrame:
    """One row for each block of trials and panel."""
    blocks = ((source.report.get("quality") or {}).get("order") or {}).get("by_block") or ()
    rows: list[dict[str, Any]] = []
    for block in blocks:
        where = {name: block.get(name) for name in ("block", "first_trial", "last_trial", "n")}
        ends = {name: block.get(name) for name in ("low", "high")}
        rows.append({"panel": DETECTION, "value": block["proportion_correct"], "unit": DETECTION} | where | ends)
        if block["median_rt_ms"] is not None:
            rows.append({"panel": TIME, "value": block["median_rt_ms"] / 1000, "unit": "s"} | where)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(**{name: pd.to_numeric(table[name]) for name in ("value", "low", "high")})


def figure(table: pd.DataFrame, source: Source) -> Figure:
    """Draw `data`: the change over ten trials, within conditions, stands above."""
    panels = [panel for panel in (DETECTION, TIME) if (table["panel"] == panel).any()]
    made, grid = draw.panels(len(panels), 2.8, share_y=False)
    for panel, axes in zip(panels, grid, strict=True):
        rows = table[table["panel"] == panel].sort_values("block")
        look = Look("o", BLUE) if panel == DETECTION else Look("s", VERMILLION)
        draw.points(axes, rows["block"], rows, look, ls="-", lw=1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.set_xlabel("block of the session" + (" (10 trials each)" if rows["first_trial"].notna().any() else ""))
        axes.set_ylabel(panel + (" (s)" if panel == TIME else ""))
        axes.margins(0.08, 0.12)
        if panel == TIME:
            axes.set_ylim(0, 1.15 * rows["value"].max())
        else:
            low, high = axes.get_ylim()
            axes.set_ylim(min(low, (low + high) / 2 - 0.1), max(high, (low + high) / 2 + 0.1))
    grid[0].set_title(_change_in_words(source), fontweight="normal", fontsize=8.5)
    return made


def _change_in_words(source: Source) -> str:
    order = source.report["quality"]["order"]
    change, low, high = (order.get(name) for name in ("slope_per_10_trials", "low", "high"))
    if change is None:
        return ""
    interval = "" if low is None or high is None else f" [{number(low, 3)}, {number(high, 3)}]"
    p = "" if order.get("p") is None else f", p = {share(order['p'])}" if order["p"] >= 0.005 else ", p < .01"
    return f"PC per 10 trials: {number(change, 3)}{interval}{p}"
