"""What models do under an attack, as one curve over log strength, and how sure that curve is.

The rows are those of `frontier.machine_rows`. Where they keep counts per test subject, subjects are resampled; with
enough models of an attack these are too, and their fields with enough of them. With fewer, the curve is that of these
very models. The models of one report were evaluated on the same test split: a subject is the same person in all of them
and is drawn, or not, for all at once.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from models.dose_response import first_crossings, responses_at
from study.analysis.censoring import UNKNOWN, Threshold
from study.analysis.pigeonhole import weights

Floats = npt.NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Measure:
    """A figure of the rows: its name there, and the subjects' sum over count that it is."""

    figure: str
    total: str
    count: str


@dataclass(frozen=True)
class Level:
    """A level of a measure that marks a machine threshold."""

    name: str
    measure: Measure
    level: float


SUCCESS: Final = Measure("success_rate", "successes", "n_eligible")
ERROR_SHIFT: Final = Measure("mean_error_shift_deg", "error_shift_sum", "n")
PROGRESS: Final = Measure("progress", "progress_sum", "n_progress")
SUCCESS_90: Final = Level("success rate .9", SUCCESS, 0.9)
SUCCESS_50: Final = Level("success rate .5", SUCCESS, 0.5)
HALF_PROGRESS: Final = Level("half progress", PROGRESS, 0.5)
LEVELS: Final = (SUCCESS_90, SUCCESS_50, HALF_PROGRESS)

SUBJECTS: Final = "subjects"
#: Fewer models (or fields) than this say little about others, in a bootstrap and as a random effect.
ENOUGH: Final = 5
_NO_COUNTS = "the evaluation keeps no counts per subject: evaluate the model again"
_ONE_SUBJECT = "one test subject only"


@dataclass(frozen=True)
class Response:
    """The mean over models of one measure, over log2 strength.

    Attributes:
        doses: (S,) log2 of the strengths above 0 at which every model was measured, ascending; may be empty.
        values: (S,).
        draws: (D, S) of the bootstrap; None where nothing can be resampled, and `reason` says why.
        over: what was resampled, in words.
        units: how many of what was resampled there are, whichever are fewest.
    """

    doses: Floats
    values: Floats
    draws: Floats | None
    over: str | None = None
    reason: str | None = None
    units: int = 0

    @property
    def tested(self) -> tuple[float, float]:
        return (float(self.doses[0]), float(self.doses[-1])) if len(self.doses) else UNKNOWN

    def threshold(self, level: Level) -> Threshold:
        """The first crossing of the level: below the strengths measured where it is reached at the smallest, above them
        where the curve ends at its highest without reaching it. A curve that falls again without reaching it has none,
        and no bound: it may have been there between two strengths near its peak, or is nowhere.

        The draws' distances from it are multiplied by what few units need for their percentiles to be those of t:
        sqrt(n/(n - 1)) t/z (Hesterberg 2015, The American Statistician 69, 371-386).
        """
        what = f"the machine's threshold at {level.name}"
        estimate = float(_crossings(self.doses, self.values[None], level.level)[0])
        draws = None if self.draws is None else _crossings(self.doses, self.draws, level.level)
        if draws is not None and np.isfinite(estimate):
            draws = estimate + _few_units(self.units) * (draws - estimate)
        return Threshold(estimate, draws, self.tested, what, self._missing(what))

    def _missing(self, what: str) -> str | None:
        """Why the threshold of this name has neither a number nor a bound, where that is so."""
        if self is NOT_EVALUATED:
            return self.reason
        if not len(self.doses):
            return f"{what}: not measured at any strength above 0"
        highest = int(self.values.argmax())
        strength, value = 2 ** self.doses[highest], self.values[highest]
        return (
            f"{what} is not reached at any strength tested: strength {strength:g} does most, with {value:.3g}, and"
            " stronger ones do less"
        )

    def covers(self, log2_strength: float) -> bool:
        """Whether the models were measured around this strength."""
        return self.tested[0] <= log2_strength <= self.tested[1]

    def at(self, log2_strengths: Floats) -> Floats:
        """The measure at each of (N,) strengths; NaN beyond the strengths measured."""
        return _read(self.doses, np.broadcast_to(self.values, (len(log2_strengths), len(self.values))), log2_strengths)

    def draws_at(self, log2_strengths: Floats) -> Floats:
        """(D,): each draw (without any: the estimate) at a strength of its own; NaN beyond the strengths measured."""
        return self.at(log2_strengths) if self.draws is None else _read(self.doses, self.draws, log2_strengths)


