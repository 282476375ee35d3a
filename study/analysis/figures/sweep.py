"""What a sweep over attacks found: error shift and success against how much the attack alters an image."""

from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from study.analysis.figures.files import Drawing, freeze, to_csv, to_png, to_svg
from study.analysis.figures.style import BAND, GREY, RC, SMALL, WIDTH, Look, looks

#: (column, axis label) across and down.
ALTERED: Final = (("displacement_px", "mean displacement (px)"), ("flip", "FLIP"))
EFFECTS: Final = (("error_shift", "error shift (deg)"), ("success_rate", "success rate"))
#: What may tell two lines of one attack apart.
_VARIANTS: Final = ("network", "task", "target", "trained_strength")
_OF_LINE: Final = ["line", "strength"]
#: The mark of the strength that training ended at, in points; the others are hollow and of the usual size.
_IMPLANTED: Final = 7.5
#: Letters of the legend that fit beside each other in a figure of this width.
_LETTERS: Final = 105


def draw(rows: pd.DataFrame) -> Drawing:
    """The figure of a sweep's tidy rows (`models.sweeps.COLUMNS`), as SVG and PNG with what it draws as CSV."""
    with mpl.rc_context(RC):
        table = data(rows)
        made = figure(table, _density(rows))
        freeze(made)
        return Drawing(to_svg(made), to_png(made), to_csv(table))


def data(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each line and strength: mean, least and greatest of every axis over models (seeds), the strength
    that was implanted, and the number of models.

    A line is an attack, and whatever else differs within the sweep but seeds. Means of nothing are NaN.
    """
    named = rows.assign(line=_lines(rows))
    columns = [name for name, _ in (*ALTERED, *EFFECTS)]
    values = named.assign(**{name: pd.to_numeric(named[name]) for name in columns})
    grouped = values.groupby(_OF_LINE, sort=False)[columns].agg(["mean", "min", "max"])
    grouped.columns = pd.Index([f"{name}_{what}" if what != "mean" else name for name, what in grouped.columns])
    trained = values.groupby(_OF_LINE, sort=False)["trained_strength"].first()
    counts = values.groupby(_OF_LINE, sort=False).size().rename("models")
    order = {line: i for i, line in enumerate(dict.fromkeys(named["line"]))}
    table = grouped.join([trained, counts]).reset_index()
    return table.sort_values(_OF_LINE, key=lambda column: column.map(order) if column.name == "line" else column)


def _lines(rows: pd.DataFrame) -> "pd.Series[str]":
    differing = [name for name in _VARIANTS if rows.groupby("attack")[name].nunique().max() > 1]
    parts = [rows["attack"].astype(str), *(rows[name].map(lambda v, n=name: _variant(n, v)) for name in differing)]
    return pd.Series([", ".join(part) for part in zip(*parts, strict=True)], index=rows.index)


def _variant(name: str, value: Any) -> str:
    return f"trained at {value:g}" if name == "trained_strength" else str(value)


def figure(table: pd.DataFrame, px_per_degree: float | None = None) -> Figure:
    """Draw `data`: effects down, alterations across; a band and bars where several seeds were trained."""
    made = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    panels = made.subplots(2, 2, sharey="row", sharex="col", squeeze=False)
    of_line = looks(list(dict.fromkeys(table["line"])))
    for row, (effect, effect_label) in enumerate(EFFECTS):
        for column, (altered, altered_label) in enumerate(ALTERED):
            axes = panels[row, column]
            for line, look in of_line.items():
                _line(axes, table[table["line"] == line], altered, effect, look)
            _dress(axes, altered, effect)
            if row == len(EFFECTS) - 1:
                density = f" at {px_per_degree:g} px per degree" if altered == "flip" and px_per_degree else ""
                axes.set_xlabel(altered_label + density)
            if column == 0:
                axes.set_ylabel(effect_label)
    shifts = panels[0, 0]
    shifts.set_ylim(bottom=min(0.0, shifts.get_ylim()[0]))
    handles, _ = panels[0, 1].get_legend_handles_labels()
    if _implanted(table).any():
        handles.append(Line2D([], [], ls="none", marker="o", ms=_IMPLANTED, color=GREY, label="strength implanted"))
    longest = max(len(str(handle.get_label())) for handle in handles)
    beside = max(1, min(len(handles), 4, _LETTERS // (longest + 8)))  # a sample of the line takes eight
    made.legend(handles=handles, loc="outside lower center", ncols=beside)
    if table["models"].max() > 1:
        panels[0, 0].set_title("Mean over models, and their range", fontweight="normal", fontsize=SMALL, color=GREY)
    return made


def _line(axes: Axes, rows: pd.DataFrame, altered: str, effect: str, look: Look) -> None:
    name = _label(rows)
    rows = rows[rows[altered].notna() & (rows[altered] > 0) & rows[effect].notna()].sort_values("strength")
    if rows.empty:
        return
    if rows["models"].max() > 1:
        axes.fill_between(
            rows[altered], rows[f"{effect}_min"], rows[f"{effect}_max"], color=look.colour, alpha=0.15, lw=0
        )
    axes.plot(rows[altered], rows[effect], color=look.colour, ls=look.dash, marker=look.marker, mfc="white", label=name)
    implanted = rows[_implanted(rows)]
    axes.plot(
        implanted[altered], implanted[effect], color=look.colour, ls="none", marker=look.marker, ms=_IMPLANTED, zorder=3
    )


def _label(rows: pd.DataFrame) -> str:
    """Of a line, with why it is missing where displacement is the axis."""
    return f"{rows['line'].iloc[0]}{'' if (rows['displacement_px'] > 0).any() else ' (moves no pixel)'}"


def _implanted(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows are at the strength that the model was trained down to."""
    return rows["strength"] == rows["trained_strength"]


def _dress(axes: Axes, altered: str, effect: str) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0) if high < 50 * low else (1.0, 3.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color=BAND, lw=0.6)
    axes.set_axisbelow(True)
    if effect == "success_rate":
        axes.set_ylim(-0.03, 1.03)
    if not axes.has_data():
        axes.text(0.5, 0.5, "no attack moves pixels", transform=axes.transAxes, ha="center", color=GREY)


def _density(rows: pd.DataFrame) -> float | None:
    found: Sequence[Any] = rows["px_per_degree"].dropna().unique()
    return float(found[0]) if len(found) == 1 else None
