"""The seed thesis: its published figures, its table from per-image predictions, and its grid in our terms.

J.G.C. van de Meene, The susceptibility of deep regression models to imperceptible backdoor attacks, TU Delft, 2024;
figures from the repository Gijsvdmeene/WaNet-Gaze-Estimation. Its "angular error" is the planar one,
sqrt(dpitch^2 + dyaw^2) (`models.gaze.planar_error`), which is not the angle between two gazes.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.wanet import FAMILY
from models.gaze import angular_error, planar_error
from models.sweeps import Attack

Gazes = NDArray[np.floating[Any]]

SOURCE = (
    "J.G.C. van de Meene, The susceptibility of deep regression models to imperceptible backdoor attacks, TU Delft "
    "CSE3000, 25 June 2024 (uuid:39d26cfc-c0f7-46a4-94ee-4e57bfabff0c); Gijsvdmeene/WaNet-Gaze-Estimation"
)

#: What differs in method: (what, in the thesis, here).
METHOD: tuple[tuple[str, str, str], ...] = (
    ("warp", "a new field for every batch, in training and in evaluation", "one field, drawn once from its seed"),
    ("split", "random over images of the same 15 people", "by subject: nobody is in two parts"),
    ("error", "planar, sqrt(dpitch² + dyaw²)", "the 3-D angle; the planar error beside it, under its own name"),
    ("axes", "pitch is called yaw and yaw pitch", "pitch up and down, yaw left and right"),
    (
        "target",
        "(-0.2, 0) rad, close to the mean gaze of its data",
        "yours; by default (0, 25) deg, far from the mean gaze of synthetic eyes",
    ),
    ("noise mode", "trained, never evaluated", "trained and evaluated (see the sweep's table)"),
    (
        "poisoned images",
        "the first 20 of every batch of 100, the same in every epoch",
        "by hash of seed, epoch and image",
    ),
    ("network", "ResNet-18 from ImageNet, 224 px", "five-layer CNN from scratch, unless you choose another"),
    ("training", "L1, Adam, 8 epochs at one strength", "squared error, AdamW, at s = 4, then at s with rehearsal"),
    ("data", "MPIIFaceGaze, normalised", "the data set you give; by default synthetic eyes"),
)

#: Synonyms of the columns of a predictions file, by what they hold. The thesis's own names come first: it calls pitch
#: "Yaw" and yaw "Pitch".
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "predicted_pitch": ("Predicted Yaw", "predicted_pitch", "pred_pitch", "pitch_pred"),
    "predicted_yaw": ("Predicted Pitch", "predicted_yaw", "pred_yaw", "yaw_pred"),
    "actual_pitch": ("Actual Yaw", "actual_pitch", "true_pitch", "pitch"),
    "actual_yaw": ("Actual Pitch", "actual_yaw", "true_yaw", "yaw"),
}
_CLEAN_FILE = re.compile(r"results_k(?P<k>\d+)_s(?P<s>\d+(\.\d+)?)\.csv")


@dataclass(frozen=True)
class Errors:
    """Of one kind of error over images, degrees; shares of images below 1, 2 and 5 degrees."""

    mean: float
    median: float | None = None
    p95: float | None = None
    below_1: float | None = None
    below_2: float | None = None
    below_5: float | None = None

    @classmethod
    def of(cls, errors: Gazes) -> Errors:
        below = (float((errors < limit).mean()) for limit in (1, 2, 5))
        return cls(float(errors.mean()), float(np.median(errors)), float(np.percentile(errors, 95)), *below)


@dataclass(frozen=True)
class Cell:
    """One row of the table: clean error, error to the target under the trigger, and the mean angle between the two
    predictions of an image, all by one measure."""

    clean: Errors
    attack: Errors | None = None
    mean_shift: float | None = None


@dataclass(frozen=True)
class Published:
    """A row as published, planar errors. k and s are None for the clean model; remark: what sets it apart."""

    k: int | None
    s: float | None
    cell: Cell
    remark: str = ""


def _published(k: int, s: float, clean: float, *attack: float) -> Published:
    mean, median, p95, *below = attack
    return Published(k, s, Cell(Errors(clean), Errors(mean, median, p95, *(share / 100 for share in below))))


#: Clean and attack errors are the thesis's; medians, percentiles and shares are of its per-image results.
PUBLISHED: tuple[Published, ...] = (
    Published(
        None,
        None,
        Cell(Errors(2.0076), Errors(10.9545)),
        "never poisoned, tested with warped images; median clean error 1.61",
    ),
    Published(
        4,
        0.5,
        Cell(Errors(8.4055), Errors(14.8836)),
        "of two early runs that failed (the other: 9.24, 13.57): 6 epochs, before its target was (-0.2, 0)",
    ),
    _published(20, 0.5, 3.2728, 3.6385, 2.50, 10.46, 18.2, 41.8, 74.9),
    _published(20, 1.0, 2.4435, 1.1613, 0.77, 3.62, 63.9, 88.0, 97.2),
    _published(20, 1.5, 2.2646, 0.8135, 0.64, 1.97, 76.7, 95.2, 99.4),
    _published(28, 0.5, 2.7858, 1.9999, 1.12, 7.10, 44.6, 72.3, 90.4),
    _published(28, 1.0, 2.2732, 0.7872, 0.60, 2.01, 80.1, 95.0, 99.3),
    _published(28, 1.5, 2.2172, 0.5005, 0.42, 1.09, 93.7, 98.9, 99.9),
    _published(36, 0.5, 2.5719, 1.5807, 0.93, 5.64, 54.3, 80.2, 93.8),
    _published(36, 1.0, 2.2455, 0.6979, 0.56, 1.60, 82.9, 96.9, 99.7),
    _published(36, 1.5, 2.2307, 0.5264, 0.44, 1.15, 92.4, 98.7, 99.9),
)

MEASURES: Mapping[str, Callable[[Gazes, Gazes], Gazes]] = {"planar": planar_error, "3-D angle": angular_error}


def cell(clean: Gazes, altered: Gazes | None, truth: Gazes, goal: Gazes | None, measure: str) -> Cell:
    """A row from predictions (N, 2) on clean and altered images with true gazes and goals, radians."""
    error = MEASURES[measure]
    if altered is None or goal is None:
        return Cell(Errors.of(error(clean, truth)))
    shift = float(error(altered, clean).mean())
    return Cell(Errors.of(error(clean, truth)), Errors.of(error(altered, goal)), shift)


def cells_json(clean: Gazes, altered: Gazes, truth: Gazes, goal: Gazes) -> dict[str, Any]:
    """`cell` by every measure, JSON-able."""
    return {measure: asdict(cell(clean, altered, truth, goal, measure)) for measure in MEASURES}


def cell_from_json(fields: Mapping[str, Any]) -> Cell:
    """The way back from one measure of `cells_json`."""
    attack = Errors(**fields["attack"]) if fields["attack"] else None
    return Cell(Errors(**fields["clean"]), attack, fields["mean_shift"])


def cell_of_evaluation(evaluation: Mapping[str, Any], strength: float) -> Cell:
    """A row by the 3-D angle from an evaluation (`Evaluation.to_json`), without the shares below some degrees."""
    (dose,) = (dose for dose in evaluation["doses"] if dose["strength"] == strength)
    spreads = evaluation["clean_error"], dose["attack_error"]
    clean, attack = (Errors(spread["mean"], spread["median"], spread["p95"]) for spread in spreads)
    return Cell(clean, attack, dose["prediction_shift"])


def attacks(pairs: Sequence[tuple[int, float]], epochs: int) -> tuple[Attack, ...]:
    """The grid's attacks, of control size and strength: each trained to its own strength in `epochs` >= 2."""
    return tuple(_attack(k, s, epochs) for k, s in pairs)


