import csv
import io
import json

import pandas as pd
import pytest

from study.analysis import frames, tidy


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_a_mapping_within_a_row_becomes_columns_and_a_list_is_left_out() -> None:
    made = tidy.to_csv([{"a": 1, "b": {"c": {"d": 2.5}}, "e": [1, 2]}, {"a": 2, "f": "x"}])
    assert made == b"a,b_c_d,f\n1,2.5,\n2,,x\n"


def test_cells_read_back_to_the_same_numbers() -> None:
    value = 0.1 + 0.2
    assert float(table(tidy.to_csv([{"a": value}]))[0]["a"]) == value


def test_what_is_not_known_is_an_empty_cell_and_a_truth_is_1() -> None:
    assert tidy.to_csv([{"a": None, "b": True, "c": False}]) == b"a,b,c\n,1,0\n"


@pytest.mark.parametrize("name", ["conditions", "frontier", "checks", "thresholds", "stealth_margin"])
def test_a_section_of_the_report_has_a_table_with_a_row_for_each_of_its_rows(
    published: dict[str, bytes], name: str
) -> None:
    rows = json.loads(published["report.json"])[name]
    found = table(published[f"{name}.csv"])
    assert len(found) == len(rows)
    for row, cells in zip(rows, found, strict=True):
        plain = {key: value for key, value in row.items() if isinstance(value, float)}
        assert {key: float(cells[key]) for key in plain} == plain


def test_items_and_participants_count_the_same_answers(published: dict[str, bytes], built) -> None:
    main = frames.main_trials(built.analysed)
    for name in ("items", "participants"):
        rows = pd.read_csv(io.BytesIO(published[f"{name}.csv"]))
        assert rows["n"].sum() == len(main)
        assert rows["correct"].sum() == main["correct"].sum()
        assert (rows["proportion_correct"] == rows["correct"] / rows["n"]).all()


def test_coefficients_of_all_models_stand_in_one_table(published: dict[str, bytes]) -> None:
    rows = table(published["coefficients.csv"])
    models = json.loads(published["report.json"])["models"]
    for row in rows:
        assert float(row["estimate"]) == models[row["model"]]["coefficients"][row["term"]]["estimate"]
    assert {row["model"] for row in rows} >= {"gee", "glmm", "glmm_lapse", "betabinomial"}


def test_counts_per_test_subject_have_a_table_of_their_own() -> None:
    counts = {"subject": 7, "n": 10, "n_eligible": 8, "successes": 3, "error_shift_sum": 1.5}
    machine = [{"model": "m", "attack": "a", "strength": 0.5, "subjects": [counts]}]
    trials = pd.DataFrame(
        {"participant": ["p"], "stimulus": ["s"], "attack": ["a"], "strength": [0.5], "correct": [1],
         "error_shift_deg": [float("nan")]}
    )  # fmt: skip
    made = tidy.files({"models": {}, "machine": machine}, trials)
    (row,) = table(made["machine_subjects.csv"])
    assert (row["model"], row["subject"], row["successes"]) == ("m", "7", "3")
    assert "subjects" not in table(made["machine.csv"])[0]
    assert table(made["items.csv"])[0]["error_shift_deg"] == ""
