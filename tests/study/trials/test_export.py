"""The trial table and what leaves the server with it."""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from study.lab.models import Pair
from study.trials.export import SESSION_COLUMNS, TRIAL_COLUMNS
from study.trials.models import Population, Session, Study
from tests.study.factories import answer, answer_all, make_study, start

pytestmark = pytest.mark.django_db

FACE = [
    "participant", "stimulus", "attack", "strength", "error_shift_deg", "clean_side", "response_side", "correct",
    "rt_ms", "is_catch",
]  # fmt: skip


@pytest.fixture
def study() -> Study:
    study = make_study()
    answer_all(start(study, recruiter_ids={"PROLIFIC_PID": "p1"})[0])
    return study


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


def test_catch_trials_are_marked(study: Study) -> None:
    assert sum(row["is_catch"] for row in study.trial_rows()) == 2


def test_displacement_in_arcmin_needs_a_measured_screen(study: Study) -> None:
    where = {"pair__control": Pair.Control.NONE, "pair__strength": 2.0, "phase": "main"}
    assert row_of(study, **where)["displacement_arcmin"] is None
    Session.objects.update(px_per_degree=80.0)
    row = row_of(study, **where)
    assert row["displacement_px"] == pytest.approx(1.2)
    assert row["displacement_arcmin"] == pytest.approx(1.2 * 4 / 80 * 60)


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


def test_the_table_is_read_in_few_queries(study: Study, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(3):
        assert len(list(study.trial_rows())) == 20


# --- export_study


def test_export_writes_trials_sessions_and_the_frozen_design(study: Study, tmp_path: Path) -> None:
    call_command("export_study", study.slug, out=tmp_path / "out", verbosity=0)
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["design.json", "sessions.csv", "trials.csv"]
    with (out / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(TRIAL_COLUMNS)
    assert len(rows) == 20
    with (out / "sessions.csv").open(newline="") as file:
        assert next(csv.reader(file)) == list(SESSION_COLUMNS)


def test_the_exported_design_has_the_frozen_hash(study: Study, tmp_path: Path) -> None:
    call_command("export_study", study.slug, out=tmp_path, verbosity=0)
    design = study.current_design
    assert design is not None
    assert hashlib.sha256((tmp_path / "design.json").read_bytes()).hexdigest() == design.sha256


def test_recruiters_ids_do_not_leave_the_server(study: Study, tmp_path: Path) -> None:
    call_command("export_study", study.slug, out=tmp_path / "out", verbosity=0)
    assert all("p1" not in path.read_text() for path in (tmp_path / "out").glob("*.csv"))


def test_an_exported_table_can_be_analysed(study: Study, tmp_path: Path) -> None:
    from study.analysis.frames import read_csv

    call_command("export_study", study.slug, out=tmp_path / "out", verbosity=0)
    assert len(read_csv(tmp_path / "out" / "trials.csv")) == 20


def test_exporting_an_unknown_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no study 'nowhere'"):
        call_command("export_study", "nowhere", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_exporting_to_a_place_that_is_a_file_is_refused(study: Study, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("export_study", study.slug, out=tmp_path / "file")


# --- erase_session


def test_a_participants_code_erases_the_answers(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    session = Session.objects.get()
    call_command("erase_session", session.public_code.lower())
    assert "22 answers" in capsys.readouterr().out
    assert list(study.trial_rows()) == []
    session.refresh_from_db()
    assert (session.state, session.recruiter_ids, session.recruiter_key) == ("withdrawn", {}, None)


def test_a_code_that_nobody_has_erases_nothing(study: Study) -> None:
    with pytest.raises(CommandError, match="check it letter by letter"):
        call_command("erase_session", "NOBODY")
    assert len(list(study.trial_rows())) == 20


# --- an installation without tables


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create_study", "--slug", "s", "--model-run", "nothing"], "There is no model run named 'nothing'"),
        (["export_study", "nowhere", "--out", "out"], "There is no study 'nowhere'"),
        (["erase_session", "NOBODY"], "There is no session with the code 'NOBODY'"),
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
