"""How well the pooled curves fit: what was observed less what was expected, against strength."""

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from study.analysis.figures import axes as draw
from study.analysis.figures.source import Source
from study.analysis.figures.style import BAND, BLUE, VERMILLION, WIDTH, Look, number, share

COLUMNS: Final = ("attack", "sigmoid", "strength", "n", "observed", "expected", "deviance_residual",
                  "deviance", "df", "p", "simulations")  # fmt: skip
_LOOKS: Final = {"Weibull": Look("o", BLUE), "cumulative Gaussian": Look("s", VERMILLION, (0, (4, 2)), hollow=True)}


def data(source: Source) -> pd.DataFrame:
    """One row for each strength of each fitted curve, with the curve's deviance."""
    rows = [
        {name: fit.get(name) for name in ("attack", "sigmoid", "deviance", "df", "p", "simulations")} | residual
        for fit in source.rows("goodness_of_fit")
        for residual in fit.get("residuals") or ()
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(**{name: pd.to_numeric(table[name]) for name in ("deviance", "df", "p")})


def figure(table: pd.DataFrame, source: Source) -> Figure:
    """Draw `data`: proportion correct above, deviance residuals below; within the band 95 % would lie by chance."""
    attacks = sorted(table["attack"].unique())
    columns = min(len(attacks), 2)
    blocks = -(-len(attacks) // columns)
    made = Figure(figsize=(WIDTH, 3.9 * blocks), layout="constrained")
    grid = made.subplots(2 * blocks, columns, squeeze=False, sharey="row")
    for axes in grid.ravel():
        axes.set_visible(False)
    for i, attack in enumerate(attacks):
        block, column = divmod(i, columns)
        upper, lower = grid[2 * block, column], grid[2 * block + 1, column]
        _draw_attack(upper, lower, table[table["attack"] == attack], WIDTH / columns - 0.7)
        upper.set_title(draw.in_lines(attack, WIDTH / columns - 0.7))
        if column == 0:
            upper.set_ylabel("observed − expected PC")
            lower.set_ylabel("deviance residual")
    draw.legend_below(made, [grid[0, 0]])
    return made


def _draw_attack(upper: Any, lower: Any, rows: pd.DataFrame, inches: float) -> None:
    for axes in (upper, lower):
        axes.set_visible(True)
        draw.strength_axis(axes, list(rows["strength"]), inches, ticks=axes is lower)
        draw.chance(axes, 0.0)
    first = rows[rows["sigmoid"] == rows["sigmoid"].iloc[0]].sort_values("strength")
    half = 1.96 * np.sqrt(first["expected"] * (1 - first["expected"]) / first["n"])
    upper.fill_between(first["strength"], -half, half, color=BAND, lw=0, label="95 % of answers by the curve")
    lower.axhspan(-1.96, 1.96, color=BAND, lw=0, zorder=0)
    words = []
    for sigmoid, fit in rows.sort_values("strength").groupby("sigmoid"):
        look = _LOOKS.get(str(sigmoid), Look("^", BLUE))
        style: dict[str, Any] = {
            "marker": look.marker,
            "ls": look.dash,
            "color": look.colour,
            "mfc": look.face,
            "lw": 1,
        }
        upper.plot(fit["strength"], fit["observed"] - fit["expected"], label=sigmoid, **style)
        lower.plot(fit["strength"], fit["deviance_residual"], **style)
        words.append(_fit_in_words(str(sigmoid), fit.iloc[0]))
    _around_zero(lower, rows["deviance_residual"], 2.6)
    _around_zero(upper, rows["observed"] - rows["expected"], float(half.max()) * 1.15)
    lower.set_xlabel("strength s (log scale)\n" + "\n".join(words))


def _fit_in_words(sigmoid: str, fit: Any) -> str:
    if pd.isna(fit["deviance"]) or pd.isna(fit["df"]):
        return sigmoid
    p = "" if pd.isna(fit["p"]) else f", p = {share(fit['p'])}" if fit["p"] >= 0.005 else ", p < .01"
    return f"{sigmoid.removeprefix('cumulative ')}: deviance {number(fit['deviance'], 1)}, {fit['df']:g} df{p}"


def _around_zero(axes: Any, values: pd.Series, least: float) -> None:
    reach = max(least, 1.12 * float(values.abs().max()))
    axes.set_ylim(-(reach or 1.0), reach or 1.0)
