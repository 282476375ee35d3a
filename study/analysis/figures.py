"""The report's figures, as SVG text that is the same for the same data.

Colours are Okabe and Ito's, told apart by people with any colour vision; markers and lines differ as well, so that
nothing is lost in grey.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from scipy import stats

from study.analysis.displacement import px_per_strength
from study.analysis.error_shift import items
from study.analysis.frontier import first_crossing
from study.analysis.protocols import ADAPTIVE, PROTOCOLS, Protocol
from study.analysis.psychometric import Curve

BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREEN: Final = "#009E73"
PURPLE: Final = "#AA5A8C"
GREY: Final = "#6B6B6B"
SIMULATED: Final = "SIMULATED DATA: no claim about people"

_UNIT_MARKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
_ENDS = ("two_way_low", "two_way_high")
_CONTROL_STYLE = {"resampled": ("s", GREEN), "other_field": ("D", PURPLE)}
_STYLE: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.labelcolor": "#222222",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.constrained_layout.wspace": 0.06,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.08,
    "svg.fonttype": "path",
    "text.parse_math": False,  # names come from tables; a dollar sign is a dollar sign
    "svg.hashsalt": "blindspot",
}

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class _Markers:
    marker: str
    colour: str
    label: str
    hollow: bool = False


def draw(report: Mapping[str, Any], trials: pd.DataFrame, curves: Mapping[str, Curve]) -> dict[str, str]:
    """Every figure of the report as SVG text, by name.

    Args:
        report: what `report.build` returns.
        trials: the main trials it was built from.
        curves: the fitted psychometric function of each attack that has one.
    """
    figures: dict[str, Callable[[], Figure]] = {
        "human_and_machine": lambda: human_and_machine(report, curves),
        "detection": lambda: detection(report, curves),
        "error_shift": lambda: error_shift(report, _protocol(report).showing_the_alteration(trials)),
        "bias": lambda: bias(report, trials),
    }
    if _is_adaptive(report):
        figures = {name: figures[name] for name in ("human_and_machine", "detection")}
    drawn = {}
    with mpl.rc_context(_STYLE):
        for name, make in figures.items():
            figure = make()
            if report["simulated"]:
                _mark_simulated(figure)
            drawn[name] = to_svg(figure, SIMULATED if report["simulated"] else "")
    return drawn


def to_svg(figure: Figure, comment: str = "") -> str:
    """SVG text without date or creator, so that the same figure gives the same bytes. Letters in it are outlines."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    svg = text.getvalue()
    return svg.replace("<svg", f"<!-- {comment} -->\n<svg", 1) if comment else svg


def detection(report: Mapping[str, Any], curves: Mapping[str, Curve]) -> Figure:
    """Proportion correct against strength, one panel per attack, with two-way intervals, bound, curve and controls.

    Of adaptive studies without intervals and bound, larger markers where more answers were given.
    """
    attacks = _attacks(report)
    figure, panels = _panels(len(attacks), height=3.6)
    for attack, axes in zip(attacks, panels, strict=True):
        rows = [row for row in report["conditions"] if row["attack"] == attack]
        zero = _log_axis(axes, [row["strength"] for row in rows])
        if not _is_adaptive(report):
            axes.axhspan(
                1 - report["bound"], report["bound"], color="#E4E4E4", lw=0, zorder=0, label=_bound_label(report)
            )
        axes.axhline(0.5, color=GREY, lw=0.8, ls=(0, (1, 2)), zorder=1)
        if attack in curves:
            _draw_curve(axes, curves[attack], rows, report["thresholds"])
        x = [row["strength"] or zero for row in rows]
        if _is_adaptive(report):
            _answers(axes, x, rows)
        else:
            _points(axes, x, rows, _Markers("o", BLUE, "altered image"))
        for kind, (marker, colour) in _CONTROL_STYLE.items():
            controls = [row for row in report["controls"] if row["attack"] == attack and row["control"] == kind]
            x = [row["strength"] * (1.10 if kind == "resampled" else 1.21) for row in controls]
            _points(axes, x, controls, _Markers(marker, colour, f"control: {kind.replace('_', ' ')}", hollow=True))
        axes.set_ylim(min(0.3, *(_known(rows, "two_way_low") or [0.3])) - 0.02, 1.03)
        axes.set_title(attack)
        axes.set_xlabel("strength s (log scale)")
        _displacement_axes(axes, report, attack, second=1.25)
    panels[0].set_ylabel("proportion correct")
    _legend(panels)
    return figure


