"""The trial table and what leaves the server with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.lab.models import Pair, Prediction
from study.trials import export
from study.trials.export import TRIAL_COLUMNS
from study.trials.insert_only import InsertOnlyQuerySet
from study.trials.models import AdaptiveChoice, Choice, Population, Session, Study, TrialTrace
from tests.study.factories import add_model, add_seed, answer, answer_all, make_study, start

pytestmark = pytest.mark.django_db

MANY: dict[str, Any] = {"base_images": 30, "size": 4, "trials_per_strength": 2}
FACE = [
    "participant", "stimulus", "attack", "strength", "error_shift_deg", "clean_side", "response_side", "correct",
    "rt_ms", "is_catch",
]  # fmt: skip


@pytest.fixture
def study() -> Study:
    study = make_study()
    answer_all(start(study, recruiter_ids={"PROLIFIC_PID": "p1"})[0])
    return study


def adaptive_study(**fields: Any) -> Study:
    """At most six adaptive trials, and two for each control, in a session."""
    settings = {"procedure": Study.Procedure.ADAPTIVE, "adaptive_trials": 6, "adaptive_minimum": 6, **fields}
    return make_study(**settings)


def row_of(study: Study, **where: Any) -> dict[str, Any]:
    trial = Session.objects.get(study=study).trials.select_related("pair").filter(**where).first()
    assert trial is not None
    return next(row for row in study.trial_rows() if row["trial_index"] == trial.index)


def test_the_table_starts_with_the_columns_that_analyses_read(study: Study) -> None:
    row = next(study.trial_rows())
    assert list(row) == list(TRIAL_COLUMNS)
    assert list(row)[:10] == FACE


def test_there_is_one_row_per_answered_trial_without_practice(study: Study) -> None:
    assert [row["trial_index"] for row in study.trial_rows()] == list(range(2, 22))
    assert [row["phase"] for row in study.trial_rows(practice=True)][:2] == ["practice", "practice"]


def test_a_row_says_what_was_shown_and_what_was_answered(study: Study) -> None:
    warped = {"pair__control": Pair.Control.NONE, "pair__strength": 2.0, "phase": "main"}
    trial = Session.objects.get().trials.select_related("pair").filter(**warped).first()
    row = row_of(study, index=trial.index)
    assert row["stimulus"] == f"B{trial.pair.base_image_id}"
    assert row["clean_side"] != trial.altered_side
    assert (row["response_side"], row["correct"], row["rt_ms"]) == (trial.altered_side, 1, 800.0)
    assert (row["field"], row["model"], row["population"]) == ("c" * 12, study.model_run.name, "real")


def test_an_identity_pair_is_strength_zero_of_its_attack(study: Study) -> None:
    row = row_of(study, pair__control=Pair.Control.IDENTITY)
    assert (row["control"], row["strength"], row["attack"]) == ("identity", 0.0, study.model_run.attack.name)


def test_a_pair_of_another_field_names_that_field(study: Study) -> None:
    assert row_of(study, pair__control=Pair.Control.OTHER_FIELD)["field"] == "e" * 12


def test_the_error_shift_is_that_of_the_studys_model(study: Study) -> None:
    row = row_of(study, pair__control=Pair.Control.NONE, phase="main", pair__strength=2.0)
    assert row["error_shift_deg"] == 20.0


def test_a_row_tells_the_pictures_width_and_whom_it_shows(study: Study) -> None:
    trial = Session.objects.get().trials.select_related("pair__base_image").filter(phase="main").first()
    assert trial is not None
    row = row_of(study, index=trial.index)
    assert row["image_width_px"] == 16
    assert row["image_subject"] == str(trial.pair.base_image.subject)


def test_the_width_is_that_of_the_stored_picture_as_displacements_are() -> None:
    study = make_study(enlargement=2)
    answer_all(start(study)[0])
    assert {row["image_width_px"] for row in study.trial_rows()} == {16}


def test_catch_trials_are_marked(study: Study) -> None:
    assert sum(row["is_catch"] for row in study.trial_rows()) == 2


def test_displacement_in_arcmin_needs_a_measured_screen(study: Study) -> None:
    where = {"pair__control": Pair.Control.NONE, "pair__strength": 2.0, "phase": "main"}
    assert row_of(study, **where)["displacement_arcmin"] is None
    Session.objects.update(px_per_degree=80.0)
    row = row_of(study, **where)
    assert row["displacement_px"] == pytest.approx(1.2)
    assert row["displacement_displayed_px"] == pytest.approx(1.2 * 4)
    assert row["displacement_arcmin"] == pytest.approx(1.2 * 4 / 80 * 60)


def test_displacement_is_that_of_the_scale_at_which_the_trial_was_shown() -> None:
    study = make_study()
    session, _ = start(study)
    answer_all(session)
    Session.objects.update(px_per_degree=60.0, scale=3)
    where = {"pair__control": Pair.Control.NONE, "pair__strength": 2.0, "phase": "main"}
    assert row_of(study, **where)["scale"] == 3
    trial = session.trials.filter(**where).first()
    assert trial is not None
    InsertOnlyQuerySet.erase(TrialTrace.objects.filter(trial=trial))
    TrialTrace.objects.create(trial=trial, details={"scale": 2}, onset_ms=1000.0, offset_ms=1800.0, pauses=1)
    row = row_of(study, index=trial.index)
    assert row["displacement_displayed_px"] == pytest.approx(1.2 * 2)
    assert row["displacement_arcmin"] == pytest.approx(1.2 * 2)
    assert (row["onset_ms"], row["exposure_ms"], row["pauses"]) == (1000.0, 800.0, 1)


@pytest.mark.parametrize("claimed", [True, "2", -2, float("inf")])
def test_a_scale_that_is_none_does_not_count(claimed: Any) -> None:
    values = SimpleNamespace(trial__trace__details={"scale": claimed}, trial__session__scale=3)
    assert export._scale(values, SimpleNamespace(scale=4)) == 3


def test_enlargement_on_the_server_magnifies_the_displacement() -> None:
    study = make_study(enlargement=2)
    answer_all(start(study)[0])
    Session.objects.update(px_per_degree=80.0)
    row = row_of(study, pair__control=Pair.Control.NONE, pair__strength=2.0, phase="main")
    assert row["displacement_displayed_px"] == pytest.approx(1.2 * 4 * 2)
    assert row["displacement_arcmin"] == pytest.approx(1.2 * 4 * 2 / 80 * 60)


def test_a_scale_that_every_screen_finds_for_itself_is_not_guessed(study: Study) -> None:
    answered = make_study(image_degrees=2.0, calibration="card", distance="told")
    session, _ = start(answered)
    session.record_screen(attempt=1, scale=7, px_per_mm=5.0, distance_mm=600, device={})
    answer_all(session)
    Session.objects.filter(pk=session.pk).update(scale=None)
    row = row_of(answered, pair__control=Pair.Control.NONE, pair__strength=2.0, phase="main")
    assert (row["scale"], row["displacement_displayed_px"]) == (None, None)


def test_every_row_names_the_protocol_that_its_session_began_with() -> None:
    study = make_study()
    answer_all(start(study)[0])
    study.amend("another question", protocol=Study.Protocol.ODDITY)
    answer_all(start(study)[0])
    protocols = {row["participant"]: row["protocol"] for row in study.trial_rows()}
    first, second = Session.objects.order_by("pk")
    assert protocols == {f"P{first.pk}": "afc", f"P{second.pk}": "oddity"}


def test_not_sure_is_marked_and_its_side_is_the_coins() -> None:
    study = make_study(not_sure=True)
    session, _ = start(study)
    for index in range(session.trials.count()):
        answer(session, index, Choice.UNSURE if index % 2 else "left")
    rows = list(study.trial_rows())
    assert [row["unsure"] for row in rows] == [row["trial_index"] % 2 for row in rows]
    assert all(row["response_side"] == session.coin(row["trial_index"]) for row in rows if row["unsure"])
    assert all(row["correct"] == (row["response_side"] != row["clean_side"]) for row in rows)


def test_without_the_offer_nobody_was_unsure(study: Study) -> None:
    assert {row["unsure"] for row in study.trial_rows()} == {None}


def test_trials_without_an_answer_in_time_are_counted_and_have_no_row() -> None:
    study = make_study(response_ms=2000)
    session, _ = start(study)
    for index in range(session.trials.count()):
        answer(session, index, Choice.NONE if index in (0, 5, 6) else "left")
    assert {5, 6}.isdisjoint(row["trial_index"] for row in study.trial_rows())
    (row,) = study.session_rows()
    assert (row["planned"], row["judged"], row["answered"], row["missed"]) == (22, 20, 22, 2)


def test_an_adaptive_trial_has_the_strength_that_was_chosen_for_it() -> None:
    study = adaptive_study()
    session, _ = start(study)
    answer_all(session)
    chosen = {choice.trial.index: choice.pair for choice in AdaptiveChoice.objects.select_related("trial", "pair")}
    rows = {row["trial_index"]: row for row in study.trial_rows()}
    assert chosen
    for index, pair in chosen.items():
        assert (rows[index]["item"], rows[index]["strength"]) == (f"I{pair.pk}", pair.strength)
    assert {row["procedure"] for row in rows.values()} == {"adaptive"}


def test_trials_that_became_unnecessary_are_not_missing() -> None:
    study = adaptive_study(adaptive_minimum=2, adaptive_sd=9.0)
    session, _ = start(study)
    while (trial := session.due_trials().first()) is not None:
        answer(session, trial.index)
    (row,) = study.session_rows()
    assert row["skipped"] == 4
    assert row["answered"] + row["skipped"] == row["planned"]
    assert row["judged"] == row["planned"] - row["skipped"] - study.practice_trials
    assert len(list(study.trial_rows())) == row["judged"]


# --- several attacks and models


def test_fields_of_one_attack_share_its_name_and_differ_in_field_and_model() -> None:
    study = make_study(opened=False, **MANY)
    further = add_model(study, size=4).model_run
    study.open()
    answer_all(start(study)[0])
    rows = [row for row in study.trial_rows() if row["control"] != "other_field"]
    attack = study.model_run.attack
    assert {(row["attack"], row["field"], row["model"]) for row in rows} == {
        (attack.name, attack.control_hash[:12], study.model_run.name),
        (attack.name, further.attack.control_hash[:12], further.name),
    }
    assert {row["field"] for row in rows if row["is_catch"]} == {attack.control_hash[:12]}


def test_another_attack_has_its_own_name_and_the_shift_of_its_own_model() -> None:
    study = make_study(opened=False, **MANY)
    other = add_model(study, "blend", family="blended", strengths=(0.1, 0.2), size=4).model_run
    Prediction.objects.filter(model_run=other).update(error_shift=-3.0)
    study.open()
    answer_all(start(study)[0])
    rows = [row for row in study.trial_rows() if row["attack"] == other.attack.name]
    assert {(row["model"], row["error_shift_deg"]) for row in rows} == {(other.name, -3.0)}
    assert {row["strength"] for row in rows if not row["control"]} == {0.1, 0.2}


def test_of_several_models_of_one_attack_the_table_has_the_first_ones_shift() -> None:
    study = make_study(opened=False, **MANY)
    add_seed(study, gain=99.0)
    study.open()
    answer_all(start(study)[0])
    assert {(row["model"], row["error_shift_deg"]) for row in study.trial_rows() if row["strength"] == 2.0} == {
        (study.model_run.name, 20.0)
    }


# --- sessions


def test_a_session_says_how_its_screen_was_measured() -> None:
    study = make_study(scale=6, calibration="card", distance="told")
    session, _ = start(study)
    device = {"device": "phone", "calibration": "card_short", "distance": "told", "gamut": "p3"}
    session.record_screen(attempt=1, scale=6, px_per_mm=18.0, distance_mm=300.0, device=device)
    (row,) = study.session_rows()
    assert [row[name] for name in ("device", "calibration", "distance", "scale")] == ["phone", "card_short", "told", 6]
    assert row["px_per_degree"] == pytest.approx(94.25, abs=0.01)


def test_other_words_of_a_page_stay_out_of_the_session_table() -> None:
    study = make_study()
    session, _ = start(study)
    device = {"device": "=HYPERLINK()", "calibration": 5}
    session.record_screen(attempt=1, scale=4, px_per_mm=None, distance_mm=None, device=device)
    (row,) = study.session_rows()
    assert (row["device"], row["calibration"]) == (None, None)


def test_a_session_says_why_it_ended_early() -> None:
    study = make_study()
    start(study)[0].screen_out("window")
    start(study)[0].time_out()
    rows = list(study.session_rows())
    assert [(row["state"], row["reason"]) for row in rows] == [("screened_out", "window"), ("timed_out", None)]


def test_signs_of_a_script_are_those_of_the_session() -> None:
    study = make_study()
    session, _ = start(study)
    answer_all(session)
    session.log("honeypot")
    (row,) = study.session_rows()
    assert row["flags"].split() == session.flags()
    assert {"honeypot", "too_regular"} <= set(session.flags())


def test_a_script_that_left_before_the_first_answer_is_flagged_too() -> None:
    study = make_study()
    start(study)[0].log("honeypot")
    assert next(study.session_rows())["flags"] == "honeypot"


def test_sessions_that_are_read_in_several_parts_are_told_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(**MANY)
    for n in range(3):
        session, _ = start(study)
        answer_all(session, but=n)
        session.log("honeypot")
    at_once = list(study.session_rows())
    monkeypatch.setattr(export, "SESSIONS", 2)
    assert list(study.session_rows()) == at_once
    assert ["honeypot" in row["flags"] for row in at_once] == [True] * 3


def test_other_populations_and_withdrawn_sessions_are_left_out(study: Study) -> None:
    simulated, _ = start(study, Population.SIMULATED)
    answer(simulated, 0)
    answer_all(simulated)
    gone, _ = start(study)
    answer_all(gone)
    gone.withdraw()
    assert {row["participant"] for row in study.trial_rows()} == {f"P{Session.objects.earliest('pk').pk}"}
    assert {row["population"] for row in study.trial_rows(Population.SIMULATED)} == {"simulated"}
    assert [row["state"] for row in study.session_rows()] == ["active", "withdrawn"]


@pytest.mark.parametrize("table", [Study.trial_rows, Study.session_rows])
def test_a_table_takes_no_more_queries_for_more_sessions(table: Any, django_assert_max_num_queries: Any) -> None:
    study = adaptive_study()
    for n in (1, 2, 3):
        answer_all(start(study)[0])
        with django_assert_max_num_queries(5):
            assert len(list(table(Study.objects.select_related("model_run").get(pk=study.pk)))) >= n


# --- an installation without tables


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create_study", "--slug", "s", "--model-run", "nothing"], "There is no model run named 'nothing'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_new_installation_gets_its_tables_and_one_sentence(
    arguments: list[str], sentence: str, settings: Any, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environment["BLINDSPOT_VAR"] = str(tmp_path)
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
