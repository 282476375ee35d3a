"""What a sweep found, as files: one tidy table and a figure."""

from __future__ import annotations

from pathlib import Path

from study.lab.sweeps import Swept


def write(swept: Swept, folder: Path) -> None:
    """Write sweep.csv and, if anything was evaluated, figure.svg, figure.png and figure.csv."""
    import pandas as pd

    from models.durable import write_bytes
    from models.sweeps import COLUMNS
    from study.analysis.figures.files import to_csv
    from study.analysis.figures.sweep import draw

    folder.mkdir(parents=True, exist_ok=True)
    rows = pd.DataFrame(swept.rows, columns=list(COLUMNS))
    write_bytes(folder / "sweep.csv", to_csv(rows))
    if len(rows):
        drawing = draw(rows)
        for name, content in (("svg", drawing.svg.encode()), ("png", drawing.png), ("csv", drawing.csv)):
            write_bytes(folder / f"figure.{name}", content)
