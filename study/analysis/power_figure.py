"""The figure of a plan: power against participants, one line for each number of trials."""

import json
from pathlib import Path
from typing import Final

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analysis.figures.files import Drawing, freeze, to_csv, to_png, to_svg
from study.analysis.figures.style import GREY, MARKERS, RC, WIDTH, shades
from study.analysis.power import Power
from study.analysis.power_design import CLAIMS, WANTED, Claim

_SIMULATED: Final = "A plan from simulated studies, no data"


def draw(power: Power) -> Drawing:
    """One panel for each claim; bars are twice the Monte-Carlo error, the ring is the design that was asked about."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        for axes, claim in zip(figure.subplots(1, len(CLAIMS), sharey=True), CLAIMS, strict=True):
            _panel(axes, power, claim)
        axes.legend(title="trials per person\nand condition", loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.supxlabel("participants", fontsize=8.5)
        freeze(figure)
        return Drawing(to_svg(figure, _SIMULATED), to_png(figure), to_csv(table(power)))


def write(power: Power, out: Path) -> None:
    """power.json and the figure with its data, in the folder `out`, which is made when missing."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(power.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    (out / "power.json").write_text(text + "\n", encoding="utf-8")
    drawing = draw(power)
    (out / "power.svg").write_text(drawing.svg, encoding="utf-8")
    (out / "power.png").write_bytes(drawing.png)
    (out / "power.csv").write_bytes(drawing.csv)


def table(power: Power) -> pd.DataFrame:
    """One row for each mark of the figure: claim, participants, trials, power, Monte-Carlo error."""
    return pd.DataFrame(
        [
            {
                "claim": claim,
                "participants": cell.participants,
                "trials": cell.trials,
                "power": cell.power(claim).share,
                "error": cell.power(claim).error,
            }
            for claim in CLAIMS
            for cell in power.grid
        ]
    )


def _panel(axes: Axes, power: Power, claim: Claim) -> None:
    for wanted in WANTED:
        axes.axhline(wanted, color=GREY, lw=0.8, ls=(0, (1, 2)))
    rows = table(power).query("claim == @claim")
    colours = shades(sorted(rows["trials"].unique()))
    for index, (trials, line) in enumerate(rows.groupby("trials")):
        axes.errorbar(
            line["participants"], line["power"], yerr=2 * line["error"], color=colours[float(trials)],
            marker=MARKERS[index % len(MARKERS)], ms=4, lw=1.2, elinewidth=0.8, label=str(trials),
        )  # fmt: skip
    planned = power.planned
    axes.plot(
        planned.participants,
        planned.power(claim).share,
        "o",
        ms=13,
        mfc="none",
        mec="black",
        mew=1.2,
        zorder=5,
        clip_on=False,
    )
    axes.set_title(power.design.claimed(claim), fontsize=8)
    axes.set_xlim(left=0)
    axes.set_ylim(-0.03, 1.05)
    axes.set_yticks([0, 0.2, 0.4, 0.6, *WANTED, 1.0])
    if claim == CLAIMS[0]:
        axes.set_ylabel("power")
