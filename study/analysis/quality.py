"""How good the answers are: response times, order and fatigue, disturbances, and what the exclusions decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from study.analysis import lmm
from study.analysis.equivalence import assess, two_way, two_way_variance
from study.analysis.exclusions import numbers
from study.analysis.frames import cells, codes
from study.analysis.power_design import DEFAULT_BOUND
from study.analysis.protocols import is_adaptive, protocol_of
from study.trials.exclusions import FAST_MS, ExclusionRules

#: Right answers faster than this, ms, are taken for anticipations and left out of the model of response times.
FLOOR_MS: Final = FAST_MS
#: Slower ones than the median by this many (scaled) median absolute deviations are left out as well.
CEILING_MADS: Final = 3.0
#: What makes a median absolute deviation estimate the SD of a normal distribution.
MAD_SCALE: Final = float(1 / stats.norm.ppf(0.75))
BLOCK: Final = 10
ADAPTIVE_ORDER: Final = "strengths follow the answers in an adaptive study, so that detection says nothing about order"
_OUTCOME: Final = ("n", "proportion_correct", "two_way_low", "two_way_high", "verdict")

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]


def summary(
    trials: pd.DataFrame,
    catch: pd.DataFrame,
    everybody: pd.DataFrame,
    *,
    conditions: Sequence[Mapping[str, Any]] | None = None,
    rules: ExclusionRules | None = None,
    bound: float = DEFAULT_BOUND,
    level: float = 0.95,
) -> Row:
    """The block `quality` of the report.

    Args:
        trials, catch: main and catch trials of those analysed.
        everybody: main trials of all who answered, those left out by a rule included.
        conditions: the report's rows of `trials`, where they are computed already.
        rules: which were declared before the first answer.
    """
    return {
        "rules": (rules or ExclusionRules()).in_words(),
        "with_and_without": with_and_without(trials, everybody, conditions, bound, level),
        "response_times": response_times(trials, level),
        "order": order(trials, catch, level),
        "focus": disturbances(trials),
    }


# --- results with and without exclusions


def with_and_without(
    trials: pd.DataFrame,
    everybody: pd.DataFrame,
    conditions: Sequence[Mapping[str, Any]] | None = None,
    bound: float = DEFAULT_BOUND,
    level: float = 0.95,
) -> list[Row]:
    """Every condition as analysed and with everybody: n, PC, its two-way interval and the verdict, side by side.

    Where somebody is left out only; an adaptive study has no proportions to compare. A condition that only those left
    out have seen is None as analysed.
    """
    if len(everybody) == len(trials) or is_adaptive(trials):
        return []
    analysed = _outcomes(trials, bound, level) if conditions is None else _by_condition(conditions)
    rows = []
    for (attack, strength), of_all in _outcomes(everybody, bound, level).items():
        kept = analysed.get((attack, strength))
        rows.append(
            {
                "attack": attack,
                "strength": strength,
                "analysed": kept,
                "everybody": of_all,
                "verdict_changes": kept is not None and kept["verdict"] != of_all["verdict"],
            }
        )
    return rows


def _outcomes(trials: pd.DataFrame, bound: float, level: float) -> dict[tuple[str, float], Row]:
    of_cells = [
        {"attack": attack, "strength": strength, "n": len(cell), "proportion_correct": float(cell["correct"].mean())}
        for attack, strength, cell in cells(trials)
    ]
    assessed = assess(trials, bound, level, protocol_of(trials))
    return _by_condition([found | row for found, row in zip(of_cells, assessed, strict=True)])


def _by_condition(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, float], Row]:
    return {(row["attack"], row["strength"]): {name: row[name] for name in _OUTCOME} for row in rows}


# --- response times


def response_times(trials: pd.DataFrame, level: float = 0.95) -> Row:
    """log response time of right answers by strength and attack, with crossed random intercepts, by REML.

    Left out, and counted: anticipations (below 200 ms) and answers slower than the median + 3 scaled median absolute
    deviations of the rest. A column that does not vary has no term. `coefficients` are in log ms; None with a `reason`
    where they cannot be had.
    """
    right = trials[trials["correct"] == 1]
    rt = right["rt_ms"].to_numpy(float)
    kept = rt >= FLOOR_MS
    ceiling = _ceiling(rt[kept]) if kept.any() else None
    slow = np.zeros_like(kept) if ceiling is None else rt > ceiling
    columns = _predictors(right)
    row: Row = {
        "formula": f"log(rt_ms) ~ {' + '.join(_terms(columns) or ['1'])} + (1|participant) + (1|stimulus)",
        "n": int((kept & ~slow).sum()),
        "left_out": {"below_floor": int((~kept).sum()), "above_ceiling": int(slow.sum())},
        "floor_ms": FLOOR_MS,
        "ceiling_ms": ceiling,
    }
    try:
        found = _fit_response_times(right, kept & ~slow)
    except lmm.NotIdentified as problem:
        return row | {"coefficients": None, "sd": None, "converged": False, "reason": str(problem)}
    boundary = found.at_the_boundary
    return row | {
        "coefficients": found.coefficients(level),
        "sd": {
            "participant": found.participant_sd,
            "stimulus": found.stimulus_sd,
            "residual": found.residual_sd,
        },
        "log_likelihood": found.log_likelihood,
        "converged": found.converged,
        "reason": None if found.converged else "the search for the SDs did not settle",
        "note": f"no spread beyond chance was found between the {' and '.join(boundary)}s" if boundary else None,
    }


def _ceiling(rt: Floats) -> float:
    middle = float(np.median(rt))
    return middle + CEILING_MADS * MAD_SCALE * float(np.median(np.abs(rt - middle)))


def _predictors(trials: pd.DataFrame) -> dict[str, Floats]:
    columns: dict[str, Floats] = {}
    if trials["strength"].nunique() > 1:
        columns["strength"] = trials["strength"].to_numpy(float)
    for attack in sorted(trials["attack"].unique())[1:]:
        columns[f"attack[T.{attack}]"] = (trials["attack"] == attack).to_numpy(float)
    return columns


def _terms(columns: Mapping[str, Floats]) -> list[str]:
    return [*(["strength"] if "strength" in columns else []), *(["attack"] if any("[T." in c for c in columns) else [])]


def _fit_response_times(right: pd.DataFrame, kept: npt.NDArray[np.bool_]) -> lmm.Fit:
    chosen = right[kept]
    if chosen.empty:
        raise lmm.NotIdentified("there are no right answers within the floor and the ceiling")
    x, names = lmm.design(_predictors(chosen), len(chosen))
    y = np.log(chosen["rt_ms"].to_numpy(float))
    return lmm.fit(y, x, names, codes(chosen["participant"]), codes(chosen["stimulus"]))


# --- order and fatigue


@dataclass(frozen=True)
class _Change:
    """How much PC changes with one unit of something, and with which two-way uncertainty."""

    slope: float
    low: float | None
    high: float | None
    p: float | None

    @classmethod
    def of(cls, trials: pd.DataFrame, x: Floats, level: float) -> "_Change | None":
        """Least squares of `correct` on `x` (N,) within conditions; None where x does not vary within any."""
        condition = codes(trials["attack"]) * (trials["strength"].nunique()) + codes(trials["strength"])
        dx, dy = (_within(values, condition) for values in (x, trials["correct"].to_numpy(float)))
        total = float(dx @ dx)
        if total < 1e-9:
            return None
        slope = float(dx @ dy) / total
        participant, stimulus = codes(trials["participant"]), codes(trials["stimulus"])
        df = int(min(participant.max(), stimulus.max()))
        if df < 1:
            return cls(slope, None, None, None)
        variance, _ = two_way_variance(dx * (dy - slope * dx) / total, participant, stimulus)
        if variance == 0:
            return cls(slope, None, None, None)
        half = float(stats.t.ppf((1 + level) / 2, df)) * variance**0.5
        return cls(slope, slope - half, slope + half, 2 * float(stats.t.sf(abs(slope) / variance**0.5, df)))


def order(trials: pd.DataFrame, catch: pd.DataFrame, level: float = 0.95) -> Row:
    """Does detection change over a session?

    `slope_per_10_trials`, with `low`, `high`, `p`: change of PC over ten trials, within conditions; `half_difference`:
    PC of each participant's second half of the trials minus that of the first, likewise. Intervals are two-way on
    min(P, S) - 1 degrees of freedom. `by_block`: ten trials of the session each. A trial's place counts main, catch and
    control trials; practice is not among them.
    """
    names = ("slope_per_10_trials", "low", "high", "p", "half_difference", "half_low", "half_high", "half_p")
    empty: Row = dict.fromkeys(names) | {"by_block": []}
    if is_adaptive(trials):
        return empty | {"reason": ADAPTIVE_ORDER}
    place = _place(trials, catch)
    known = ~np.isnan(place)
    if not known.any():
        return empty | {"reason": "the table does not say in which order the trials came (column trial_index)"}
    trials, place = trials[known], place[known]
    slope = _Change.of(trials, place / 10, level)
    halves = _Change.of(trials, _is_second_half(trials, place), level)
    if slope is None or halves is None:
        return empty | {"reason": "no condition came up at two places of a session"}
    return {
        "slope_per_10_trials": slope.slope,
        "low": slope.low,
        "high": slope.high,
        "p": slope.p,
        "half_difference": halves.slope,
        "half_low": halves.low,
        "half_high": halves.high,
        "half_p": halves.p,
        "by_block": _blocks(trials, place, level),
        "reason": None,
    }


def _place(trials: pd.DataFrame, catch: pd.DataFrame) -> Floats:
    """Place of each main trial within its participant's session, from 0; NaN where it is not known."""
    index = numbers(trials, "trial_index")
    of_all = pd.Series(np.concatenate([index, numbers(catch, "trial_index")]))
    first = of_all.groupby(np.concatenate([trials["participant"], catch["participant"]])).min()
    return np.asarray(index - trials["participant"].map(first).to_numpy(float))


