import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.text import Text

from study.analysis import error_shift, figures, frames, frontier, page, report
from study.analysis.protocols import PROTOCOLS, Protocol
from study.analysis.report import Material
from study.trials.exclusions import CATCH, MISSED, ExclusionRules, Missed
from tests.study.analysis.observers import on_screens, one_condition, simulate

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


def texts_by_figure(made: report.Report, monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """What is written in each of the report's figures."""
    texts: list[set[str]] = []
    to_svg = figures.to_svg

    def keep_texts(figure: Any, comment: str = "") -> str:
        texts.append({text.get_text() for text in figure.findobj(Text) if text.get_visible()})
        return to_svg(figure, comment)

    with monkeypatch.context() as patched:
        patched.setattr(figures, "to_svg", keep_texts)
        figures.draw(made.content, made.main_trials, made.curves)
    return texts


def texts_of_figures(made: report.Report, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return set().union(*texts_by_figure(made, monkeypatch))


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


# --- protocols


def small(**columns: Any) -> pd.DataFrame:
    return simulate(1, participants=6, trials=3).assign(population="simulated", **columns)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_the_report_says_what_was_asked_and_which_dprime_belongs_to_it(protocol: Protocol) -> None:
    made = report.build(Material("s", small(protocol=protocol.name)))
    html = page.render(made, {})
    assert made.content["protocol"]["name"] == protocol.name
    for words in (protocol.title, protocol.question, protocol.dprime, protocol.presentation):
        assert words in html


def test_the_same_bound_asks_more_or_less_of_the_eye_by_protocol() -> None:
    found = {
        name: report.build(Material("s", small(protocol=name))).content["protocol"]["dprime_at_bound"]
        for name in ("afc", "yes_no", "oddity")
    }
    assert found == {"afc": pytest.approx(0.358, abs=1e-3), "yes_no": pytest.approx(0.507, abs=1e-3),
                     "oddity": pytest.approx(1.187, abs=1e-3)}  # fmt: skip


def test_the_frontier_has_the_dprime_of_its_protocol() -> None:
    content = report.build(Material("s", small(protocol="oddity"))).content
    of_conditions = {row["strength"]: row["dprime"] for row in content["conditions"]}
    assert content["frontier"]
    assert all(row["dprime"] == of_conditions[row["strength"]] for row in content["frontier"])


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("ifc", "altered image in the second interval"),
        ("flicker", "changing place on the right"),
        ("yes_no", "the unaltered image shown"),
    ],
)
def test_sides_are_called_by_what_they_mean(protocol: str, words: str) -> None:
    assert words in check(report.build(Material("s", small(protocol=protocol))), "sides balanced")["detail"]


def test_figures_name_the_answers_of_the_protocol(monkeypatch) -> None:
    made = report.build(Material("s", small(protocol="ifc")))
    words = texts_of_figures(made, monkeypatch)
    assert "share of first answers" in words
    assert "first < 0 < second" in words


def test_in_yes_no_the_error_shift_meets_only_answers_to_altered_images() -> None:
    trials = small(protocol="yes_no")
    shown = trials[trials["clean_side"] == "right"]
    content = report.build(Material("s", trials)).content
    assert content["error_shift"] == report._without_nan(error_shift.summary(frames.main_trials(shown)))


def test_the_share_of_not_sure_is_printed_with_its_scoring() -> None:
    unsure = small(unsure=1)
    made = report.build(Material("s", unsure, not_sure="A coin decides."))
    assert made.content["not_sure"] == {"share": 1.0, "scoring": "A coin decides."}
    assert "100.0% of the answers were “not sure”. A coin decides." in page.render(made, {})
    assert report.build(Material("s", small())).content["not_sure"] is None


# --- adaptive studies


@pytest.fixture(scope="module")
def adaptive_report() -> report.Report:
    trials = simulate(3, participants=12, trials=8).assign(procedure="adaptive", protocol="ifc")
    return report.build(
        Material("s", on_screens(trials, {"P00": 40.0}), machine=frontier.machine_rows("m", "wanet", DOSES))
    )


def test_an_adaptive_study_gives_thresholds_and_no_verdict(adaptive_report: report.Report) -> None:
    content = adaptive_report.content
    assert content["procedure"] == "adaptive"
    assert all(row.keys() >= CONDITION_KEYS for row in content["conditions"])
    assert {row["verdict"] for row in content["conditions"]} == {None}
    chosen = [row for row in content["conditions"] if row["strength"] > 0]
    tests = ("two_way_tost_p", "two_way_holm_p", "two_way_difference_p", "tost_p", "holm_p", "dprime", "wilson_low")
    assert {row[name] for row in chosen for name in tests} == {None}
    assert content["frontier"] == []
    assert content["error_shift"] is None
    assert content["models"]["gee"]["coefficients"] == {}
    assert {row["population"] for row in content["thresholds"]} == {"pooled", *(f"P{n:02d}" for n in range(12))}


