"""Small charts as SVG text, drawn on the server: lines and bars with axes, ticks and words for who cannot see them.

Colours come from lab/charts.css by class, and everything else is in the colour of the text around, so that a chart is
as legible in the dark. Nothing here knows a database.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import slugify

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 48, 52
#: How lines are told apart without their colour.
DASHES = ("none", "7 4", "2 3", "10 3 2 3")
MOST_DOTS = 40
MOST_BAR_LABELS = 12


@dataclass(frozen=True)
class Series:
    """One line: points (x, y) by rising x. Those without a y (None) are left out."""

    name: str
    points: Sequence[tuple[float, float | None]]

    @property
    def known(self) -> list[tuple[float, float]]:
        return [(x, y) for x, y in self.points if y is not None]


@dataclass(frozen=True)
class Axis:
    """From data to the drawing: `low` is drawn at `start`, `high` at `end`, SVG units. ticks: where it is labelled."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]

    @classmethod
    def over(
        cls, values: Iterable[float], start: float, end: float, *, include: Iterable[float] = (), whole: bool = False
    ) -> Axis:
        """One that has all these values, and those to include, between ticks at round numbers. whole: if all values
        are whole, as of counts, so are the ticks.
        """
        wanted = [*values, *include]
        least_step = 1.0 if whole and all(float(value).is_integer() for value in wanted) else 0.0
        ticks = nice_ticks(min(wanted, default=0.0), max(wanted, default=1.0), least_step=least_step)
        return cls(ticks[0], ticks[-1], start, end, ticks)

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def nice_ticks(low: float, high: float, most: int = 6, least_step: float = 0.0) -> list[float]:
    """At most `most` + 1 evenly spaced round numbers, the first at most `low`, the last at least `high`; at
    least `least_step` apart.
    """
    if high <= low:
        low, high = low - 0.5, low + 0.5
    exact = max((high - low) / (most - 1), least_step)
    magnitude: float = 10.0 ** math.floor(math.log10(exact))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= exact * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    description: str = "",
    y_include: Iterable[float] = (0.0,),
) -> SafeString:
    """Lines over a common x; empty text where no series has a point.

    description: what the chart shows, for who cannot see it; by default each line's first and last value. y_include:
    what the y axis must reach.
    """
    drawn = [one for one in series if one.known]
    if not drawn:
        return SafeString("")
    points = [point for one in drawn for point in one.known]
    x_axis = Axis.over((x for x, _ in points), LEFT, WIDTH - RIGHT, whole=True)
    y_axis = Axis.over((y for _, y in points), HEIGHT - BOTTOM, TOP, include=y_include)
    lines = format_html_join("", "{}", ((_line(one, n, x_axis, y_axis),) for n, one in enumerate(drawn)))
    said = description or " ".join(map(_in_words, drawn))
    x_ticks = [(x_axis.at(tick), number(tick)) for tick in x_axis.ticks]
    body = format_html("{}{}{}", _frame(x_ticks, y_axis, x_label, y_label), lines, _legend(drawn))
    return _svg(title, said, body)


def bar_chart(
    title: str, bars: Sequence[tuple[str, float]], *, x_label: str, y_label: str, description: str = ""
) -> SafeString:
    """One bar for each (label, value), side by side from 0; empty text without bars."""
    if not bars:
        return SafeString("")
    y_axis = Axis.over((value for _, value in bars), HEIGHT - BOTTOM, TOP, include=(0.0,), whole=True)
    room = (WIDTH - LEFT - RIGHT) / len(bars)
    zero = y_axis.at(0.0)
    drawn = format_html_join(
        "",
        '<rect class="series series-1" fill="currentColor" x="{}" y="{}" width="{}" height="{}">'
        "<title>{}: {}</title></rect>",
        (
            (
                _place(LEFT + (n + 0.1) * room),
                _place(min(zero, y_axis.at(value))),
                _place(0.8 * room),
                _place(abs(zero - y_axis.at(value))),
                label,
                number(value),
            )
            for n, (label, value) in enumerate(bars)
        ),
    )
    every = math.ceil(len(bars) / MOST_BAR_LABELS)
    x_ticks = [(LEFT + (n + 0.5) * room, label) for n, (label, _) in enumerate(bars) if n % every == 0]
    said = description or "; ".join(f"{label}: {number(value)}" for label, value in bars) + "."
    return _svg(title, said, format_html("{}{}", _frame(x_ticks, y_axis, x_label, y_label), drawn))


