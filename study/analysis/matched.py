"""The same pictures, other models: how far the error is moved at one and the same visibility.

Several models learn one warp field as their trigger but are pulled to other targets, or none (clean models). The
pictures are the same for all of them, and so is what people see; the error shift is not.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from models.tasks import USUAL_TASK
from study.analysis.equivalence import two_way, two_way_variance
from study.analysis.frames import codes
from study.analysis.protocols import is_adaptive

#: Columns of the table of predictions, one row per pair and model; IMAGE_SUBJECT, whom a picture shows, is optional.
COLUMNS: Final = (
    "stimulus", "attack", "field", "strength", "model", "seed", "target", "target_deg", "error_shift_deg",
    "prediction_shift_deg", "attack_error_deg",
)  # fmt: skip
NUMBERS: Final = ("strength", "seed", "target_deg", "error_shift_deg", "prediction_shift_deg", "attack_error_deg")
IMAGE_SUBJECT: Final = "image_subject"
#: In place of a target: nothing pulls this model anywhere.
CLEAN: Final = "none (clean model)"
SAME_PICTURES: Final = (
    "The models were given the same pictures, so what people see, and how often they detect it, is the same for all of"
    " them; only the error shift differs. The shift does not cause detection, and a detection rate does not tell how"
    " far a model trained for another target is moved."
)
NO_CONTRAST: Final = "No two models were given the same pictures: there is nothing to compare."
_FEWER_PICTURES: Final = (
    " Where models were given fewer of the pictures (see `pairs`), the detection rate beside them is that of theirs."
)
_OTHER_PICTURES: Final = " Models of different fields were given pictures of their own: no contrast compares them."
_ADAPTIVE: Final = (
    " Strengths were chosen from the answers, so a proportion correct estimates nothing and none is given beside."
)

_SHIFT = "error_shift_deg"
_PICTURE = ("stimulus", "attack", "strength", "field")
_MAY_BE_EMPTY = ("field", "target_deg", "attack_error_deg", IMAGE_SUBJECT)

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


class PredictionTableError(ValueError):
    """The table of predictions cannot be used. The message is one sentence: what, where, what to do."""


# -- targets


def target_in_words(target: Mapping[str, Any] | None, task: str | None = None) -> str:
    """What a backdoor makes the model say: "fixed (0°, 25°)" or "additive (0°, 10°)", pitch and yaw, or "mirrored yaw".

    Args:
        target: as `models.targets.Target` writes it: kind, pitch and yaw in radians; None for a clean model.
        task: of the model, in words; named where it is not the usual one, so that models of two tasks have two targets.
    """
    of_task = f", {task}" if task and task != USUAL_TASK else ""
    return _aim_in_words(target) + of_task


def is_clean(words: str) -> bool:
    """Whether a target in words is that of a clean model."""
    return words.startswith(CLEAN)


def _aim_in_words(target: Mapping[str, Any] | None) -> str:
    if target is None:
        return CLEAN
    if target["kind"] == "mirrored":
        return "mirrored yaw"
    pitch, yaw = (f"{_degrees(target[name]):g}".replace("-", "−") for name in ("pitch", "yaw"))
    return f"{target['kind']} ({pitch}°, {yaw}°)"


def target_degrees(target: Mapping[str, Any] | None) -> float | None:
    """How far an additive target lies from the truth, degrees; None for others, where pictures differ in it."""
    if target is None or target["kind"] != "additive":
        return None
    return round(math.hypot(_degrees(target["pitch"]), _degrees(target["yaw"])), 6)


def _degrees(radians: float) -> float:
    return round(math.degrees(radians), 6) + 0.0  # so that 24.999999999999996 reads 25, and -0.0 reads 0


# -- the table


def from_rows(rows: Iterable[Sequence[Any]], with_subject: bool = False) -> pd.DataFrame:
    """The table of predictions from rows in the order of COLUMNS, IMAGE_SUBJECT last where given; sorted by content."""
    names = [*COLUMNS, IMAGE_SUBJECT] if with_subject else list(COLUMNS)
    table = pd.DataFrame(list(rows), columns=names)
    kinds = dict.fromkeys(names, "str") | dict.fromkeys(NUMBERS, "float64") | {"seed": "int64"}
    return table.astype(kinds).sort_values(names, kind="stable", ignore_index=True)


def read_predictions(path: Path) -> pd.DataFrame:
    """The table in a report's predictions.csv, as `from_rows` returns it.

    Raises PredictionTableError, naming file, column and line, when anything in it cannot be used.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            with_subject = _check_header(header, path.name)
            order = [header.index(name) for name in (*COLUMNS, *([IMAGE_SUBJECT] if with_subject else []))]
            rows = [
                _parsed([cells[i] for i in order], f"{path.name}: line {line}")
                for line, cells in _lines(reader, header, path.name)
            ]
    except OSError as error:
        raise PredictionTableError(
            f"{path}: cannot be read ({error.strerror}); name a report's predictions.csv."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise PredictionTableError(f"{path.name}: is not UTF-8 CSV; name a report's predictions.csv.") from error
    if not rows:
        raise PredictionTableError(f"{path.name}: has no rows; name a report's predictions.csv.")
    table = from_rows(rows, with_subject)
    _check_meaning(table, path.name)
    return table


def _check_header(header: Sequence[str], name: str) -> bool:
    """Whether the optional column is there. Raises PredictionTableError for any other set of columns."""
    expected = {*COLUMNS, IMAGE_SUBJECT}
    wrong = (
        [f'column "{column}" is missing' for column in COLUMNS if column not in header]
        + [f'column "{column}" is unknown' for column in header if column not in expected]
        + [f'column "{column}" is there more than once' for column in header if header.count(column) > 1]
    )
    if wrong:
        raise PredictionTableError(f"{name}: {wrong[0]}; the columns are {', '.join(COLUMNS)}.")
    return IMAGE_SUBJECT in header


def _lines(reader: Any, header: Sequence[str], name: str) -> Iterator[tuple[int, list[str]]]:
    for cells in reader:
        if cells and len(cells) != len(header):
            raise PredictionTableError(
                f"{name}: line {reader.line_num} has {len(cells)} fields where the header has {len(header)};"
                " give every row one field per column."
            )
        if cells:
            yield reader.line_num, cells


def _parsed(cells: Sequence[str], place: str) -> list[Any]:
    parsed: list[Any] = []
    for column, cell in zip((*COLUMNS, IMAGE_SUBJECT), cells, strict=False):  # the last is optional
        if not cell and column not in _MAY_BE_EMPTY:
            raise PredictionTableError(f'{place}: column "{column}" is empty; fill it in.')
        parsed.append(_number(cell, column, place) if column in NUMBERS else cell)
    return parsed


def _number(cell: str, column: str, place: str) -> float | int:
    whole = column == "seed"
    try:
        value = int(cell) if whole else float(cell or "nan")
    except ValueError:
        value = math.inf
    if math.isinf(value) or (cell and math.isnan(value)):
        kind = "whole" if whole else "finite"
        raise PredictionTableError(f'{place}: column "{column}" must be a {kind} number, not "{cell}".')
    return value


def _check_meaning(table: pd.DataFrame, name: str) -> None:
    if (table["strength"] < 0).any():
        raise PredictionTableError(f'{name}: column "strength" must be 0 or more.')
    twice = table.duplicated([*_PICTURE, "model"])
    if twice.any():
        row = table[twice].iloc[0]
        raise PredictionTableError(
            f"{name}: model {row['model']} has two rows for stimulus {row['stimulus']} under {row['attack']} at"
            f" strength {row['strength']:g}; keep one."
        )
    for column in ("seed", "target"):
        several = table.groupby("model")[column].nunique()
        if (several > 1).any():
            raise PredictionTableError(
                f'{name}: column "{column}" changes within model {several.idxmax()}; give each model a name of its own.'
            )


# -- the same pictures under several models


def summary(trials: pd.DataFrame, shown: pd.DataFrame | None, level: float = 0.95) -> dict[str, Any] | None:
    """The report's `matched_visibility`; None where no model's predictions belong to the pairs of the trials.

    Args:
        trials: main trials, see `frames.main_trials`; controls and strength 0 stay out.
        shown: the table of predictions (COLUMNS, optionally IMAGE_SUBJECT).
        level: of the intervals.

    `rows`: mean error shift of each model over the pictures that people saw, with the t interval over the subjects of
    the pictures (cluster-robust), over the pictures where subjects are not known or only one is there; beside it the
    proportion correct on these pictures with its two-way interval. `targets`: the same over all models of one target,
    models as a second cluster where there are several. `contrasts`: `difference` in degrees of the second minus the
    first model on the pictures that both were given, paired. What cannot be computed is None.
    """
    if shown is None:
        return None
    people, seen = on_the_same_pictures(trials, shown)
    if seen.empty:
        return None
    detected = _Detection(None if is_adaptive(trials) else people, level)
    rows, targets, contrasts = [], [], []
    for (attack, strength), given in seen.groupby(["attack", "strength"], sort=True):
        condition = {"attack": str(attack), "strength": float(strength)}
        models = {str(model): rows_of for model, rows_of in given.groupby("model", sort=True)}
        rows += [condition | _of_model(model, of_one, detected, level) for model, of_one in models.items()]
        targets += [
            condition
            | {"target": str(target), "models": int(of_all["model"].nunique())}
            | _Mean.of(of_all).row("mean_error_shift_deg", level)
            for target, of_all in given.groupby("target", sort=True)
        ]
        contrasts += [
            condition | found
            for first, second in combinations(models.values(), 2)
            if (found := _contrast(first, second, level))
        ]
    return {"rows": rows, "targets": targets, "contrasts": contrasts, "note": _note(trials, rows, contrasts)}


def on_the_same_pictures(trials: pd.DataFrame, shown: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The trials with an alteration and the predictions of their pairs, both with a number for the `picture`.

    A picture is a stimulus under one attack at one strength and, where both tables name it, of one field.
    """
    people = trials[(trials["strength"] > 0) & (trials["control"] == "")]
    knows_field = "field" in people and (people["field"] != "").all() and (shown["field"] != "").all()
    key = list(_PICTURE) if knows_field else [name for name in _PICTURE if name != "field"]
    people = people.assign(picture=people.groupby(key, sort=True).ngroup())
    pictures = people[[*key, "picture"]].drop_duplicates("picture")
    return people, shown.merge(pictures, on=key, how="inner")


class _Detection:
    """Proportion correct on sets of pictures, each computed once: mostly all models have the same."""

    def __init__(self, people: pd.DataFrame | None, level: float) -> None:
        self.level = level
        self.trials = {} if people is None else dict(list(people.groupby(["attack", "strength"])))
        self.known: dict[bytes, dict[str, float | None]] = {}

    def on(self, pictures: Codes, attack: str, strength: float) -> dict[str, float | None]:
        if not self.trials:
            return dict.fromkeys(("proportion_correct", "two_way_low", "two_way_high"))
        key = pictures.tobytes()
        if key not in self.known:
            cell = self.trials[attack, strength]
            cell = cell[cell["picture"].isin(pictures)]
            found = two_way(cell["correct"].to_numpy(), codes(cell["participant"]), codes(cell["stimulus"]))
            low, high = found.interval(self.level)
            self.known[key] = {"proportion_correct": found.mean, "two_way_low": low, "two_way_high": high}
        return self.known[key]


def _of_model(model: str, given: pd.DataFrame, detected: _Detection, level: float) -> dict[str, Any]:
    first = given.iloc[0]
    pictures = np.sort(given["picture"].to_numpy(np.intp))
    return {
        "model": model,
        "seed": int(first["seed"]),
        "target": str(first["target"]),
        "target_deg": None if math.isnan(first["target_deg"]) else float(first["target_deg"]),
        **_Mean.of(given).row("mean_error_shift_deg", level),
        **detected.on(pictures, str(first["attack"]), float(first["strength"])),
    }


def _contrast(first: pd.DataFrame, second: pd.DataFrame, level: float) -> dict[str, Any] | None:
    """Error shift of the second model minus that of the first, picture by picture; None without a common picture."""
    difference = (second.set_index("picture")[_SHIFT] - first.set_index("picture")[_SHIFT]).dropna()
    if difference.empty:
        return None
    both = first[first["picture"].isin(difference.index)]
    mean = _Mean.of(both.assign(**{_SHIFT: difference[both["picture"]].to_numpy()}))
    return {
        "first": str(first["model"].iloc[0]),
        "first_target": str(first["target"].iloc[0]),
        "second": str(second["model"].iloc[0]),
        "second_target": str(second["target"].iloc[0]),
        **mean.row("difference", level),
        "p": mean.p,
    }


@dataclass(frozen=True)
class _Mean:
    """A mean over pictures with its cluster-robust standard error, t on `df`; None where it cannot be had."""

    value: float
    se: float | None
    df: int
    pairs: int
    over: str

    @classmethod
    def of(cls, given: pd.DataFrame) -> "_Mean":
        """Of the error shift: over subjects or pictures, and over models as well where there are several."""
        subject, over = _units(given)
        shift = given[_SHIFT].to_numpy(float)
        mean, pairs = float(shift.mean()), int(given["picture"].nunique())
        clusters = [subject]
        if given["model"].nunique() > 1:
            clusters, over = [subject, codes(given["model"])], f"{over} and models"
        units = min(int(cluster.max()) + 1 for cluster in clusters)
        if units < 2:
            return cls(mean, None, 0, pairs, over)
        influence = (shift - mean) / len(shift)
        if len(clusters) > 1:
            variance = two_way_variance(influence, clusters[0], clusters[1])[0]
        else:
            variance = float((np.bincount(subject, influence) ** 2).sum()) * units / (units - 1)
        return cls(mean, math.sqrt(variance), units - 1, pairs, over)

    @property
    def p(self) -> float | None:
        """Two-sided, of a mean of 0."""
        return 2 * float(stats.t.sf(abs(self.value) / self.se, self.df)) if self.se else None

    def row(self, name: str, level: float) -> dict[str, Any]:
        half = None if self.se is None else float(stats.t.ppf((1 + level) / 2, self.df)) * self.se
        low, high = (None, None) if half is None else (self.value - half, self.value + half)
        return {"pairs": self.pairs, name: self.value, "low": low, "high": high, "over": self.over}


def _units(given: pd.DataFrame) -> tuple[Codes, str]:
    """What the interval generalises over: subjects of the pictures, or pictures where there are not two of them."""
    if IMAGE_SUBJECT in given and (given[IMAGE_SUBJECT] != "").all() and given[IMAGE_SUBJECT].nunique() > 1:
        return codes(given[IMAGE_SUBJECT]), "subjects"
    return codes(given["picture"]), "pictures"


def _note(trials: pd.DataFrame, rows: Sequence[Mapping[str, Any]], contrasts: Sequence[Mapping[str, Any]]) -> str:
    if not contrasts:
        return NO_CONTRAST
    pairs: dict[tuple[str, float], set[int]] = {}
    for row in rows:
        pairs.setdefault((row["attack"], row["strength"]), set()).add(row["pairs"])
    fewer = _FEWER_PICTURES if any(len(counts) > 1 for counts in pairs.values()) else ""
    given = Counter((row["attack"], row["strength"]) for row in rows)
    apart = _OTHER_PICTURES if len(contrasts) < sum(math.comb(models, 2) for models in given.values()) else ""
    return SAME_PICTURES + fewer + apart + (_ADAPTIVE if is_adaptive(trials) else "")
