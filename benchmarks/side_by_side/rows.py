"""A row of the comparison: ours, a peer, and what could be reached at the best, measured in alternation."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from benchmarks.side_by_side.costs import Cost, median_cost


@dataclass(frozen=True)
class Row:
    """One figure and, where something is asked of it, its bar.

    Attributes:
        id: its name for good.
        what: what was measured, in words.
        ours, peer, limit: medians over the rounds, in `unit`; None where there is none to compare with. The limit is
            what the least that does the same would cost.
        ratio: ours to the peer's, else to the limit's: the median over the rounds.
        spread: the smallest and the largest ratio of a round, or, without a ratio, of ours.
        bar: what is asked for, in words; empty where nothing is.
        ok: whether it holds; None where nothing is asked.
        costs: what `ours`, the `peer` and the `limit` took, whatever the row compares.
        headroom: how many times better than the bar it is: 1 is just enough, less is too little; None without a bar.
        recorded: the peer was not there, and what it needed on another day is shown instead. Never ok.
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
    ok: bool | None
    headroom: float | None = None
    costs: Mapping[str, Cost] = field(default_factory=dict)
    recorded: bool = False

    def __post_init__(self) -> None:
        if self.recorded and self.ok:
            raise ValueError(f"{self.id}: what was not measured here cannot hold a bar.")

    def costing(self, **costs: Sequence[Cost]) -> Row:
        """The same row with what each contender (ours, peer, limit) took: one cost a round."""
        return replace(self, costs={who: median_cost(each) for who, each in costs.items()})


def compared(  # noqa: PLR0917
    id: str, what: str, ours: Sequence[float], other: Sequence[float], unit: str, most: float | None = None,
    least: float | None = None, *, to_the_limit: bool = False, recorded: bool = False,
) -> Row:  # fmt: skip
    """A row of a ratio, of at most `most` or at least `least`: ours[i] to other[i], one of each round.

    Without a bound nothing is asked of it. Raises ValueError unless there are as many of both, and at most one bound.
    """
    if most is not None and least is not None:
        raise ValueError("Give one bound: most or least.")
    ratios = [mine / theirs for mine, theirs in zip(ours, other, strict=True)]
    ratio, theirs = statistics.median(ratios), statistics.median(other)
    bar = _judged(ratio, most, least, "times")
    return Row(
        id=id,
        what=what,
        ours=statistics.median(ours),
        peer=None if to_the_limit else theirs,
        limit=theirs if to_the_limit else None,
        unit=unit,
        ratio=ratio,
        spread=(min(ratios), max(ratios)),
        bar=bar.words,
        ok=False if recorded else bar.ok,
        headroom=bar.headroom,
        recorded=recorded,
    )


def alone(  # noqa: PLR0917
    id: str, what: str, ours: Sequence[float], unit: str, most: float | None = None, least: float | None = None
) -> Row:
    """A row of one figure, whose median must be at most `most` or at least `least`, if a bound is given."""
    median = statistics.median(ours)
    bar = _judged(median, most, least, unit)
    spread = (min(ours), max(ours))
    return Row(id, what, median, None, None, unit, None, spread, bar.words, bar.ok, bar.headroom)


class _Judged(NamedTuple):
    words: str = ""
    ok: bool | None = None
    headroom: float | None = None


def _judged(figure: float, most: float | None, least: float | None, unit: str) -> _Judged:
    if most is not None:
        headroom = most / figure if most and figure > 0 else None
        return _Judged(f"at most {most:.3g} {unit}".rstrip(), figure <= most, headroom)
    if least is not None:
        return _Judged(f"at least {least:.3g} {unit}".rstrip(), figure >= least, figure / least if least else None)
    return _Judged()


def table(rows: Sequence[Row]) -> str:
    """Markdown: the figures and their bars."""
    head = "| row | ours | peer | limit | unit | ratio (rounds) | bar | |\n|---|---|---|---|---|---|---|---|\n"
    return head + "".join(_line(row) + "\n" for row in rows)


def table_of_costs(rows: Sequence[Row]) -> str:
    """Markdown: wall time, CPU time and peak memory of each contender of the rows that have them."""
    head = "| row | contender | wall, s | CPU, s | peak, MB |\n|---|---|---|---|---|\n"
    return head + "".join(
        f"| {row.id} | {who} | {_figure(cost.wall_s)} | {_figure(cost.cpu_s)} | {_figure(cost.peak_mb)} |\n"
        for row in rows
        for who, cost in row.costs.items()
    )


def _line(row: Row) -> str:
    figures = (_figure(value) for value in (row.ours, row.peer, row.limit))
    return f"| {row.what} | {' | '.join(figures)} | {row.unit} | {_ratio(row)} | {row.bar} | {_verdict(row)} |"


def _ratio(row: Row) -> str:
    if row.ratio is None or row.spread is None:
        return ""
    ratio, low, high = (f"{times:.2g}" if times < 0.1 else f"{times:.2f}" for times in (row.ratio, *row.spread))
    return f"{ratio} ({low}–{high})"


def _verdict(row: Row) -> str:
    if row.recorded:
        return "recorded, not measured"
    return {True: "holds", False: "**missed**", None: ""}[row.ok]


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
