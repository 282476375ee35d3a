import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.text import Text

from study.analysis import figures, frames, frontier, page, report
from study.analysis.exclusions import CATCH, ExclusionRules
from study.analysis.report import Material
from tests.study.analysis.observers import one_condition, simulate

DOSES = [
    {"strength": s, "error_shift": 10 * s, "success_rate": min(1.0, s), "n_eligible": 900, "other_field_shift": s}
    for s in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
]
CONDITION_KEYS = {
    "attack", "strength", "n", "correct", "proportion_correct", "wilson_low", "wilson_high", "clopper_pearson_low",
    "clopper_pearson_high", "two_way_low", "two_way_high", "two_way_difference_p", "two_way_holm_p",
    "two_way_upper_bound_p", "two_way_tost_p", "dprime", "dprime_unbiased", "criterion", "tost_p", "upper_bound_p",
    "holm_p", "participant_spread", "verdict",
}  # fmt: skip
KEYS = {
    "study", "flow", "design", "simulated", "scope", "level", "conditions", "controls", "models", "thresholds",
    "error_shift", "machine", "frontier", "checks", "versions", "commit", "seed",
}  # fmt: skip


@pytest.fixture(scope="module")
def material() -> Material:
    trials = simulate(1).assign(population="simulated")
    machine = frontier.machine_rows("backdoored", "wanet", DOSES, 0.62)
    return Material(
        "demo", trials, rules=ExclusionRules(8, 50), machine=machine, design_sha256="ab", design_matches=True
    )


@pytest.fixture(scope="module")
def built(material: Material) -> report.Report:
    return report.build(material)


@pytest.fixture(scope="module")
def folder(built: report.Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "report"
    report.write(built, out, page.render, lambda step: None)
    return out


def numbers(value: Any):
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, float):
        yield value


def check(built: report.Report, name: str) -> dict[str, Any]:
    return next(row for row in built.content["checks"] if row["name"].startswith(name))


# --- content


def test_the_report_has_the_keys_that_readers_rely_on(built) -> None:
    assert built.content.keys() >= KEYS
    assert all(row.keys() >= CONDITION_KEYS for row in built.content["conditions"])
    assert not {"glmm", "glmm_lapse"} & built.content["models"].keys()
    assert "stealth_margin" not in built.content


def test_no_number_of_the_report_is_nan_or_infinite(built) -> None:
    assert all(math.isfinite(value) for value in numbers(built.content))


def test_the_flow_adds_up(built, material: Material) -> None:
    flow = built.content["flow"]
    assert flow["excluded"] == {CATCH: len(set(built.excluded["participant"]))}
    assert flow["recruited"] == flow["analysed"] + sum(flow["excluded"].values())
    assert len(built.analysed) + len(built.excluded) == len(material.trials)


def test_people_who_withdrew_or_did_not_finish_are_counted_in_the_flow() -> None:
    trials = simulate(2, participants=12, trials=3)
    flow = report.build(
        Material("s", trials, recruited=14, left_out={"P03": "not finished"}, left_before={"withdrawn": 2})
    ).content["flow"]
    assert flow["excluded"] == {"not finished": 1, "withdrawn": 2}
    assert (flow["recruited"], flow["analysed"]) == (14, 11)


def test_rules_that_leave_nobody_are_an_error() -> None:
    with pytest.raises(frames.TrialTableError, match="leave no participant"):
        report.build(Material("s", simulate(1, participants=2, trials=2), rules=ExclusionRules(catch_correct_below=9)))


def test_an_identity_control_off_chance_is_a_fault_of_the_study() -> None:
    leak = one_condition(1, [0.75] * 30, trials=8).assign(strength=0.0, control="identity")
    found = check(report.build(Material("s", leak)), "identity control")
    assert not found["ok"]
    assert "fault of the study" in found["detail"]


def test_identity_controls_at_chance_pass(built) -> None:
    assert check(built, "identity control")["ok"]


def test_a_study_without_identity_controls_is_told_so() -> None:
    assert not check(report.build(Material("s", one_condition(1, [0.5] * 20))), "identity control")["ok"]