def error_shift(report: Mapping[str, Any], trials: pd.DataFrame) -> Figure:
    """Detection against the model's error shift: per pair, and per pair within its condition."""
    figure, (left, right) = _panels(2, height=3.5, share_y=False)
    if trials["error_shift_deg"].isna().all():
        for axes in (left, right):
            axes.text(0.5, 0.5, "no error shifts in this table", ha="center", transform=axes.transAxes)
        return figure
    yes_no = _protocol(report).model == "yes/no"
    table = items(trials)
    condition = table.groupby(["attack", "strength"])
    markers = dict(zip(_attacks(report), ("o", "^", "s", "D", "v", "P") * 9, strict=False))
    shades = _shades(sorted(table["strength"].unique()))
    for (attack, strength), rows in condition:
        style = {"marker": markers[str(attack)], "color": shades[float(strength)], "lw": 0}
        left.scatter(rows["error_shift_deg"], rows["proportion_correct"], s=13, alpha=0.55, **style)
        centred = (
            rows[["error_shift_deg", "proportion_correct"]] - rows[["error_shift_deg", "proportion_correct"]].mean()
        )
        right.scatter(centred["error_shift_deg"], centred["proportion_correct"], s=13, alpha=0.55, **style)
    for (attack, strength), rows in condition:
        shift, weight = rows["error_shift_deg"].mean(), rows["n"] / rows["n"].sum()
        mean = (rows["proportion_correct"] * weight).sum()
        left.plot(shift, mean, markers[str(attack)], color=shades[float(strength)], ms=10, mec="black", mew=1.1)
    for attack in markers if len(markers) > 1 else ():
        right.plot([], [], markers[attack], color=GREY, label=attack)
    for strength, shade in shades.items():
        right.plot([], [], "o", color=shade, label=f"s = {strength:g}")
    right.plot([], [], "o", color="white", mec="black", mew=1.1, ms=9, label="condition mean")
    if not yes_no:
        left.axhline(0.5, color=GREY, lw=0.8, ls=(0, (1, 2)))
    right.axhline(0, color=GREY, lw=0.8, ls=(0, (1, 2)))
    shift_report = report["error_shift"]
    rho = shift_report["unadjusted"]["items_spearman"]["rho"]
    left.set_title("All pairs" + ("" if rho is None else f": Spearman ρ = {rho:.2f}"))
    outcome = f"share called {_protocol(report).left}" if yes_no else "proportion correct"
    left.set(xlabel="error shift of the model (deg)", ylabel=f"{outcome}, per pair")
    within = shift_report["within_between"]["within"]
    right.set_title("Within conditions" + (f": p = {within['p']:.2f}" if within["p"] is not None else ""))
    right.set(xlabel="error shift − condition's mean (deg)", ylabel=f"{outcome} − condition's mean")
    right.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def human_and_machine(report: Mapping[str, Any], curves: Mapping[str, Curve]) -> Figure:
    """What the attack achieves and what people detect, over one axis of strength, which is also given in pixels."""
    attacks = _attacks(report)
    figure = Figure(figsize=(2.4 + (5.0 if len(attacks) == 1 else 3.4 * len(attacks)), 5.4), layout="constrained")
    grid = figure.subplots(2, len(attacks), sharex="col", sharey="row", squeeze=False, height_ratios=(1.5, 1))
    for attack, (top, bottom) in zip(attacks, grid.T, strict=True):
        shown = [row for row in report["conditions"] if row["attack"] == attack and row["strength"] > 0]
        machine = [row for row in report.get("machine", ()) if row["attack"] == attack and row["strength"] > 0]
        _log_axis(bottom, [row["strength"] for row in [*shown, *machine]])
        _draw_success(top, machine)
        _draw_people(top, shown, curves.get(attack), points=not _is_adaptive(report))
        if not _is_adaptive(report):
            _shade_gap(top, machine, _threshold(report, attack))
        _human_threshold(top, _threshold(report, attack))
        _draw_shift(bottom, machine, [row for row in report["frontier"] if row["attack"] == attack])
        _displacement_axes(top, report, attack)
        top.set_ylim(-0.14, 1.04)
        top.set_title(attack)
        bottom.set_xlabel("strength s (log scale)")
        bottom.axhline(0, color=GREY, lw=0.8, ls=(0, (1, 2)))
    grid[0, 0].set_ylabel("share (0 = none, 1 = all)")
    grid[1, 0].set_ylabel("shift (deg)")
    for row in grid:
        _legend(row)
    return figure