def test_the_page_of_an_adaptive_study_says_why_there_is_no_verdict(adaptive_report: report.Report, tmp_path) -> None:
    report.write(adaptive_report, tmp_path, page.render, lambda step: None)
    html = (tmp_path / "report.html").read_text()
    assert page.ADAPTIVE_NOTE in html
    assert not re.search("detectable|inconclusive</strong>|below the bound", html)
    assert "Threshold of each participant" in html
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"detection.svg", "human_and_machine.svg"}


def test_the_identity_control_of_an_adaptive_study_is_still_tested(adaptive_report: report.Report) -> None:
    assert "against .5" in check(adaptive_report, "identity control")["detail"]
    names = {row["name"] for row in adaptive_report.content["checks"]}
    assert not names & {"precise enough for the bound", "exclusions do not decide", "regression converged"}


def test_controls_of_an_adaptive_study_are_not_compared_with_the_attack() -> None:
    trials = simulate(3, participants=12, trials=8)
    control = one_condition(5, [0.5] * 12).assign(control="resampled", strength=1.0)
    both = pd.concat([trials, control], ignore_index=True).assign(procedure="adaptive")
    (row,) = report.build(Material("s", both)).content["controls"]
    assert row["proportion_correct"] is not None
    assert (row["contrast_with_attack"], row["p"]) == (None, None)


def test_figures_of_a_constant_study_do_not_stay_behind(adaptive_report: report.Report, tmp_path: Path) -> None:
    report.write(report.build(Material("s", small())), tmp_path, page.render, lambda step: None)
    assert (tmp_path / "figures" / "bias.svg").exists()
    report.write(adaptive_report, tmp_path, page.render, lambda step: None)
    assert not (tmp_path / "figures" / "bias.svg").exists()


# --- screens, missed trials, scripts


def test_displacement_in_arcmin_is_in_conditions_frontier_and_thresholds() -> None:
    made = report.build(Material("s", on_screens(simulate(1, participants=12), {"P00": 40.0, "P01": 60.0})))
    row = made.content["conditions"][3]
    assert row["strength"] == 1.0
    assert (row["displacement_arcmin"], row["displacement_sessions"]) == (pytest.approx(2.5), 2)
    assert (row["displacement_arcmin_low"], row["displacement_arcmin_high"]) == (pytest.approx(2), pytest.approx(3))
    assert made.content["frontier"][2]["displacement_arcmin"] == row["displacement_arcmin"]
    threshold = made.content["thresholds"][0]
    assert threshold["threshold_px"] == pytest.approx(threshold["threshold"] * 0.5)
    assert threshold["threshold_arcmin"] == pytest.approx(threshold["threshold"] * 2.5)
    assert "Screens measured by 2 of 12 participants" in page.render(made, {})


def test_axes_are_given_in_px_and_in_arcmin_where_screens_were_measured(monkeypatch) -> None:
    measured = report.build(Material("s", on_screens(simulate(1, participants=6, trials=3), {"P00": 40.0})))
    assert {"mean displacement (image px)", "mean displacement (arcmin, median screen)"} <= texts_of_figures(
        measured, monkeypatch
    )
    unmeasured = report.build(Material("s", on_screens(simulate(1, participants=6, trials=3), {})))
    words = texts_of_figures(unmeasured, monkeypatch)
    assert "mean displacement (image px)" in words
    assert not any("arcmin" in word for word in words)


def test_without_a_measured_screen_the_page_says_so() -> None:
    html = page.render(report.build(Material("s", small())), {})
    assert "No participant&#x27;s screen was measured" in html


def test_missed_trials_are_counted_and_exclude_where_the_design_says_so() -> None:
    missed = {"P00": Missed(4, 60), "P01": Missed(30, 60)}
    lenient = report.build(Material("s", small(), missed=missed))
    assert lenient.content["flow"]["trials_missed"] == 34
    assert "34 without an answer in time" in page.render(lenient, {})
    strict = report.build(Material("s", small(), missed=missed, rules=ExclusionRules(missed_above_share=0.1)))
    assert strict.content["flow"]["excluded"] == {MISSED: 1}
    assert strict.content["flow"]["trials_missed"] == 4
    assert report.build(Material("s", small())).content["flow"]["trials_missed"] is None


def test_signs_of_scripts_are_shown_and_exclude_nobody() -> None:
    found = report.build(Material("s", small(), flagged={"P02": ["too_fast", "no_input"], "P03": []}))
    detail = check(found, "no signs of scripts")
    assert not detail["ok"]
    assert "1 of 6 analysed participants" in detail["detail"]
    assert "too fast: 1" in detail["detail"]
    assert found.content["flow"]["analysed"] == 6
    assert check(report.build(Material("s", small(), flagged={})), "no signs of scripts")["ok"]


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
    texts = texts_by_figure(built, monkeypatch)
    assert len(texts) == len(list((folder / "figures").glob("*.svg")))
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