def number(value: float) -> str:
    """A value in few digits, with a proper minus sign."""
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def _in_words(series: Series) -> str:
    (first_x, first_y), (last_x, last_y) = series.known[0], series.known[-1]
    return f"{series.name}: {number(first_y)} at {number(first_x)}, {number(last_y)} at {number(last_x)}."


def _svg(title: str, description: str, body: SafeString) -> SafeString:
    name = f"chart-{slugify(title)}"
    return format_html(
        '<div class="chart-box" tabindex="0" role="group" aria-label="{title}">'
        '<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name} {name}-words">'
        '<title id="{name}">{title}</title><desc id="{name}-words">{description}</desc>{body}</svg></div>',
        name=name,
        title=title,
        description=description,
        body=body,
        width=WIDTH,
        height=HEIGHT,
    )


def _line(series: Series, n: int, x_axis: Axis, y_axis: Axis) -> SafeString:
    places = [(_place(x_axis.at(x)), _place(y_axis.at(y))) for x, y in series.known]
    dots = format_html_join("", '<circle cx="{}" cy="{}" r="3"/>', places if len(places) <= MOST_DOTS else ())
    return format_html(
        '<g class="series series-{}" stroke="currentColor" fill="currentColor">'
        '<polyline fill="none" stroke-width="2" stroke-dasharray="{}" points="{}"/>{}</g>',
        n % len(DASHES) + 1,
        DASHES[n % len(DASHES)],
        " ".join(f"{x},{y}" for x, y in places),
        dots,
    )


def _frame(x_ticks: Sequence[tuple[float, str]], y_axis: Axis, x_label: str, y_label: str) -> SafeString:
    """Axes, grid, tick labels and what the axes are."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    rows = format_html_join(
        "",
        '<line class="grid" stroke="currentColor" x1="{}" y1="{}" x2="{}" y2="{}"/>'
        '<text fill="currentColor" x="{}" y="{}" dy="4" text-anchor="end">{}</text>',
        (
            (
                LEFT,
                _place(y_axis.at(tick)),
                right,
                _place(y_axis.at(tick)),
                LEFT - 8,
                _place(y_axis.at(tick)),
                number(tick),
            )
            for tick in y_axis.ticks
        ),
    )
    columns = format_html_join(
        "",
        '<text fill="currentColor" x="{}" y="{}" text-anchor="middle">{}</text>',
        ((_place(x), bottom + 18, words) for x, words in x_ticks),
    )
    return format_html(
        '{rows}{columns}<line stroke="currentColor" x1="{left}" y1="{bottom}" x2="{right}" y2="{bottom}"/>'
        '<text class="axis" fill="currentColor" x="{middle}" y="{low}" text-anchor="middle">{x_label}</text>'
        '<text class="axis" fill="currentColor" x="{left}" y="{high}" text-anchor="start">{y_label}</text>',
        rows=rows,
        columns=columns,
        left=LEFT,
        right=right,
        bottom=bottom,
        middle=(LEFT + right) / 2,
        low=HEIGHT - 8,
        high=TOP - 30,
        x_label=x_label,
        y_label=y_label,
    )


def _legend(series: Sequence[Series]) -> SafeString:
    if len(series) < 2:
        return SafeString("")
    width = (WIDTH - LEFT - RIGHT) / len(series)
    return format_html_join(
        "",
        '<g class="series series-{}" stroke="currentColor"><line stroke-width="2" stroke-dasharray="{}" x1="{}" '
        'y1="{}" x2="{}" y2="{}"/></g><text fill="currentColor" x="{}" y="{}">{}</text>',
        (
            (
                n % len(DASHES) + 1,
                DASHES[n % len(DASHES)],
                _place(LEFT + n * width),
                TOP - 14,
                _place(LEFT + n * width + 28),
                TOP - 14,
                _place(LEFT + n * width + 34),
                TOP - 10,
                one.name,
            )
            for n, one in enumerate(series)
        ),
    )


def _place(value: float) -> str:
    return f"{value:.1f}"
