"""The pictures of docs/scaling.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.scaling.crowd import ANSWER, IMAGE, percentile
from benchmarks.scaling.days import BURST, PROFILES, Visit
from benchmarks.scaling.layouts import DEFAULT, FULL, SERVER, Layout, uses
from benchmarks.scaling.measured import Measured
from benchmarks.scaling.scenarios import PEOPLE, SEED, Scenario, run
from benchmarks.scaling.trainings import MANY, PATIENCE_H, WEEK_S, year
from models.durable import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: People a day of whom the waits are drawn, as shares of those that fill the layout.
CROWDS: Final = (0.05, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
#: Workers, as multiples of those that would be busy all the time.
WORKERS: Final = (1.02, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
#: h: what is drawn as no wait at all.
LEAST_H: Final = 0.05

Lines = Mapping[str, Sequence[tuple[float, float]]]


def draw(measured: Measured, visit: Visit, takes_s: Mapping[str, float], folder: Path) -> None:
    """All three; takes_s: how long trainings take, by what they are called."""
    import matplotlib as mpl

    from study.analysis.figures.files import to_svg
    from study.analysis.figures.style import RC

    with mpl.rc_context(RC):
        pictures = {"uses": _uses(measured, visit), "waits": _waits(measured, visit), "trainings": _trainings(takes_s)}
        for name, figure in pictures.items():
            write_bytes(folder / f"scaling-{name}.svg", to_svg(figure).encode())


def _uses(measured: Measured, visit: Visit) -> Figure:
    """How much of each part of the default is used, by people a day; a panel each for how they come."""
    figure, panels = _panels(len(PROFILES), share_y=True)
    low, high = 5.0, 300_000.0
    for panel, profile in zip(panels, PROFILES, strict=True):
        found = sorted(uses(DEFAULT, profile, 1.0, visit, measured), key=lambda use: use.part)
        _plot(panel, {use.part: [(n, 100 * use.share * n) for n in (low, high)] for use in found}, markers=False)
        panel.axhspan(100 * FULL, 100, color="#F6E3D6", zorder=0)
        panel.set(xscale="log", yscale="log", xlim=(low, high), ylim=(0.01, 5000), title=f"{profile.name}")
        panel.set(xlabel="participants a day")
        _ticks(panel.set_xticks, (*PEOPLE, 100, 10_000))
        _ticks(panel.set_yticks, (0.01, 0.1, 1, 10, 100, 1000))
    panels[0].set_ylabel("of the default in use at the\nbusiest moment, %")
    panels[1].legend(loc="lower right")
    return figure


def _waits(measured: Measured, visit: Visit) -> Figure:
    """What people wait for when a burst is at its busiest, by people a day; a panel for each layout."""
    figure, panels = _panels(2, share_y=True)
    for panel, layout in zip(panels, (DEFAULT, SERVER), strict=True):
        first = uses(layout, BURST, 1.0, visit, measured)[0]
        full = first.people_at(1.0)
        _plot(panel, _waits_of(layout, [round(full * share) for share in CROWDS], visit, measured))
        panel.axvspan(first.people_at(FULL), full, color="#F6E3D6", zorder=0)
        panel.set(
            yscale="log",
            xlim=(0, full * max(CROWDS)),
            ylim=(1e-3, 300),
            title=f"{layout.name} (full first: {first.part})",
        )
        panel.set(xlabel="participants a day, all within an hour")
        _ticks(panel.set_yticks, (0.001, 0.01, 0.1, 1, 10, 100))
        panel.xaxis.set_major_formatter(lambda n, _: f"{n:,.0f}")
    panels[0].set_ylabel("s, within the busiest\nquarter of an hour")
    panels[0].legend(loc="upper left")
    return figure


def _waits_of(layout: Layout, crowds: Iterable[int], visit: Visit, measured: Measured) -> Lines:
    found = {n: run(Scenario(n, BURST, layout), visit, measured).found for n in crowds}
    return {
        "answer, 99 % within": [(n, one.percentile(ANSWER, 0.99)) for n, one in found.items()],
        "answer, half within": [(n, one.percentile(ANSWER, 0.5)) for n, one in found.items()],
        "image, 99 % within": [(n, one.percentile(IMAGE, 0.99)) for n, one in found.items()],
        "first block, 95 % within": [(n, percentile(one.first_block_s, 0.95)) for n, one in found.items()],
    }


def _trainings(takes_s: Mapping[str, float]) -> Figure:
    """How long 95 % of many trainings a week wait at the most, by workers; a line for each length of a training."""
    figure, (panel,) = _panels(1)
    lines = {}
    for name, seconds in takes_s.items():
        busy = MANY * seconds / WEEK_S
        workers = sorted({n for more in WORKERS if (n := math.ceil(busy * more)) > busy})
        lines[name] = [(n, max(LEAST_H, year(MANY, seconds, n, SEED).hours(0.95))) for n in workers]
    _plot(panel, lines)
    panel.axhline(PATIENCE_H, color="#6B6B6B", linewidth=0.8, linestyle=":")
    panel.set(xscale="log", yscale="log", ylim=(LEAST_H / 1.3, 3000), xlabel="workers of the queue gpu")
    panel.set(title=f"{MANY:,} trainings a week", ylabel="h that 95 % wait at the most")
    _ticks(panel.set_xticks, (1, 2, 5, 10, 20, 50, 100, 200))
    _ticks(panel.set_yticks, (0.1, 1, PATIENCE_H, 100))
    panel.legend(loc="upper right")
    return figure


def _plot(panel: Axes, lines: Lines, *, markers: bool = True) -> None:
    from study.analysis.figures.style import looks

    for (name, points), look in zip(lines.items(), looks(list(lines)).values(), strict=True):
        x, y = zip(*points, strict=True)
        (line,) = panel.plot(x, y, color=look.colour, linestyle=look.dash, label=name)
        line.set(marker=look.marker if markers else "", markersize=3)


def _ticks(place: Any, values: Iterable[float]) -> None:
    at = sorted(values)
    place(at, [f"{value:,.10g}" for value in at])
    place([], minor=True)


def _panels(n: int, *, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    from study.analysis.figures.style import WIDTH

    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    return figure, list(figure.subplots(1, n, squeeze=False, sharey=share_y)[0])
