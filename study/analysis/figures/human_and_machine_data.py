"""What the headline figure draws: people and models over one strength, their thresholds, and what lies between."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from study.analysis.figures.source import Source, margin_values
from study.analysis.frontier import names_tasks
from study.analysis.psychometric import MEDIAN_PERSON, POOLED

COLUMNS: Final = ("panel", "attack", "series", "model", "strength", "value", "low", "high", "unit", "n", "censored")

SHARE, CONTROLS, THRESHOLDS, SHIFT, DISPLACEMENT = "share", "controls", "thresholds", "shift", "displacement"
PEOPLE: Final = "people"
MACHINE: Final = "machine"
POOLED_CURVE: Final = "people: pooled curve"
MEDIAN_CURVE: Final = "people: median person's curve"
OTHER_FIELDS: Final = "machine under other fields"
MEAN_OF_MODELS: Final = "mean of the models"
PAIRS_SHOWN: Final = "machine, pairs shown"
MARGIN: Final = "stealth margin"
STEALTH_GAP: Final = "stealth gap"
#: Of the detection that counts as seen, PC .75, and of the success that counts as working.
HALF: Final = 0.5
MARGIN_LEVELS: Final = ("PC .75", "success rate .9")

#: With more models than this only the threshold of their mean is drawn.
MOST_THRESHOLDS: Final = 8
#: Of people and models, in the panel of thresholds.
MEDIAN: Final = "people: median"
POOL: Final = "people: pooled"
IDENTITY: Final = "identity"
RESAMPLED: Final = "resampled"
OTHER_FIELD: Final = "other_field"

_PEOPLE_THRESHOLDS = {MEDIAN_PERSON: MEDIAN, POOLED: POOL}
_UNIT = "2 PC - 1"


def data(source: Source) -> pd.DataFrame:
    """One row for each mark: a point with its interval, a point of a curve, a threshold, a ruler's unit."""
    rows = [
        {"attack": attack} | row
        for attack in source.attacks
        for part in (_people, _curves, _success, _controls, _thresholds, _shift, _displacement)
        for row in part(source, attack)
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = {name: pd.to_numeric(table[name]) for name in ("strength", "value", "low", "high")}
    return table.assign(**numbers, n=table["n"].astype("Int64"))


def over_subjects(
    subjects: Sequence[Mapping[str, Any]], total: str, count: str, level: float = 0.95
) -> tuple[float | None, float | None]:
    """Interval of the ratio of the sums of `total` and `count`, subjects taken as the clusters.

    Linearised ratio estimator (Cochran 1977, ch. 6), t on subjects - 1 degrees of freedom; None with fewer than two.
    """
    known = [row for row in subjects if row.get(total) is not None and row.get(count)]
    if len(known) < 2:
        return None, None
    sums, counts = (np.array([float(row[name]) for row in known]) for name in (total, count))
    ratio = sums.sum() / counts.sum()
    residual = sums - ratio * counts
    se = math.sqrt(len(known) / (len(known) - 1) * float(residual @ residual)) / counts.sum()
    half = float(stats.t.ppf((1 + level) / 2, len(known) - 1)) * se
    return ratio - half, ratio + half


def _people(source: Source, attack: str) -> Iterator[dict[str, Any]]:
    if source.is_adaptive:
        return
    for row in source.rows("conditions", attack):
        if row["strength"] > 0:
            yield {"panel": SHARE, "series": PEOPLE, "strength": row["strength"], "n": row["n"]} | _above_chance(row)


def _above_chance(row: Mapping[str, Any]) -> dict[str, Any]:
    """Detection corrected for guessing, 2 PC - 1: on the success rate's scale, 0 = nothing is seen, 1 = everything."""
    names = {"value": "proportion_correct", "low": "two_way_low", "high": "two_way_high"}
    return {new: None if row.get(old) is None else 2 * row[old] - 1 for new, old in names.items()} | {"unit": _UNIT}


def _curves(source: Source, attack: str) -> Iterator[dict[str, Any]]:
    for series, points in ((POOLED_CURVE, source.pooled_curve(attack)), (MEDIAN_CURVE, source.median_curve(attack))):
        for point in points:
            value = 2 * point["value"] - 1
            yield {"panel": SHARE, "series": series, "strength": point["strength"], "value": value, "unit": _UNIT}


def _model(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The model's name, with its task where the rows are of several."""
    return f"{row['model']} ({row['task']})" if names_tasks(rows) and row["model"] else row["model"]


def _success(source: Source, attack: str) -> Iterator[dict[str, Any]]:
    rows = source.rows("machine", attack)
    for row in rows:
        if row["strength"] > 0 and row["success_rate"] is not None:
            low, high = over_subjects(row.get("subjects") or [], "successes", "n_eligible")
            yield {
                "panel": SHARE, "series": MACHINE, "model": _model(row, rows), "strength": row["strength"],
                "value": row["success_rate"], "low": None if low is None else max(low, 0.0),
                "high": None if high is None else min(high, 1.0), "unit": "share of images", "n": row["n_eligible"],
            }  # fmt: skip


def _controls(source: Source, attack: str) -> Iterator[dict[str, Any]]:
    """Identical images, and the other controls with the attack itself at the same strengths."""
    conditions, controls = source.rows("conditions", attack), source.rows("controls", attack)
    compared = {row["strength"] for row in controls}
    shown = [
        *((IDENTITY, row) for row in conditions if row["strength"] == 0),
        *((row["control"], row) for row in controls if row["control"] in (RESAMPLED, OTHER_FIELD)),
        *((PEOPLE, row) for row in conditions if row["strength"] in compared and row["strength"] > 0),
    ]
    for series, row in shown:
        values = _above_chance(row)
        if source.is_adaptive and series != IDENTITY:
            values |= {"low": None, "high": None}
        yield {"panel": CONTROLS, "series": series, "strength": row["strength"], "n": row["n"]} | values


def _thresholds(source: Source, attack: str) -> Iterator[dict[str, Any]]:
    """Of people and models, and the margin between them. `censored` says where the threshold lies beyond the range."""
    for population in (MEDIAN_PERSON, POOLED):
        row = source.threshold(attack, population)
        if row is not None:
            yield _threshold_row(_PEOPLE_THRESHOLDS[population], row, "PC .75")
        elif any(row["population"] == population for row in source.rows("thresholds", attack)):
            none = {"threshold": None, "low": None, "high": None}
            yield _threshold_row(_PEOPLE_THRESHOLDS[population], none, "PC .75")
    crossings = [row for row in source.rows("machine_thresholds", attack) if row["measure"].startswith("success rate")]
    if len({row["model"] for row in crossings}) > MOST_THRESHOLDS:
        crossings = [row for row in crossings if row["model"] is None]
    for row in crossings:
        series = f"models: {row['level']:.0%}".replace("%", " %")
        who = {"model": _model(row, crossings) or MEAN_OF_MODELS, "censored": row["censored"]}
        yield _threshold_row(series, row, row["measure"]) | who
    margins = [row for row in source.rows("stealth_margin", attack) if _levels(row) == MARGIN_LEVELS]
    for row in margins[:1]:  # models with other targets and tasks have their margins in a figure of their own
        yield from _margin(row)


def _levels(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["human_level"], row["machine_level"]


def _threshold_row(series: str, row: Mapping[str, Any], unit: str) -> dict[str, Any]:
    values = {"strength": row["threshold"], "low": row["low"], "high": row["high"]}
    return {"panel": THRESHOLDS, "series": series, "unit": unit} | values


def _margin(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The margin, and the strengths between the thresholds: there the attack works and is not yet seen.

    Of a censored margin an open end of the gap is empty.
    """
    yield {"panel": THRESHOLDS, "series": MARGIN, "unit": "ratio of strengths"} | margin_values(row)
    ends = {"low": row["machine_threshold"], "high": row["human_threshold"], "censored": row["censored"]}
    if row["margin"] is not None or row.get("at_least") is not None:
        yield {"panel": THRESHOLDS, "series": STEALTH_GAP, "unit": "strength"} | ends


def _shift(source: Source, attack: str) -> Iterator[dict[str, Any]]:
    evaluated = [row for row in source.rows("machine", attack) if row["strength"] > 0]
    for row in evaluated:
        low, high = over_subjects(row.get("subjects") or [], "error_shift_sum", "n")
        shared = {"panel": SHIFT, "model": _model(row, evaluated), "strength": row["strength"], "unit": "degrees"}
        if row["mean_error_shift_deg"] is not None:
            yield shared | {"series": MACHINE, "value": row["mean_error_shift_deg"], "low": low, "high": high}
        if row["other_field_shift_deg"] is not None:
            yield shared | {"series": OTHER_FIELDS, "value": row["other_field_shift_deg"]}
    for row in source.rows("frontier", attack) if not evaluated else ():
        if row["mean_error_shift_deg"] is not None:
            value = {"strength": row["strength"], "value": row["mean_error_shift_deg"], "unit": "degrees"}
            yield {"panel": SHIFT, "series": PAIRS_SHOWN} | value


def _displacement(source: Source, attack: str) -> Iterator[dict[str, Any]]:
    for unit, value in source.units(attack).items():
        yield {"panel": DISPLACEMENT, "series": unit, "strength": 1.0, "value": value, "unit": unit}
