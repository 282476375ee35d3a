import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.analysis import codebook, compare, equivalence, folder, frames, publication, report
from study.analysis.material import Material
from tests.study.analysis.observers import simulate


def renamed(content: Any, name: str, **changes: Any) -> dict[str, Any]:
    return json.loads(report.to_json({**content, "study": name, **changes}))


@pytest.fixture(scope="module")
def first(built: report.Report) -> dict[str, Any]:
    return renamed(built.content, "first")


@pytest.fixture(scope="module")
def other(material: Material) -> dict[str, Any]:
    """Of people who see less."""
    return renamed(report.build(replace(material, trials=simulate(9, threshold=2.0))).content, "second")


def find(rows: list[dict[str, Any]], what: str) -> dict[str, Any]:
    return next(row for row in rows if row["what"].startswith(what))


# --- differences


def test_the_interval_of_a_difference_joins_the_two_by_pythagoras() -> None:
    found = compare.difference((5.0, 2.0, 6.0), (1.0, 0.0, 5.0))
    assert found == (4.0, 4.0 - math.hypot(3, 4), 4.0 + math.hypot(1, 1))


def test_swapping_the_studies_turns_the_difference_round() -> None:
    a, b = (0.7, 0.6, 0.75), (0.55, 0.5, 0.62)
    estimate, low, high = compare.difference(a, b)
    assert compare.difference(b, a) == pytest.approx((-estimate, -high, -low))


def test_a_study_does_not_differ_from_its_own_numbers(first: dict[str, Any]) -> None:
    rows = compare.compare([first, renamed(first, "again")])["differences"]
    assert rows
    for row in rows:
        null = 0.0 if row["scale"] == "difference" else 1.0
        assert row["estimate"] == pytest.approx(null)
        assert row["low"] < null < row["high"]


def test_a_true_difference_of_thresholds_is_found(first: dict[str, Any], other: dict[str, Any]) -> None:
    row = find(compare.compare([first, other])["differences"], "threshold, median person")
    assert row["low"] < 0.5 < row["high"] < 1
    assert row["scale"] == "ratio"


def test_the_interval_covers_a_difference_of_independent_studies() -> None:
    covered = 0
    for seed in range(60):
        rows = []
        for study in range(2):
            cell = simulate(100 * seed + study, participants=20, strengths=(1.0,), trials=12, catch=0)
            people, images = (frames.codes(cell[name]) for name in ("participant", "stimulus"))
            found = equivalence.two_way(cell["correct"], people, images)
            rows.append((found.mean, *found.interval(0.95)))
        _, low, high = compare.difference(*rows)
        covered += low <= 0 <= high
    assert covered >= 53


# --- apples and pears


def test_strengths_of_different_attacks_are_not_compared(first: dict[str, Any]) -> None:
    rows = {
        name: [{**row, "attack": "patch"} for row in first[name]]
        for name in ("conditions", "thresholds", "stealth_margin", "machine")
    }
    found = compare.compare([first, renamed(first, "second", **rows)])
    assert {row["what"].split(" (")[0] for row in found["differences"]} == {"stealth margin"}
    assert any("no common unit" in note for note in found["notes"])


def test_proportions_of_different_protocols_are_not_subtracted(first: dict[str, Any]) -> None:
    flicker = {**first["protocol"], "name": "flicker", "title": "Flicker"}
    found = compare.compare([first, renamed(first, "second", protocol=flicker)])
    assert not any(row["what"].startswith("PC") for row in found["differences"])
    assert any("asked different questions" in note for note in found["notes"])
    assert "protocol" in {row["what"] for row in found["design_differences"]}


def test_models_with_different_tasks_are_told_apart(first: dict[str, Any]) -> None:
    found = compare.compare(
        [
            renamed(first, "a", setting={"task": "gaze regression"}),
            renamed(first, "b", setting={"task": "classification"}),
        ]
    )
    assert any("different tasks (gaze regression; classification)" in note for note in found["notes"])
    (row,) = found["design_differences"]
    assert (row["what"], row["in_first"], row["in_second"]) == (
        "task of the model", "gaze regression", "classification",
    )  # fmt: skip


def test_people_who_took_part_in_both_are_counted(first: dict[str, Any], other: dict[str, Any]) -> None:
    found = compare.compare([first, other], {("first", "second"): 3})
    assert any(note.startswith("3 people took part in both") for note in found["notes"])
    assert found["participants_shared"] == [{"first": "first", "second": "second", "people": 3}]
    nobody = compare.compare([first, other], {("first", "second"): 0})
    assert not any("took part in both" in note for note in nobody["notes"])


@pytest.mark.usefixtures("quick")
def test_an_adaptive_study_is_compared_by_its_threshold_only(first: dict[str, Any]) -> None:
    trials = simulate(3, participants=12, trials=8).assign(procedure="adaptive")
    adaptive = renamed(report.build(Material("s", trials)).content, "second")
    found = compare.compare([first, adaptive])
    assert not any(row["what"].startswith("PC") for row in found["differences"])
    assert {row["study"] for row in found["thresholds"]} == {"first", "second"}


@pytest.mark.parametrize("names", [("a",), ("a", "a")], ids=["one", "the same"])
def test_fewer_than_two_studies_are_refused(first: dict[str, Any], names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="two or more studies"):
        compare.compare([renamed(first, name) for name in names])


def test_one_simulated_study_marks_the_comparison(first: dict[str, Any]) -> None:
    real = renamed(first, "real", simulated=False)
    assert compare.compare([first, real])["simulated"] is True
    assert compare.compare([real, renamed(real, "too")])["simulated"] is False
    assert compare.compare([real, renamed(real, "too", simulated=None)])["simulated"] is None


# --- files


def test_the_curve_is_read_back_from_the_thresholds(built: report.Report, first: dict[str, Any]) -> None:
    assert compare.curves(first) == built.curves


def test_the_comparison_has_a_page_numbers_tables_and_a_figure(
    first: dict[str, Any], other: dict[str, Any], tmp_path: Path
) -> None:
    publication.publish_comparison([first, other], {("first", "second"): 0}, tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {
        "comparison.html", "comparison.json", "comparison.csv", "differences.csv", "codebook.csv", "codebook.md",
        "figures/comparison.svg", "figures/comparison.png", "figures/comparison.csv", folder.FILES,
    }  # fmt: skip
    html = (tmp_path / "comparison.html").read_text()
    assert "first and second side by side" in html
    assert "SIMULATED DATA" in html
    made = {name: (tmp_path / name).read_bytes() for name in names}
    content = json.loads((tmp_path / "comparison.json").read_text())
    entries = codebook.entries(content, made, "comparison.json")
    assert [(entry.file, entry.name) for entry in entries if not entry.meaning] == []
