import json
import os
import subprocess
import sys
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from study.accounts.models import AuditEntry
from study.analysis import frames
from study.analysis.models import Analysis, AnalysisQuerySet
from study.trials.exclusions import CATCH, MISSED
from study.trials.models import Choice, Population, Session, Study
from tests.study.factories import add_model, answer, answer_all, make_study, start

pytestmark = pytest.mark.usefixtures("quick", "without_png")

ROOT = Path(__file__).resolve().parents[3]


def analyze(*arguments: object, **options: object) -> None:
    call_command("analyze_study", *map(str, arguments), **options)


@pytest.fixture(autouse=True)
def without_figures(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Most of the time goes into figures, which have tests of their own; `undo` draws them after all."""
    monkeypatch.setattr("study.analysis.figures.draw", lambda *_: {})
    return monkeypatch


@pytest.fixture
def answered(db):
    """A study that two simulated participants have finished, one always right and one always wrong."""
    study = make_study()
    for correctly in (True, False):
        session, _ = start(study, Population.SIMULATED)
        answer_all(session, correctly=correctly)
        session.complete()
    return study


def answer_two_thirds(session: Session, person: int) -> None:
    """Catch trials right, every third of the others wrong."""
    while (trial := session.due_trials().first()) is not None:
        right = trial.phase == "catch" or (trial.index + person) % 3
        wrong_side = "right" if trial.altered_side == "left" else "left"
        answer(session, trial.index, trial.altered_side if right else wrong_side)


@pytest.fixture
def of_two_fields_and_families(db):
    """A study of three models, two of them with a field each of one attack, that two simulated people have finished."""
    study = make_study(opened=False, base_images=46, size=4, trials_per_strength=4)
    add_model(study, "field", size=4)
    add_model(study, "blend", family="blended", strengths=(0.1, 0.2), size=4)
    study.open()
    for person in range(2):
        session, _ = start(study, Population.SIMULATED)
        answer_two_thirds(session, person)
        session.complete()
    return study


# --- a trial table in a file


@pytest.mark.django_db
def test_a_csv_file_gets_a_report(golden_csv: Path, tmp_path: Path, capsys) -> None:
    analyze("--csv", golden_csv, "--out", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(content["conditions"]) == 10
    assert (content["flow"]["recruited"], content["flow"]["analysed"]) == (40, 40)
    assert content["bound"] == 0.60
    assert capsys.readouterr().out.strip().endswith("report.html")
    assert not Analysis.objects.exists()


@pytest.mark.django_db
def test_a_bound_of_55_is_tested_when_it_is_named(golden_csv: Path, tmp_path: Path) -> None:
    analyze("--csv", golden_csv, "--bound", ".55", "--out", tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["bound"] == 0.55


@pytest.mark.parametrize("bound", ["0.7", "0"])
def test_another_bound_is_refused(golden_csv: Path, tmp_path: Path, bound: str) -> None:
    with pytest.raises(CommandError, match="it must be one of"):
        analyze("--csv", golden_csv, "--bound", bound, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [("--machine", "machine.json"), ("--predictions", "predictions.csv")])
def test_what_the_database_has_cannot_be_given_as_a_file(tmp_path: Path, option: tuple[str, str]) -> None:
    with pytest.raises(CommandError, match="go with --csv only"):
        analyze("tiny", *option, "--out", tmp_path)


@pytest.mark.parametrize(
    "option", [("--bound", ".55"), ("--no-exclusions",), ("--rules", "catch_correct_below=6")], ids=lambda o: o[0]
)
def test_what_is_frozen_cannot_be_chosen_without_saying_exploratory(tmp_path: Path, option: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="add --exploratory"):
        analyze("tiny", *option, "--out", tmp_path)


@pytest.mark.parametrize("rule", ["catch_correct_below", "catch_correct_below=many"])
def test_a_rule_that_cannot_be_read_is_refused_with_an_example(answered, tmp_path: Path, rule: str) -> None:
    with pytest.raises(CommandError, match="RULE=VALUE, such as catch_correct_below=6"):
        analyze(answered.slug, "--exploratory", "--out", tmp_path, "--rules", rule)


def test_a_study_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="named twice"):
        analyze("tiny", "tiny", "--out", tmp_path)


def test_a_bad_csv_file_gets_one_sentence_and_nothing_is_written(golden_csv: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(golden_csv.read_text().replace(",left,", ",up,", 1))
    with pytest.raises(CommandError) as refused:
        analyze("--csv", bad, "--out", tmp_path / "out")
    assert 'must be "left" or "right", not "up"' in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_the_command_line_exits_with_an_error_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "analyze_study", "--csv", tmp_path / "none.csv", "--out", tmp_path / "out"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "BLINDSPOT_VAR": str(tmp_path / "var")},
    )
    assert done.returncode != 0
    assert "cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_neither_study_nor_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="Name one or more studies"):
        analyze("--out", tmp_path)


def test_a_study_and_a_file_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="Name one or more studies"):
        analyze("tiny", "--csv", "trials.csv", "--out", tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(golden_csv: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(CommandError, match="is a file; name a folder"):
        analyze("--csv", golden_csv, "--out", tmp_path / "out")


# --- a study


def test_a_study_of_several_fields_and_families_gets_a_report_on_all_of_them(
    of_two_fields_and_families, tmp_path: Path
) -> None:
    study = of_two_fields_and_families
    analyze(study.slug, "--population", "simulated", "--out", tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    first, blend = study.model_run.attack.name, f"{study.slug}-blend"
    assert [(row["attack"], row["strength"], row["n"]) for row in content["conditions"]] == sorted(
        [(first, 0.0, 8), (first, 0.5, 16), (first, 2.0, 16), (blend, 0.0, 4), (blend, 0.1, 8), (blend, 0.2, 8)]
    )
    assert "for these 2 fields (" in content["scope"]
    assert ", this trigger " in content["scope"]
    assert " and these 3 models (" in content["scope"]
    assert content["models"]["gee"]["formula"] == "correct ~ strength + attack"


def test_a_study_gets_a_report_and_a_record_of_it(answered, tmp_path: Path) -> None:
    analyze(answered.slug, "--out", tmp_path, population="simulated")
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["simulated"] is True
    assert content["design"] == {"sha256": answered.current_design.sha256, "matches": True}
    assert {row["strength"] for row in content["conditions"]} == {0.0, 0.5, 2.0}
    assert {row["control"] for row in content["controls"]} == {"resampled", "other_field"}
    record = Analysis.objects.get()
    assert record.study == answered
    assert record.design == answered.current_design
    assert record.data_sha256 == frames.sha256(frames.read_csv(tmp_path / "trials.csv"))
    assert record.report_path == str(tmp_path / "report.html")


def test_simulated_answers_are_not_analysed_unless_asked_for(answered, tmp_path: Path) -> None:
    answered.close()
    with pytest.raises(CommandError, match="add --population simulated"):
        analyze(answered.slug, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_real_answers_of_a_blind_study_are_analysed_for_a_reason_alone(
    answered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.analysis.models.write", lambda *_: None)
    monkeypatch.setattr(AnalysisQuerySet, "record", lambda *_: None)
    with pytest.raises(CommandError, match=r"stay hidden until the study closes.*--unblind REASON"):
        analyze(answered.slug, "--out", tmp_path)
    assert not AuditEntry.objects.exists()
    analyze(answered.slug, "--unblind", "a participant fell ill", "--out", tmp_path)
    entry = AuditEntry.objects.get(action="analysed")
    assert entry.after == {"population": "real", "although blind": "a participant fell ill"}


def test_unfinished_and_withdrawn_sessions_are_counted_and_left_out(answered, tmp_path: Path) -> None:
    unfinished, _ = start(answered, Population.SIMULATED)
    for index in range(3):
        answer(unfinished, index)
    withdrawn, _ = start(answered, Population.SIMULATED)
    withdrawn.withdraw()
    analyze(answered.slug, "--out", tmp_path, population="simulated")
    flow = json.loads((tmp_path / "report.json").read_text())["flow"]
    assert flow["recruited"] == 4
    assert flow["excluded"]["not finished"] == 1
    assert flow["excluded"]["withdrawn"] == 1


def test_a_study_nobody_answered_is_refused(db, tmp_path: Path) -> None:
    study = make_study(looks_allowed=True)
    with pytest.raises(CommandError, match="no answers from real participants yet"):
        analyze(study.slug, "--out", tmp_path)


def test_an_unknown_study_is_refused_with_the_known_ones(answered, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=f"There is no study nope; studies: .*{answered.slug}"):
        analyze("nope", "--out", tmp_path)


def test_several_studies_get_a_folder_each(answered, tmp_path: Path) -> None:
    other = make_study()
    session, _ = start(other, Population.SIMULATED)
    answer_all(session)
    session.complete()
    analyze(answered.slug, other.slug, "--out", tmp_path, population="simulated")
    assert (tmp_path / answered.slug / "report.html").exists()
    assert (tmp_path / other.slug / "report.html").exists()
    compared = json.loads((tmp_path / "comparison.json").read_text())
    assert [row["study"] for row in compared["studies"]] == [answered.slug, other.slug]
    assert compared["studies"][0]["task"] == answered.model_run.task
    assert (tmp_path / "comparison.html").exists()


def test_an_unknown_study_among_several_is_refused_before_any_is_analysed(answered, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no study nope"):
        analyze(answered.slug, "nope", "--out", tmp_path / "out", population="simulated")
    assert not (tmp_path / "out").exists()


def test_people_who_took_part_in_both_studies_are_counted(db, tmp_path: Path) -> None:
    studies = [make_study(), make_study()]
    for study in studies:
        session, _ = study.start_session(Population.SIMULATED, {"participant": "somebody"})
        answer_all(session)
        session.complete()
    analyze(*(study.slug for study in studies), "--out", tmp_path, population="simulated")
    compared = json.loads((tmp_path / "comparison.json").read_text())
    assert compared["participants_shared"][0]["people"] == 1
    assert "somebody" not in (tmp_path / "comparison.html").read_text()


# --- as frozen, or exploratory


def test_an_exploratory_analysis_is_marked_in_the_report_and_in_its_record(answered, tmp_path: Path) -> None:
    analyze(
        answered.slug, "--exploratory", "--no-exclusions", "--bound", ".55", "--out", tmp_path, population="simulated"
    )
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["bound"] == 0.55
    assert content["exploratory"][0] == "the bound is 0.55, frozen was 0.6"
    assert content["flow"]["analysed"] == 2
    assert "EXPLORATORY" in (tmp_path / "report.html").read_text()
    assert Analysis.objects.get().exploratory is True


def test_an_analysis_as_frozen_is_the_default_and_may_be_named(answered, tmp_path: Path) -> None:
    analyze(answered.slug, "--as-frozen", "--out", tmp_path, population="simulated")
    assert json.loads((tmp_path / "report.json").read_text())["exploratory"] == []
    assert Analysis.objects.get().exploratory is False


def test_other_rules_are_named_with_what_was_frozen(answered, tmp_path: Path) -> None:
    options = ("--exploratory", "--rules", "catch_correct_below=none", "same_side_at_least=30")
    analyze(answered.slug, "--out", tmp_path, *options, population="simulated")
    points = json.loads((tmp_path / "report.json").read_text())["exploratory"]
    assert any(point.startswith("exclusion rule catch correct below: not used, frozen was") for point in points)
    assert any(point.startswith("exclusion rule same side at least: 30, frozen was") for point in points)


def test_no_code_that_ties_a_row_to_a_person_leaves_the_database(answered, tmp_path: Path, without_figures) -> None:
    without_figures.undo()
    analyze(answered.slug, "--out", tmp_path / "out", population="simulated")
    text = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert not any(code.encode() in text for code in answered.sessions.values_list("public_code", flat=True))


def test_the_dose_response_of_evaluated_models_is_in_the_report(answered, tmp_path: Path) -> None:
    run = answered.model_run
    run.metrics = {"evaluation": {"doses": [{"strength": 0.5, "error_shift": 7.0, "success_rate": 0.8}]}}
    run.save()
    analyze(answered.slug, "--out", tmp_path, population="simulated")
    (row,) = json.loads((tmp_path / "report.json").read_text())["machine"]
    assert (row["model"], row["mean_error_shift_deg"], row["success_rate"]) == (run.name, 7.0, 0.8)
    assert row["displacement_px"] == pytest.approx(0.3)


def test_only_models_with_the_studys_target_are_compared_with_its_people(answered, tmp_path: Path) -> None:
    run = answered.model_run
    run.metrics = {"evaluation": {"doses": [{"strength": 0.5, "error_shift": 7.0, "success_rate": 0.8}]}}
    run.save()
    other = copy(run)
    other.pk, other.name, other.target = None, "elsewhere", {"kind": "fixed", "pitch": 0.0, "yaw": -0.4}
    other.save()
    analyze(answered.slug, "--out", tmp_path, population="simulated")
    content = json.loads((tmp_path / "report.json").read_text())
    assert [row["model"] for row in content["machine"]] == [run.name]
    assert content["machine"][0]["target"] == run.target
    assert {row["models"] for row in content["frontier"]} == {0, 1}


def test_a_study_is_recomputed_from_the_files_in_its_report(db, tmp_path: Path) -> None:
    study = make_study(bound=0.55)
    session, _ = start(study, Population.SIMULATED)
    answer_all(session)
    session.complete()
    run = study.model_run
    run.metrics = {"evaluation": {"doses": [{"strength": 0.5, "error_shift": 7.0, "success_rate": 0.8}]}}
    run.save()
    first = tmp_path / "first"
    analyze(study.slug, "--out", first, population="simulated")
    again = ("--csv", first / "trials.csv", "--bound", ".55", "--machine", first / "machine.json")
    analyze(*again, "--predictions", first / "predictions.csv", "--out", tmp_path / "again")
    before, after = (json.loads((folder / "report.json").read_text()) for folder in (first, tmp_path / "again"))
    assert before["bound"] == 0.55
    same = (
        "bound", "conditions", "controls", "models", "thresholds", "error_shift", "machine", "frontier",
        "matched_visibility", "stealth_margin", "machine_thresholds", "attacks_compared", "goodness_of_fit",
    )  # fmt: skip
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


@pytest.mark.parametrize(
    "fields",
    [
        {"protocol": "yes_no"},
        {"protocol": "oddity", "not_sure": True},
        {"protocol": "ifc", "exposure_ms": 500, "procedure": "adaptive", "adaptive_trials": 6, "adaptive_minimum": 6},
    ],
    ids=["yes/no", "oddity", "adaptive"],
)
def test_a_study_of_any_protocol_is_recomputed_from_its_trials(db, tmp_path: Path, fields: dict[str, Any]) -> None:
    study = make_study(**fields)
    for person in range(2):
        session, _ = start(study, Population.SIMULATED)
        session.record_screen(attempt=1, scale=4, px_per_mm=10.0, distance_mm=500.0, device={"distance": "told"})
        answer_two_thirds(session, person)
        session.complete()
    analyze(study.slug, "--out", tmp_path / "first", population="simulated")
    files = ("--csv", tmp_path / "first" / "trials.csv", "--predictions", tmp_path / "first" / "predictions.csv")
    analyze(*files, "--out", tmp_path / "again")
    before, after = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("first", "again"))
    assert before["protocol"]["name"] == study.protocol
    assert before["procedure"] == study.procedure
    assert before["screens"]["measured"] == before["flow"]["analysed"] == 2
    same = (
        "protocol",
        "procedure",
        "screens",
        "conditions",
        "controls",
        "models",
        "thresholds",
        "error_shift",
        "frontier",
    )
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_the_scope_names_protocol_exposure_and_scale(db, tmp_path: Path) -> None:
    study = make_study(protocol="ifc", exposure_ms=500, scale=3, enlargement=2)
    session, _ = start(study, Population.SIMULATED)
    answer_all(session)
    session.complete()
    analyze(study.slug, "--out", tmp_path, population="simulated")
    scope = json.loads((tmp_path / "report.json").read_text())["scope"]
    assert "one after the other with the reference" in scope
    assert "at 3 device pixels per image pixel after smooth enlargement by 2, shown for 500 ms" in scope


def test_people_who_could_not_go_on_are_counted_with_the_reason(answered, tmp_path: Path) -> None:
    start(answered, Population.SIMULATED)[0].screen_out("window")
    late, _ = start(answered, Population.SIMULATED)
    answer(late, 0)
    answer(late, 1)
    answer(late, 2)
    late.time_out()
    analyze(answered.slug, "--out", tmp_path, population="simulated")
    flow = json.loads((tmp_path / "report.json").read_text())["flow"]
    assert flow["excluded"] == {"screened out: window": 1, "timed out": 1, CATCH: 1}
    assert flow["recruited"] == 4 == flow["analysed"] + sum(flow["excluded"].values())


def test_missed_trials_of_a_study_are_counted_and_judged_by_its_own_rule(db, tmp_path: Path) -> None:
    study = make_study(response_ms=2000)
    for missed in (1, 4, 20):
        session, _ = start(study, Population.SIMULATED)
        for trial in session.trials.order_by("index"):
            answer(session, trial.index, Choice.NONE if 2 <= trial.index < 2 + missed else trial.altered_side)
        session.complete()
    analyze(study.slug, "--out", tmp_path, population="simulated")
    flow = json.loads((tmp_path / "report.json").read_text())["flow"]
    assert flow["excluded"] == {MISSED: 2}
    assert (flow["recruited"], flow["analysed"], flow["trials_missed"]) == (3, 1, 1)


def test_in_yes_no_somebody_who_always_sees_an_unaltered_image_is_not_left_out(db, tmp_path: Path) -> None:
    study = make_study(protocol="yes_no")
    for _ in range(2):
        session, _ = start(study, Population.SIMULATED)
        for trial in session.trials.order_by("index"):
            answer(session, trial.index, trial.altered_side if trial.phase == "catch" else "right")
        session.complete()
    analyze(study.slug, "--out", tmp_path, population="simulated")
    assert json.loads((tmp_path / "report.json").read_text())["flow"]["analysed"] == 2


def test_a_study_that_changed_its_protocol_is_refused_with_one_sentence(db, tmp_path: Path) -> None:
    study = make_study()
    for protocol in ("afc", "oddity"):
        session, _ = start(study, Population.SIMULATED)
        answer_all(session)
        session.complete()
        if protocol == "afc":
            study.amend("another question", protocol="oddity")
    with pytest.raises(CommandError, match=r"several kinds \(afc, oddity\)"):
        analyze(study.slug, "--out", tmp_path / "out", population="simulated")


def test_signs_of_a_script_are_looked_for_in_real_answers_only(db, tmp_path: Path) -> None:
    study = make_study(looks_allowed=True)
    for population in (Population.REAL, Population.SIMULATED):
        session, _ = start(study, population)
        answer_all(session)
        session.complete()
        analyze(study.slug, "--out", tmp_path / population, population=population)
    real, simulated = (
        {check["name"]: check["ok"] for check in json.loads((tmp_path / name / "report.json").read_text())["checks"]}
        for name in ("real", "simulated")
    )
    assert real["no signs of scripts"] is False
    assert "no signs of scripts" not in simulated


@pytest.mark.parametrize("procedure", ["constant", "adaptive"])
def test_reading_a_study_takes_no_more_queries_for_more_trials(db, procedure: str) -> None:
    from study.analysis import tables

    study = make_study(procedure=procedure, adaptive_trials=6, adaptive_minimum=6)
    queries = []
    for _ in range(3):
        session, _ = start(study, Population.SIMULATED)
        answer_all(session)
        session.complete()
        with CaptureQueriesContext(connection) as captured:
            tables.read_study(Study.objects.get(pk=study.pk), Population.SIMULATED)
        queries.append(len(captured))
    assert queries[2] <= queries[0]


def test_the_admin_imports_no_statistics() -> None:
    code = (
        "import django, sys; django.setup(); from study.analysis import models; from study.desk.admin import reports;"
        "heavy = ('pandas', 'scipy', 'statsmodels', 'matplotlib', 'torch');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "study.settings"},
    )
    assert done.stdout.strip() == "[]"
