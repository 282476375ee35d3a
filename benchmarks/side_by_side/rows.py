"""A row of the comparison: ours, a peer, and what could be reached at the best, measured in alternation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One bar.

    Attributes:
        id: its name for good.
        what: what was measured, in words.
        ours, peer, limit: medians over the rounds, in `unit`; None where there is none to compare with. The limit is
            what the least that does the same would cost.
        ratio: ours to the peer's, else to the limit's: the median over the rounds.
        spread: the smallest and the largest ratio of a round.
        bar: what is asked for, in words.
        ok: whether it holds.
    """

    id: str
    what: str
    ours: float
    peer: float | None
    limit: float | None
    unit: str
    ratio: float | None
    spread: tuple[float, float] | None
    bar: str
    ok: bool


def compared(  # noqa: PLR0917
    id: str, what: str, ours: Sequence[float], other: Sequence[float], unit: str, most: float | None = None,
    least: float | None = None, *, to_the_limit: bool = False,
) -> Row:  # fmt: skip
    """A row whose bar is a ratio, of at most `most` or at least `least`: ours[i] to other[i], one of each round.

    Raises ValueError unless there are as many of both, and exactly one bound.
    """
    if (most is None) == (least is None):
        raise ValueError("Give one bound: most or least.")
    ratios = [mine / theirs for mine, theirs in zip(ours, other, strict=True)]
    ratio, theirs = statistics.median(ratios), statistics.median(other)
    return Row(
        id=id,
        what=what,
        ours=statistics.median(ours),
        peer=None if to_the_limit else theirs,
        limit=theirs if to_the_limit else None,
        unit=unit,
        ratio=ratio,
        spread=(min(ratios), max(ratios)),
        bar=f"at most {most:.3g} times" if most is not None else f"at least {least:.3g} times",
        ok=ratio <= most if most is not None else ratio >= (least or 0.0),
    )


def alone(id: str, what: str, ours: Sequence[float], unit: str, most: float) -> Row:
    """A row whose bar is a figure that the median must not exceed."""
    median = statistics.median(ours)
    return Row(id, what, median, None, None, unit, None, None, f"at most {most:g} {unit}", median <= most)


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    head = "| row | ours | peer | limit | unit | ratio (rounds) | bar | |\n|---|---|---|---|---|---|---|---|\n"
    return head + "".join(_line(row) + "\n" for row in rows)


def _line(row: Row) -> str:
    ratio = (
        "" if row.ratio is None or row.spread is None else f"{row.ratio:.2f} ({row.spread[0]:.2f}–{row.spread[1]:.2f})"
    )
    figures = ("" if value is None else f"{value:.3g}" for value in (row.ours, row.peer, row.limit))
    verdict = "holds" if row.ok else "**missed**"
    return f"| {row.what} | {' | '.join(figures)} | {row.unit} | {ratio} | {row.bar} | {verdict} |"
