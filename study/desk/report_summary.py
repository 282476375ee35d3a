"""What a report says, in a line for each condition; and what a newer one says otherwise than an older one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from study.analysis.models import HIDDEN, Analysis
from study.lab.files import StorageFailed
from study.lab.images import DamagedFile

GONE = "Its files are missing or damaged here: bring them back from a backup, or analyse again."
ELSEWHERE = "Made by a command, and kept where that was told to."


@dataclass(frozen=True)
class Line:
    """A condition, what was found, and the verdict; of an adaptive study the threshold of an attack."""

    condition: str
    n: int | None
    found: str
    verdict: str


@dataclass(frozen=True)
class Summary:
    """A report as a list shows it. refusal: why nothing of its content is shown; empty when it is."""

    analysis: Analysis
    lines: tuple[Line, ...] = ()
    simulated: bool = False
    matches: bool | None = None
    refusal: str = ""


@dataclass(frozen=True)
class Change:
    """A condition of which two reports of one study say different things."""

    condition: str
    before: Line | None
    after: Line | None


def summary(analysis: Analysis) -> Summary:
    """What this report says, as far as it may be shown and its file is here."""
    if analysis.is_blind:
        return Summary(analysis, refusal=HIDDEN)
    if not analysis.folder:
        return Summary(analysis, refusal=ELSEWHERE)
    try:
        content = analysis.content()
    except (DamagedFile, StorageFailed):
        return Summary(analysis, refusal=GONE)
    return Summary(analysis, tuple(lines(content)), bool(content["simulated"]), content["design"]["matches"])


def lines(content: Mapping[str, Any]) -> Iterator[Line]:
    """The lines of a report.json."""
    for row in content.get("conditions") or ():
        low, high = row.get("two_way_low"), row.get("two_way_high")
        found = f"PC {_share(row['proportion_correct'])}" + (
            "" if low is None else f" ({_share(low)} to {_share(high)})"
        )
        yield Line(f"{row['attack']}, s = {row['strength']:g}", row["n"], found, row.get("verdict") or "")
    if not content.get("conditions"):
        for row in content.get("thresholds") or ():
            span = f" ({row['low']:.3g} to {row['high']:.3g})" if row.get("low") and row.get("high") else ""
            found = "no threshold" if row["threshold"] is None else f"threshold {row['threshold']:.3g}{span}"
            yield Line(f"{row['attack']}, {row['population']}, {row['method'].split(',')[0]}", None, found, "")


def changes(before: Summary, after: Summary) -> list[Change]:
    """Conditions that the newer report has otherwise than the older one."""
    old, new = ({line.condition: line for line in summary.lines} for summary in (before, after))
    return [Change(name, old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".lstrip("0") if value < 1 else f"{value:.3f}"