def grid() -> list[tuple[int, float]]:
    """(k, s) of every published backdoored model."""
    return [(row.k, row.s) for row in PUBLISHED if row.k is not None and row.s is not None]


def _attack(k: int, s: float, epochs: int) -> Attack:
    first = max(1, epochs // 4)
    schedule = ((max(FAMILY.schedule[0], s), first), (s, epochs - first))
    return Attack(f"k = {k}, s = {s:g}", "wanet", (s,), {"control_size": k}, {"strength_schedule": schedule})


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted and actual gazes (N, 2) of one file, radians; of altered images the actual gaze is the target."""

    predicted: Gazes
    actual: Gazes


def read_predictions(path: Path, names: Mapping[str, str] | None = None, degrees: bool = False) -> Predictions:
    """A CSV of one row per image.

    names: columns by what they hold (keys of `COLUMNS`), where the file uses others than the usual ones. degrees: of
    the file's angles. Raises ValueError naming the file where it cannot be read, and the row too for what is no number.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            columns = _columns(reader.fieldnames or (), names or {}, path)
            rows = [_numbers(row, columns, path, number) for number, row in enumerate(reader, start=2)]
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); give the path of a CSV file.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is not UTF-8 CSV; save the predictions as such a file.") from error
    if not rows:
        raise ValueError(f"{path} holds no prediction.")
    table = np.deg2rad(rows) if degrees else np.asarray(rows)
    return Predictions(table[:, :2], table[:, 2:])


