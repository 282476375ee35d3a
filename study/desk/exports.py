"""A study's answers as files, made while they are sent: two tables as CSV, or everything as one JSON object.

The pages and `manage.py export_study` give the same files. Recruiters' ids are in none of them
(`study.desk.recruiter_files`); a session that was erased is a row of the session table and nothing else.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils import timezone

from study.accounts import audit
from study.analysis import meanings
from study.analysis.models import HIDDEN
from study.lab.models import canonical_json
from study.trials.design import code_version
from study.trials.export import SESSION_COLUMNS, TRIAL_COLUMNS
from study.trials.models import Population, Study

#: Of the JSON object.
FORMAT: Final = 1
#: Bytes that are sent at once.
BLOCK: Final = 1 << 16
TABLES: Final[Mapping[str, tuple[str, ...]]] = {"trials": TRIAL_COLUMNS, "sessions": SESSION_COLUMNS}


class Withheld(ValueError):  # noqa: N818 (a fact about the study)
    """These answers are not given out; the message is a sentence."""


@dataclass(frozen=True)
class File:
    """A file in the making: its name, with folders, and its content, which can be read once."""

    name: str
    content: Iterable[bytes]


@dataclass(frozen=True)
class Selection:
    """What of a study is given out: whose answers, and whether practice trials are among them."""

    study: Study
    population: str = Population.REAL
    practice: bool = False

    @property
    def name(self) -> str:
        """What the names of its files begin with."""
        return f"{self.study.slug}-{self.population}"

    @property
    def is_blind(self) -> bool:
        return self.population == Population.REAL and self.study.is_blind

    def demand_sight(self) -> None:
        """Raises Withheld while nobody may see these answers."""
        if self.is_blind:
            raise Withheld(HIDDEN)

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """Of "trials" or "sessions"; keys: TABLES[table]."""
        if table == "sessions":
            return self.study.session_rows(self.population)
        return self.study.trial_rows(self.population, practice=self.practice)

    def csv(self, table: str) -> Iterator[bytes]:
        return as_csv(TABLES[table], self.rows(table))

    def record(self, what: str, **more: Any) -> None:
        """Write down that it is given out, and as what. No word of participants."""
        said = {"what": what, "population": self.population, "practice": self.practice, **more}
        audit.record("exported", self.study, after=said)


def meaning(column: str) -> str:
    """What a column of either table means; columns of both mean the same in both."""
    return meanings.of_column(column, "trials.csv", "sessions.csv")


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """UTF-8, the header first; None is an empty cell."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    for row in rows:
        table.writerow([row[column] for column in columns])
        if text.tell() >= BLOCK:
            yield _taken(text)
    yield _taken(text)


def _taken(text: io.StringIO) -> bytes:
    """What was written so far, and is not kept any longer."""
    content = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return content


def as_json(selection: Selection) -> Iterator[bytes]:
    """One object: what it is about, the frozen designs, what the columns mean, then `sessions` and `trials`, a row
    a line.
    """
    study = selection.study
    about = {
        "format": FORMAT,
        "study": study.slug,
        "title": study.title,
        "population": selection.population,
        "practice": selection.practice,
        "exported_at": timezone.now().isoformat(timespec="seconds"),
        "code": code_version(),
        "columns": {table: {name: meaning(name) for name in columns} for table, columns in TABLES.items()},
    }
    yield canonical_json(about).encode().removesuffix(b"}") + b',\n"designs": ['
    yield from _rows({"n": v.n, "sha256": v.sha256, "reason": v.reason, "design": v.json} for v in designs(study))
    for table in ("sessions", "trials"):
        yield f'],\n"{table}": ['.encode()
        yield from _rows(selection.rows(table))
    yield b"]\n}\n"


def _rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    text = io.StringIO()
    for n, row in enumerate(rows):
        text.write(",\n" if n else "\n")
        text.write(json.dumps(row, ensure_ascii=False, allow_nan=False))
        if text.tell() >= BLOCK:
            yield _taken(text)
    yield _taken(text)


def designs(study: Study) -> Iterator[Any]:
    """The versions of the design under which there are sessions, one at a time, the first first."""
    return study.designs_that_count.order_by("n").iterator(chunk_size=1)


def design_files(study: Study, folder: str = "") -> Iterator[File]:
    """design.json is the newest version, and has the SHA-256 that pages and reports print; design-1.json an older."""
    newest = study.designs_that_count.order_by("-n").values_list("pk", flat=True).first()
    for version in designs(study):
        name = "design.json" if version.pk == newest else f"design-{version.n}.json"
        yield File(f"{folder}{name}", [canonical_json(version.json).encode()])


def tables(selection: Selection) -> Iterator[File]:
    """What `export_study` writes into a folder: both tables, which `analyze_study --csv` reads, and the designs."""
    suffix = "" if selection.population == Population.REAL else f"-{selection.population}"
    for table in TABLES:
        yield File(f"{table}{suffix}.csv", selection.csv(table))
    yield from design_files(selection.study)
