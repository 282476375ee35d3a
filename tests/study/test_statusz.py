"""The status page: for staff, at a glance, and never in the way of a broker that is dead."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from study import health, processes
from study.celery import app
from study.desk import retention, status, vitals
from study.desk.status import Queue, Status, UnderWay, Worker, alarms
from study.health import Check
from study.lab.models import Dataset, Job, JobEvent
from study.lab.models.jobs import from_now
from study.trials.models import Study
from tests.study.factories import answer, make_study, start

GB = 10**9


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No broker, and nothing remembered of one."""
    monkeypatch.setattr(app.conf, "broker_url", None)
    monkeypatch.setattr(status.health, "readiness", lambda: [Check("database", True, 1.0)])
    _forget()
    yield
    _forget()


def _forget() -> None:
    for remembered in (vitals.broker, status._workers, health._examine):
        remembered.forget()


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("r", "r@example.org", "x"))
    return client


def make_job(state: str = Job.State.QUEUED, **fields: Any) -> Job:
    return Job.objects.create(kind=Job.Kind.TRAIN, state=state, idempotency_key=os.urandom(32).hex(), **fields)


# --- the page


@pytest.mark.django_db
def test_it_is_for_staff_only() -> None:
    participant = Client()
    participant.force_login(get_user_model().objects.create_user("p", "p@example.org", "x"))
    for client in (Client(), participant):
        assert client.get("/statusz")["Location"].startswith("/admin/login/")
        for asked in (
            client.get("/statusz?format=json"),
            client.get("/statusz", headers={"Accept": "application/json"}),
        ):
            assert asked.status_code == 401
            assert asked.json() == {"detail": "For researchers who are signed in to /admin/."}


def test_it_is_never_stored_and_comes_as_json_for_who_asks(staff: Client) -> None:
    page = staff.get("/statusz", headers={"Accept": "text/html,*/*;q=.8"})
    assert page["Content-Type"].startswith("text/html")
    assert "no-store" in page["Cache-Control"]
    assert staff.get("/statusz?format=json").json()["version"] == status.version()
    assert staff.get("/statusz", headers={"Accept": "application/json"}).json()["broker"] is None


def test_a_job_under_way_shows_how_far_it_is_who_does_it_and_when_that_gave_a_sign_of_life(staff: Client) -> None:
    make_job(
        Job.State.RUNNING, lease_owner="gpu1:77", attempt=4, tries=2, progress={"stage": "training", "fraction": 0.42},
        heartbeat_at=from_now(-timedelta(seconds=6)), started_at=Now(), lease_until=from_now(timedelta(seconds=9)),
    )  # fmt: skip
    (job,) = staff.get("/statusz?format=json").json()["running"]
    assert (job["owner"], job["stage"], job["attempt"], job["attempts_without_progress"], job["max_attempts"]) == (
        "gpu1:77", "training", 4, 1, 3,
    )  # fmt: skip
    assert 6 <= job["heartbeat_age_s"] < 30
    page = staff.get("/statusz").content.decode()
    assert '<progress max="1" value="0.42">' in page
    assert "training, 42 %" in page


def test_failures_and_lost_leases_are_those_of_the_last_day(staff: Client) -> None:
    recent = make_job(Job.State.FAILED, error="The disk is full.", finished_at=from_now(-timedelta(hours=1)))
    make_job(Job.State.FAILED, error="Long ago.", finished_at=from_now(-timedelta(hours=30)))
    for hours in (1, 2, 30):
        lost = JobEvent.objects.create(job=recent, attempt=1, kind=JobEvent.Kind.LEASE_EXPIRED)
        JobEvent.objects.filter(pk=lost.pk).update(at=from_now(-timedelta(hours=hours)))
    found = staff.get("/statusz?format=json").json()
    assert found["failed_lately"] == 1
    assert [job["error"] for job in found["failed"]] == ["The disk is full."]
    assert found["leases_expired_lately"] == 2


def test_an_open_study_shows_sessions_by_population_and_answers_a_minute(staff: Client) -> None:
    study = make_study()
    session, _ = start(study)
    start(study, "simulated")
    for index in range(5):
        answer(session, index)
    make_study(opened=False)
    (shown,) = staff.get("/statusz?format=json").json()["studies"]
    assert shown["active"] == {"real": 1, "simulated": 1, "preview": 0}
    assert (shown["answers_per_minute"], shown["complete"], shown["wanted"]) == (1.0, 0, 6)


def test_what_a_draft_was_tried_with_is_nothing_of_the_open_study(staff: Client) -> None:
    study = make_study(opened=False, base_images=22, size=4)
    session, _ = start(study, "simulated")
    answer(session, 0)
    study.open()
    (shown,) = staff.get("/statusz?format=json").json()["studies"]
    assert (shown["active"]["simulated"], shown["answers_per_minute"]) == (0, 0.0)


def test_an_overdue_erasure_is_an_alarm(staff: Client) -> None:
    study = make_study(base_images=22, size=4)
    Study.objects.filter(pk=study.pk).update(retain_until=timezone.localdate())
    study.refresh_from_db()
    assert retention.complaint(study) in staff.get("/statusz?format=json").json()["alarms"]


def test_the_page_costs_as_many_queries_for_much_as_for_little(staff: Client, django_assert_num_queries: Any) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    make_study()
    with CaptureQueriesContext(connection) as few:
        staff.get("/statusz")
    for _ in range(3):
        start(make_study())
        make_job()
        make_job(Job.State.RUNNING, lease_until=Now(), heartbeat_at=Now())
        make_job(Job.State.FAILED, finished_at=Now())
    with django_assert_num_queries(len(few)):
        staff.get("/statusz")