def bias(report: Mapping[str, Any], trials: pd.DataFrame) -> Figure:
    """Preference for one answer: criterion per condition, and each participant's share of the first answer."""
    first, second = _protocol(report).left, _protocol(report).right
    figure, (left, right) = _panels(2, height=3.0, share_y=False)
    for attack, marker, colour in zip(_attacks(report), "o^sDvP" * 9, (BLUE, ORANGE, GREEN, PURPLE) * 9, strict=False):
        rows = [row for row in report["conditions"] if row["attack"] == attack and row["criterion"] is not None]
        left.plot(
            range(len(rows)), [row["criterion"] for row in rows], marker, color=colour, ls="-", lw=0.9, label=attack
        )
    strengths = sorted({row["strength"] for row in report["conditions"]})
    left.set_xticks(range(len(strengths)), [f"{s:g}" for s in strengths])
    left.axhline(0, color=GREY, lw=0.8, ls=(0, (1, 2)))
    largest = max([0.3, *(abs(row["criterion"] or 0) for row in report["conditions"])]) * 1.25
    left.set(xlabel="strength s", ylabel="criterion c", ylim=(-largest, largest))
    left.set_title(f"{first} < 0 < {second}")
    left.legend(loc="lower left", ncols=2)
    said_left = (trials["response_side"] == "left").groupby(trials["participant"]).agg(["mean", "size"])
    share = said_left.sort_values(["mean", "size"], kind="stable")
    place = np.arange(1, len(share) + 1)
    low, high = (stats.binom.ppf(q, share["size"], 0.5) / share["size"] for q in (0.025, 0.975))
    right.fill_between(place, low, high, color="#E4E4E4", lw=0, step="mid", label="95 % of unbiased people")
    right.plot(place, share["mean"], "o", color=BLUE, ms=4, label="participant")
    right.axhline(0.5, color=GREY, lw=0.8, ls=(0, (1, 2)))
    right.set(xlabel="participants, sorted", ylabel=f"share of {first} answers", ylim=(0, 1))
    right.set_title("Per participant")
    right.legend(loc="upper left")
    return figure


def _panels(n: int, height: float, share_y: bool = True) -> tuple[Figure, Any]:
    figure = Figure(figsize=(5.2 if n == 1 else 3.6 * n, height), layout="constrained")
    return figure, figure.subplots(1, n, sharey=share_y, squeeze=False)[0]


def _legend(panels: Sequence[Axes]) -> None:
    """To the right of the last panel, what any panel of the row shows."""
    shown = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if shown:
        panels[-1].legend(shown.values(), shown.keys(), loc="upper left", bbox_to_anchor=(1.01, 1))


def _attacks(report: Mapping[str, Any]) -> list[str]:
    return sorted({row["attack"] for row in report["conditions"]})


def _known(rows: Rows, name: str) -> list[float]:
    return [row[name] for row in rows if row[name] is not None]


def _bound_label(report: Mapping[str, Any]) -> str:
    return f"bound: {1 - report['bound']:.2f} to {report['bound']:.2f}".replace("0.", ".")


