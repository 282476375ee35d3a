"""How far below people's threshold an attack works, and attacks compared at equal detection."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analysis.figures import axes as draw
from study.analysis.figures.source import Source, margin_values
from study.analysis.figures.style import BLUE, GREEN, GREY, PURPLE, SMALL, VERMILLION, WIDTH, Look
from study.analysis.matched import target_in_words

COLUMNS: Final = ("panel", "attack", "target", "task", "series", "value", "low", "high", "unit", "censored", "strength",
                  "displacement_px")  # fmt: skip
MARGIN: Final = "stealth margin"
SUCCESS: Final = "success rate"
SHIFT: Final = "mean error shift (deg)"
_OF_MARGINS: Final = (Look("o", BLUE), Look("s", VERMILLION, hollow=True))
_OF_ATTACKS: Final = (Look("^", GREEN), Look("D", PURPLE, hollow=True))


def data(source: Source) -> pd.DataFrame:
    """One row for each margin, and for each attack's success and shift at equal d'."""
    table = pd.DataFrame([*_margins(source), *_at_equal_detection(source)], columns=list(COLUMNS))
    return table.assign(**{name: pd.to_numeric(table[name]) for name in ("value", "low", "high")})


def _margins(source: Source) -> Iterator[dict[str, Any]]:
    for row in source.rows("stealth_margin"):
        if row["human_level"] != "PC .75":
            continue
        where = {"attack": row["attack"], "series": row["machine_level"]} | _group(row)
        yield {"panel": MARGIN, "unit": "ratio of strengths"} | where | margin_values(row)


def _group(row: Mapping[str, Any]) -> dict[str, str | None]:
    target = target_in_words(row["target"]) if row.get("target") else None
    return {"target": target, "task": row.get("task")}


def _at_equal_detection(source: Source) -> Iterator[dict[str, Any]]:
    for panel, name, unit in ((SUCCESS, "success_rate", "share of images"), (SHIFT, "mean_error_shift_deg", "degrees")):
        for row in source.rows("attacks_compared"):
            if row.get("dprime") is None or row.get("attack") is None or row.get(name) is None:
                continue
            where = {key: row.get(key) for key in ("attack", "strength", "displacement_px")} | _group(row)
            ends = {"low": row.get(f"{name}_low"), "high": row.get(f"{name}_high")}
            yield {"panel": panel, "series": f"d′ = {row['dprime']:g}", "value": row[name], "unit": unit} | where | ends


def figure(table: pd.DataFrame, source: Source) -> Figure:
    """Draw `data`: margins on a logarithmic axis, where 1 means that people see the attack as soon as it works."""
    shown = [panel for panel in (MARGIN, SUCCESS, SHIFT) if (table["panel"] == panel).any()]
    table = table.assign(name=_names(table))
    names = sorted(table["name"].unique())
    made = Figure(figsize=(WIDTH, 0.85 + 0.5 * len(names)), layout="constrained")
    widths = [1.5 if panel == MARGIN else 1 for panel in shown]
    panels = made.subplots(1, len(shown), sharey=True, squeeze=False, width_ratios=widths)[0]
    for panel, axes in zip(shown, panels, strict=True):
        rows = table[table["panel"] == panel]
        if panel == MARGIN:
            _margin_axis(axes, rows)
        else:
            axes.set_xlabel(panel)
        _forest(axes, rows, names)
        axes.set_yticks(range(len(names)), [draw.in_lines(name, 2.0) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
    at_equal = [axes for panel, axes in zip(shown, panels, strict=True) if panel != MARGIN]
    if at_equal:
        at_equal[0].set_title("At equal d′")
    draw.legend_below(made, panels)
    return made


def _names(table: pd.DataFrame) -> pd.Series:
    """Of attacks; with the target and the task where models of one attack have several."""
    names = table["attack"]
    for group in ("target", "task"):
        several = table.groupby("attack")[group].transform("nunique") > 1
        names = names.where(~several, names + " " + table[group].fillna(""))
    return names


def _margin_axis(axes: Axes, rows: pd.DataFrame) -> None:
    known = rows[["value", "low", "high"]].to_numpy(float)
    known = known[np.isfinite(known) & (known > 0)]
    axes.set_xscale("log")
    axes.set_xlim(min([0.8, *known / 1.25]), max([2.0, *known * 1.25]))
    draw.round_ticks(axes, 2.3, "×")
    axes.axvline(1, color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=0)
    axes.set_title("Stealth margin")
    axes.set_xlabel("people's threshold / models' threshold")


def _forest(axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    series = list(dict.fromkeys(rows["series"]))
    spread = np.linspace(-0.17, 0.17, len(series)) if len(series) > 1 else [0.0]
    is_margin = bool((rows["panel"] == MARGIN).all())
    of_series = (_OF_MARGINS if is_margin else _OF_ATTACKS) * len(series)
    for name, offset, look in zip(series, spread, of_series, strict=False):
        for row in rows[rows["series"] == name].itertuples():
            y = names.index(row.name) + offset
            if not is_margin:
                draw.points(axes, [y], pd.DataFrame([row._asdict()]), look, horizontal=True)
                _strength(axes, row, y)
            elif np.isnan(row.value):
                draw.bound(axes, row, y, look.colour)
            else:
                draw.threshold(axes, row._replace(strength=row.value), y, look)
        label = f"margin to {name}" if is_margin else f"at {name}"
        axes.plot([], [], look.marker, color=look.colour, mfc=look.face, label=label, ls="none")
    if not is_margin:
        low, high = axes.get_xlim()
        axes.set_xlim(low - 0.05 * (high - low), high + 0.4 * (high - low))


def _strength(axes: Axes, row: Any, y: float) -> None:
    """To the right of the mark, the strength at which people's d' is what the series says."""
    if not pd.isna(row.strength):
        end = row.value if np.isnan(row.high) else max(row.value, row.high)
        axes.annotate(
            f"s {row.strength:.2g}", (end, y), xytext=(6, 0), textcoords="offset points", va="center",
            fontsize=SMALL, color="#444444",
        )  # fmt: skip
