"""The report's figures, each as SVG, as PNG and with the data that it draws: the same bytes for the same report.

`draw` makes those of one report, `compare` the one that sets several studies side by side. Each kind of figure is a
module with two functions: `data` makes a tidy table of every mark, and `figure` draws that table and nothing else.
What a report lacks is left out.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from study.analysis.figures import (
    bias,
    comparison,
    detection,
    error_shift,
    flow,
    frontier,
    human_and_machine,
    human_and_machine_data,
    margin,
    matched_visibility,
    order,
    random_effects,
    residuals,
    response_times,
    sensitivity,
)
from study.analysis.figures.comparison import Named
from study.analysis.figures.files import EXPLORATORY, SIMULATED, Drawing, freeze, mark, to_csv, to_png, to_svg
from study.analysis.figures.source import Source
from study.analysis.figures.style import RC
from study.analysis.psychometric import Curve


class Kind(NamedTuple):
    """One kind of figure; `of_adaptive`: whether it says something where strengths were chosen from the answers."""

    data: Callable[[Source], pd.DataFrame]
    figure: Callable[[pd.DataFrame, Source], Figure]
    of_adaptive: bool = False


#: In the order of the report.
KINDS: Final[Mapping[str, Kind]] = {
    "human_and_machine": Kind(human_and_machine_data.data, human_and_machine.figure, True),
    "flow": Kind(flow.data, flow.figure, True),
    "detection": Kind(detection.data, detection.figure, True),
    "residuals": Kind(residuals.data, residuals.figure, True),
    "random_effects": Kind(random_effects.data, random_effects.figure),
    "sensitivity": Kind(sensitivity.data, sensitivity.figure),
    "matched_visibility": Kind(matched_visibility.data, matched_visibility.figure),
    "error_shift": Kind(error_shift.data, error_shift.figure),
    "frontier": Kind(frontier.data, frontier.figure),
    "margin": Kind(margin.data, margin.figure, True),
    "bias": Kind(bias.data, bias.figure),
    "response_times": Kind(response_times.data, response_times.figure),
    "order": Kind(order.data, order.figure),
}


def draw(
    report: Mapping[str, Any], trials: pd.DataFrame, curves: Mapping[str, Curve] | None = None
) -> dict[str, Drawing]:
    """Every figure of a report for which it has numbers, by name, in the order of `KINDS`.

    Args:
        report: the content that `report.build` returns, or that report.json holds.
        trials: the main trials it was built from.
        curves: the fitted psychometric function of each attack that has one.
    """
    source = Source(report, trials, curves or {})
    drawn = {}
    for name, kind in KINDS.items():
        if source.is_adaptive and not kind.of_adaptive:
            continue
        table = kind.data(source)
        if len(table):
            drawn[name] = _drawing(table, partial(kind.figure, table, source), [report])
    return drawn


def compare(studies: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Curve]]]) -> Drawing:
    """Several studies in one figure, {name: (the report's content, its curves)}, in the order given."""
    named = [Named(name, Source(report, pd.DataFrame(), curves)) for name, (report, curves) in studies.items()]
    reports = [one.source.report for one in named]
    bounds = {report["bound"] for report in reports}
    table = comparison.data(named)
    return _drawing(table, partial(comparison.figure, table, bounds.pop() if len(bounds) == 1 else None), reports)


def _drawing(table: pd.DataFrame, make: Callable[[], Figure], reports: list[Mapping[str, Any]]) -> Drawing:
    with mpl.rc_context(RC):
        figure = make()
        mark(figure, reports)
        freeze(figure)
        comment = SIMULATED if any(report["simulated"] for report in reports) else ""
        return Drawing(to_svg(figure, comment), to_png(figure), to_csv(table))


__all__ = [
    "EXPLORATORY",
    "KINDS",
    "SIMULATED",
    "Drawing",
    "compare",
    "draw",
    "to_csv",
    "to_png",
    "to_svg",
]
