import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from study.analysis import figures, folder, frames, publication, report
from study.analysis.material import Material
from tests.study.analysis.observers import one_condition, simulate
from tests.study.analysis.test_report import KEYS, numbers, small

LITTLE = {
    "three people, two trials": one_condition(1, [0.5] * 3, trials=2),
    "identical images only": one_condition(1, [1.0] * 8).assign(strength=0.0, control="identity"),
    "one person": simulate(1, participants=1, catch=0),
    "one image": one_condition(1, [0.6] * 8, trials=1, stimuli=1),
    "one strength": one_condition(1, [0.7] * 8),
    "no error shifts": simulate(1, participants=4, trials=2).assign(error_shift_deg=float("nan")),
    "all correct": simulate(1, participants=4, trials=2).assign(correct=1),
    "no catch trials": simulate(1, participants=5, trials=3, catch=0),
}


@pytest.fixture(scope="module")
def adaptive_files() -> dict[str, bytes]:
    trials = small(procedure="adaptive", protocol="ifc")
    return publication.files(report.build(Material("s", trials)))


def test_the_folder_holds_everything_the_report_is_made_from(built, published: dict[str, bytes]) -> None:
    always = {
        "report.html", "report.pdf", "report.json", "methods.md", "references.bib", "codebook.csv", "codebook.md",
        "trials.csv", "excluded_trials.csv", "machine.json", "conditions.csv", "thresholds.csv", "items.csv",
        "participants.csv", "coefficients.csv", "frontier.csv", "checks.csv", "tables/conditions.tex",
    }  # fmt: skip
    assert published.keys() >= always
    assert published["trials.csv"] == frames.to_csv(built.analysed)


def test_every_figure_is_there_as_svg_and_png_with_its_data(published: dict[str, bytes]) -> None:
    drawn = {name.rsplit(".", 1)[0] for name in published if name.startswith("figures/")}
    assert {"figures/human_and_machine", "figures/detection", "figures/flow"} <= drawn
    assert {f"{name}.{kind}" for name in drawn for kind in ("svg", "png", "csv")} <= published.keys()


def test_the_same_report_gives_the_same_bytes_of_every_file(built, published: dict[str, bytes]) -> None:
    again = publication.files(replace(built))
    assert [name for name in published if again[name] != published[name]] == []


def test_report_json_is_strict_json(published: dict[str, bytes]) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(published["report.json"], parse_constant=refuse)


def test_the_numbers_can_be_recomputed_from_trials_csv(published: dict[str, bytes], built, tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_bytes(published["trials.csv"])
    trials = frames.read_csv(tmp_path / "trials.csv")
    again = report.build(Material("again", trials, predictions=built.predictions))
    for name in ("conditions", "controls", "models", "thresholds", "error_shift", "goodness_of_fit"):
        assert again.content[name] == built.content[name], name


def test_a_report_without_models_and_exclusions_has_no_files_of_them(adaptive_files: dict[str, bytes]) -> None:
    assert not {"machine.json", "excluded_trials.csv", "machine.csv", "predictions.csv"} & adaptive_files.keys()


def test_files_of_an_older_report_do_not_stay_behind(
    published: dict[str, bytes], adaptive_files: dict[str, bytes], tmp_path: Path
) -> None:
    folder.replace(tmp_path, published)
    assert (tmp_path / "figures" / "bias.svg").exists()
    folder.replace(tmp_path, adaptive_files)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {*adaptive_files, folder.FILES}


def test_a_study_with_everything_has_every_table_and_figure(whole_files: dict[str, bytes]) -> None:
    tables = {
        "controls", "matched_visibility", "matched_targets", "matched_contrasts", "machine_subjects", "order",
        "machine_observers", "with_and_without", "predictions", "observers", "machine_thresholds", "attacks_compared",
        "sensitivity", "random_effects", "residuals",
    }  # fmt: skip
    assert {f"{name}.csv" for name in tables} <= whole_files.keys()
    drawn = {name for name in figures.KINDS if f"figures/{name}.svg" in whole_files}
    assert drawn == set(figures.KINDS)


def test_every_drawn_figure_stands_in_the_page(whole_files: dict[str, bytes]) -> None:
    html = whole_files["report.html"].decode()
    assert all(f'id="figure-{name}"' in html for name in figures.KINDS)


def test_the_page_of_a_study_with_everything_has_all_sections_in_order(whole_files: dict[str, bytes]) -> None:
    html = whole_files["report.html"].decode()
    names = [
        "summary", "participants", "methods", "detection", "thresholds", "shift", "machine", "controls", "quality",
        "sensitivity", "observers", "checks", "limits", "provenance", "references",
    ]  # fmt: skip
    assert re.findall(r'<h2 id="([^"]+)"', html) == names


def test_no_path_of_this_machine_is_in_any_file(published: dict[str, bytes]) -> None:
    here = str(Path(publication.__file__).parents[2]).encode()
    assert [name for name, content in published.items() if here in content] == []


@pytest.mark.usefixtures("few_draws", "without_png")
@pytest.mark.parametrize("trials", LITTLE.values(), ids=list(LITTLE))
def test_a_table_with_little_in_it_still_gets_all_keys_and_all_files(trials: pd.DataFrame) -> None:
    made = report.build(Material("little", trials))
    assert made.content.keys() >= KEYS
    assert all(math.isfinite(value) for value in numbers(made.content))
    found = publication.files(made)
    assert {"report.html", "report.pdf", "report.json", "codebook.md"} <= found.keys()
    assert found["report.pdf"].startswith(b"%PDF-")
