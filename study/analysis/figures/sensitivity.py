"""How the median person's threshold depends on the model: link, lapse rate, information, terms."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analysis.figures import axes as draw
from study.analysis.figures.source import Source
from study.analysis.figures.style import BLUE, GREY, VERMILLION, WIDTH, Look, shortened
from study.analysis.psychometric import POOLED

COLUMNS: Final = ("attack", "model", "link", "lapse", "information", "strength", "low", "high", "log_likelihood")
#: As `mixed` calls the model whose threshold is the report's.
HEADLINE: Final = "headline"
POOLED_CURVE: Final = "pooled curve, PC .75"


def data(source: Source) -> pd.DataFrame:
    """One row for each attack and model, and below them the pooled curve, whose threshold is another one."""
    rows = [
        {name: row.get(name) for name in COLUMNS if name != "strength"} | {"strength": row["threshold"]}
        for row in (source.report.get("models") or {}).get("sensitivity") or ()
    ]
    pooled = [
        {"attack": attack, "model": POOLED_CURVE, "strength": row["threshold"], "low": row["low"], "high": row["high"]}
        for attack in source.attacks
        if rows and (row := source.threshold(attack, POOLED)) is not None
    ]
    table = pd.DataFrame([*rows, *pooled], columns=list(COLUMNS))
    return table.assign(**{name: pd.to_numeric(table[name]) for name in ("strength", "low", "high", "lapse")})


def figure(table: pd.DataFrame, source: Source) -> Figure:
    """Draw `data` as a forest, one panel for each attack; the dashed line is the headline's threshold."""
    names = table.apply(_label, axis=1)
    order = list(dict.fromkeys(names))
    attacks = sorted(table["attack"].unique())
    made, panels = draw.panels(len(attacks), 0.31 * len(order) + 0.8, per_row=2)
    room = (WIDTH - 2.9) / min(len(attacks), 2)
    for attack, axes in zip(attacks, panels, strict=True):
        rows = table[table["attack"] == attack].assign(y=names.map({name: i for i, name in enumerate(order)}))
        _threshold_axis(axes, rows, [row["strength"] for row in source.rows("conditions", attack)], room)
        _forest(axes, rows)
        axes.set_title(draw.in_lines(attack, room))
        axes.set_xlabel("threshold, strength s")
        axes.set_yticks(range(len(order)), order)
        axes.set_ylim(len(order) - 0.5, -0.5)
    return made


def _label(row: Any) -> str:
    """The model in words, with its link and lapse rate."""
    details = [
        row["link"],
        None if pd.isna(row["lapse"]) else f"lapse {row['lapse']:.3f}".replace("0.", "."),
        row["information"],
    ]
    known = ", ".join(str(detail) for detail in details if not pd.isna(detail))
    return shortened(str(row["model"]), 44) + (f"\n{known}" if known else "")


def _threshold_axis(axes: Axes, rows: pd.DataFrame, strengths: Sequence[float], inches: float) -> None:
    """As wide as the intervals, but no farther beyond the strengths tested than by half."""
    tested = [s for s in strengths if s > 0]
    ends = rows[["strength", "low", "high"]].to_numpy(float)
    inside = np.clip(ends[np.isfinite(ends)], min(tested) / 1.5, max(tested) * 1.5)
    shown = inside if len(inside) else np.array(tested)
    axes.set_xscale("log")
    axes.set_xlim(shown.min() / 1.2, shown.max() * 1.2)
    draw.round_ticks(axes, inches)


def _forest(axes: Axes, rows: pd.DataFrame) -> None:
    headline = rows[rows["model"] == HEADLINE]["strength"].dropna()
    if len(headline):
        axes.axvline(headline.iloc[0], color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=0)
    for row in rows.itertuples():
        look = Look("D", VERMILLION) if row.model == HEADLINE else Look("o", BLUE, hollow=row.model == POOLED_CURVE)
        draw.threshold(axes, row, row.y, look)
