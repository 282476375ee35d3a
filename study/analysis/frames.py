"""The trial table: one row per answered trial, checked column by column before any number is computed from it.

Rows are put into one canonical order when they are read, so that the order in which they were written changes no sum,
not even in its last digit.
"""

import csv
import hashlib
import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.analysis.protocols import AFC, CONSTANT, PROCEDURES, PROTOCOLS

REQUIRED: Final = (
    "participant",
    "stimulus",
    "attack",
    "strength",
    "error_shift_deg",
    "clean_side",
    "response_side",
    "correct",
    "rt_ms",
    "is_catch",
)
#: Optional columns that the analysis knows; any other column is carried along as text.
OPTIONAL_TEXT: Final = ("control", "field", "model", "item", "population", "protocol", "procedure")
OPTIONAL_NUMBERS: Final = (
    "px_per_degree",
    "scale",
    "displacement_px",
    "displacement_displayed_px",
    "displacement_arcmin",
    "image_width_px",
    "onset_ms",
    "exposure_ms",
    "pauses",
    "trial_index",
)
OPTIONAL_FLAGS: Final = ("unsure",)
SIDES: Final = ("left", "right")
IDENTITY: Final = "identity"
CONTROLS: Final = ("", IDENTITY, "resampled", "other_field")
#: Strengths closer than this, relatively, are one strength written in two ways.
_SAME_STRENGTH: Final = 1e-6

_NUMBERS = ("strength", "error_shift_deg", "rt_ms", *OPTIONAL_NUMBERS)
_FLAGS = ("correct", "is_catch", *OPTIONAL_FLAGS)
#: What an empty cell says in a column that other rows fill in.
_WHEN_EMPTY: Final = {"unsure": "0", "protocol": AFC.name, "procedure": CONSTANT}
_MAY_BE_EMPTY = (*OPTIONAL_TEXT, *OPTIONAL_NUMBERS, "error_shift_deg")
#: Rows that are in memory as Python objects at one time.
_BLOCK: Final = 10_000


class TrialTableError(ValueError):
    """The trial table cannot be analysed. The message is one sentence: what, where, what to do."""


def read_csv(path: str | Path) -> pd.DataFrame:
    """The trial table in the CSV file at `path` (UTF-8, first line = column names).

    Returns the table in canonical order (see `from_records`).
    Raises TrialTableError, naming file, column and line, when anything in it cannot be used.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            columns, lines = _read_lines(csv.reader(text, strict=True), path.name)
    except OSError as error:
        raise TrialTableError(f"{path}: cannot be read ({error.strerror}); give the path of a CSV file.") from error
    except UnicodeDecodeError as error:
        raise TrialTableError(f"{path.name}: is not UTF-8 text; save the table as a UTF-8 CSV file.") from error
    except csv.Error as error:
        raise TrialTableError(
            f"{path.name}: is not a CSV file ({error}); save the table as a UTF-8 CSV file."
        ) from error
    return _checked(columns, _Check(path.name, lambda row: f"line {lines[row]}"))


def from_records(records: Iterable[Mapping[str, Any]], source: str) -> pd.DataFrame:
    """The trial table from one mapping per trial, as the database gives them; None and missing keys are empty cells.

    Returns columns REQUIRED plus those optional ones that have a value: text as str, numbers as float64, `correct` and
    `is_catch` as int64, `control` always present ("" = the attack itself). Rows are sorted by content.
    Raises TrialTableError with a sentence that names `source`, column and row.
    """
    columns, rest = _Columns(REQUIRED), iter(records)
    while rows := list(islice(rest, _BLOCK)):
        names = dict.fromkeys([*columns.names, *(name for row in rows for name in row)])
        columns.add({name: [_as_text(row.get(name)) for row in rows] for name in names})
    return _checked(columns, _Check(source, lambda row: f"row {row + 1}"))


def main_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """What the models are about: no catch trials, no control but identity (which is strength 0 of its attack)."""
    return trials[(trials["is_catch"] == 0) & trials["control"].isin(["", IDENTITY])]


def catch_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials with a gross alteration, which everybody who looks gets right."""
    return trials[trials["is_catch"] == 1]


def control_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials of control pairs other than identity: softened only, or warped by an unrelated field."""
    return trials[(trials["is_catch"] == 0) & ~trials["control"].isin(["", IDENTITY])]


def cells(trials: pd.DataFrame) -> list[tuple[str, float, pd.DataFrame]]:
    """(attack, strength, rows) of every condition, by attack and then by strength."""
    return [(str(attack), float(s), rows) for (attack, s), rows in trials.groupby(["attack", "strength"], sort=True)]


def codes(values: pd.Series) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Integer code of each value, 0 to (number of distinct values) - 1."""
    return pd.factorize(values, sort=True)[0]


