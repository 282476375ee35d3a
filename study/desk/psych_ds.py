"""A study as a Psych-DS data set: a folder that says of itself what it holds, column by column.

After the specification's schema 1.5 (psychds-docs.readthedocs.io): `dataset_description.json` is schema.org JSON-LD
with a name, a description and one `variableMeasured` for every column; data files lie in `data/` and are named by
keywords; README and CHANGES stand beside them. What is not data lies in `documentation/` and `materials/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.db.models import Max, Min, QuerySet
from django.utils import timezone

from study.desk.exports import TABLES, File, Selection, as_csv, design_files, designs, meaning
from study.desk.status import version
from study.lab.images import IMAGES
from study.lab.models import Pair
from study.trials.models import Population, Study, StudyTexts

SCHEMA: Final = "Psych-DS 1.5.1"
IGNORED: Final = "documentation/\nmaterials/\n"
#: By the ending of a column's name.
UNITS: Final[Mapping[str, str]] = {
    "_ms": "ms",
    "_deg": "degree",
    "_px": "px",
    "_arcmin": "arcmin",
    "px_per_degree": "px per degree",
}
PAIR_COLUMNS: Final = ("item", "stimulus", "attack", "strength", "control", "clean_file", "altered_file")
WHOSE: Final = {
    Population.REAL: "Answers of participants.",
    Population.SIMULATED: "Answers of SIMULATED observers, which are programs: nothing here is evidence about people.",
    Population.PREVIEW: "Answers of researchers who tried the study. They count for nothing.",
}


def files(selection: Selection, *, images: bool = False) -> Iterator[File]:
    """The data set, file by file. images: with the pictures; only of data that may be shown (`images_refusal`)."""
    study = selection.study
    yield File("dataset_description.json", [_json(description(selection))])
    yield File("README.md", [readme(selection, images=images).encode()])
    yield File("CHANGES.md", [changes(study).encode()])
    yield File(".psychds-ignore", [IGNORED.encode()])
    for table in TABLES:
        yield File(f"data/{data_file(selection, table)}", selection.csv(table))
    yield from design_files(study, "documentation/")
    for language in study.languages:
        yield File(f"documentation/texts-{language}.md", [_texts(study.texts(language)).encode()])
    if images:
        yield from _images(study)


def data_file(selection: Selection, table: str) -> str:
    """ "study-eyes_description-realTrials_data.csv": keywords of the specification, values of letters and digits."""
    study = re.sub(r"[^a-zA-Z0-9]", "", selection.study.slug) or str(selection.study.pk)
    return f"study-{study}_description-{selection.population}{table.title()}_data.csv"


def images_refusal(study: Study) -> str | None:
    """Why the pictures may not be given out; None when they may be."""
    return study.dataset.display_refusal()


def check_images(study: Study) -> None:
    """Read every picture once, before a file is begun that could not be ended. Raises DamagedFile or StorageFailed."""
    for pair in shown_pairs(study).iterator(chunk_size=200):
        pair.base_image.obtain()
        pair.obtain()


def description(selection: Selection) -> dict[str, Any]:
    """What dataset_description.json holds."""
    study = selection.study
    columns = dict.fromkeys(column for names in TABLES.values() for column in names)
    found = {
        "@context": "https://schema.org/",
        "@type": "Dataset",
        "name": f"{study.title} ({selection.population})",
        "description": f"{WHOSE[Population(selection.population)]} One row per trial, and one per session.",
        "schemaVersion": SCHEMA,
        "dateCreated": timezone.now().date().isoformat(),
        "temporalCoverage": _from_first_to_last(selection),
        "identifier": [f"design sha256:{design.sha256}" for design in designs(study)],
        "keywords": ["two-alternative forced choice", "gaze estimation", "backdoor attack", selection.population],
        "variableMeasured": [_variable(column) for column in columns],
    }
    return {name: value for name, value in found.items() if value}


def _from_first_to_last(selection: Selection) -> str | None:
    times = selection.study.sessions_of(selection.population).aggregate(first=Min("created_at"), last=Max("seen_at"))
    return f"{times['first']:%Y-%m-%d}/{times['last']:%Y-%m-%d}" if times["first"] else None


def _variable(column: str) -> dict[str, str]:
    unit = next((unit for ending, unit in UNITS.items() if column.endswith(ending)), None)
    described = {"@type": "PropertyValue", "name": column, "description": meaning(column)}
    return described | ({"unitText": unit} if unit else {})


def readme(selection: Selection, *, images: bool) -> str:
    """README.md."""
    study = selection.study
    trials, sessions = (data_file(selection, table) for table in TABLES)
    left_out = [
        "Recruiters' ids are not in it: `participant` is a number of this study alone.",
        "Of participants who withdrew, or whose answers were erased, the session table has a row and the trial table"
        " none.",
    ]
    if not selection.practice:
        left_out.append("Practice trials, which were answered with feedback, are left out.")
    if not images:
        left_out.append(images_refusal(study) or "The pictures are left out; they may be shown, and can be had.")
    return "\n".join(
        [
            f"# {study.title}",
            "",
            f"{WHOSE[Population(selection.population)]} Exported by Blindspot {version()} on"
            f" {timezone.now():%Y-%m-%d} as {SCHEMA}.",
            "",
            "| file | content |",
            "|---|---|",
            f"| `data/{trials}` | one row per answered trial |",
            f"| `data/{sessions}` | one row per session |",
            "| `dataset_description.json` | what every column means |",
            "| `documentation/design.json` | the frozen design and analysis plan; its SHA-256 is the design's |",
            "| `documentation/texts-*.md` | what participants read |",
            *(["| `materials/pairs.csv`, `materials/images/` | the pictures, and which pair is which |"] * images),
            "",
            *(f"- {sentence}" for sentence in left_out),
            "- No licence is stated: say under which one the data may be used before they are shared.",
            "",
        ]
    )


def changes(study: Study) -> str:
    """CHANGES.md: the versions of the design, the newest first."""
    versions = study.designs_that_count.order_by("-n").values_list("n", "created_at", "reason")
    return "\n".join(["# Changes", "", *(f"- Design {n}, {at:%Y-%m-%d}: {reason}" for n, at, reason in versions), ""])


def _texts(texts: StudyTexts) -> str:
    parts = {
        "Information": texts.information,
        "Who may take part": "\n".join(f"- {criterion}" for criterion in texts.eligibility),
        "Payment": texts.payment,
        "Until when answers can be erased": texts.withdrawal_deadline,
        "Consent": texts.consent,
        "Instructions": texts.instructions,
        "Debriefing": texts.debrief,
    }
    written = [f"## {title}\n\n{text.strip()}\n" for title, text in parts.items() if text.strip()]
    return "\n".join([f"# {texts.title}\n", *written])


def shown_pairs(study: Study) -> QuerySet[Pair]:
    """The pairs that sessions of the study may have shown."""
    named = {pair["id"] for design in designs(study) for pair in design.now["pairs"]}
    return Pair.objects.filter(pk__in=named).select_related("base_image", "attack").order_by("pk")


def _images(study: Study) -> Iterator[File]:
    pairs = list(shown_pairs(study))
    rows = (
        dict(zip(PAIR_COLUMNS, (f"I{p.pk}", f"B{p.base_image_id}", p.attack.name, p.strength, p.control), strict=False))
        | {"clean_file": _place(p.base_image.file), "altered_file": _place(p.file)}
        for p in pairs
    )
    yield File("materials/pairs.csv", as_csv(PAIR_COLUMNS, rows))
    for image in {image.file: image for pair in pairs for image in (pair.base_image, pair)}.values():
        yield File(f"materials/{_place(image.file)}", [image.obtain()])


def _place(file: str) -> str:
    return f"images/{file.removeprefix(f'{IMAGES}/')}"


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
