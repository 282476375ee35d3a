"""A figure as files: SVG, PNG and the data that it draws, the same bytes for the same figure."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from study.analysis.figures.style import RED, SMALL

SIMULATED: Final = "SIMULATED DATA: no claim about people"
EXPLORATORY: Final = "EXPLORATORY: departs from the frozen plan"
#: Dots per inch of the PNG.
DPI: Final = 200


@dataclass(frozen=True)
class Drawing:
    """One figure in its three forms.

    Attributes:
        svg: text; letters are outlines, so that it looks alike everywhere.
        png: bytes, 200 dots per inch.
        csv: UTF-8 bytes, one row for each mark that is drawn.
    """

    svg: str
    png: bytes
    csv: bytes


def marks(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """What no reader of a figure may overlook, one sentence a line."""
    simulated = any(report["simulated"] for report in reports)
    exploratory = any(report.get("exploratory") for report in reports)
    return [SIMULATED] * simulated + [EXPLORATORY] * exploratory


def height_of_marks(report: Mapping[str, Any]) -> float:
    """In inches, for figures whose places are fixed; others make room by themselves."""
    return 0.15 * len(marks([report]))


def mark(figure: Figure, reports: Sequence[Mapping[str, Any]]) -> None:
    """Write the marks at the top of the figure, which grows by them, and over it that its data are simulated."""
    words = marks(reports)
    if SIMULATED in words:
        figure.text(0.5, 0.5, "SIMULATED", ha="center", va="center", fontsize=44, alpha=0.06, rotation=20)
    if not words:
        return
    if figure.get_layout_engine():
        figure.set_figheight(figure.get_figheight() + 0.05 + 0.15 * len(words))
    place = {} if figure.get_layout_engine() else {"y": 1 - 0.03 / figure.get_figheight()}
    figure.suptitle("\n".join(words), x=0.995, ha="right", va="top", fontsize=SMALL, color=RED, **place)


def freeze(figure: Figure) -> None:
    """Lay the figure out once, for its SVG and its PNG alike."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def to_svg(figure: Figure, comment: str = "") -> str:
    """SVG text without date or creator, so that the same figure gives the same bytes. Letters in it are outlines.

    The canvas prints it, and not `savefig`, which would draw everything once more to lay it out.
    """
    text = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(text, metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    svg = text.getvalue()
    return svg.replace("<svg", f"<!-- {comment} -->\n<svg", 1) if comment else svg


def to_png(figure: Figure) -> bytes:
    """PNG bytes at 200 dots per inch, without the name of the software or a date."""
    figure.dpi = DPI
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    picture = io.BytesIO()
    opaque = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    opaque.save(picture, "png", compress_level=3, dpi=(DPI, DPI))
    return picture.getvalue()


def to_csv(data: pd.DataFrame) -> bytes:
    """UTF-8; an empty cell is a value that is not known; numbers in the shortest form that reads back."""
    return bytes(data.to_csv(index=False, lineterminator="\n").encode())
