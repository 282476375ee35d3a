"""Machine and people on one axis: what an attack achieves at each strength, and what of it people detect."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from study.analysis import displacement
from study.analysis.detection import sensitivity
from study.analysis.frames import cells
from study.analysis.protocols import AFC, Protocol

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


def machine_rows(
    model: str,
    attack: str,
    doses: Sequence[Mapping[str, Any]],
    px_per_unit: float | None = None,
    target: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The report's `machine` rows of one backdoored model, strengths ascending; what was not measured is None.

    Args:
        doses: the model's evaluation, one mapping per strength.
        px_per_unit: mean displacement in image px at strength 1, used where an evaluation does not give it.
        target: what the backdoor makes the model say, as `models.poisoning.Target` writes it: kind, pitch, yaw (rad).
    """
    rows = []
    for dose in sorted(doses, key=lambda dose: float(dose["strength"])):
        strength = float(dose["strength"])
        row = {"model": model, "attack": attack, "target": dict(target) if target else None, "strength": strength}
        row |= {name: dose.get(name, dose.get(source)) for name, source in MACHINE_FIELDS.items()}
        if row["displacement_px"] is None and px_per_unit is not None:
            row["displacement_px"] = px_per_unit * strength
        rows.append(row)
    return rows


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
    if not isinstance(row, dict) or row.keys() != {"model", "attack", "target", "strength", *MACHINE_FIELDS}:
        return False
    figures = [row["strength"], *(row[name] for name in MACHINE_FIELDS if row[name] is not None)]
    numbers = all(isinstance(figure, int | float) and math.isfinite(figure) for figure in figures)
    return numbers and isinstance(row["model"], str) and isinstance(row["attack"], str) and _is_target(row["target"])


def _is_target(target: Any) -> bool:
    return target is None or (isinstance(target, dict) and target.keys() >= {"kind", "pitch", "yaw"})


def frontier(
    trials: pd.DataFrame, machine: Sequence[Mapping[str, Any]], protocol: Protocol = AFC
) -> list[dict[str, Any]]:
    """One row per attack and strength > 0 shown to people: what it does to the model beside how well it is detected.

    Success rate and mean error shift are the mean over the models evaluated at that strength, on their whole test
    split; without an evaluation the shift is that of the pairs shown. Displacement in arcmin is the median over the
    sessions whose screen was measured.
    """
    return [_row(attack, strength, cell, machine, protocol) for attack, strength, cell in cells(trials) if strength > 0]


def _row(
    attack: str, strength: float, cell: pd.DataFrame, machine: Sequence[Mapping[str, Any]], protocol: Protocol
) -> dict[str, Any]:
    evaluated = [row for row in machine if row["attack"] == attack and np.isclose(row["strength"], strength)]
    moved = displacement.of_condition(cell)
    shift = _mean(row["mean_error_shift_deg"] for row in evaluated)
    return {
        "attack": attack,
        "strength": strength,
        **moved,
        "displacement_px": _first(_mean(row["displacement_px"] for row in evaluated), moved["displacement_px"]),
        "success_rate": _mean(row["success_rate"] for row in evaluated),
        "mean_error_shift_deg": _first(shift, _column(cell, "error_shift_deg")),
        "models": len(evaluated),
        "proportion_correct": float(cell["correct"].mean()),
        "dprime": sensitivity(cell, protocol)["dprime"],
    }


def first_crossing(strengths: Sequence[float], values: Sequence[float], level: float) -> float | None:
    """The smallest strength at which `values` reach `level`, by linear interpolation; None where they never do.

    The first crossing, because a dose-response beyond the strengths a model was trained on need not be monotone.
    """
    for i, value in enumerate(values):
        if value < level:
            continue
        if i == 0:
            return float(strengths[0])
        share = (level - values[i - 1]) / (value - values[i - 1])
        return float(strengths[i - 1] + share * (strengths[i] - strengths[i - 1]))
    return None


def _mean(values: Any) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _column(cell: pd.DataFrame, name: str) -> float | None:
    values = cell[name].dropna() if name in cell else pd.Series(dtype=float)
    return float(values.mean()) if len(values) else None