def _log_axis(axes: Axes, strengths: Sequence[float]) -> float:
    """A logarithmic axis with a tick at each strength; strength 0 gets the place that is returned."""
    positive = sorted({s for s in strengths if s > 0}) or [1.0]
    zero = positive[0] / 2.5
    axes.set_xscale("log")
    ticks = _apart(positive)
    places = [zero, *ticks] if 0 in strengths else ticks
    axes.set_xticks(places, [f"{s:g}" for s in ([0, *ticks] if 0 in strengths else ticks)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(places[0] / 1.35, positive[-1] * 1.5)
    if 0 in strengths:
        axes.axvline(positive[0] / 1.58, color="#BBBBBB", lw=0.8, ls="-")
    return zero


def _apart(strengths: Sequence[float], factor: float = 1.45) -> list[float]:
    """Those strengths whose labels would not run into each other."""
    kept: list[float] = []
    for s in reversed(strengths):
        if not kept or kept[-1] / s >= factor:
            kept.append(s)
    return kept[::-1]


def _points(axes: Axes, x: Sequence[float], rows: Rows, style: _Markers) -> None:
    if not rows:
        return
    y = [row["proportion_correct"] for row in rows]
    low, high = ([_first_known(row[name], row["proportion_correct"]) for row in rows] for name in _ENDS)
    axes.errorbar(
        x, y, np.maximum([np.subtract(y, low), np.subtract(high, y)], 0),
        fmt=style.marker, color=style.colour, mfc="white" if style.hollow else style.colour,
        elinewidth=1.1, capsize=2.5, zorder=4, label=style.label,
    )  # fmt: skip


def _answers(axes: Axes, x: Sequence[float], rows: Rows) -> None:
    """Proportions without intervals, the area of a marker growing with the number of answers."""
    y, n = [row["proportion_correct"] for row in rows], np.array([row["n"] for row in rows])
    axes.scatter(
        x, y, s=12 + 90 * n / n.max(), color=BLUE, alpha=0.55, lw=0, zorder=4, label="answers,\nlarger: more of them"
    )


def _first_known(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _draw_curve(axes: Axes, curve: Curve, rows: Rows, thresholds: Rows) -> None:
    strengths = [row["strength"] for row in rows if row["strength"] > 0]
    x = np.geomspace(min(strengths), max(strengths), 200)
    axes.plot(x, curve.proportion_correct(x), color=BLUE, lw=1.4, zorder=3, label="psychometric function")
    row = next(row for row in thresholds if row["attack"] == rows[0]["attack"])
    _threshold_bar(axes, row, row["level_of_pc"])


def _threshold_bar(axes: Axes, row: Mapping[str, Any], height: float) -> None:
    first, last = axes.get_xlim()
    if row["threshold"] is None or not first < row["threshold"] < last:
        return
    low, high = max(row["low"] or first, first), min(row["high"] or last, last)
    axes.plot([low, high], [height, height], color=ORANGE, lw=2.6, solid_capstyle="butt", zorder=5)
    axes.plot(row["threshold"], height, "|", color=ORANGE, ms=11, mew=2.2, zorder=5, label="threshold, 95 % interval")


def _draw_success(axes: Axes, machine: Rows) -> None:
    for model, rows in _by_model(machine):
        known = [(row["strength"], row["success_rate"]) for row in rows if row["success_rate"] is not None]
        axes.plot(
            [s for s, _ in known], [rate for _, rate in known],
            "-s", color=ORANGE, ms=4.5, label=f"success rate of\n{model}",
        )  # fmt: skip


def _draw_people(axes: Axes, people: Rows, curve: Curve | None, points: bool = True) -> None:
    """Detection corrected for guessing, 2 PC - 1: the share of pairs seen, on the success rate's scale."""
    strengths = [row["strength"] for row in people]
    if points:
        seen = [
            {"proportion_correct": 2 * row["proportion_correct"] - 1}
            | {name: None if row[name] is None else 2 * row[name] - 1 for name in _ENDS}
            for row in people
        ]
        _points(axes, strengths, seen, _Markers("o", BLUE, "people: detection\nabove chance, 2·PC − 1"))
    if curve is not None and strengths:
        x = np.geomspace(min(strengths), max(strengths), 200)
        label = None if points else "people: pooled curve,\n2·PC − 1"
        axes.plot(x, 2 * curve.proportion_correct(x) - 1, color=BLUE, ls="--", lw=1.3, label=label)


def _shade_gap(axes: Axes, machine: Rows, threshold: Mapping[str, Any] | None) -> None:
    """Between the strength at which every model first succeeds on half the images and people's threshold."""
    crossings = [
        first_crossing([row["strength"] for row in rows], [row["success_rate"] or 0.0 for row in rows], 0.5)
        for _, rows in _by_model(machine)
    ]
    if not crossings or None in crossings or threshold is None or threshold["threshold"] is None:
        return
    start, end = max(c for c in crossings if c is not None), threshold["threshold"]
    if start < end < axes.get_xlim()[1]:
        axes.axvspan(start, end, color="#F6E3D6", lw=0, zorder=0)
        middle = float(np.sqrt(start * end))
        axes.text(middle, -0.09, "below people's threshold", ha="center", va="center", fontsize=8, color="#7A3300")


def _human_threshold(axes: Axes, row: Mapping[str, Any] | None) -> None:
    first, last = axes.get_xlim()
    if row is None or row["threshold"] is None or not first < row["threshold"] < last:
        return
    height = 2 * row["level_of_pc"] - 1
    ends = [max(row["low"] or first, first), min(row["high"] or last, last)]
    axes.plot(ends, [height, height], color=BLUE, lw=3, alpha=0.55, solid_capstyle="butt", zorder=5)
    axes.plot(
        row["threshold"], height, "|", color=BLUE, ms=12, mew=2.2, label="people: threshold,\n95 % interval", zorder=5
    )


def _draw_shift(axes: Axes, machine: Rows, frontier: Rows) -> None:
    for model, rows in _by_model(machine):
        x = [row["strength"] for row in rows]
        for name, style, label in (
            ("mean_error_shift_deg", "-s", f"error shift of\n{model}"),
            ("other_field_shift_deg", ":D", "prediction shift\nunder other fields"),
        ):
            known = [(s, row[name]) for s, row in zip(x, rows, strict=True) if row[name] is not None]
            if known:
                axes.plot(
                    *zip(*known, strict=True), style, color=ORANGE if style == "-s" else GREY, ms=4.5, label=label
                )
    known = [
        (row["strength"], row["mean_error_shift_deg"]) for row in frontier if row["mean_error_shift_deg"] is not None
    ]
    if not machine and known:
        axes.plot(*zip(*known, strict=True), "-s", color=ORANGE, ms=4.5, label="error shift on\nthe pairs shown")


def _by_model(machine: Rows) -> Iterator[tuple[str, Rows]]:
    for model in sorted({row["model"] for row in machine}):
        yield model, [row for row in machine if row["model"] == model]


def _threshold(report: Mapping[str, Any], attack: str) -> Mapping[str, Any] | None:
    return next((row for row in report["thresholds"] if row["attack"] == attack), None)


def _displacement_axes(axes: Axes, report: Mapping[str, Any], attack: str, second: float = 1.2) -> None:
    """Above the panel, what a strength is in image px and, where screens were measured, at `second` in arcmin."""
    rows = [row for row in report["conditions"] if row["attack"] == attack and row["strength"] > 0]
    px = px_per_strength([row for row in [*report["machine"], *rows] if row["attack"] == attack], attack)
    if px is None:
        return
    weakest = min(row["strength"] for row in rows)
    _unit_axis(axes, px, weakest, "mean displacement (image px)", 1.0)
    ratios = [row["displacement_arcmin"] / row["strength"] for row in rows if row["displacement_arcmin"]]
    if ratios:
        _unit_axis(axes, float(np.median(ratios)), weakest, "mean displacement (arcmin, median screen)", second)


def _unit_axis(axes: Axes, per_strength: float, weakest: float, label: str, height: float) -> None:
    """Marks begin near the weakest strength: to the left of it a panel may show strength 0."""

    def from_strength(strength: Any) -> Any:
        return strength * per_strength

    def to_strength(displacement: Any) -> Any:
        return displacement / per_strength

    first, last = weakest / 1.35, axes.get_xlim()[1]
    top = axes.secondary_xaxis(height, functions=(from_strength, to_strength))
    marks = [m for m in _UNIT_MARKS if first < m / per_strength < last]
    top.set_xticks(marks, [f"{m:g}" for m in marks])
    top.xaxis.set_minor_locator(NullLocator())
    top.xaxis.set_minor_formatter(FuncFormatter(lambda value, place: ""))
    top.set_xlabel(label)


def _protocol(report: Mapping[str, Any]) -> Protocol:
    return PROTOCOLS[report["protocol"]["name"]]


def _is_adaptive(report: Mapping[str, Any]) -> bool:
    return bool(report["procedure"] == ADAPTIVE)


def _shades(strengths: Sequence[float]) -> dict[float, Any]:
    colours = mpl.colormaps["cividis"](np.linspace(0.95, 0.05, max(len(strengths), 2)))
    return {float(s): tuple(colour) for s, colour in zip(strengths, colours, strict=False)}


def _mark_simulated(figure: Figure) -> None:
    figure.text(0.5, 0.5, "SIMULATED", ha="center", va="center", fontsize=44, color="#000000", alpha=0.07, rotation=20)
    figure.supxlabel(SIMULATED, fontsize=8, color="#A00000")