def _few_units(n: int) -> float:
    return math.sqrt(n / (n - 1)) * float(stats.t.ppf(0.975, n - 1) / stats.norm.ppf(0.975))


def _crossings(doses: Floats, curves: Floats, level: float) -> Floats:
    """(D,) as `Response.threshold` says: infinite beyond the strengths measured, NaN for a curve that has none."""
    if not len(doses):
        return np.full(len(curves), np.nan)
    crossings = first_crossings(doses, curves, level)
    falls = np.isposinf(crossings) & (curves.max(1) > curves[:, -1])
    return np.where(curves[:, 0] >= level, -np.inf, np.where(falls, np.nan, crossings))


def _read(doses: Floats, curves: Floats, at: Floats) -> Floats:
    return responses_at(doses, curves, at) if len(doses) else np.full(len(at), np.nan)


NOT_EVALUATED: Final = Response(np.empty(0), np.empty(0), None, reason="no model with this attack was evaluated")


@dataclass(frozen=True)
class Group:
    """The rows of all models with one attack, one target and one task."""

    attack: str
    target: Mapping[str, Any] | None
    task: str | None
    rows: Rows

    @property
    def name(self) -> tuple[str, str, str]:
        return _name_of_group({"attack": self.attack, "target": self.target, "task": self.task})

    @property
    def models(self) -> list[str]:
        return sorted({row["model"] for row in self.rows})

    @property
    def subjects(self) -> set[Any]:
        return {counts["subject"] for row in self.rows for counts in row.get(SUBJECTS) or ()}

    @property
    def fields(self) -> dict[str, list[int]]:
        """The places, among `models`, of those that share a field."""
        field_of = {row["model"]: str(row.get("field")) for row in self.rows}
        fields: dict[str, list[int]] = {}
        for place, model in enumerate(self.models):
            fields.setdefault(field_of[model], []).append(place)
        return dict(sorted(fields.items()))

    def of_model(self, model: str) -> "Group":
        return replace(self, rows=[row for row in self.rows if row["model"] == model])


def groups(machine: Rows) -> list[Group]:
    """By attack, target and task, in one order whatever that of the rows; attacks without a strength have no curve."""
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in machine:
        if row["strength"] is not None:
            found.setdefault(_name_of_group(row), []).append(row)
    return [Group(rows[0]["attack"], rows[0]["target"], rows[0].get("task"), rows) for _, rows in sorted(found.items())]


