"""The same pictures, other models: how far each target moves the model's error at one and the same detection."""

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analysis.figures import axes as draw
from study.analysis.figures.source import Source
from study.analysis.figures.style import WIDTH, looks, share, shortened

COLUMNS: Final = ("attack", "strength", "target", "target_deg", "model", "pairs", "value", "low", "high",
                  "proportion_correct", "two_way_low", "two_way_high")  # fmt: skip


def data(source: Source) -> pd.DataFrame:
    """One row for each model and strength: its mean error shift (deg), and what people detect of these pictures."""
    rows = (source.report.get("matched_visibility") or {}).get("rows") or ()
    shown = [row | {"value": row["mean_error_shift_deg"]} for row in rows if row["mean_error_shift_deg"] is not None]
    table = pd.DataFrame(shown, columns=list(COLUMNS))
    return table.assign(**{name: pd.to_numeric(table[name]) for name in ("target_deg", "value", "low", "high")})


def figure(table: pd.DataFrame, source: Source) -> Figure:
    """Draw `data`: a column for each strength, in which the pictures, and so what people see, are the same."""
    attacks = sorted(table["attack"].unique())
    made, panels = draw.panels(len(attacks), 2.6, per_row=1, share_y=False)
    targets = table[["target", "target_deg"]].drop_duplicates("target").sort_values(["target_deg", "target"])
    of_target = looks(list(targets["target"]))
    for attack, axes in zip(attacks, panels, strict=True):
        rows = table[table["attack"] == attack]
        strengths = sorted(rows["strength"].unique())
        axes.set_xlim(-0.5, len(strengths) - 0.5)
        models = sorted(
            set(zip(rows["target"], rows["model"], strict=True)), key=lambda m: (list(of_target).index(m[0]), m[1])
        )
        spread = np.linspace(-0.3, 0.3, len(models)) if len(models) > 1 else [0.0]
        for (target, model), offset in zip(models, spread, strict=True):
            of_model = rows[(rows["target"] == target) & (rows["model"] == model)].sort_values("strength")
            x = [strengths.index(s) + offset for s in of_model["strength"]]
            draw.points(axes, x, of_model, of_target[target], label=f"target: {shortened(str(target), 32)}")
        _columns(axes, rows, strengths)
        axes.set_title(shortened(str(attack), 70))
        axes.set_ylabel("mean error shift (deg)")
        draw.chance(axes, 0.0)
    panels[-1].set_xlabel("pictures of one strength, and what people detect of them: PC with two-way 95 % interval")
    draw.legend_below(made, panels)
    return made


def _columns(axes: Axes, rows: pd.DataFrame, strengths: list[float]) -> None:
    has_room = WIDTH / len(strengths) > 0.8
    labels = [_detection(rows[rows["strength"] == s].iloc[0], s, has_room) for s in strengths]
    axes.set_xticks(range(len(strengths)), labels)
    axes.tick_params(axis="x", length=0)
    for place in range(1, len(strengths)):
        axes.axvline(place - 0.5, color="#DDDDDD", lw=0.8, zorder=0)


def _detection(row: Any, strength: float, has_room: bool) -> str:
    if pd.isna(row["proportion_correct"]):
        return f"s = {strength:g}"
    interval = ""
    if has_room and not pd.isna(row["two_way_low"]) and not pd.isna(row["two_way_high"]):
        interval = f"\n[{share(row['two_way_low'])}, {share(row['two_way_high'])}]"
    return f"s = {strength:g}\nPC {share(row['proportion_correct'])}{interval}"
