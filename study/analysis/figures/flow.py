"""Who took part: recruited, left out by which rule, analysed."""

import textwrap
from typing import Any, Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analysis.figures.files import height_of_marks
from study.analysis.figures.source import Source
from study.analysis.figures.style import BLUE, GREY, SMALL, WIDTH

COLUMNS: Final = ("step", "reason", "participants", "trials")
RECRUITED, EXCLUDED, ANALYSED = "recruited", "left out", "analysed"
_LINE = 0.155
_BOX = {"boxstyle": "round,pad=0.5,rounding_size=0.2", "fc": "white", "lw": 1.1}


def data(source: Source) -> pd.DataFrame:
    """One row for each box, and for each rule that left somebody out."""
    flow = source.report["flow"]
    rows: list[dict[str, Any]] = [
        {"step": RECRUITED, "participants": flow["recruited"]},
        *({"step": EXCLUDED, "reason": rule, "participants": n} for rule, n in sorted(flow["excluded"].items()) if n),
        {"step": ANALYSED, "participants": flow["analysed"], "trials": flow.get("trials_analysed")},
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(**{name: table[name].astype("Int64") for name in ("participants", "trials")})


def figure(table: pd.DataFrame, source: Source) -> Figure:
    """Draw `data` as a diagram: from top to bottom those who stay, to the right those who leave."""
    left_out = table[table["step"] == EXCLUDED]
    lines = [f"Left out: {left_out['participants'].sum()}"]
    lines += [
        line
        for row in left_out.itertuples()
        for line in textwrap.wrap(f"{row.participants} {row.reason}", 46, subsequent_indent="    ")
    ]
    height = max(_LINE * len(lines) + 1.5, 2.2)
    total = height + height_of_marks(source.report)
    made = Figure(figsize=(WIDTH, total))
    axes = made.add_axes((0, 0, 1, height / total))
    axes.set(xlim=(0, WIDTH), ylim=(0, height))
    axes.axis("off")
    steps = table.set_index("step")
    analysed = steps.loc[ANALYSED]
    trials = "" if pd.isna(analysed["trials"]) else f"\n{int(analysed['trials'])} trials of the main conditions"
    top, middle, bottom = height - 0.5, height / 2, 0.4
    x = 2.0
    _box(axes, x, top, f"Recruited: {int(steps.loc[RECRUITED, 'participants'])}\nbegan the study", BLUE)
    _box(axes, x, bottom, f"Analysed: {int(analysed['participants'])}{trials}", BLUE)
    _line(axes, (x, top - 0.25), (x, bottom + (0.25 if trials else 0.18)))
    if len(left_out):
        axes.text(3.6, middle, "\n".join(lines), va="center", ha="left", fontsize=SMALL + 0.5, linespacing=1.2,
                  bbox=_BOX | {"ec": GREY})  # fmt: skip
        _line(axes, (x, middle), (3.53, middle))
    return made


def _box(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    axes.text(x, y, text, ha="center", va="center", fontsize=SMALL + 0.5, linespacing=1.25, bbox=_BOX | {"ec": colour})


def _line(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": "#333333", "lw": 1.1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)
