"""The codebook: what every column of every table and every key of report.json means."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from study.analysis import tidy
from study.analysis.meanings import BY_PLACE, of_name

#: Mappings whose keys are names from the data. In the codebook a star stands for all of them.
NAMED_BY_DATA: Final = (
    "flow.excluded",
    "versions",
    "quality.response_times.coefficients",
    "quality.response_times.left_out",
    "quality.response_times.sd",
)
#: Tables about the files themselves.
ABOUT_FILES: Final = {
    "codebook.csv": (
        ("file", "File that has this key or column."),
        ("name", "Column, or key with the keys above it; [] = each row of a list, * = any name from the data."),
        ("type", "What is found there in this report."),
        ("meaning", "What it means."),
    ),
    "files.csv": (
        ("file", "File in this folder."),
        ("bytes", "Its length."),
        ("sha256", "SHA-256 of its content."),
    ),
}
_OF_ONE: Final = {"coefficients": "One term of the model.", "sd": "Standard deviation of this factor's intercepts."}
CARRIED_ALONG: Final = "Carried along from the trial table as it came; the analysis does not read it."


@dataclass(frozen=True)
class Entry:
    """One column of a CSV file, or one key of report.json with the keys above it: "conditions[].strength"."""

    file: str
    name: str
    type: str
    meaning: str


def files(content: Mapping[str, Any], made: Mapping[str, bytes], name: str = "report.json") -> dict[str, bytes]:
    """codebook.csv and codebook.md on `content`, which the file `name` holds, and on the tables among `made`."""
    found = entries(content, made, name)
    return {"codebook.csv": _as_csv(found), "codebook.md": _as_markdown(found)}


def entries(content: Mapping[str, Any], made: Mapping[str, bytes], name: str = "report.json") -> list[Entry]:
    """By file: first the JSON, then the tables."""
    keys = [Entry(name, path, kinds, _of_key(path)) for path, kinds in _keys(content).items()]
    tables = {file: made[file] for file in sorted(made) if file.endswith(".csv") and file not in ABOUT_FILES}
    of_tables = [entry for file, table in tables.items() for entry in _columns(file, table)]
    about = [Entry(file, column, "text", words) for file, columns in ABOUT_FILES.items() for column, words in columns]
    return keys + of_tables + about


def _keys(content: Mapping[str, Any]) -> dict[str, str]:
    """{path: types found there} of every key."""
    found: dict[str, set[str]] = {}
    for path, value in _walk(content):
        found.setdefault(path, set()).add(_type(value))
    return {path: " or ".join(sorted(found[path])) for path in sorted(found)}


def _walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            below = "*" if _is_named_by_data(path) else key
            yield from ((where, found) for where, found in _walk_item(f"{path}.{below}".lstrip("."), item))


def _walk_item(path: str, item: Any) -> Iterator[tuple[str, Any]]:
    yield path, item
    if isinstance(item, Mapping):
        yield from _walk(item, path)
    elif isinstance(item, list):
        for row in item:
            yield from _walk(row, f"{path}[]")


def _is_named_by_data(path: str) -> bool:
    return path in NAMED_BY_DATA or path.endswith(".coefficients") or path.endswith(".sd")


def _type(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "true or false", int: "whole number", float: "number", str: "text", list: "list", dict: "mapping"}
    return kinds[type(value)]


def _of_key(path: str) -> str:
    above, _, name = path.rpartition(".")
    if name == "*" and path not in BY_PLACE:
        return _OF_ONE[above.rsplit(".", 1)[-1]]
    return BY_PLACE.get(path) or of_name(name)


def _columns(file: str, content: bytes) -> Iterator[Entry]:
    rows = csv.reader(io.StringIO(content.decode()))
    header, first = next(rows), next(rows, [])
    kinds = [_kind(cell) for cell in first] or [""] * len(header)
    return (Entry(file, name, kind, _of_column(file, name)) for name, kind in zip(header, kinds, strict=True))


def _kind(cell: str) -> str:
    try:
        float(cell)
    except ValueError:
        return "text" if cell else ""
    return "number"


def _of_column(file: str, column: str) -> str:
    """Of the column itself, else of the key of report.json that it holds, else of its name anywhere."""
    is_trials = file in ("trials.csv", "excluded_trials.csv")
    places = (f"{file}:{column}", f"trials.csv:{column}") if is_trials else (f"{file}:{column}",)
    known = next((BY_PLACE[place] for place in places if place in BY_PLACE), "")
    known = known or _FLAT.get((file.removesuffix(".csv"), column)) or of_name(column)
    return known or (CARRIED_ALONG if is_trials else "")


def _flattened() -> dict[tuple[str, str], str]:
    """{(section, column): meaning} of the keys of a section that `tidy` writes as columns."""
    places = [(path.partition("[]."), meaning) for path, meaning in BY_PLACE.items() if "[]." in path]
    return {
        (section, key.replace(".", "_")): meaning
        for (section, _, key), meaning in places
        if section in tidy.SECTIONS and "[]" not in key
    }


_FLAT: Final = _flattened()


def _as_csv(found: list[Entry]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "name", "type", "meaning"])
    table.writerows([entry.file, entry.name, entry.type, entry.meaning] for entry in found)
    return text.getvalue().encode()


def _as_markdown(found: list[Entry]) -> bytes:
    lines = ["# Codebook", "", "What every key of `report.json` and every column of every table means."]
    for file in dict.fromkeys(entry.file for entry in found):
        lines += ["", f"## {file}", "", "| name | type | meaning |", "|---|---|---|"]
        lines += [
            f"| `{_cell(entry.name)}` | {entry.type} | {_cell(entry.meaning)} |"
            for entry in found
            if entry.file == file
        ]
    return ("\n".join(lines) + "\n").encode()


def _cell(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1].replace("|", "\\|").replace('\\"', '"')