def test_a_changed_design_is_a_failed_check(material: Material) -> None:
    assert not check(report.build(replace(material, design_matches=False)), "design as frozen")["ok"]
    assert not check(report.build(replace(material, earlier_designs=3)), "design as frozen")["ok"]


def test_a_condition_too_small_for_the_bound_is_named() -> None:
    found = check(report.build(Material("s", one_condition(1, [0.5] * 12, trials=5), bound=0.55)), "precise enough")
    assert not found["ok"]
    assert "wanet s = 0.5" in found["detail"]


def test_controls_stay_out_of_the_conditions(material: Material) -> None:
    control = one_condition(5, [0.5] * 30).assign(control="resampled", strength=1.0, population="simulated")
    with_controls = report.build(replace(material, trials=pd.concat([material.trials, control], ignore_index=True)))
    assert [row["control"] for row in with_controls.content["controls"]] == ["resampled"]
    assert with_controls.content["conditions"][1]["n"] == report.build(material).content["conditions"][1]["n"]


# --- files


def test_the_folder_holds_everything_the_report_is_made_from(folder: Path) -> None:
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    drawn = {f"figures/{name}.svg" for name in ("bias", "detection", "error_shift", "human_and_machine")}
    assert names == {"report.html", "report.json", "trials.csv", "excluded_trials.csv", "machine.json"} | drawn
    assert list(folder.parent.iterdir()) == [folder]