def is_simulated(trials: pd.DataFrame) -> bool | None:
    """Whether any row comes from a simulated observer; None where the table does not say."""
    if "population" not in trials:
        return None
    return bool((trials["population"] == "simulated").any())


def to_csv(trials: pd.DataFrame) -> bytes:
    """The table as UTF-8 CSV; numbers in the shortest form that reads back to the same value."""
    return bytes(trials.to_csv(index=False, lineterminator="\n").encode())


def sha256(trials: pd.DataFrame) -> str:
    """Hash of the table's CSV: the same for the same rows in any order."""
    return hashlib.sha256(to_csv(trials)).hexdigest()


@dataclass(frozen=True)
class _Column:
    """The cells of one column, equal ones stored once: (N,) `codes` into `texts`."""

    codes: npt.NDArray[np.int32]
    texts: npt.NDArray[np.object_]

    @property
    def values(self) -> npt.NDArray[np.object_]:
        return self.texts[self.codes]


class _Columns:
    """Columns that grow block by block; what a column lacks in the rows before its first block is empty."""

    def __init__(self, names: Iterable[str]) -> None:
        self.rows = 0
        self._ids: dict[str, dict[str, int]] = {name: {} for name in names}
        self._codes: dict[str, list[npt.NDArray[np.int32]]] = {name: [] for name in self._ids}

    @property
    def names(self) -> list[str]:
        return list(self._ids)

    def add(self, block: Mapping[str, Sequence[str]]) -> None:
        """Append the block's rows; it has every column known so far."""
        for name, cells_ in block.items():
            if name not in self._ids:
                self._ids[name], self._codes[name] = {"": 0}, [np.zeros(self.rows, np.int32)]
            ids = self._ids[name]
            codes_, texts = pd.factorize(np.array(cells_, dtype=object))
            known = np.array([ids.setdefault(text, len(ids)) for text in texts], dtype=np.int32)
            self._codes[name].append(known[codes_])
        self.rows += len(next(iter(block.values())))

    def __iter__(self) -> Iterator[tuple[str, _Column]]:
        for name, ids in self._ids.items():
            when_empty = _WHEN_EMPTY.get(name, "")
            used = any(text.strip() for text in ids)
            texts = np.array([text.strip() or (when_empty if used else "") for text in ids], dtype=object)
            yield name, _Column(np.concatenate(self._codes[name]), texts)


def _read_lines(reader: Any, source: str) -> tuple[_Columns, Sequence[int]]:
    """The columns, and the line that each row ends on."""
    header = [name.strip() for name in next(reader, [])]
    _require_columns(header, source)
    columns, lines = _Columns(header), array("L")
    rows = _rows(reader, len(header), lines, source)
    while block := list(islice(rows, _BLOCK)):
        columns.add(dict(zip(header, zip(*block, strict=True), strict=True)))
    return columns, lines


def _rows(reader: Any, width: int, lines: "array[int]", source: str) -> Iterator[list[str]]:
    for row in reader:
        if not row:
            continue
        if len(row) != width:
            raise TrialTableError(
                f"{source}: line {reader.line_num} has {len(row)} fields where the header has {width};"
                " give every row one field per column."
            )
        lines.append(reader.line_num)
        yield row


def _require_columns(header: Sequence[str], source: str) -> None:
    if missing := [name for name in REQUIRED if name not in header]:
        raise TrialTableError(f"{source}: column{_list(missing)} missing; the trial table needs {', '.join(REQUIRED)}.")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise TrialTableError(f"{source}: column{_list(twice)} there more than once; keep one of each.")


def _list(names: Sequence[str]) -> str:
    quoted = ", ".join(f'"{name}"' for name in names)
    return f" {quoted} is" if len(names) == 1 else f"s {quoted} are"


def _checked(columns: _Columns, check: "_Check") -> pd.DataFrame:
    if not columns.rows:
        raise TrialTableError(f"{check.source}: has no rows; there is nothing to analyse.")
    table: dict[str, Any] = {}
    for name, column in columns:
        if name not in REQUIRED and not column.texts.any():
            continue
        if name in REQUIRED and name not in _MAY_BE_EMPTY:
            check.no((column.texts == "")[column.codes], name, "is empty", "fill it in or leave the row out")
        if name in _NUMBERS:
            table[name] = check.numbers(name, column)
        elif name in _FLAGS:
            table[name] = check.flags(name, column)
        else:
            table[name] = column.values
    table.setdefault("control", np.full(columns.rows, "", dtype=object))
    _check_meaning(check, table)
    names = [*REQUIRED, *sorted(set(table) - set(REQUIRED))]
    order = np.lexsort([_sort_key(table[name]) for name in reversed(names)])
    return pd.DataFrame({name: _series(name, table[name][order]) for name in names})


