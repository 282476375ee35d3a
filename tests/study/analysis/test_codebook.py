import csv
import io

import pytest

from study.analysis import codebook, publication, report
from study.analysis.material import Material
from study.analysis.protocols import PROTOCOLS
from tests.study.analysis.test_report import small


def without_meaning(content: dict, made: dict[str, bytes]) -> list[tuple[str, str]]:
    return [(entry.file, entry.name) for entry in codebook.entries(content, made) if not entry.meaning]


def test_every_key_and_every_column_has_a_meaning(built, published: dict[str, bytes]) -> None:
    assert without_meaning(built.content, published) == []


def test_every_key_and_column_of_a_study_with_everything_has_a_meaning(whole, whole_files) -> None:
    assert without_meaning(whole.content, whole_files) == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "columns",
    [{"protocol": name} for name in PROTOCOLS] + [{"procedure": "adaptive"}, {"unsure": 1}],
    ids=[*PROTOCOLS, "adaptive", "not sure"],
)
def test_every_key_of_any_kind_of_study_has_a_meaning(columns: dict[str, object]) -> None:
    made = report.build(Material("s", small(**columns)))
    assert without_meaning(made.content, publication._data(made)) == []


def test_every_column_of_every_table_is_in_the_codebook(published: dict[str, bytes]) -> None:
    known = {(row["file"], row["name"]) for row in csv.DictReader(io.StringIO(published["codebook.csv"].decode()))}
    for name, content in published.items():
        if name.endswith(".csv"):
            header = next(csv.reader(io.StringIO(content.decode())))
            assert {(name, column) for column in header} <= known, name


def test_a_name_from_the_data_is_no_key_of_its_own(built) -> None:
    names = {entry.name for entry in codebook.entries(built.content, {})}
    assert "models.glmm.coefficients.*.estimate" in names
    assert not any("log2_strength" in name for name in names)


def test_columns_that_the_analysis_does_not_know_are_said_to_be_carried_along() -> None:
    (entry,) = (e for e in codebook.entries({}, {"trials.csv": b"mood\nfine\n"}) if e.file == "trials.csv")
    assert entry.meaning == codebook.CARRIED_ALONG


def test_the_ends_of_an_interval_need_no_entry_of_their_own() -> None:
    found = {e.name: e.meaning for e in codebook.entries({}, {"x.csv": b"success_rate_low\n1\n"})}
    assert found["success_rate_low"] == "Lower end of the interval of `success_rate`."