def test_it_tells_nothing_of_what_participants_see(staff: Client) -> None:
    answer(start(make_study())[0], 0)
    text = staff.get("/statusz?format=json").content.decode()
    assert not any(word in text for word in ("correct", "altered", "strength", "catch", "condition"))


def test_a_job_is_called_by_what_it_is_about(staff: Client, tmp_path: Path) -> None:
    data = Dataset.objects.create(name="faces", kind="arrays")
    make_job(Job.State.FAILED, parameters={"dataset": data.pk}, finished_at=Now())
    (job,) = staff.get("/statusz?format=json").json()["failed"]
    assert job["name"] == "train a model: faces"


def test_folders_of_one_file_system_are_one_disk(settings: Any, tmp_path: Path) -> None:
    settings.VAR, settings.MEDIA_ROOT = tmp_path, tmp_path / "files"
    (disk,) = vitals.file_systems()
    assert (disk.name, disk.folder) == ("var and files", str(tmp_path))
    assert [disk.name for disk in vitals.disks()] == ["var", "files"]


# --- broker and workers


def test_a_dead_broker_and_a_mute_one_do_not_hang_the_page(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(4)
        for port in (processes.free_port(), mute.getsockname()[1]):
            monkeypatch.setattr(app.conf, "broker_url", f"redis://127.0.0.1:{port}/0")
            _forget()
            before = time.monotonic()
            found = staff.get("/statusz?format=json").json()
            assert time.monotonic() - before < 4
            assert (found["broker"], found["workers"]) == (None, None)
            assert found["alarms"][0].startswith("The broker does not answer.")


def test_a_broker_says_what_it_is_and_what_waits_there(tmp_path: Any, settings: Any, monkeypatch: Any) -> None:
    import redis

    settings.VAR = tmp_path
    with processes.embedded_broker(tmp_path / "valkey") as url:
        monkeypatch.setattr(app.conf, "broker_url", url)
        redis.Redis.from_url(url).rpush("gpu", "one", "two")
        found = vitals.broker()
    assert found is not None
    assert found.server.startswith("Valkey ")
    assert found.messages == {"gpu": 2, "cpu": 0, "default": 0}


# --- what needs looking after


CALM = Status(
    at=timezone.now(), version="1", commit="c", database="d", readiness=[Check("database", True, 1.0)],
    broker=vitals.Broker("Valkey", {"gpu": 0}), workers=[Worker("gpu-1@a", ["gpu"])],
    queues=[Queue("gpu", jobs=0, oldest_s=0, running=0, messages=0, workers=1)], running=[], failed=[],
    failed_lately=0, leases_expired=0, leases_expired_lately=0, swept_s=3.0, studies=[],
    disks=[vitals.Disk("var", "/var", 100 * GB, 50 * GB)], backup=None, overdue=[],
)  # fmt: skip


def queue(**fields: Any) -> Queue:
    return replace(CALM.queues[0], **fields)


def test_nothing_needs_looking_after_while_jobs_are_done_one_after_the_other() -> None:
    assert alarms(CALM) == []
    assert alarms(replace(CALM, queues=[queue(jobs=9, oldest_s=4000.0, running=1)])) == []
    assert alarms(replace(CALM, queues=[queue(jobs=1, oldest_s=5.0)])) == []


def test_a_study_without_participants_or_with_a_backup_of_today_is_calm() -> None:
    assert alarms(replace(CALM, studies=[replace(OPEN, begun=0)])) == []
    assert alarms(replace(CALM, studies=[OPEN], backup=CALM.at - timedelta(hours=23))) == []


OPEN = UnderWay(
    id=1, title="S", slug="s", state="open", active={"real": 1}, begun=1, complete=0, wanted=6, answers_per_minute=1.0
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"studies": [OPEN]}, "No backup of this installation in "),
        (
            {"studies": [OPEN], "at": datetime(2026, 3, 3, 9, tzinfo=UTC), "backup": datetime(2026, 3, 2, tzinfo=UTC)},
            "No backup of this installation since 2026-03-02 00:00 UTC: manage.py backup.",
        ),
        ({"queues": [queue(jobs=1, oldest_s=600.0)]}, "A job has waited 10 min in the queue gpu although a worker is"),
        ({"queues": [queue(jobs=2, oldest_s=1.0, workers=0)]}, "2 jobs wait in the queue gpu, and no worker takes"),
        ({"broker": None}, "The broker does not answer. Participants are not affected"),
        ({"leases_expired": 2, "swept_s": 300.0}, "The workers of 2 jobs are silent, and nobody takes them up"),
        ({"readiness": [Check("files", False, 1.0, "Gone.")]}, "This host cannot serve participants: Gone."),
        ({"readiness": [Check("files", True, 1.0, "Lost: 1.")]}, "Some participants are not served: Lost: 1."),
        (
            {"overdue": ["What s was to keep until 2026-03-01 is not erased yet."]},
            "What s was to keep until 2026-03-01",
        ),
        ({"disks": [vitals.Disk("var", "/var", 100 * GB, GB // 2)]}, "The disk of /var has 500 MB left."),
    ],
)
def test_what_needs_looking_after_is_one_sentence(changed: dict[str, Any], sentence: str) -> None:
    (alarm,) = alarms(replace(CALM, **changed))
    assert alarm.startswith(sentence)