def _name_of_group(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["attack"], json.dumps(row["target"], sort_keys=True), row.get("task") or ""


class Resampling:
    """The bootstrap's weights of the subjects and models of one report, `draws` of them."""

    def __init__(self, machine: Rows, draws: int, seed: int) -> None:
        names = {counts["subject"] for row in machine for counts in row.get(SUBJECTS) or ()}
        self.draws = draws
        self._seed = seed
        self._column = {name: column for column, name in enumerate(sorted(names, key=str))}
        self._subjects = weights(np.random.default_rng([seed, 2]), max(len(names), 1), draws)
        self._order = {group.name: place for place, group in enumerate(groups(machine))}

    def respond(self, group: Group | None, measure: Measure) -> Response:
        """The group's mean curve of one measure with its draws."""
        if group is None:
            return NOT_EVALUATED
        curves = _Curves.of(group, measure)
        fixed_subjects = _why_fixed_subjects(group)
        units = {} if fixed_subjects else {SUBJECTS: len(group.subjects)}
        if len(group.models) >= ENOUGH:
            units["models"] = len(group.models)
        if "models" in units and len(group.fields) >= ENOUGH:
            units["fields"] = len(group.fields)
        few = f"for these {len(group.models)} models only" if 1 < len(group.models) < ENOUGH else None
        reason = "; ".join(filter(None, [fixed_subjects, few])) or None
        if not units or not len(curves.doses):
            return Response(curves.doses, curves.values.mean(0), None, reason=reason)
        by_model = curves.resampled(self._subjects if SUBJECTS in units else None, self._column, self.draws)
        draws = _mean_over_models(by_model, self._models(group, units))
        words = " and ".join(filter(None, [", ".join(list(units)[:-1]), list(units)[-1]]))
        return Response(curves.doses, curves.values.mean(0), draws, words, reason, min(units.values()))

    def _models(self, group: Group, units: Mapping[str, int]) -> Floats:
        """(D, M) weights of the group's models: models are drawn, within fields where these are drawn as well."""
        if "models" not in units:
            return np.ones((self.draws, len(group.models)))
        rng = np.random.default_rng([self._seed, 3, self._order[group.name]])
        if "fields" not in units:
            return weights(rng, units["models"], self.draws).astype(float)
        of_field = weights(rng, units["fields"], self.draws)
        result = np.zeros((self.draws, units["models"]))
        for field, models in enumerate(group.fields.values()):
            result[:, models] = of_field[:, [field]] * weights(rng, len(models), self.draws)
        return result


def _why_fixed_subjects(group: Group) -> str | None:
    if not all(row.get(SUBJECTS) for row in group.rows):
        return _NO_COUNTS
    return None if len(group.subjects) > 1 else _ONE_SUBJECT


@dataclass(frozen=True)
class _Curves:
    """M models at the S strengths above 0 that all of them were measured at."""

    doses: Floats
    values: Floats  # (M, S)
    rows: list[list[Mapping[str, Any]]]
    measure: Measure

    @classmethod
    def of(cls, group: Group, measure: Measure) -> "_Curves":
        by_model: dict[str, dict[float, Mapping[str, Any]]] = {model: {} for model in group.models}
        for row in group.rows:
            if row["strength"] > 0 and row.get(measure.figure) is not None:
                by_model[row["model"]][float(row["strength"])] = row
        shared = sorted(set.intersection(*(set(of_model) for of_model in by_model.values())))
        rows = [[of_model[strength] for strength in shared] for of_model in by_model.values()]
        values = [[float(row[measure.figure]) for row in of_model] for of_model in rows]
        return cls(np.log2(np.array(shared, dtype=float)), np.array(values, dtype=float), rows, measure)

    def resampled(self, subjects: npt.NDArray[np.float32] | None, column: Mapping[Any, int], draws: int) -> Floats:
        """(D, M, S) under weights (D, subjects); without them the same values in every draw."""
        if subjects is None:
            return np.broadcast_to(self.values, (draws, *self.values.shape))
        sums = np.zeros((2, *self.values.shape, len(column)))
        for m, s, counts in self._counts():
            sums[:, m, s, column[counts["subject"]]] += _number(counts[self.measure.total]), counts[self.measure.count]
        total, count = np.einsum("imsq,dq->idms", sums, subjects, optimize=True)
        return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)

    def _counts(self) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
        for m, of_model in enumerate(self.rows):
            for s, row in enumerate(of_model):
                yield from ((m, s, counts) for counts in row[SUBJECTS])


def _mean_over_models(by_model: Floats, of_models: Floats) -> Floats:
    """(D, S): models without a value in a draw are left out of its mean."""
    known = np.isfinite(by_model)
    weight = known * of_models[:, :, None]
    total = (np.where(known, by_model, 0.0) * weight).sum(1)
    count = weight.sum(1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
