"""What is past its date goes by itself, once, and only where nobody is taking part any more."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import QuerySet
from django.utils import timezone

from study.accounts.models import AuditEntry
from study.desk import retention
from study.lab import sweeping, working
from study.lab.models import Job
from study.trials.models import Answer, Session, Study, TrialTrace
from tests.study.factories import answer_all, make_study, start

pytestmark = pytest.mark.django_db

IDENTITY, EVERYTHING = Study.Retention.IDENTITY, Study.Retention.EVERYTHING


def past_its_date(study: Study, **fields: Any) -> Study:
    QuerySet(Study).filter(pk=study.pk).update(retain_until=timezone.localdate(), **fields)
    study.refresh_from_db()
    return study


@pytest.fixture
def study() -> Study:
    """Closed and past its date, with one answered session whose screen was measured."""
    study = make_study(base_images=22, size=4)
    session, _ = start(study, recruiter_ids={"PROLIFIC_PID": "p1"})
    device = {"device": "phone", "screen": "390x844", "gamut": "p3"}
    session.record_screen(attempt=1, scale=4, px_per_mm=None, distance_mm=None, device=device)
    answer_all(session)
    traces = TrialTrace.objects.filter(trial__session=session)
    kept = [*traces]
    traces.erase()
    details = {"scale": 4, "input": "key", "screen": "390x844", "anything": "else"}
    TrialTrace.objects.bulk_create(TrialTrace(trial=trace.trial, frame_ms=16.7, details=details) for trace in kept)
    study.close()
    return past_its_date(study)


def test_a_study_is_overdue_from_its_date_on_until_it_was_acted_on(study: Study) -> None:
    today = timezone.localdate()
    assert list(retention.overdue(today=today - timedelta(days=1))) == []
    assert list(retention.overdue(today=today)) == [study]
    QuerySet(Study).filter(pk=study.pk).update(erased_at=timezone.now())
    assert list(retention.overdue(today=today)) == []
    QuerySet(Study).filter(pk=study.pk).update(retain_until=today + timedelta(days=2))
    assert list(retention.overdue(today=today + timedelta(days=2))) == [study]


def test_one_job_is_submitted_however_often_somebody_looks(study: Study) -> None:
    first, second = retention.submit_due(), retention.submit_due()
    assert first == second
    job = Job.objects.get(kind=Job.Kind.ERASE)
    assert job.parameters == {"study": study.pk, "until": timezone.localdate().isoformat(), "what": "identity"}


def test_a_study_that_is_open_is_complained_of_and_not_touched() -> None:
    study = past_its_date(make_study(base_images=22, size=4))
    assert retention.submit_due() == []
    assert "close it, or put the date off" in retention.complaint(study)
    assert retention.complaints() == [retention.complaint(study)]


def test_the_sweeper_has_it_looked_after() -> None:
    assert retention.submit_due in sweeping.MORE


def test_a_sweep_looks_after_more_at_most_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(sweeping, "MORE", [lambda: looked.append(1)])
    monkeypatch.setattr(sweeping.Sweeper.objects, "sweep_if_due", lambda: sweeping.Swept(0, 0))
    sweeping._hourly.last -= sweeping.EVERY_S
    sweeping.sweep()
    sweeping.sweep()
    assert looked == [1]


def test_the_persons_identity_goes_and_the_answers_stay(study: Study) -> None:
    answers = list(study.trial_rows())
    assert list(retention.erase(study, IDENTITY)) == [(1, 1)]
    session = Session.objects.get()
    assert (session.recruiter_ids, session.recruiter_key, session.device) == ({}, None, {"device": "phone"})
    assert not session.events.filter(kind="screen").exists()
    assert all(trace.details == {"scale": 4, "input": "key"} for trace in TrialTrace.objects.all())
    kept = [{name: value for name, value in row.items() if name != "session_state"} for row in study.trial_rows()]
    assert kept == [{name: value for name, value in row.items() if name != "session_state"} for row in answers]


def test_everything_leaves_tombstones(study: Study) -> None:
    list(retention.erase(study, EVERYTHING))
    assert (Session.objects.get().state, Answer.objects.count()) == ("withdrawn", 0)
    assert [row["state"] for row in study.session_rows()] == ["withdrawn"]


@pytest.mark.parametrize("what", [IDENTITY, EVERYTHING])
def test_an_erasure_that_was_cut_short_goes_on_with_the_rest(study: Study, what: str) -> None:
    answer_all(start(other := make_study(base_images=22, size=4))[0])
    Session.objects.filter(study=other).update(study=study)
    assert next(retention.erase(study, what)) == (1, 2)
    assert list(retention.erase(study, what)) == [(1, 1)]
    assert list(retention.erase(study, what)) == []


def test_the_job_marks_the_study_and_is_recorded(study: Study, tmp_path: Path) -> None:
    (job,) = retention.submit_due()
    work = retention.erasure(job, tmp_path)
    assert (work.module, work.specification["work"]) == (working.MODULE, "study.desk.retention")
    work.record({"sessions": 1})
    study.refresh_from_db()
    assert study.erased_at is not None
    assert retention.complaint(study) == ""
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.after) == ("retention date", {"what": "identity", "sessions": 1})
