"""The report's numbers as tidy tables: one row per thing, one column per variable, as CSV."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pandas as pd

Rows = Sequence[Mapping[str, Any]]

#: Lists of report.json that become a table each, under their own name.
SECTIONS: Final = (
    "attacks_compared",
    "checks",
    "conditions",
    "controls",
    "frontier",
    "goodness_of_fit",
    "machine",
    "machine_observers",
    "machine_thresholds",
    "stealth_margin",
    "thresholds",
)


def files(content: Mapping[str, Any], main_trials: pd.DataFrame) -> dict[str, bytes]:
    """{"conditions.csv": UTF-8 bytes, ...}; a table without rows is left out. Cells that are not known are empty."""
    tables: dict[str, Rows] = {name: content.get(name) or [] for name in SECTIONS}
    tables |= _nested(content)
    tables |= _counts(main_trials)
    return {f"{name}.csv": to_csv(rows) for name, rows in sorted(tables.items()) if rows}


def to_csv(rows: Rows) -> bytes:
    """A table of mappings; a mapping within a row becomes columns of its own, a list within a row is left out."""
    flat = [dict(_flat(row)) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(names)
    table.writerows([_cell(row.get(name)) for name in names] for row in flat)
    return text.getvalue().encode()


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}_")
        elif not isinstance(value, list):
            yield f"{prefix}{name}", value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(int(value)) if isinstance(value, bool) else str(value)


def _nested(content: Mapping[str, Any]) -> dict[str, Rows]:
    """Tables out of what report.json holds deeper down."""
    models = content["models"]
    effects = content.get("random_effects") or {}
    return {
        "coefficients": [
            {"model": name, "term": term} | dict(row)
            for name, model in models.items()
            if name != "sensitivity"
            for term, row in model["coefficients"].items()
        ],
        "machine": [{name: row[name] for name in row if name != "subjects"} for row in content["machine"]],
        "machine_subjects": [
            {name: row[name] for name in ("model", "attack", "strength")} | dict(counts)
            for row in content["machine"]
            for counts in row.get("subjects") or []
        ],
        "sensitivity": models.get("sensitivity") or [],
        "random_effects": [{"factor": factor} | dict(row) for factor, rows in effects.items() for row in rows],
        "residuals": [
            {"attack": fit["attack"], "sigmoid": fit["sigmoid"]} | dict(row)
            for fit in content.get("goodness_of_fit") or []
            for row in fit["residuals"]
        ],
        "matched_visibility": (content.get("matched_visibility") or {}).get("rows", []),
        "matched_targets": (content.get("matched_visibility") or {}).get("targets", []),
        "matched_contrasts": (content.get("matched_visibility") or {}).get("contrasts", []),
        "order": ((content.get("quality") or {}).get("order") or {}).get("by_block") or [],
        "with_and_without": (content.get("quality") or {}).get("with_and_without") or [],
    }


def _counts(main_trials: pd.DataFrame) -> dict[str, Rows]:
    """Answers counted by pair, and by participant and condition."""
    condition = ["attack", "strength"]
    items = main_trials.groupby(["stimulus", *condition]).agg(
        n=("correct", "size"), correct=("correct", "sum"), error_shift_deg=("error_shift_deg", "mean")
    )
    people = main_trials.groupby(["participant", *condition]).agg(n=("correct", "size"), correct=("correct", "sum"))
    return {"items": _records(items), "participants": _records(people)}


def _records(counts: pd.DataFrame) -> Rows:
    counts = counts.assign(proportion_correct=counts["correct"] / counts["n"]).reset_index().astype(object)
    records: Rows = counts.where(counts.notna(), None).to_dict("records")
    return records
