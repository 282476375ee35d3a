"""The headline: what an attack does to the model, what people see of it, and what lies between, over one strength.

For each attack, over one axis of strength: success rate of the models and detection by people; their thresholds, with
the stealth margin between them; the models' error shift. Beside it the controls, which tell what is seen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analysis.censoring import bound_in_words
from study.analysis.figures import axes as draw
from study.analysis.figures import style
from study.analysis.figures.files import height_of_marks
from study.analysis.figures.human_and_machine_data import (
    CONTROLS,
    DISPLACEMENT,
    HALF,
    IDENTITY,
    MACHINE,
    MARGIN,
    MEAN_OF_MODELS,
    MEDIAN,
    MEDIAN_CURVE,
    OTHER_FIELD,
    OTHER_FIELDS,
    PAIRS_SHOWN,
    PEOPLE,
    POOL,
    POOLED_CURVE,
    RESAMPLED,
    SHARE,
    SHIFT,
    STEALTH_GAP,
    THRESHOLDS,
)
from study.analysis.figures.source import Source
from study.analysis.figures.style import BLUE, GREY, SMALL, VERMILLION, WIDTH, Look, number, shortened

#: More models than this are one entry of the legend, and more in one panel are thin lines.
NAMED_MODELS: Final = 8
_MARKED_MODELS: Final = 4
_ALL_MODELS: Final = "models, one line each"
_LABELS: Final = {
    PEOPLE: "people: 2·PC − 1, two-way 95 % interval",
    MEDIAN_CURVE: MEDIAN_CURVE,
    POOLED_CURVE: POOLED_CURVE,
    OTHER_FIELDS: "models: prediction shift under {other}s",
    PAIRS_SHOWN: "models: error shift on the pairs shown",
}
_CONTROLS: Final = {
    IDENTITY: ("identity", Look("o", GREY, hollow=True)),
    RESAMPLED: ("softened", Look("s", style.GREEN, hollow=True)),
    OTHER_FIELD: ("{other}", Look("D", style.PURPLE, hollow=True)),
    PEOPLE: ("attack", Look("o", BLUE)),
}
_THRESHOLD_ROWS: Final = (MARGIN, MEDIAN, POOL, "models: 90 %", "models: 50 %")

# Places are in inches: letters are as large as on the page, whatever is left out.
_LEFT, _RIGHT, _BETWEEN, _BESIDE, _CONTROLS_WIDTH = 1.18, 0.5, 0.28, 0.1, 0.66
_TITLE, _SHARE_HEIGHT, _GAP, _LANE, _SHIFT_HEIGHT = 0.42, 2.05, 0.1, 0.1, 0.95
#: Of an entry of the legend.
_LETTERS = 44
_RULER, _X_LABEL, _LEGEND_LINE = 0.21, 0.44, 0.17
#: Below a panel without others under it, the names of the controls stand upright.
_UPRIGHT = 0.75


def figure(table: pd.DataFrame, source: Source) -> Figure:
    """Draw the table of `human_and_machine_data`, two attacks side by side at most."""
    attacks = source.attacks
    columns = min(len(attacks), 2)
    blocks = [_Block.of(table, attacks[i : i + columns]) for i in range(0, len(attacks), columns)]
    scale = _Scale.of(table, source)
    legend = _legend_entries(table, scale)
    legend_columns = draw.columns_that_fit([shortened(label, _LETTERS) for label in legend])
    top = sum(block.height for block in blocks) + _LEGEND_LINE * -(-len(legend) // legend_columns) + 0.15
    made = Figure(figsize=(WIDTH, top + height_of_marks(source.report)))
    for block in blocks:
        block.draw(made, top, columns, scale)
        top -= block.height
    handles = draw.legend_of(made.axes)
    shown = [label for label in legend if label in handles]
    made.legend(
        [handles[label] for label in shown], [shortened(label, _LETTERS) for label in shown], loc="lower center",
        ncols=legend_columns, columnspacing=1.6, handlelength=2.4, borderaxespad=0.3,
    )  # fmt: skip
    return made


def _legend_entries(table: pd.DataFrame, scale: "_Scale") -> list[str]:
    """People first, then models, then what they are compared with."""
    shown = table[table["panel"].isin([SHARE, SHIFT])]
    known = [series for series in _LABELS if series in set(shown["series"])]
    models = sorted(shown.loc[shown["series"] == MACHINE, "model"].unique())
    last = (OTHER_FIELDS, PAIRS_SHOWN)
    mean = [MEAN_OF_MODELS] if (table["model"] == MEAN_OF_MODELS).any() else []
    return [
        *(scale.label(series) for series in known if series not in last),
        *([_label(model) for model in models] if scale.named else [_ALL_MODELS]),
        *mean,
        *(scale.label(series) for series in known if series in last),
    ]


def _label(model: str) -> str:
    return f"model {model}"


@dataclass(frozen=True)
class _Scale:
    """What is the same for every attack: limits of the vertical axes, how many models there are, and words.

    Attributes:
        strength: what stands below an axis of strength that is no displacement.
        other: what a control by another trigger is called.
    """

    share: tuple[float, float]
    shift: tuple[float, float]
    models: int
    strength: str
    other: str

    def label(self, series: str) -> str:
        return _LABELS[series].format(other=self.other)

    @property
    def named(self) -> bool:
        """Whether the legend has room for every model."""
        return self.models <= NAMED_MODELS

    @classmethod
    def of(cls, table: pd.DataFrame, source: Source) -> "_Scale":
        seen, shift = (table[table["panel"].isin(names)] for names in ([SHARE, CONTROLS], [SHIFT]))
        lowest = max(-0.6, min([-0.12, *seen["low"].dropna(), *seen["value"].dropna()]))
        ends = [0.0, *(end for name in ("value", "low", "high") for end in shift[name].dropna())]
        room = 0.1 * max(max(ends) - min(ends), 1.0)
        models = int(table.loc[table["series"] == MACHINE, "model"].nunique())
        limits = (lowest - 0.03, 1.06), (min(ends) - room, max(ends) + room)
        return cls(*limits, models, source.strength_in_words, source.other)


@dataclass(frozen=True)
class _Block:
    """One row of attacks, whose panels stand under one another.

    Attributes:
        parts: each attack's rows of the table.
        lanes: the rows of the panel of thresholds, and how high each is; empty without thresholds.
        rulers: how many units of displacement there are below.
    """

    parts: Mapping[str, pd.DataFrame]
    lanes: Mapping[str, float]
    has_shift: bool
    has_controls: bool
    rulers: int

    @classmethod
    def of(cls, table: pd.DataFrame, attacks: Sequence[str]) -> "_Block":
        rows = table[table["attack"].isin(list(attacks))]
        in_panel = rows["panel"].value_counts()
        return cls(
            parts={attack: rows[rows["attack"] == attack] for attack in attacks},
            lanes=_lanes(rows[(rows["panel"] == THRESHOLDS) & (rows["series"] != STEALTH_GAP)]),
            has_shift=SHIFT in in_panel,
            has_controls=CONTROLS in in_panel,
            rulers=int(
                rows[rows["panel"] == DISPLACEMENT].groupby("attack").size().max() if DISPLACEMENT in in_panel else 0
            ),
        )

    @property
    def heights(self) -> list[float]:
        strip = [_LANE * sum(self.lanes.values()) + 0.05] if self.lanes else []
        return [_SHARE_HEIGHT, *strip, *([_SHIFT_HEIGHT] if self.has_shift else [])]

    @property
    def height(self) -> float:
        below = self.rulers * _RULER + _X_LABEL
        if self.has_controls and len(self.heights) == 1:
            below = max(below, _UPRIGHT)
        return _TITLE + sum(self.heights) + _GAP * (len(self.heights) - 1) + below

    def draw(self, made: Figure, top: float, columns: int, scale: _Scale) -> None:
        beside = _BESIDE + _CONTROLS_WIDTH if self.has_controls else 0.0
        width = (WIDTH - _LEFT - _RIGHT - _BETWEEN * (columns - 1)) / columns - beside
        placed = []
        for column, (attack, part) in enumerate(self.parts.items()):
            panels = self._place(made, _LEFT + column * (width + beside + _BETWEEN), top - _TITLE, width)
            panels.draw(attack, part, self.lanes, scale)
            placed.append(panels)
        placed[0].name_the_axes(scale)
        for panels in placed[1:]:
            for axes in panels.stack:
                axes.set_yticklabels([])
        _proportion_correct_axis(placed[-1].controls or placed[-1].stack[0])

    def _place(self, made: Figure, left: float, upper: float, width: float) -> "_Panels":
        total = made.get_size_inches()[1]

        def axes(x: float, y: float, wide: float, high: float) -> Axes:
            return made.add_axes((x / WIDTH, (y - high) / total, wide / WIDTH, high / total))

        stack, y = [], upper
        for high in self.heights:
            stack.append(axes(left, y, width, high))
            y -= high + _GAP
        controls = axes(left + width + _BESIDE, upper, _CONTROLS_WIDTH, _SHARE_HEIGHT) if self.has_controls else None
        strip = stack[1] if self.lanes else None
        return _Panels(stack, strip, stack[-1] if self.has_shift else None, controls, width, self.rulers)


@dataclass(frozen=True)
class _Panels:
    """The panels of one attack: `stack` from top to bottom, what of it is there by name, `width` in inches."""

    stack: list[Axes]
    thresholds: Axes | None
    shift: Axes | None
    controls: Axes | None
    width: float
    rulers: int

    def draw(self, attack: str, part: pd.DataFrame, lanes: Mapping[str, float], scale: _Scale) -> None:
        share, panel = self.stack[0], {name: part[part["panel"] == name] for name in part["panel"].unique()}
        nothing = part.iloc[:0]
        strengths = _strengths(part)
        for axes in self.stack:
            draw.strength_axis(axes, strengths, self.width, ticks=axes is self.stack[-1])
        _draw_gap(self.stack, part)
        share.set_title(draw.in_lines(attack, self.width))
        share.set_ylim(scale.share)
        _draw_share(share, panel.get(SHARE, nothing), scale.named)
        if self.thresholds is not None:
            _draw_thresholds(self.thresholds, panel.get(THRESHOLDS, nothing), lanes)
        if self.shift is not None:
            self.shift.set_ylim(scale.shift)
            _draw_shift(self.shift, panel.get(SHIFT, nothing), scale)
        if self.controls is not None:
            _draw_controls(self.controls, panel.get(CONTROLS, nothing), share, scale)
        units = {row.series: row.value for row in panel.get(DISPLACEMENT, nothing).itertuples()}
        draw.rulers(self.stack[-1], units, strengths[0], self.width)
        words = "strength s and mean displacement" if units else draw.label(scale.strength, self.width)
        self.stack[-1].annotate(
            words, (0.5, 0), xycoords="axes fraction", xytext=(0, -17 - self.rulers * 15), textcoords="offset points",
            ha="center", va="top", fontsize=8.5,
        )  # fmt: skip

    def name_the_axes(self, scale: _Scale) -> None:
        share = "people: detection above chance" + ("\nmodels: success rate" if scale.models else "")
        named = [(self.stack[0], share), (self.shift, "error shift (deg)")]
        for axes, words in named:
            if axes is not None:
                axes.set_ylabel(words)
                axes.yaxis.set_label_coords(-0.62 / self.width, 0.5)


def _strengths(part: pd.DataFrame) -> list[float]:
    """Those shown to people or models; without any, those of the curve."""
    shown = part[part["panel"].isin([SHARE, SHIFT])]
    tested = shown[shown["series"].isin([PEOPLE, MACHINE, PAIRS_SHOWN])]
    return sorted((tested if len(tested) else shown)["strength"].unique()) or [1.0]


def _proportion_correct_axis(axes: Axes) -> None:
    """What 2 PC - 1 is as a proportion correct."""

    def proportion_correct(y: Any) -> Any:
        return (y + 1) / 2

    def above_chance(pc: Any) -> Any:
        return 2 * pc - 1

    right = axes.secondary_yaxis("right", functions=(proportion_correct, above_chance))
    right.set_yticks([0.5, 0.75, 1.0], [".5", ".75", "1"])
    right.set_ylabel("people: PC", labelpad=4)


def _draw_gap(stack: Sequence[Axes], part: pd.DataFrame) -> None:
    """Through all panels; hatched where people see the attack before it works."""
    for gap in part[part["series"] == STEALTH_GAP].itertuples():
        for axes in stack:
            low, high = _gap_ends(gap, axes.get_xlim())
            if low < high:
                axes.axvspan(low, high, color=style.GAP, lw=0, zorder=0)
            else:
                axes.axvspan(high, low, facecolor="none", edgecolor="#BBBBBB", hatch="////", lw=0, zorder=0)


def _gap_ends(gap: Any, limits: tuple[float, float]) -> tuple[float, float]:
    """From the models' threshold to people's; an open end is the edge of the axes."""
    low, high = (edge if np.isnan(end) else end for end, edge in zip((gap.low, gap.high), limits, strict=True))
    return float(np.clip(low, *limits)), float(np.clip(high, *limits))


def _looks(rows: pd.DataFrame) -> dict[str, Look]:
    models, markers = sorted(set(rows["model"].dropna()) - {MEAN_OF_MODELS}), style.MARKERS[1:]
    return {model: Look(markers[i % len(markers)], VERMILLION) for i, model in enumerate(models)}


def _draw_share(axes: Axes, rows: pd.DataFrame, named: bool) -> None:
    draw.chance(axes, 0.0)
    draw.chance(axes, HALF)
    for series, dash, width in ((POOLED_CURVE, (0, (4, 2)), 1.3), (MEDIAN_CURVE, "-", 1.8)):
        curve = rows[rows["series"] == series]
        if len(curve):
            axes.plot(curve["strength"], curve["value"], ls=dash, lw=width, color=BLUE, label=_LABELS[series], zorder=3)
    _draw_models(axes, rows[rows["series"] == MACHINE], named)
    people = rows[rows["series"] == PEOPLE]
    draw.points(axes, people["strength"], people, Look("o", BLUE), label=_LABELS[PEOPLE])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])


def _draw_models(axes: Axes, rows: pd.DataFrame, named: bool) -> None:
    looks = _looks(rows)
    for model, look in looks.items():
        line = rows[rows["model"] == model].sort_values("strength")
        label = _label(model) if named else _ALL_MODELS
        if len(looks) > _MARKED_MODELS:
            axes.plot(line["strength"], line["value"], lw=0.8, color=VERMILLION, alpha=0.6, label=label)
        else:
            draw.points(axes, line["strength"], line, look, label=label, ls="-", ms=4.2, lw=1.1)


def _lanes(rows: pd.DataFrame) -> dict[str, float]:
    """The rows of the panel of thresholds, with their heights: models that share a row stand under one another."""
    at_once = rows.groupby(["series", "attack"]).size().groupby("series").max().to_dict() if len(rows) else {}
    names = [*_THRESHOLD_ROWS, *sorted(set(at_once) - set(_THRESHOLD_ROWS))]
    return {name: 2.6 if name == MARGIN else max(1.8, at_once[name] + 0.8) for name in names if name in at_once}


def _draw_thresholds(axes: Axes, rows: pd.DataFrame, lanes: Mapping[str, float]) -> None:
    heights = np.array(list(lanes.values()))
    middles = dict(zip(lanes, np.cumsum(heights) - heights / 2, strict=True))
    axes.set_yticks(list(middles.values()), list(middles))
    axes.set_ylim(heights.sum() + 0.5, 0)
    axes.tick_params(axis="y", left=False, pad=3)
    axes.spines["left"].set_visible(False)
    for series, middle in middles.items():
        shown = rows[rows["series"] == series]
        if series == MARGIN:
            _draw_margin(axes, shown, rows[rows["series"] == STEALTH_GAP], middle)
            continue
        looks = _looks(shown) | {MEAN_OF_MODELS: Look("o", VERMILLION, hollow=True)}
        own = Look("o", BLUE, hollow=series == POOL)
        for lane, row in enumerate(shown.itertuples(), start=1):
            draw.threshold(axes, row, middle + lane - (len(shown) + 1) / 2, looks.get(row.model, own))
    if (rows["model"] == MEAN_OF_MODELS).any():
        axes.plot([], [], "o", color=VERMILLION, mfc="white", label=MEAN_OF_MODELS)


def _draw_margin(axes: Axes, margins: pd.DataFrame, gaps: pd.DataFrame, y: float) -> None:
    """The gap as an arrow between the two thresholds and, above it, its size as a ratio of strengths."""
    low, high = (math.log(end) for end in axes.get_xlim())
    inches = axes.get_position().width * WIDTH
    for margin in margins.itertuples():
        words, middle = _margin_in_words(margin), (low + high) / 2
        for gap in gaps.itertuples():
            ends = sorted(_gap_ends(gap, axes.get_xlim()))
            heads = {
                "arrowstyle": "<|-|>",
                "color": style.RED,
                "lw": 1.2,
                "shrinkA": 0,
                "shrinkB": 0,
                "mutation_scale": 7,
            }
            axes.annotate("", (ends[1], y + 0.9), (ends[0], y + 0.9), arrowprops=heads)
            middle = math.log(ends[0] * ends[1]) / 2
        half = len(words) * 2.9 / 72 / inches * (high - low)
        at = math.exp(min(max(middle, low + half), high - half))
        axes.text(at, y - 0.1, words, ha="center", va="center", fontsize=SMALL, color=style.RED, fontweight="bold")


def _margin_in_words(row: Any) -> str:
    """The ratio with its interval; without an estimate what is known."""
    if not np.isnan(row.value):
        low, high = ("…" if np.isnan(end) else number(end, 1) for end in (row.low, row.high))
        return f"×{number(row.value, 1)} [{low}, {high}]"
    return bound_in_words(row.low, row.high, 1)


def _draw_controls(axes: Axes, rows: pd.DataFrame, share: Axes, scale: _Scale) -> None:
    """From nothing to the attack itself: what of it is softening, what any deformation, what this trigger."""
    axes.set_ylim(share.get_ylim())
    axes.set_yticks(share.get_yticks(), [""] * len(share.get_yticks()))
    draw.chance(axes, 0.0)
    draw.chance(axes, HALF)
    shown = [series for series in _CONTROLS if series in set(rows["series"])]
    for place, series in enumerate(shown):
        of_kind = rows[rows["series"] == series].sort_values("strength")
        spread = np.linspace(-0.25, 0.25, len(of_kind)) if len(of_kind) > 1 else np.zeros(len(of_kind))
        draw.points(axes, place + spread, of_kind, _CONTROLS[series][1], ms=4.2)
    axes.set_xlim(-0.6, max(len(shown), 1) - 0.4)
    axes.set_xticks(
        range(len(shown)), [_CONTROLS[series][0].format(other=scale.other) for series in shown], rotation=90
    )
    strengths = sorted(rows.loc[rows["strength"] > 0, "strength"].unique())
    if strengths:
        listed = [f"{s:g}" for s in strengths]
        words = ", ".join(listed) if len(listed) < 3 else f"{listed[0]}–{listed[-1]}"
        axes.set_title(f"controls\ns = {words}", fontsize=SMALL, fontweight="normal", loc="center", linespacing=1.05)


def _draw_shift(axes: Axes, rows: pd.DataFrame, scale: _Scale) -> None:
    draw.chance(axes, 0.0)
    _draw_models(axes, rows[rows["series"] == MACHINE], scale.named)
    for _, line in rows[rows["series"] == OTHER_FIELDS].sort_values("strength").groupby("model"):
        label = scale.label(OTHER_FIELDS)
        axes.plot(line["strength"], line["value"], ":", marker="x", ms=3.5, lw=1, color=GREY, label=label)
    shown = rows[rows["series"] == PAIRS_SHOWN]
    draw.points(axes, shown["strength"], shown, Look("s", VERMILLION), ls="-", label=_LABELS[PAIRS_SHOWN])
    axes.locator_params(axis="y", nbins=4)
