"""Detection against the model's error shift: per pair, and per pair within its condition."""

from typing import Any, Final

import pandas as pd
from matplotlib.figure import Figure

from study.analysis.error_shift import items
from study.analysis.figures import axes as draw
from study.analysis.figures.source import Source
from study.analysis.figures.style import GREY, MARKERS, number, shades, share

COLUMNS: Final = ("series", "stimulus", "attack", "strength", "n", "error_shift_deg", "proportion_correct",
                  "error_shift_deviation_deg", "proportion_correct_deviation")  # fmt: skip
PAIR: Final = "pair"
CONDITION: Final = "condition"
_VALUES = ["error_shift_deg", "proportion_correct"]
_DEVIATIONS = ["error_shift_deviation_deg", "proportion_correct_deviation"]


def data(source: Source) -> pd.DataFrame:
    """One row for each pair, with its deviation from its condition, and one for each condition's mean over answers.

    Empty where the table has no error shifts.
    """
    trials = source.trials
    if "error_shift_deg" not in trials or trials["error_shift_deg"].isna().all():
        return pd.DataFrame(columns=list(COLUMNS))
    pairs = items(source.protocol.showing_the_alteration(trials)).dropna(subset=["error_shift_deg"])
    condition = pairs.groupby(["attack", "strength"])
    pairs[_DEVIATIONS] = pairs[_VALUES] - condition[_VALUES].transform("mean")
    weighted = pairs[["attack", "strength", "n"]].assign(
        error_shift_deg=pairs["error_shift_deg"], proportion_correct=pairs["proportion_correct"] * pairs["n"]
    )
    means = weighted.groupby(["attack", "strength"], as_index=False).agg(
        n=("n", "sum"), error_shift_deg=("error_shift_deg", "mean"), proportion_correct=("proportion_correct", "sum")
    )
    means["proportion_correct"] /= means["n"]
    return pd.concat([pairs.assign(series=PAIR), means.assign(series=CONDITION)]).reindex(columns=list(COLUMNS))


def figure(table: pd.DataFrame, source: Source) -> Figure:
    """Draw `data`: all pairs with the conditions' means, and the pairs as deviations from their condition."""
    made, (left, right) = draw.panels(2, 3.1, share_y=False)
    attacks, strengths = (sorted(table[name].unique()) for name in ("attack", "strength"))
    markers = {attack: MARKERS[i % len(MARKERS)] for i, attack in enumerate(attacks)}
    shade = shades(strengths)
    for (attack, strength), rows in table[table["series"] == PAIR].groupby(["attack", "strength"]):
        style: dict[str, Any] = {"marker": markers[attack], "color": shade[strength], "lw": 0, "s": 12, "alpha": 0.6}
        left.scatter(rows["error_shift_deg"], rows["proportion_correct"], **style)
        right.scatter(rows[_DEVIATIONS[0]], rows[_DEVIATIONS[1]], **style)
    for row in table[table["series"] == CONDITION].itertuples():
        left.plot(
            row.error_shift_deg, row.proportion_correct, markers[row.attack], color=shade[row.strength], ms=9,
            mec="black", mew=1.1,
        )  # fmt: skip
    for attack in attacks if len(attacks) > 1 else ():
        left.plot([], [], markers[attack], color=GREY, label=attack)
    for strength in _labelled(strengths):
        left.plot([], [], "o", color=shade[strength], label=f"s = {strength:g}")
    left.plot([], [], "o", color="white", mec="black", mew=1.1, ms=8, label="mean of a condition")
    _name_axes(left, right, source)
    draw.legend_below(made, [left])
    return made


def _labelled(strengths: list[float], most: int = 8) -> list[float]:
    """All, or as many of them as a legend can hold, the ends among them."""
    if len(strengths) <= most:
        return strengths
    return [strengths[round(i * (len(strengths) - 1) / (most - 1))] for i in range(most)]


def _name_axes(left: Any, right: Any, source: Source) -> None:
    found = source.report.get("error_shift") or {}
    rho = found.get("unadjusted", {}).get("items_spearman", {}).get("rho")
    p = found.get("within_between", {}).get("within", {}).get("p")
    protocol = source.protocol
    outcome = f"share called {protocol.left}" if protocol.model == "yes/no" else "proportion correct"
    if protocol.model != "yes/no":
        draw.chance(left, 0.5)
    draw.chance(right, 0.0)
    left.set_title("All pairs" + ("" if rho is None else f": Spearman ρ = {number(rho)}"))
    left.set(xlabel="error shift of the model (deg)", ylabel=f"{outcome}, per pair")
    right.set_title("Within conditions" + ("" if p is None else f": p = {share(p)}" if p >= 0.005 else ": p < .01"))
    right.set(xlabel="error shift − condition's mean (deg)", ylabel=f"{outcome} − condition's mean")
