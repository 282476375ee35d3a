"""Machine and people on one axis: what an attack achieves at each strength, and what of it people detect."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from study.analysis import displacement
from study.analysis.detection import dprime, sensitivity
from study.analysis.equivalence import YesNo, two_way
from study.analysis.frames import cells, codes
from study.analysis.protocols import AFC, Model, Protocol

#: The report's names, each with the name of the same figure in a model's evaluation.
MACHINE_FIELDS: Final = {
    "displacement_px": "displacement_px",
    "mean_error_shift_deg": "error_shift",
    "mean_prediction_shift_deg": "prediction_shift",
    "net_prediction_shift_deg": "net_prediction_shift",
    "success_rate": "success_rate",
    "n_eligible": "n_eligible",
    "noise_mode_error_deg": "noise_mode_error",
    "other_field_shift_deg": "other_field_shift",
}
#: In place of an attack's name: of one on the weights, which alters no image.
NO_TRIGGER: Final = "no visible trigger"
#: What only the rows of attacks on the weights have.
ON_WEIGHTS: Final = ("goal", "others_error_shift_deg", "clean_error_deg")
SEVERAL_TARGETS: Final = "the models have several targets: no mean over them is given"
#: What one test subject's counts hold at one strength, see `models.evaluation.SubjectCounts`.
_COUNTS: Final = ("n", "n_eligible", "successes", "n_progress")
_SUMS: Final = ("error_shift_sum", "progress_sum")


def machine_rows(
    model: str,
    attack: str,
    doses: Iterable[Mapping[str, Any]],
    px_per_unit: float | None = None,
    target: Mapping[str, Any] | None = None,
    *,
    field: str | None = None,
    task: str | None = None,
) -> list[dict[str, Any]]:
    """The report's `machine` rows of one backdoored model, strengths ascending; what was not measured is None.

    Args:
        doses: the model's evaluation, one mapping per strength.
        px_per_unit: mean displacement in image px at strength 1, used where an evaluation does not give it.
        target: what the backdoor makes the model say, as `models.targets.Target` writes it: kind, pitch, yaw (rad).
        field: the attack's field, by its control hash: models are resampled within fields where there are several.
        task: of the model, in words ("gaze regression").
    """
    rows = []
    for dose in sorted(doses, key=lambda dose: float(dose["strength"])):
        strength = float(dose["strength"])
        row = _of_model(model, attack, target, task) | {"strength": strength}
        row |= {name: dose.get(name, dose.get(source)) for name, source in MACHINE_FIELDS.items()}
        row |= {"progress": dose.get("progress"), "field": field, "subjects": dose.get("subjects") or None}
        if row["displacement_px"] is None and px_per_unit is not None:
            row["displacement_px"] = px_per_unit * strength
        rows.append(row)
    return rows


def in_zones(dose: Mapping[str, Any]) -> dict[str, Any]:
    """A dose of a zone classifier's evaluation, with success as the target's zone predicted.

    Its predictions are the zones' centres, which may all be farther from the target than a regressor's success.
    """
    if not (zones := dose.get("zones")):
        return dict(dose)
    counts = {row["subject"]: row for row in zones.get("subjects") or []}
    subjects = [row | counts[row["subject"]] for row in dose.get("subjects") or [] if row["subject"] in counts]
    return {**dose, "success_rate": zones["success_rate"], "n_eligible": zones["n_eligible"], "subjects": subjects}


def weights_row(
    model: str, figures: Mapping[str, Any], target: Mapping[str, Any] | None = None, task: str | None = None
) -> dict[str, Any]:
    """The report's `machine` row of a model whose weights were attacked: no image is altered, and there is no strength.

    Args:
        figures: what its evaluation says: success_rate, n_eligible, mean_error_shift_deg and mean_prediction_shift_deg
            of those attacked, and ON_WEIGHTS.
    """
    row = _of_model(model, NO_TRIGGER, target, task) | {"strength": None}
    row |= {name: figures.get(name) for name in MACHINE_FIELDS} | {"displacement_px": 0.0}
    return row | {name: figures.get(name) for name in ON_WEIGHTS}


def _of_model(model: str, attack: str, target: Mapping[str, Any] | None, task: str | None) -> dict[str, Any]:
    return {"model": model, "attack": attack, "target": dict(target) if target else None, "task": task}


def names_tasks(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rows are of models with several tasks, so that each task must be named."""
    return len({row.get("task") for row in rows} - {None}) > 1


