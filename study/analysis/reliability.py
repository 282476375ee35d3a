"""Errors in variables: how far one model's error shift of a pair can stand for that of any model trained alike.

A slope on a predictor that is measured with error comes out too flat, by the predictor's reliability (Fuller 1987,
Measurement Error Models, ch. 1). Here the error is what another seed would change.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.analysis import matched

UNKNOWN: Final = "how far another seed would change a pair's shift is not known."
NO_PREDICTIONS: Final = f"No other model was given these pairs: {UNKNOWN}"
NO_MODEL: Final = "The table does not name one model, or models of one target, that made its error shifts."
TOO_FEW_PAIRS: Final = "No condition has two pairs, differently shifted, that several models of this target were given."
NO_AGREEMENT: Final = (
    "Models trained alike do not agree on which pairs of a condition are moved more: the slope cannot be corrected."
)
CORRECTED: Final = (
    "Slope within conditions, divided by the reliability of one model's shift; the interval takes the reliability as"
    " known."
)
_SHIFT = "error_shift_deg"

Floats = npt.NDArray[np.float64]


def of_shift(trials: pd.DataFrame, predictions: pd.DataFrame | None) -> dict[str, Any]:
    """The report's `error_shift.reliability`, from models of the same attack and target on the same pairs.

    Within conditions: strength moves all pairs, so that taken over all of them any shift would look reliable, and a
    model's own mean in a condition moves no slope. None, with a note, where it is not known.

    Args:
        trials: main trials; their column `model` says whose shift is used.
        predictions: see `matched`; None where there are none.
    """
    unknown = dict.fromkeys(("reliability", "models", "pairs", "target"))
    if predictions is None:
        return unknown | {"note": NO_PREDICTIONS}
    target = _target(trials, predictions)
    if target is None:
        return unknown | {"note": NO_MODEL}
    given = matched.on_the_same_pictures(trials, predictions)[1]
    alike = given[given["target"] == target]
    models = int(alike["model"].nunique())
    if models < 2:
        note = f"Only one model with the target {target} was given these pairs: {UNKNOWN}"
        return unknown | {"target": target, "models": models, "note": note}
    shifts = _by_condition(alike)
    share = agreement(shifts)
    notes = {None: TOO_FEW_PAIRS, 0.0: NO_AGREEMENT}
    pairs = sum(len(table) for table in shifts)
    return {
        "reliability": share,
        "models": models,
        "pairs": pairs,
        "target": target,
        "note": notes.get(share, CORRECTED),
    }


def corrected(found: Mapping[str, Any], slope: Mapping[str, Any]) -> dict[str, Any]:
    """`estimate_corrected`, `low_corrected`, `high_corrected`: a slope within conditions over its reliability."""
    share = found["reliability"]
    return {
        f"{name}_corrected": slope[name] / share if share and slope[name] is not None else None
        for name in ("estimate", "low", "high")
    }


def agreement(shifts: Sequence[Floats]) -> float | None:
    """Reliability of one model's value of a pair, within [0, 1], pooled over conditions.

    Args:
        shifts: of each condition (pairs, models), at least two of each.

    Variance between pairs over that variance plus the residual's, from two-way components with each model's mean taken
    out (the consistency ICC(3,1) of Shrout & Fleiss 1979). None where there are no conditions or nothing varies.
    """
    tables = [table - table.mean(axis=0) for table in shifts]
    means = [table.mean(axis=1, keepdims=True) for table in tables]
    squares = sum(float(((table - mean) ** 2).sum()) for table, mean in zip(tables, means, strict=True))
    df = sum((len(table) - 1) * (table.shape[1] - 1) for table in tables)
    if not df:
        return None
    residual = squares / df
    of_means = sum(float((mean**2).sum()) for mean in means)
    due_to_residual = sum((len(table) - 1) / table.shape[1] for table in tables) * residual
    pairs = max(0.0, of_means - due_to_residual) / sum(len(table) - 1 for table in tables)
    return pairs / (pairs + residual) if pairs + residual > 0 else None


def _target(trials: pd.DataFrame, predictions: pd.DataFrame) -> str | None:
    """The one target of the models that made the error shifts of the trials; None where it is not known."""
    names = set(trials["model"]) if "model" in trials else set()
    of_models = predictions.loc[predictions["model"].isin(names), "target"]
    targets = {words for words in of_models if not matched.is_clean(words)}
    return str(targets.pop()) if len(targets) == 1 and names <= set(predictions["model"]) else None


def _by_condition(alike: pd.DataFrame) -> list[Floats]:
    """(pairs, models) of each condition and field, of the pairs that all its models were given."""
    wide = [
        given.pivot_table(index="picture", columns="model", values=_SHIFT).dropna().to_numpy(float)
        for _, given in alike.groupby(["attack", "strength", "field"], sort=True)
    ]
    return [table for table in wide if min(table.shape) > 1]