def test_report_json_is_strict_json(folder: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads((folder / "report.json").read_text(), parse_constant=refuse)


def test_the_same_rows_in_another_order_give_the_same_bytes(material: Material, folder: Path, tmp_path: Path) -> None:
    shuffled = material.trials.sample(frac=1, random_state=7)
    lines = tmp_path / "trials.csv"
    lines.write_bytes(frames.to_csv(shuffled))
    again = report.build(replace(material, trials=frames.read_csv(lines)))
    report.write(again, tmp_path / "again", page.render, lambda step: None)
    for path in folder.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name


def test_the_numbers_can_be_recomputed_from_trials_csv(folder: Path, built) -> None:
    again = report.build(Material("again", frames.read_csv(folder / "trials.csv")))
    for name in ("conditions", "controls", "models", "thresholds", "error_shift"):
        assert again.content[name] == built.content[name]


def test_a_report_without_models_leaves_no_figures_of_models_behind(folder: Path, built, tmp_path: Path) -> None:
    report.write(built, tmp_path, page.render, lambda step: None)
    assert json.loads((tmp_path / "machine.json").read_text()) == built.content["machine"]
    made = report.build(Material("s", simulate(1, participants=4, trials=3)))
    report.write(made, tmp_path, page.render, lambda step: None)
    assert not (tmp_path / "machine.json").exists()


def test_a_failure_leaves_the_older_report_whole(built, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def fail(*_: Any) -> str:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        report.write(built, folder, fail, lambda step: None)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert list(folder.parent.iterdir()) == [folder]


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    made = report.build(Material("s", simulate(1, participants=4, trials=3)))
    report.write(made, tmp_path, page.render, lambda step: None)
    assert (tmp_path / "notes.txt").read_text() == "mine"


# --- page and figures


def test_the_page_stands_alone(folder: Path) -> None:
    html = (folder / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!#)', html.replace('xlink:href="#', ""))
    assert "<script" not in html
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]+"', "", html)


def test_every_id_on_the_page_is_used_once(folder: Path) -> None:
    ids = re.findall(r'\bid="([^"]+)"', (folder / "report.html").read_text())
    assert len(ids) == len(set(ids))


def test_every_verdict_is_printed_with_its_bound_and_scope(built, folder: Path) -> None:
    html = (folder / "report.html").read_text()
    assert all(row["verdict"] in html for row in built.content["conditions"])
    assert "the bound is .60" in html
    assert built.content["scope"] in html


def test_simulated_data_are_marked_on_the_page_and_in_every_figure(
    folder: Path, built: report.Report, monkeypatch
) -> None:
    assert figures.SIMULATED in (folder / "report.html").read_text()
    for path in (folder / "figures").glob("*.svg"):
        assert f"<!-- {figures.SIMULATED} -->" in path.read_text()
    texts: list[set[str]] = []
    to_svg = figures.to_svg

    def keep_texts(figure, comment=""):
        texts.append({text.get_text() for text in figure.findobj(Text) if text.get_visible()})
        return to_svg(figure, comment)

    monkeypatch.setattr(figures, "to_svg", keep_texts)
    drawn = figures.draw(built.content, built.main_trials, built.curves)
    assert len(texts) == len(drawn)
    assert all({"SIMULATED", figures.SIMULATED} <= words for words in texts)


def test_answers_of_people_carry_no_such_mark() -> None:
    made = report.build(Material("s", simulate(1, participants=6, trials=3).assign(population="real")))
    drawn = figures.draw(made.content, made.main_trials, made.curves)
    assert figures.SIMULATED not in page.render(made, drawn)
    assert not any(figures.SIMULATED in svg for svg in drawn.values())


def test_a_table_that_does_not_say_whose_answers_it_holds_is_marked_so() -> None:
    made = report.build(Material("s", simulate(1, participants=6, trials=3)))
    assert made.content["simulated"] is None
    assert "does not say whether its answers come from people" in page.render(made, {})


def test_names_from_the_data_are_escaped() -> None:
    trials = simulate(1, participants=6, trials=3).assign(attack="<script>alert(1)</script>")
    html = page.render(made := report.build(Material("<b>", trials)), figures.draw(made.content, made.main_trials, {}))
    assert "<script>alert" not in html
    assert "<b>: detection" not in html


@pytest.mark.parametrize("name", ["a$b", "$\\frac{$", "$x^2$"])
def test_a_dollar_sign_in_a_name_is_a_dollar_sign(name: str) -> None:
    made = report.build(Material("s", simulate(1, participants=4, trials=3).assign(attack=name)))
    assert figures.draw(made.content, made.main_trials, made.curves)


def verdict_cells(made: report.Report) -> list[str]:
    """The last cell, pairs needed, of every row of the page's table of verdicts."""
    table = page.render(made, {}).split("</table>")[0]
    return re.findall(r"<td>([^<]*)</td></tr>", table)


def test_where_nothing_is_known_no_number_of_pairs_is_claimed() -> None:
    made = report.build(Material("s", simulate(1, participants=1, catch=0)))
    assert verdict_cells(made) == [page.DASH] * len(made.content["conditions"])


def test_answers_that_are_always_wrong_tell_the_images_apart_as_well() -> None:
    right, wrong = (
        report.build(Material("s", one_condition(1, [chance] * 30, trials=8))).content["conditions"][0]["pairs_needed"]
        for chance in (0.9, 0.1)
    )
    assert wrong == pytest.approx(right, abs=1)
    assert wrong < 4


def test_the_page_names_the_command_that_gives_its_numbers_again(built) -> None:
    html = page.render(built, {})
    command = "analyze_study --csv trials.csv --bound .60 --machine machine.json --out again"
    assert f"manage.py {command}" in html
    assert "come from their evaluation" in html
    without_models = page.render(report.build(Material("s", simulate(1, participants=4, trials=3), bound=0.55)), {})
    assert "analyze_study --csv trials.csv --bound .55 --out again" in without_models


def test_the_target_of_a_model_is_printed(material: Material) -> None:
    target = {"kind": "fixed", "pitch": 0.0, "yaw": math.radians(-25)}
    machine = frontier.machine_rows("backdoored", "wanet", DOSES, 0.62, target)
    assert "fixed (0.0°, −25.0°)" in page.render(report.build(replace(material, machine=machine)), {})


@pytest.mark.parametrize(
    "trials",
    [
        one_condition(1, [0.5] * 3, trials=2),
        one_condition(1, [1.0] * 8).assign(strength=0.0, control="identity"),
        simulate(1, participants=1, catch=0),
        simulate(1, participants=4, trials=2).assign(error_shift_deg=float("nan")),
        simulate(1, participants=4, trials=2).assign(correct=1),
    ],
    ids=["tiny", "identity only", "one person", "no shifts", "all correct"],
)
def test_a_table_with_little_in_it_still_gets_a_report(trials, tmp_path: Path) -> None:
    report.write(report.build(Material("little", trials)), tmp_path / "out", page.render, lambda step: None)
    assert (tmp_path / "out" / "report.html").exists()
