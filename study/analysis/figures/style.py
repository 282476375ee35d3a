"""How every figure looks: colours, letters, sizes and marks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl

#: Okabe and Ito's colours, told apart by people with any colour vision. Markers and lines differ as well, so that
#: nothing is lost in grey.
BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
GREEN: Final = "#009E73"
PURPLE: Final = "#CC79A7"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
BLACK: Final = "#000000"
SERIES: Final = (BLUE, VERMILLION, GREEN, PURPLE, BLACK, ORANGE, SKY)
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES: Final[tuple[Any, ...]] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))

GREY: Final = "#6B6B6B"
BAND: Final = "#E4E4E4"
GAP: Final = "#F6E3D6"
RED: Final = "#A00000"

#: Of a page's text block, in inches; nothing in a figure this wide is set smaller than SMALL points.
WIDTH: Final = 7.0
SMALL: Final = 8.0

RC: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": SMALL,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # nothing stands above the axes; looking for it takes time
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.labelcolor": "#222222",
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.05,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "svg.fonttype": "path",
    "text.parse_math": False,  # names come from tables; a dollar sign is a dollar sign
    "svg.hashsalt": "blindspot",
}


@dataclass(frozen=True)
class Look:
    """Of one series: its marker and colour, told apart by either alone."""

    marker: str
    colour: str
    dash: Any = "-"
    hollow: bool = False

    @property
    def face(self) -> str:
        return "white" if self.hollow else self.colour


def looks(names: Sequence[str], colour: str | None = None) -> dict[str, Look]:
    """One look for each name, in their order; all in `colour` where it is given."""
    return {
        name: Look(MARKERS[i % len(MARKERS)], colour or SERIES[i % len(SERIES)], DASHES[i % len(DASHES)])
        for i, name in enumerate(names)
    }


def shades(values: Sequence[float]) -> dict[float, Any]:
    """From light to dark, in grey as in colour: one shade for each of the ascending values."""
    steps = [0.88 - 0.83 * i / max(len(values) - 1, 1) for i in range(len(values))]
    return {float(value): mpl.colormaps["cividis"](step) for value, step in zip(values, steps, strict=True)}


def shortened(name: str, letters: int) -> str:
    """The name, its middle left out where it is longer than that: names often differ at their ends only."""
    if len(name) <= letters:
        return name
    end = (letters - 1) // 2
    return f"{name[: letters - 1 - end]}…{name[-end:]}"


def number(value: float, digits: int = 2) -> str:
    """With a true minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")


def share(value: float) -> str:
    """.62 and not 0.62: a share or a probability never exceeds 1."""
    return f"{value:.2f}".replace("0.", ".").replace("-", "−")
