"""How numbers are printed: a true minus, no digits that mean nothing, a dash for what is not known."""

from collections.abc import Mapping
from typing import Any, Final

DASH: Final = "–"
OPEN: Final = "…"


def number(value: float | None, digits: int | None = None) -> str:
    """With `digits` decimals, or in the shortest form."""
    if value is None:
        return DASH
    text = f"{value:g}" if digits is None else f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def short(value: float | None) -> str:
    """A proportion as .60."""
    return DASH if value is None else f"{value:.2f}".removeprefix("0")


def percent(value: float | None, digits: int = 0) -> str:
    """A share as 95 %."""
    return DASH if value is None else f"{100 * value:.{digits}f} %"


def interval(row: Mapping[str, Any], low: str = "low", high: str = "high", digits: int = 3) -> str:
    """[low, high] of a row; an end that is open, because it lies beyond what was tested, is an ellipsis."""
    ends = [OPEN if row.get(end) is None else number(row[end], digits) for end in (low, high)]
    return DASH if ends == [OPEN, OPEN] else f"[{ends[0]}, {ends[1]}]"


def p_value(value: float | None) -> str:
    if value is None:
        return DASH
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0") if value < 0.9995 else "> .999"


def listed(items: list[str]) -> str:
    """a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