def _is_second_half(trials: pd.DataFrame, place: Floats) -> Floats:
    """1 for the later half of each participant's main trials, else 0."""
    participant = codes(trials["participant"])
    sequence = np.lexsort((place, participant))
    n = np.bincount(participant)
    rank = np.empty(len(place))
    rank[sequence] = np.arange(len(place)) - np.repeat(np.cumsum(n) - n, n)
    return (rank >= n[participant] / 2).astype(float)


def _within(values: Floats, group: npt.NDArray[np.intp]) -> Floats:
    """Values minus the mean of their group."""
    n = np.maximum(np.bincount(group), 1)
    return np.asarray(values - (np.bincount(group, values) / n)[group])


def _blocks(trials: pd.DataFrame, place: Floats, level: float) -> list[Row]:
    rows = []
    for block, rows_of in trials.groupby(place.astype(int) // BLOCK, sort=True):
        found = two_way(rows_of["correct"].to_numpy(), codes(rows_of["participant"]), codes(rows_of["stimulus"]))
        low, high = found.interval(level)
        rows.append(
            {
                "block": int(block) + 1,
                "first_trial": int(block) * BLOCK + 1,
                "last_trial": (int(block) + 1) * BLOCK,
                "n": len(rows_of),
                "proportion_correct": found.mean,
                "low": low,
                "high": high,
                "median_rt_ms": float(rows_of["rt_ms"].median()),
            }
        )
    return rows


# --- disturbances


def disturbances(trials: pd.DataFrame) -> Row:
    """Focus losses, dropped frames and pauses: trials and participants that had any, of those where it is known.

    `proportion_correct` is that of the trials that had one, `undisturbed` that of the others.
    """
    return {name: _disturbance(trials, name) for name in ("focus_losses", "dropped_frames", "pauses")}


def _disturbance(trials: pd.DataFrame, column: str) -> Row:
    count = numbers(trials, column)
    known = ~np.isnan(count)
    names = ("n_known", "trials", "share", "participants", "total", "proportion_correct", "undisturbed")
    if not known.any():
        return dict.fromkeys(names) | {"reason": f"the table does not say (column {column})"}
    had, correct = known & (count > 0), trials["correct"].to_numpy(float)
    return {
        "n_known": int(known.sum()),
        "trials": int(had.sum()),
        "share": float(had.sum() / known.sum()),
        "participants": int(trials["participant"][had].nunique()),
        "total": int(count[known].sum()),
        "proportion_correct": float(correct[had].mean()) if had.any() else None,
        "undisturbed": float(correct[known & ~had].mean()) if (known & ~had).any() else None,
        "reason": None,
    }
