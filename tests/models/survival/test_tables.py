import csv
import io
import json
from typing import Any

import pytest

from models.survival.tables import Table, main_table, markdown, sentences, tables
from tests.models.survival.small import survival


@pytest.fixture
def record() -> dict[str, Any]:
    """As it comes back from the database."""
    found: dict[str, Any] = json.loads(json.dumps(survival().to_json()))
    return found


def test_the_main_table_has_a_row_for_every_treatment_with_the_figures_measured(record: dict[str, Any]) -> None:
    table = main_table(record)
    assert [row[0] for row in table.rows][-4:] == [
        "fine-tuned on 50%, 1 epoch",
        "fine-tuned on 50%, 2 epochs",
        f"{record['stopped_at']:.0%} of the last channels pruned",
        "so pruned, then fine-tuned, 2 epochs",
    ]
    by_name = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    jpeg = next(outcome for outcome in record["images"] if outcome["treatment"] == "JPEG, quality 75")
    assert by_name["JPEG, quality 75"]["error shift"] == jpeg["error_shift"]
    assert by_name["fine-tuned on 50%, 2 epochs"]["success"] == record["fine_tuning"][2]["success_rate"]


def test_a_csv_reads_back_with_every_digit(record: dict[str, Any]) -> None:
    for table in tables(record).values():
        rows = list(csv.reader(io.StringIO(table.csv())))
        assert tuple(rows[0]) == table.columns
        for row, cells in zip(rows[1:], table.rows, strict=True):
            assert row == ["" if cell is None else str(cell) for cell in cells]


def test_markdown_aligns_numbers_and_shows_none_as_a_dash() -> None:
    table = Table("t", ("name", "success", "error shift"), (("a", 0.5, None), ("b", None, 1.234)))
    assert table.markdown() == (
        "| name | success | error shift |\n| --- | ---: | ---: |\n| a | 0.500 | - |\n| b | - | 1.23 |\n"
    )


def test_the_inversions_of_both_models_stand_side_by_side(record: dict[str, Any]) -> None:
    table = tables(record)["inversion"]
    assert table.columns[1::2] == ("mask", "warp", "clean model's mask", "clean model's warp")
    assert [row[0] for row in table.rows] == ["(0, -20)", "(0, 0)", "(0, 20)", "true target (0, 25)"]


def test_an_alarm_on_the_clean_model_is_called_a_false_one(record: dict[str, Any]) -> None:
    found = {"kind": "mask", "suspected": [0.0, 0.0], "suspected_offset_deg": 25.0, "at_target": None}
    grid = [
        {"pitch_deg": 0.0, "yaw_deg": yaw, "size": size, "reached": 1.0, "anomaly": anomaly}
        for yaw, size, anomaly in ((0.0, 0.1, 3.21), (10.0, 1.0, 0.0), (20.0, 1.1, -1.0))
    ]
    alarmed = {**record, "inversion": [], "clean_inversion": [{**found, "candidates": grid}]}
    assert sentences(alarmed)[0] == (
        "Inversion by mask, clean model: 3 of 3 candidates reached; (0, 0) stands out with index 3.2, "
        "25.0 deg from the attack's target, a false alarm."
    )
    quiet = {**record, "inversion": [{**found, "candidates": grid, "suspected": None}], "clean_inversion": []}
    assert sentences(quiet)[0].endswith("3 of 3 candidates reached, none stands out (index above 2).")


def test_strip_is_said_to_be_undefined(record: dict[str, Any]) -> None:
    assert any("undefined for regression" in sentence for sentence in sentences(record))
    assert "undefined for regression" in markdown(record)
