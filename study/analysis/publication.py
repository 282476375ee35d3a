"""Every file of a report, made from its numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from study.analysis import codebook, compare, figures, folder, frames, latex, methods, page, pdf, tidy
from study.analysis.figures.files import Drawing
from study.analysis.paper.document import document
from study.analysis.report import Progress, Report, to_json

EXCLUDED_CSV: Final = "excluded_trials.csv"
Shared = Mapping[tuple[str, str], int]
MACHINE_JSON: Final = "machine.json"
PREDICTIONS_CSV: Final = "predictions.csv"
OBSERVERS_CSV: Final = "observers.csv"


def publish(report: Report, out: Path, progress: Progress = lambda step: None) -> None:
    """Write the report into the folder `out`. Raises OSError when that cannot be done; nothing is half-written."""
    folder.replace(out, files(report, progress))


def files(report: Report, progress: Progress = lambda step: None) -> dict[str, bytes]:
    """{path within the folder: content} of all that a report consists of."""
    progress("figures")
    drawn = figures.draw(report.content, report.main_trials, report.curves)
    made = _data(report) | _drawings(drawn)
    drawings = {name: drawing.svg for name, drawing in drawn.items()}
    paper = document(report.content, drawings)
    progress("tables and codebook")
    made |= {f"tables/{table.name}.tex": latex.table(table, paper.banners).encode() for table in paper.tables()}
    made["methods.md"] = methods.markdown(report.content).encode()
    made["references.bib"] = methods.bibtex(report.content).encode()
    made |= codebook.files(report.content, made)
    progress("report.html")
    made["report.html"] = page.render(paper, drawings).encode()
    progress("report.pdf")
    made["report.pdf"] = pdf.render(paper, drawings)
    return made


def publish_comparison(contents: Sequence[Mapping[str, Any]], shared: Shared, out: Path) -> None:
    """Write comparison.html, .json, .csv and its figure into the folder `out`, in which each study has a folder.

    Args:
        contents: report.json of two or more studies.
        shared: see `compare.compare`.
    """
    compared = compare.compare(contents, shared)
    drawing = figures.compare({content["study"]: (content, compare.curves(content)) for content in contents})
    paper = compare.document(compared, [compare.FIGURE])
    made = {"comparison.json": to_json(compared).encode(), "comparison.csv": tidy.to_csv(compared["conditions"])}
    made |= {"differences.csv": tidy.to_csv(compared["differences"])} | _drawings({"comparison": drawing})
    made |= codebook.files(compared, made, "comparison.json")
    made["comparison.html"] = page.render(paper, {compare.FIGURE.name: drawing.svg}).encode()
    folder.replace(out, made)


def _data(report: Report) -> dict[str, bytes]:
    """report.json, the trials and the tidy tables."""
    made = {"report.json": to_json(report.content).encode(), "trials.csv": report.trials_csv}
    made |= tidy.files(report.content, report.main_trials)
    if len(report.excluded):
        made[EXCLUDED_CSV] = frames.to_csv(report.excluded)
    if report.content["machine"]:
        made[MACHINE_JSON] = to_json(report.content["machine"]).encode()
    if report.predictions is not None:
        made[PREDICTIONS_CSV] = frames.to_csv(report.predictions)
    if report.observers is not None:
        made[OBSERVERS_CSV] = frames.to_csv(report.observers)
    return made


def _drawings(drawn: Mapping[str, Drawing]) -> dict[str, bytes]:
    made: dict[str, bytes] = {}
    for name, drawing in drawn.items():
        made |= {
            f"figures/{name}.svg": drawing.svg.encode(),
            f"figures/{name}.png": drawing.png,
            f"figures/{name}.csv": drawing.csv,
        }
    return made