def recomputed(clean: Path, altered: Path | None, measure: str, **options: Any) -> Cell:
    """A row from files of predictions on clean and, row by row the same images, on altered images.

    options: of `read_predictions`. Raises ValueError when the two files have different numbers of rows.
    """
    plain = read_predictions(clean, **options)
    if altered is None:
        return cell(plain.predicted, None, plain.actual, None, measure)
    other = read_predictions(altered, **options)
    if len(other.predicted) != len(plain.predicted):
        raise ValueError(
            f"{altered} has {len(other.predicted)} rows and {clean} {len(plain.predicted)}: they are to hold the same "
            "images in the same order."
        )
    return cell(plain.predicted, other.predicted, plain.actual, other.actual, measure)


def prediction_files(folder: Path) -> Iterator[tuple[int | None, float | None, Path, Path | None]]:
    """(k, s, clean file, file of altered images if there is one) of a folder that names its files as the thesis does:
    results_k28_s1.0.csv and results_bd_k28_s1.0.csv; clean_results.csv and clean_results_bd.csv of the clean model.

    Raises ValueError when there is none.
    """
    found = [
        (None, None, folder / "clean_results.csv", folder / "clean_results_bd.csv"),
        *(
            (int(match["k"]), float(match["s"]), path, path.with_name(path.name.replace("results_k", "results_bd_k")))
            for path in sorted(folder.glob("results_k*.csv"))
            if (match := _CLEAN_FILE.fullmatch(path.name))
        ),
    ]
    there = [(k, s, clean, altered if altered.is_file() else None) for k, s, clean, altered in found if clean.is_file()]
    if not there:
        raise ValueError(f"{folder} holds no results_kK_sS.csv and no clean_results.csv.")
    yield from there


def _columns(there: Sequence[str], names: Mapping[str, str], path: Path) -> list[str]:
    if unknown := sorted(set(names) - set(COLUMNS)):
        raise ValueError(f"Columns are named for {', '.join(COLUMNS)}, not for {', '.join(unknown)}.")
    chosen = []
    for role, usual in COLUMNS.items():
        wanted = (names[role],) if role in names else usual
        found = next((name for name in wanted if name in there), None)
        if found is None:
            raise ValueError(
                f"{path} has no column {' or '.join(map(repr, wanted))} for the {role.replace('_', ' ')}; it has "
                f"{', '.join(map(repr, there)) or 'none'}."
            )
        chosen.append(found)
    return chosen


def _numbers(row: Mapping[str, str | None], columns: Sequence[str], path: Path, number: int) -> list[float]:
    try:
        values = [float(row[name] or "") for name in columns]
    except ValueError:
        raise ValueError(f"{path}, row {number}: {[row[name] for name in columns]} are not four numbers.") from None
    if not np.isfinite(values).all():
        raise ValueError(f"{path}, row {number}: an angle is not finite.")
    return values
