"""Pictures of what was measured, for the document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.findings import Curve
from benchmarks.side_by_side.rows import Row
from models.durable import write_bytes

#: Of so many lines the legend hides none of them.
_WITHIN = 5
#: Times better than a bar: farther is drawn as so far.
_FAR = 100.0
_PALE = "#E4E4E4"


def draw_curve(curve: Curve, path: Path) -> None:
    """Its lines, told apart by colour, dash and marker."""
    from study.analysis.figures.style import looks

    with _picture(path, 3.4) as (figure, axes):
        for (name, points), look in zip(curve.lines.items(), looks(list(curve.lines)).values(), strict=True):
            marker = look.marker if len(points) < 20 else ""
            axes.plot(*zip(*points, strict=True), color=look.colour, linestyle=look.dash, marker=marker, label=name)
        if curve.logarithmic:
            axes.set(xscale="log", yscale="log")
            for axis in (axes.xaxis, axes.yaxis):
                _mark(axis)
        else:
            axes.set_ylim(bottom=0)
            axes.xaxis.set_major_formatter("{x:,.10g}")
        axes.set(title=curve.title, xlabel=curve.x, ylabel=curve.y)
        axes.grid(color=_PALE, linewidth=0.6)
        if len(curve.lines) > _WITHIN:
            figure.legend(loc="outside right upper")
        else:
            axes.legend()


def draw_headroom(rows: Sequence[Row], path: Path) -> None:
    """How many times better than its bar each row is; those at the left of the line at 1 miss it."""
    from study.analysis.figures.style import BLUE, GREY, VERMILLION

    barred = [row for row in rows if row.headroom is not None]
    with _picture(path, 1.1 + 0.19 * len(barred)) as (_, axes):
        for place, row in enumerate(reversed(barred)):
            end = min(row.headroom or 1, _FAR)
            colour, marker = (BLUE, ">" if end == _FAR else "o") if row.ok else (VERMILLION, "X")
            axes.plot([1, end], [place, place], color=colour, linewidth=1)
            axes.plot(end, place, marker, color=colour, fillstyle="none" if row.recorded else "full")
        axes.axvline(1, color=GREY, linewidth=1)
        axes.set_yticks(range(len(barred)), [row.id for row in reversed(barred)])
        axes.set(xscale="log", title="How far each bar is away")
        axes.set_xlabel(f"times better than its bar (crosses miss it; {_FAR:g} means more)")
        _mark(axes.xaxis)
        axes.set_ylim(-0.7, len(barred) - 0.3)
        axes.grid(axis="x", color=_PALE, linewidth=0.6)


def _mark(axis: Any) -> None:
    """Numbers in full at 1, 2 and 5 of each power of ten; fewer of them where there are many."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    steps = (1.0, 2.0, 5.0) if high / low < 3000 else (1.0,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(NullLocator())


@contextmanager
def _picture(path: Path, height: float) -> Iterator[tuple[Any, Any]]:
    """A figure of so many inches and its axes, written when the block ends."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from study.analysis.figures.files import to_svg
    from study.analysis.figures.style import RC, WIDTH

    with mpl.rc_context(RC):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure, figure.subplots()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, to_svg(figure).encode())
