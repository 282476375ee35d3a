"""Preference for one answer: criterion of each condition, and each participant's share of the first answer."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from study.analysis.figures import axes as draw
from study.analysis.figures.source import Source
from study.analysis.figures.style import BAND, BLUE, looks

COLUMNS: Final = ("panel", "attack", "strength", "participant", "value", "low", "high", "unit", "n")
CRITERION: Final = "criterion"
SHARE: Final = "share of the first answer"
#: More people than this are drawn as one line.
_MANY = 400


def data(source: Source) -> pd.DataFrame:
    """Criterion c of each condition; each person's share, with the range in which 95 % of unbiased people would lie."""
    return pd.DataFrame([*_criteria(source), *_people(source)], columns=list(COLUMNS))


def _criteria(source: Source) -> Iterator[dict[str, Any]]:
    for row in source.rows("conditions"):
        if row["criterion"] is not None:
            where = {"attack": row["attack"], "strength": row["strength"], "n": row["n"]}
            yield {"panel": CRITERION, "value": row["criterion"], "unit": "c"} | where


def _people(source: Source) -> Iterator[dict[str, Any]]:
    if source.trials.empty:
        return
    said_first = (source.trials["response_side"] == "left").groupby(source.trials["participant"]).agg(["mean", "size"])
    people = said_first.sort_values(["mean", "size"], kind="stable")
    low, high = (stats.binom.ppf(q, people["size"], 0.5) / people["size"] for q in (0.025, 0.975))
    for i, (name, person) in enumerate(people.iterrows()):
        value = {"value": person["mean"], "low": low.iloc[i], "high": high.iloc[i], "n": int(person["size"])}
        yield {"panel": SHARE, "participant": name, "unit": "share of answers"} | value


def figure(table: pd.DataFrame, source: Source) -> Figure:
    """Draw `data`: one panel for conditions, one for people."""
    shown = [panel for panel in (CRITERION, SHARE) if (table["panel"] == panel).any()]
    made, panels = draw.panels(len(shown), 2.7, share_y=False)
    for panel, axes in zip(shown, panels, strict=True):
        rows = table[table["panel"] == panel]
        if panel == CRITERION:
            _draw_criteria(axes, rows, source)
        else:
            _draw_people(axes, rows, source.protocol.left)
    draw.legend_below(made, panels)
    return made


def _draw_criteria(axes: Axes, rows: pd.DataFrame, source: Source) -> None:
    strengths = sorted(rows["strength"].unique())
    place = {strength: i for i, strength in enumerate(strengths)}
    for attack, look in looks(source.attacks).items():
        of_attack = rows[rows["attack"] == attack]
        at = [place[strength] for strength in of_attack["strength"]]
        axes.plot(at, of_attack["value"], look.marker, ls=look.dash, lw=1, color=look.colour, label=attack)
    every = -(-len(strengths) // 8)
    axes.set_xticks(range(0, len(strengths), every), [f"{s:g}" for s in strengths[::every]])
    draw.chance(axes, 0.0)
    largest = max([0.3, *rows["value"].abs()]) * 1.3
    axes.set(xlabel="strength s", ylabel="criterion c", ylim=(-largest, largest))
    axes.set_title(f"{source.protocol.left} < 0 < {source.protocol.right}")


def _draw_people(axes: Axes, people: pd.DataFrame, first: str) -> None:
    place = np.arange(1, len(people) + 1)
    axes.fill_between(
        place, people["low"], people["high"], color=BAND, lw=0, step="mid", label="95 % of unbiased people"
    )
    style: dict[str, Any] = {"ls": "-", "lw": 2} if len(people) > _MANY else {"ls": "none", "marker": "o", "ms": 4}
    axes.plot(place, people["value"], color=BLUE, label="participant", **style)
    draw.chance(axes, 0.5)
    axes.set(xlabel="participants, sorted", ylabel=f"share of {first} answers", ylim=(0, 1))
    axes.set_title("Per participant")
