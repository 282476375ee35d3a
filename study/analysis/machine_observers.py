"""Programs at the trials of people: a reference for what the pictures contain, and no claim about what people see.

Some choose which picture is altered, from the two pictures alone. The others have the clean picture named and say how
far the altered one is from it: no choice, but a measure of what there is to see.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

#: What a pair is known by, in the trial table and here.
PAIR: Final = ("stimulus", "attack", "strength", "control", "is_catch")
#: A rank correlation over fewer pairs than this is not given.
MIN_PAIRS: Final = 10
SAME: Final = "the two pictures are the same to it: every choice is a tie"
DISTANCE: Final = "a distance with the clean picture named, not a choice"
OVER_STRENGTHS: Final = "over all strengths, so mostly what strength does to both"

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]


def table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame | None:
    """The judgements, one row per observer and pair, in canonical order; None without any.

    Args:
        rows: mappings with observer, chooses, value and the keys PAIR (`PairJudgement.objects.trial_rows`).

    Returns the same columns with `confidence`, the value: of who chooses the evidence for the altered picture, else the
    distance; and `correct`: 1 above 0, 0 below, half for a tie, NaN for a distance.
    """
    found = pd.DataFrame(rows)
    if found.empty:
        return None
    value, chooses = found["value"].to_numpy(float), found["chooses"].to_numpy(bool)
    right = np.where(chooses, (np.sign(value) + 1) / 2, np.nan)
    named = found.drop(columns="value").assign(chooses=chooses, confidence=value, correct=right)
    order = ("observer", "attack", "is_catch", "control", "strength", "stimulus", "item")
    return named.sort_values([name for name in order if name in named], ignore_index=True)


def summary(observers: pd.DataFrame | None, trials: pd.DataFrame, level: float = 0.95) -> list[Row]:
    """How each observer did on the pairs that people were shown, by condition; the block `machine_observers`.

    Args:
        observers: as `table` returns it.
        trials: the analysed trial table, catch trials and controls included.

    Of an observer that chooses: `proportion_correct` with an interval over stimuli (t; exact where all are alike), a
    tie half right. Of a distance: `mean_confidence` only. `people` is people's proportion correct on the same pairs;
    `agreement_with_people` the rank correlation (Spearman) over pairs of theirs with the confidence, its interval by
    Fisher's z (Bonett & Wright 2000). A row with strength None is over all strengths of the attack: its correlation has
    no interval, which would take pairs of one picture as independent.
    """
    if observers is None:
        return []
    keys = [*PAIR, *(["item"] if "item" in observers and "item" in trials else [])]  # fields have pairs of their own
    people = trials.groupby(keys, sort=True)["correct"].agg(answers="size", people="mean").reset_index()
    both = observers.merge(people, on=keys, how="inner")
    rows = [
        _row(str(observer), pairs, level)
        for (observer, *_), pairs in both.groupby(["observer", "attack", "is_catch", "control", "strength"], sort=True)
    ]
    altered = both[(both["control"] == "") & (both["is_catch"] == 0)]
    for (observer, attack), pairs in altered.groupby(["observer", "attack"], sort=True):
        if pairs["strength"].nunique() > 1:
            overall = _row(str(observer), pairs, level)
            no_interval = dict.fromkeys(("agreement_low", "agreement_high"))
            rows.append(overall | no_interval | {"attack": str(attack), "strength": None, "note": OVER_STRENGTHS})
    return rows


def _row(observer: str, pairs: pd.DataFrame, level: float) -> Row:
    first = pairs.iloc[0]
    correct = pairs["correct"].to_numpy(float)
    chooses = bool(first["chooses"])
    low, high = _interval(pairs, level) if chooses else (None, None)
    rho, rho_low, rho_high = _rank_correlation(
        pairs["people"].to_numpy(float), pairs["confidence"].to_numpy(float), level
    )
    return {
        "observer": observer,
        "chooses": chooses,
        "attack": str(first["attack"]),
        "strength": float(first["strength"]),
        "control": str(first["control"]),
        "is_catch": bool(first["is_catch"]),
        "n": len(pairs),
        "correct": float(correct.sum()) if chooses else None,
        "proportion_correct": float(correct.mean()) if chooses else None,
        "low": low,
        "high": high,
        "mean_confidence": float(pairs["confidence"].mean()),
        "people": float(np.average(pairs["people"], weights=pairs["answers"])),
        "agreement_with_people": rho,
        "agreement_low": rho_low,
        "agreement_high": rho_high,
        "note": _note(chooses, correct),
    }


def _note(chooses: bool, correct: Floats) -> str | None:
    if not chooses:
        return DISTANCE
    return SAME if bool((correct == 0.5).all()) else None


def _interval(pairs: pd.DataFrame, level: float) -> tuple[float | None, float | None]:
    """Of the mean over stimuli, within 0 and 1; of ties only, or of one stimulus, there is none."""
    share = pairs.groupby("stimulus", sort=True)["correct"].mean().to_numpy(float)
    n, mean, sd = len(share), float(share.mean()), float(share.std())
    if n < 2 or (sd == 0 and mean not in (0.0, 1.0)):
        return None, None
    if sd == 0:
        tail = float(((1 - level) / 2) ** (1 / n))
        return (tail, 1.0) if mean == 1 else (0.0, 1 - tail)
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * float(share.std(ddof=1)) / n**0.5
    return max(0.0, mean - half), min(1.0, mean + half)


def _rank_correlation(x: Floats, y: Floats, level: float) -> tuple[float | None, float | None, float | None]:
    """Spearman's rho and its interval; None where it means nothing."""
    n = len(x)
    if n < MIN_PAIRS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None, None, None
    rho = float(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])
    if abs(rho) >= 1:
        return float(np.clip(rho, -1, 1)), None, None
    half = float(stats.norm.ppf((1 + level) / 2)) * ((1 + rho**2 / 2) / (n - 3)) ** 0.5
    return rho, float(np.tanh(np.arctanh(rho) - half)), float(np.tanh(np.arctanh(rho) + half))
