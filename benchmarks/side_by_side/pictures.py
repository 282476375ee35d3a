"""Pictures of what was measured, for the document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.findings import Curve
from benchmarks.side_by_side.rows import Row
from models.durable import write_bytes


def draw_curve(curve: Curve, path: Path) -> None:
    """Its lines, told apart by colour, dash and marker."""
    from matplotlib.figure import Figure

    from study.analysis.figures.style import WIDTH, looks

    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    for (name, points), look in zip(curve.lines.items(), looks(list(curve.lines)).values(), strict=True):
        marker = look.marker if len(points) < 20 else ""
        axes.plot(*zip(*points, strict=True), color=look.colour, linestyle=look.dash, marker=marker, label=name)
    if curve.logarithmic:
        axes.set(xscale="log", yscale="log")
    axes.set(title=curve.title, xlabel=curve.x, ylabel=curve.y)
    axes.grid(color="#E4E4E4", linewidth=0.6)
    axes.legend()
    _write(figure, path)


def draw_headroom(rows: Sequence[Row], path: Path) -> None:
    """How many times better than its bar each row is; those at the left of the line at 1 miss it."""
    from matplotlib.figure import Figure

    from study.analysis.figures.style import BLUE, GREY, VERMILLION, WIDTH

    barred = [row for row in rows if row.headroom is not None]
    figure = Figure(figsize=(WIDTH, 1.1 + 0.19 * len(barred)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(barred)):
        assert row.headroom is not None
        colour = BLUE if row.ok else VERMILLION
        axes.plot([1, row.headroom], [place, place], color=colour, linewidth=1)
        axes.plot(
            row.headroom, place, "o" if row.ok else "X", color=colour, fillstyle="none" if row.recorded else "full"
        )
    axes.axvline(1, color=GREY, linewidth=1)
    axes.set_yticks(range(len(barred)), [row.id for row in reversed(barred)])
    axes.set(xscale="log", xlabel="times better than its bar (crosses miss it)", title="How far each bar is away")
    axes.set_ylim(-0.7, len(barred) - 0.3)
    axes.grid(axis="x", color="#E4E4E4", linewidth=0.6)
    _write(figure, path)


def _write(figure: Any, path: Path) -> None:
    import matplotlib as mpl

    from study.analysis.figures.files import to_svg
    from study.analysis.figures.style import RC

    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(RC):
        write_bytes(path, to_svg(figure).encode())