def _sort_key(values: Any) -> Any:
    """Numbers as they are, texts as integers in the order of the texts: those sort many times faster."""
    return pd.factorize(values, sort=True)[0] if values.dtype == object else values


def _check_meaning(check: "_Check", table: Mapping[str, Any]) -> None:
    for name in ("clean_side", "response_side"):
        check.no(~np.isin(table[name], SIDES), name, 'must be "left" or "right"', values=table[name])
    _check_one_of_a_kind(check, table, "protocol", list(PROTOCOLS))
    _check_one_of_a_kind(check, table, "procedure", PROCEDURES)
    check.no(
        ~np.isin(table["control"], CONTROLS),
        "control",
        f"must be empty or one of {', '.join(CONTROLS[1:])}",
        values=table["control"],
    )
    right = table["response_side"] != table["clean_side"]
    check.no(
        table["correct"].astype(bool) != right,
        "correct",
        "does not agree with clean_side and response_side",
        "it is 1 when response_side, the side chosen as altered, is not clean_side",
    )
    check.no(table["strength"] < 0, "strength", "must be 0 or more", values=table["strength"])
    check.no(table["rt_ms"] < 0, "rt_ms", "must be 0 or more", values=table["rt_ms"])
    identity = (table["control"] == IDENTITY) & (table["strength"] != 0) & (table["is_catch"] == 0)
    check.no(identity, "strength", "must be 0 for an identity control", values=table["strength"])
    _check_strengths(check, table["strength"], table["is_catch"] == 0)
    main = (table["is_catch"] == 0) & np.isin(table["control"], ["", IDENTITY])
    if not main.any():
        raise TrialTableError(f"{check.source}: has catch trials and control pairs only; there is nothing to analyse.")
    without_shift = main & np.isnan(table["error_shift_deg"])
    if not without_shift[main].all():
        check.no(without_shift, "error_shift_deg", "is empty", "give it for every trial that is no catch trial")


def _check_one_of_a_kind(check: "_Check", table: Mapping[str, Any], column: str, known: Sequence[str]) -> None:
    """Refuse what is not known, and more than one kind in a table: their figures cannot be added up."""
    if column not in table:
        return
    values = table[column]
    check.no(~np.isin(values, known), column, f"must be one of {', '.join(known)}", values=values)
    if len(kinds := sorted(set(values))) > 1:
        raise TrialTableError(
            f'{check.source}: column "{column}" holds several kinds ({", ".join(kinds)}), whose answers cannot be'
            " compared; analyse the rows of each in a table of their own."
        )


def _check_strengths(check: "_Check", strength: Any, shown: Any) -> None:
    """Refuse strengths that differ by rounding only: they would be taken for conditions of their own."""
    levels = np.unique(strength[shown])
    twice = np.flatnonzero(np.diff(levels) <= _SAME_STRENGTH * levels[1:])
    if len(twice):
        low, high = levels[twice[0]], levels[twice[0] + 1]
        offends = shown & (strength == high)
        check.no(offends, "strength", f"is {high}, which is {low} but for rounding", "write equal strengths alike")


def _series(name: str, values: Any) -> pd.Series:
    return pd.Series(values) if name in (*_NUMBERS, *_FLAGS) else pd.Series(values, dtype="str")


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return repr(float(value)) if isinstance(value, float) else str(value)


class _Check:
    """Turns the first offending row of a column into the sentence the user reads."""

    def __init__(self, source: str, place: Callable[[int], str]) -> None:
        self.source = source
        self.place = place

    def no(self, offends: Any, column: str, what: str, advice: str = "", values: Any = None) -> None:
        if not offends.any():
            return
        row = int(np.argmax(offends))
        found = "" if values is None else f', not "{values[row]}"'
        advice = f"; {advice}" if advice else ""
        raise TrialTableError(f'{self.source}: {self.place(row)}: column "{column}" {what}{found}{advice}.')

    def numbers(self, name: str, column: _Column) -> Any:
        """Finite numbers, NaN where a cell is empty."""
        empty = column.texts == ""
        numbers = pd.to_numeric(pd.Series(np.where(empty, "0", column.texts)), errors="coerce").to_numpy(float)
        self.no(~np.isfinite(numbers)[column.codes], name, "must be a finite number", values=column.values)
        return np.where(empty, math.nan, numbers + 0.0)[column.codes]  # a sum, so that -0.0 becomes 0.0

    def flags(self, name: str, column: _Column) -> Any:
        """0 or 1."""
        bad = ~np.isin(column.texts, ["0", "1", "0.0", "1.0"])
        self.no(bad[column.codes], name, "must be 0 or 1", values=column.values)
        return column.texts.astype(float).astype(np.int64)[column.codes]
