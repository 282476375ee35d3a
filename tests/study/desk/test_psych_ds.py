"""The Psych-DS folder, by the rules of the specification's schema 1.5 (psychds-docs.readthedocs.io)."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from study.desk import exports, psych_ds
from study.desk.exports import Selection
from study.lab.images import sha256
from study.trials.models import Population, Study
from tests.study.factories import answer_all, make_study, start

pytestmark = pytest.mark.django_db

DATA_FILE = r"([a-z]+-[a-zA-Z0-9]+)(_[a-z]+-[a-zA-Z0-9]+)*_data\.csv"
KEYWORDS = {"study", "site", "subject", "session", "task", "condition", "trial", "stimulus", "description"}
DATASET_PROPERTIES = {  # of schema.org/Dataset and what it inherits
    "name", "description", "schemaVersion", "dateCreated", "temporalCoverage", "identifier", "keywords",
    "variableMeasured",
}  # fmt: skip


@pytest.fixture
def study() -> Study:
    study = make_study(base_images=22, size=4, slug="eyes-2_b", information="Look at *eyes*.")
    answer_all(start(study, recruiter_ids={"PROLIFIC_PID": "p1"})[0])
    study.close()
    return study


def made(study: Study, population: str = Population.REAL, **options: Any) -> dict[str, bytes]:
    return {file.name: b"".join(file.content) for file in psych_ds.files(Selection(study, population), **options)}


def rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


def test_the_data_set_keeps_every_rule_of_the_specification(study: Study) -> None:
    files = made(study)
    described = json.loads(files["dataset_description.json"])
    assert described["@context"] in ("https://schema.org", "https://schema.org/", "http://schema.org/")
    assert described["@type"] == "Dataset"
    assert all(isinstance(described[name], str) and described[name] for name in ("name", "description"))
    assert set(described) - {"@context", "@type"} <= DATASET_PROPERTIES

    variables = described["variableMeasured"]
    assert {variable["@type"] for variable in variables} == {"PropertyValue"}
    assert all(variable["name"] and variable["description"] for variable in variables)

    data = {name: rows(content) for name, content in files.items() if name.startswith("data/")}
    assert len(data) == 2
    for name, (header, *body) in data.items():
        assert re.fullmatch(DATA_FILE, name.removeprefix("data/"))
        assert {pair.split("-")[0] for pair in name.removeprefix("data/").split("_")[:-1]} <= KEYWORDS
        assert len(set(header)) == len(header)
        assert {len(row) for row in body} == {len(header)}
    columns = {column for table in data.values() for column in table[0]}
    assert {variable["name"] for variable in variables} == columns

    assert {"README.md", "CHANGES.md", ".psychds-ignore"} <= set(files)
    assert all(files.values())  # empty files are not allowed


def test_names_of_data_files_hold_nothing_but_letters_and_digits(study: Study) -> None:
    assert psych_ds.data_file(Selection(study), "trials") == "study-eyes2b_description-realTrials_data.csv"


def test_units_are_told(study: Study) -> None:
    units = {v["name"]: v.get("unitText") for v in psych_ds.description(Selection(study))["variableMeasured"]}
    assert (units["rt_ms"], units["px_per_degree"], units["attack"]) == ("ms", "px per degree", None)


def test_simulated_answers_are_said_to_be_simulated(study: Study) -> None:
    files = made(study, Population.SIMULATED)
    assert "SIMULATED" in json.loads(files["dataset_description.json"])["description"]
    assert "SIMULATED" in files["README.md"].decode()


def test_the_frozen_design_and_the_texts_are_beside_the_data(study: Study) -> None:
    files = made(study)
    design = study.current_design
    assert design is not None
    assert sha256(files["documentation/design.json"]) == design.sha256
    assert "Look at *eyes*." in files["documentation/texts-en.md"].decode()
    assert "Design 1" in files["CHANGES.md"].decode()


def test_recruiters_ids_are_nowhere(study: Study) -> None:
    assert not any(b"p1" in content for name, content in made(study).items() if name != "documentation/design.json")


def test_pictures_come_on_request_with_what_pairs_they_make(study: Study) -> None:
    files = made(study, images=True)
    header, *pairs = rows(files["materials/pairs.csv"])
    assert tuple(header) == psych_ds.PAIR_COLUMNS
    pictures = {f"materials/{row[-1]}" for row in pairs} | {f"materials/{row[-2]}" for row in pairs}
    assert pictures == {name for name in files if name.startswith("materials/images/")}
    assert all(sha256(files[name]) in name for name in pictures)
    assert not any(name.startswith("materials/") for name in made(study))


def test_pictures_that_may_not_be_shown_are_left_out_with_the_reason(study: Study, tmp_path: Any) -> None:
    study.dataset.may_display_to_participants = False
    study.dataset.display_reason = "The licence forbids it."
    study.dataset.save()
    assert "The licence forbids it." in made(study)["README.md"].decode()
    with pytest.raises(CommandError, match="The licence forbids it"):
        call_command("export_study", study.slug, out=tmp_path / "out", format="psych-ds", images=True)
    assert not (tmp_path / "out").exists()


def test_a_column_of_both_tables_means_the_same_in_both() -> None:
    both = set(exports.TABLES["trials"]) & set(exports.TABLES["sessions"])
    assert {"participant", "session", "population"} <= both
    from study.analysis.meanings import BY_PLACE

    assert not any(f"sessions.csv:{column}" in BY_PLACE for column in both)
