"""Requests of participants, served by researchers: erasure by code, access, and what a page says of them."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from study.accounts.models import AuditEntry
from study.analysis.models import Analysis
from study.desk import backup, erasing, subject_access
from study.desk.erasing import Remains, Stored
from study.desk.exports import Selection
from study.lab.models import Job
from study.trials import erasures
from study.trials.models import Session, Study
from study.trials.rights import Role
from tests.study.desk.researchers import signed_in
from tests.study.factories import answer_all, make_study, start

pytestmark = pytest.mark.django_db


@pytest.fixture
def session() -> Session:
    """Of an open, blind study; answered, by somebody whom the recruiter calls p1."""
    session, _ = start(make_study(base_images=22, size=4), recruiter_ids={"PROLIFIC_PID": "p1"})
    answer_all(session)
    return session


def ask(client: Client, study: Study, page: str, **said: Any) -> Any:
    return client.post(reverse(f"admin:study_privacy_{page}", args=[study.pk]), said)


def records() -> list[tuple[str, dict[str, Any]]]:
    return list(AuditEntry.objects.order_by("n").values_list("action", "after"))


# --- erasure by code


def test_a_code_first_shows_what_would_go_and_erases_nothing(session: Session, admin_client: Client) -> None:
    page = ask(admin_client, session.study, "erase", code=f" {session.public_code.lower()} ")
    assert "22 answers and 22 traces" in page.content.decode()
    assert page.context["stored"] == Stored(answers=22, traces=22, events=1, recruiter_ids=1, device=0)
    session.refresh_from_db()
    assert session.state == "active"


def test_a_confirmed_code_erases_and_leaves_a_tombstone(session: Session, admin_client: Client) -> None:
    page = ask(admin_client, session.study, "erase", code=session.public_code, confirmed="yes")
    assert f"Erased: 22 answers of session {session.pk}." in page.content.decode()
    session.refresh_from_db()
    assert (session.state, session.recruiter_ids, session.recruiter_key) == ("withdrawn", {}, None)
    assert session.events.filter(kind="erased").get().data == {"answers": 22}


def test_an_erasure_is_recorded_without_the_code(session: Session, admin_client: Client) -> None:
    ask(admin_client, session.study, "erase", code=session.public_code, confirmed="yes")
    assert records() == [("erased a session of", {"session": session.pk, "answers": 22})]
    assert session.public_code not in AuditEntry.objects.get().subject


def test_a_code_of_another_study_is_refused_next_to_the_field(session: Session, admin_client: Client) -> None:
    other = make_study(base_images=22, size=4)
    page = ask(admin_client, other, "erase", code=session.public_code, confirmed="yes")
    assert page.status_code == 422
    assert "check it letter by letter" in str(page.context["code_form"].errors["code"])
    session.refresh_from_db()
    assert session.state == "active"


def test_what_remains_elsewhere_is_told(session: Session, settings: Any) -> None:
    Selection(session.study).record("trials")
    Analysis.objects.create(study=session.study, population="real", data_sha256="d" * 64, report_path="r")
    made = backup.default_name()
    made.parent.mkdir(parents=True)
    made.touch()
    older = made.with_name("older.tar")
    older.touch()
    long_ago = (timezone.now() - timedelta(days=9)).timestamp()
    os.utime(older, (long_ago, long_ago))
    erasing.erase(session)
    Selection(session.study).record("sessions")
    remains = Remains.of(session)
    assert [entry.after["what"] for entry in remains.exports] == ["trials"]
    assert len(remains.reports) == 1
    assert [name for name, _ in remains.backups] == [made.name]


@pytest.mark.parametrize(("role", "status"), [(Role.ANALYST, 403), (Role.EDITOR, 200)])
def test_erasing_and_access_are_for_editors(session: Session, role: Role, status: int) -> None:
    client = signed_in(session.study, role)
    replies = [ask(client, session.study, page, code=session.public_code) for page in ("erase", "access")]
    assert {reply.status_code for reply in replies} == {status}


def test_the_command_erases_by_the_code_as_the_page_does(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("erase_session", session.public_code.lower())
    assert f"22 answers of session {session.pk}" in capsys.readouterr().out
    assert records() == [("erased a session of", {"session": session.pk, "answers": 22})]


def test_a_code_that_nobody_has_erases_nothing(session: Session) -> None:
    with pytest.raises(CommandError, match="check it letter by letter"):
        call_command("erase_session", "NOBODY")
    session.refresh_from_db()
    assert session.state == "active"


# --- beside the database


def test_an_erasure_is_noted_beside_the_database_and_repeated_in_a_restored_one(
    session: Session, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        session.erase()
    (noted,) = erasures.noted()
    assert (noted.session, noted.what) == (session.pk, "erased")
    assert session.public_code not in erasures.path().read_text()
    assert erasures.undone() == []
    Session.objects.filter(pk=session.pk).update(state="complete", completed_at=timezone.now(), recruiter_key="k")
    ((found, what),) = erasures.undone()  # as in a backup from before
    erasures.repeat(found, what)
    session.refresh_from_db()
    assert (session.state, session.recruiter_key) == ("withdrawn", None)


def test_a_withdrawal_is_noted_too_and_one_of_a_robot_is_not(
    session: Session, django_capture_on_commit_callbacks: Any
) -> None:
    robot, _ = start(session.study, "simulated")
    with django_capture_on_commit_callbacks(execute=True):
        session.withdraw()
        robot.withdraw()
    assert [noted.what for noted in erasures.noted()] == ["withdrawn"]


def test_a_session_that_only_has_the_number_of_an_erased_one_is_left_alone(session: Session) -> None:
    erasures.note(session, "erased")
    Session.objects.filter(pk=session.pk).update(token_sha256="0" * 64)
    assert erasures.undone() == []


def test_a_line_that_cannot_be_read_is_named() -> None:
    erasures.path().write_text("nonsense\n")
    with pytest.raises(ValueError, match=r"Line 1 of .*erased\.jsonl cannot be read"):
        erasures.undone()


# --- access


def test_access_gives_everything_with_words(session: Session, admin_client: Client) -> None:
    session.study.close()
    reply = ask(admin_client, session.study, "access", code=session.public_code)
    found = json.loads(b"".join(reply.streaming_content))
    assert found["session"]["recruiter_ids"] == {"PROLIFIC_PID": "p1"}
    assert len(found["trials"]) == 22
    assert found["trials"][5]["answer"]["correct"] is True
    assert found["trials"][5]["trace"]["frame_ms"] == 16.7
    assert "keyed hash" in found["meanings"]["Session.recruiter_key"]
    assert records() == [("gave access to a session of", {"session": session.pk})]


def test_access_holds_back_what_would_unblind_an_open_study(session: Session) -> None:
    found = json.loads(b"".join(subject_access.as_json(session)))
    assert found["held_back"] == subject_access.HELD_BACK_SENTENCE
    assert "seed" not in found["session"]
    assert {"pair", "altered_side"}.isdisjoint(found["trials"][5])
    assert set(found["trials"][5]["answer"]) >= {"choice", "rt_ms"}
    assert "correct" not in found["trials"][5]["answer"]


# --- the page


def test_a_viewer_reads_the_inventory_and_has_no_forms(session: Session) -> None:
    study = session.study
    page = signed_in(study, Role.VIEWER).get(reverse("admin:study_privacy", args=[study.pk])).content.decode()
    assert "Session.recruiter_ids" in page
    assert 'name="code"' not in page
    assert session.public_code not in page


def test_the_date_can_be_put_off_and_that_is_recorded(session: Session, admin_client: Client) -> None:
    study, day = session.study, timezone.localdate() + timedelta(days=30)
    assert ask(admin_client, study, "date", retain_until=day.isoformat()).status_code == 302
    study.refresh_from_db()
    assert study.retain_until == day
    assert records() == [("changed", {"retain_until": day.isoformat()})]


def test_a_date_that_has_passed_is_refused(session: Session, admin_client: Client) -> None:
    page = ask(admin_client, session.study, "date", retain_until=timezone.localdate().isoformat())
    assert page.status_code == 422
    assert "still to come" in str(page.context["date_form"].errors)


def test_who_does_not_wait_for_a_worker_to_notice_is_recorded(session: Session, admin_client: Client) -> None:
    study = session.study
    study.close()
    QuerySet(Study).filter(pk=study.pk).update(retain_until=timezone.localdate())
    ask(admin_client, study, "erase_now")
    assert Job.objects.get().kind == Job.Kind.ERASE
    assert records() == [("asked to erase what is past its date in", {})]