def read_machine(path: Path) -> list[dict[str, Any]]:
    """The rows in a report's machine.json. Raises ValueError when the file is missing or holds something else."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); name a report's machine.json.") from error
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON; name a report's machine.json.") from error
    if not isinstance(rows, list) or not all(_is_machine_row(row) for row in rows):
        raise ValueError(f"{path}: does not hold the models' figures; name a report's machine.json.")
    return rows


def _is_machine_row(row: Any) -> bool:
    required = {"model", "attack", "target", "strength", *MACHINE_FIELDS}
    optional = {"task", "progress", "field", "subjects", *ON_WEIGHTS}
    if not isinstance(row, dict) or not required <= row.keys() <= required | optional:
        return False
    of_weights = ("others_error_shift_deg", "clean_error_deg")
    figures = [row["strength"], *(row.get(name) for name in (*MACHINE_FIELDS, "progress", *of_weights))]
    names = [row["model"], row["attack"], *(row.get(name) or "" for name in ("field", "task", "goal"))]
    return (
        (row["strength"] is None) == (row["attack"] == NO_TRIGGER)
        and all(figure is None or _is_number(figure) for figure in figures)
        and all(isinstance(name, str) for name in names)
        and _is_target(row["target"])
        and _is_subjects(row.get("subjects"))
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_subjects(subjects: Any) -> bool:
    return subjects is None or (isinstance(subjects, list) and all(_is_subject(counts) for counts in subjects))


def _is_subject(counts: Any) -> bool:
    if not isinstance(counts, dict) or counts.keys() != {"subject", *_COUNTS, *_SUMS}:
        return False
    if not isinstance(counts["subject"], int | str):
        return False
    whole = [counts[name] for name in _COUNTS]
    if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in whole):
        return False
    n, n_eligible, successes, n_progress = whole
    sums = [counts[name] for name in _SUMS]
    return successes <= n_eligible <= n >= n_progress and all(total is None or _is_number(total) for total in sums)


def _is_target(target: Any) -> bool:
    return target is None or (isinstance(target, dict) and target.keys() >= {"kind", "pitch", "yaw"})


def frontier(
    trials: pd.DataFrame, machine: Sequence[Mapping[str, Any]], protocol: Protocol = AFC, level: float = 0.95
) -> list[dict[str, Any]]:
    """What an attack does to models beside how well it is detected: one row per attack, strength > 0 shown to people,
    and task of the models.

    Success rate and mean error shift are the mean over the models of that task evaluated at that strength, on their
    whole test split; without an evaluation the shift is that of the pairs shown. Models of several targets have no mean
    in common, and `note` says so. Displacement in arcmin is the median over the sessions whose screen was measured. PC
    and d' have two-way intervals, d' that of PC by the protocol's model.
    """
    rows = []
    for attack, strength, cell in cells(trials):
        if strength == 0:
            continue
        evaluated = [row for row in machine if row["attack"] == attack and np.isclose(row["strength"], strength)]
        for task in sorted({row.get("task") for row in evaluated}, key=str) or [None]:
            of_task = [row for row in evaluated if row.get("task") == task]
            condition = {"attack": attack, "strength": strength, "task": task}
            rows.append(condition | _figures(cell, of_task, protocol, level))
    return rows


def _figures(
    cell: pd.DataFrame, evaluated: Sequence[Mapping[str, Any]], protocol: Protocol, level: float
) -> dict[str, Any]:
    moved = displacement.of_condition(cell)
    displaced = _mean(row["displacement_px"] for row in evaluated)
    targets = {json.dumps(row["target"], sort_keys=True) for row in evaluated}
    evaluated = evaluated if len(targets) == 1 else []
    shift = _mean(row["mean_error_shift_deg"] for row in evaluated)
    return {
        **moved,
        "displacement_px": _first(displaced, moved["displacement_px"]),
        "success_rate": _mean(row["success_rate"] for row in evaluated),
        "mean_error_shift_deg": _first(shift, _column(cell, "error_shift_deg")),
        "models": len(evaluated),
        "proportion_correct": float(cell["correct"].mean()),
        **_intervals(cell, protocol, level),
        "dprime": sensitivity(cell, protocol)["dprime"],
        "note": SEVERAL_TARGETS if len(targets) > 1 else None,
    }


def _intervals(cell: pd.DataFrame, protocol: Protocol, level: float) -> dict[str, float | None]:
    """Of PC and d', with participant and stimulus uncertainty; an end is None where d' is infinite there."""
    pc = two_way(cell["correct"].to_numpy(), codes(cell["participant"]), codes(cell["stimulus"])).interval(level)
    low, high = (_dprime(end, protocol.model) for end in pc)
    if protocol.model == "yes/no":
        found = YesNo.of(cell)
        low, high = found.interval(level) if found else (None, None)
    return {"two_way_low": pc[0], "two_way_high": pc[1], "dprime_low": low, "dprime_high": high}


def _dprime(proportion_correct: float | None, model: Model) -> float | None:
    """d' at an end of the interval of PC; what differencing never explains, a PC below .5, is no sensitivity at all."""
    if proportion_correct is None:
        return None
    return dprime(max(proportion_correct, 0.5) if model == "differencing" else proportion_correct, model)


def _mean(values: Any) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _column(cell: pd.DataFrame, name: str) -> float | None:
    values = cell[name].dropna() if name in cell else pd.Series(dtype=float)
    return float(values.mean()) if len(values) else None
