"""What Prometheus is told: right sums over processes, right figures from the tables, and nothing about the truth."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from django.conf import settings as django_settings
from django.db.models.functions import Now
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from study import metrics_folder, processes
from study.desk import vitals
from study.lab.models import Job, JobEvent, Sweeper
from study.lab.models.jobs import from_now
from study.trials.models import Population
from tests.study.factories import answer, make_study, start

LABELS = {"view", "method", "status", "le", "population", "state", "kind", "queue", "folder"}


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    vitals.tables.forget()
    return samples(Client().get("/metrics").content.decode())


def count(found: dict[Any, float], name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the tables within the test's own transaction."""
    monkeypatch.setattr(vitals, "tables", vitals.read_tables)
    monkeypatch.setattr(vitals.read_tables, "forget", lambda: None, raising=False)


# --- who may ask


@pytest.mark.usefixtures("db", "tables")
def test_without_a_token_only_this_machine_may_ask() -> None:
    assert Client(REMOTE_ADDR="127.0.0.1").get("/metrics").status_code == 200
    assert Client(REMOTE_ADDR="::1").get("/metrics").status_code == 200
    assert Client(REMOTE_ADDR="203.0.113.9").get("/metrics").status_code == 403
    assert Client(REMOTE_ADDR="").get("/metrics").status_code == 403


def test_a_proxy_on_this_machine_does_not_make_a_stranger_local() -> None:
    assert Client(HTTP_X_FORWARDED_FOR="203.0.113.9").get("/metrics").status_code == 403
    assert Client(HTTP_FORWARDED="for=203.0.113.9").get("/metrics").status_code == 403


def test_production_demands_a_token_even_on_this_machine(settings: Any) -> None:
    settings.PRODUCTION = True
    reply = Client().get("/metrics")
    assert (reply.status_code, reply["Cache-Control"]) == (403, "no-store")
    assert b"METRICS_TOKEN" in reply.content


@pytest.mark.usefixtures("db", "tables")
def test_with_a_token_it_alone_counts(settings: Any) -> None:
    settings.METRICS_TOKEN, settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = "s3cret", ["study.example"], True
    far = Client(REMOTE_ADDR="203.0.113.9", HTTP_HOST="10.0.0.4")
    assert far.get("/metrics", headers={"Authorization": "Bearer s3cret"}).status_code == 200
    assert far.get("/metrics", headers={"Authorization": "Bearer s3creT"}).status_code == 403
    assert Client().get("/metrics").status_code == 403


# --- what is counted while serving


@pytest.mark.usefixtures("db", "tables")
def test_requests_are_counted_by_the_name_of_their_view_never_by_their_path() -> None:
    study = make_study()
    _, token = start(study)
    labels = {"view": "trials:image", "method": "GET", "status": "200"}
    before = scraped()
    for index in (0, 1):
        Client().get(f"/run/{token}/i/{index}/left")
    text = Client().get("/metrics").content.decode()
    after = samples(text)
    assert count(after, "blindspot_requests_total", **labels) - count(before, "blindspot_requests_total", **labels) == 2
    seconds = {
        name: count(after, f"blindspot_request_seconds_{name}", view="trials:image") for name in ("count", "sum")
    }
    assert seconds["count"] >= 2
    assert 0 < seconds["sum"] < seconds["count"]
    assert token not in text
    assert study.slug not in text


def test_a_visitor_cannot_make_new_series() -> None:
    from study import metrics

    for path, method in (("/a", "BREW"), ("/b", "STIR"), ("/c/d?e", "BREW")):
        Client().generic(method, path)
    text = metrics.exposition().decode()
    assert count(samples(text), "blindspot_requests_total", view="none", method="other", status="404") >= 3
    assert not re.search("BREW|STIR|/a|/c", text)


@pytest.mark.usefixtures("db", "tables")
def test_stored_answers_and_served_images_are_counted_by_population_and_repeats_are_not() -> None:
    names = ("blindspot_answers_stored_total", "blindspot_images_served_total")
    before = scraped()
    for population in (Population.SIMULATED, Population.REAL, Population.REAL):
        _, token = start(make_study(), population)
        body = {"client_id": str(uuid.uuid4()), "attempt": 1, "choice": "left", "rt_ms": 700}
        Client().get(f"/run/{token}/i/0/left")
        for _ in range(2):
            put = Client(HTTP_SEC_FETCH_SITE="same-origin").put
            assert put(f"/run/{token}/trials/0", body, content_type="application/json").status_code in (200, 201)
    after = scraped()
    for name in names:
        grown = {
            population: count(after, name, population=population) - count(before, name, population=population)
            for population in Population.values
        }
        assert grown == {"real": 2, "simulated": 1, "preview": 0}


# --- what the tables say


def make_job(state: str = Job.State.QUEUED, kind: str = Job.Kind.TRAIN, **fields: Any) -> Job:
    return Job.objects.create(kind=kind, state=state, idempotency_key=os.urandom(32).hex(), **fields)


@pytest.mark.django_db
def test_jobs_are_counted_by_kind_and_state_and_leases_by_the_clock_of_the_database() -> None:
    make_job(Job.State.SUCCEEDED)
    make_job(Job.State.RUNNING, lease_until=from_now(timedelta(seconds=10)))
    make_job(Job.State.RUNNING, kind=Job.Kind.PAIRS, lease_until=from_now(-timedelta(seconds=10)))
    found = vitals.read_tables()
    assert {key: n for key, n in found.jobs.items() if n} == {
        ("train", "succeeded"): 1, ("train", "running"): 1, ("pairs", "running"): 1,
    }  # fmt: skip
    assert (found.leases_held, found.leases_expired) == (1, 1)
    assert len(found.jobs) == len(Job.Kind) * len(Job.State)


@pytest.mark.django_db
def test_the_age_of_a_queue_is_that_of_its_oldest_job() -> None:
    make_job(queued_at=from_now(-timedelta(seconds=40)))
    make_job(kind=Job.Kind.EVALUATE, queued_at=from_now(-timedelta(seconds=90)))
    make_job(kind=Job.Kind.PAIRS, queued_at=Now())
    make_job(Job.State.FAILED, kind=Job.Kind.PAIRS, queued_at=from_now(-timedelta(hours=1)))
    waiting = vitals.read_tables().waiting
    assert (waiting["gpu"].jobs, round(waiting["gpu"].oldest_s)) == (2, 90)
    assert (waiting["cpu"].jobs, round(waiting["cpu"].oldest_s)) == (1, 0)
    assert waiting["default"] == vitals.Waiting()


@pytest.mark.usefixtures("db", "tables")
def test_lease_expiries_are_counted_from_what_happened_to_jobs() -> None:
    job = make_job()
    for kind in (JobEvent.Kind.LEASE_EXPIRED, JobEvent.Kind.LEASE_EXPIRED, JobEvent.Kind.CLAIMED):
        JobEvent.objects.create(job=job, attempt=1, kind=kind)
    found = scraped()
    assert count(found, "blindspot_job_events_total", kind="lease_expired") == 2
    assert count(found, "blindspot_job_events_total", kind="failed") == 0


@pytest.mark.usefixtures("db", "tables")
def test_sessions_are_counted_by_population_and_state_and_the_last_sweep_has_an_age() -> None:
    Sweeper.objects.update_or_create(pk=1, defaults={"swept_at": from_now(-timedelta(seconds=30))})
    study = make_study()
    start(study)
    start(study, Population.SIMULATED)
    start(study, Population.SIMULATED)[0].withdraw()
    found = scraped()
    assert count(found, "blindspot_sessions", population="real", state="active") == 1
    assert count(found, "blindspot_sessions", population="simulated", state="active") == 1
    assert count(found, "blindspot_sessions", population="simulated", state="withdrawn") == 1
    assert count(found, "blindspot_sessions", population="preview", state="active") == 0
    assert count(found, "blindspot_open_studies") == 1
    assert 30 <= count(found, "blindspot_seconds_since_sweep") < 60


@pytest.mark.django_db
def test_the_tables_are_read_in_five_queries_however_much_there_is(django_assert_num_queries: Any) -> None:
    study = make_study()
    for _ in range(3):
        answer(start(study)[0], 0)
        make_job()
    with django_assert_num_queries(5):
        vitals.read_tables()


@pytest.mark.usefixtures("db", "tables")
def test_no_label_tells_conditions_sides_or_outcomes_apart() -> None:
    _, token = start(make_study())
    Client().get(f"/run/{token}/i/0/left")
    text = Client().get("/metrics").content.decode()
    assert {label for _, labels in samples(text) for label, _ in labels} <= LABELS
    assert not re.search(r"correct|catch|altered|strength|left|right|wanet|control|practice", text)


def test_a_scrape_survives_database_and_broker_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals.broker, "function", lambda: None)
    vitals.broker.forget()
    found = scraped()  # without the fixture `db`, a query raises
    vitals.broker.forget()
    assert count(found, "blindspot_database_up") == 0
    assert count(found, "blindspot_broker_up") == 0
    assert count(found, "blindspot_disk_free_bytes", folder="var") > 0
    assert not any(name == "blindspot_jobs" for name, _ in found)


# --- several processes


class Gunicorn:
    """The pages as they are deployed, two processes, without a database."""

    def __init__(self, var: Path) -> None:
        self.var, self.port = var, processes.free_port()
        self.log = var / "web.log"
        environment = {
            **os.environ, "BLINDSPOT_VAR": str(var), "WEB_CONCURRENCY": "2", "LOG_FORMAT": "json",
            "DATABASE_URL": "", "PRODUCTION": "",
        }  # fmt: skip
        command = [sys.executable, "-m", "gunicorn", "-c", "python:study.gunicorn", "-b", f"127.0.0.1:{self.port}"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=django_settings.BASE_DIR, env=environment, stdout=log, stderr=log
            )

    def get(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as reply:
                return str(reply.read().decode())
        except HTTPError as error:
            return error.read().decode()

    def get_often(self, path: str, times: int) -> None:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: self.get(path), range(times)))

    def workers(self) -> set[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(pid) for pid in children.split()}

    def counted(self) -> float:
        found = samples(self.get("/metrics"))
        return count(found, "blindspot_requests_total", view="trials:plan", method="GET", status="503")

    def files(self) -> dict[int, Path]:
        """The counters of each process that there is or was."""
        folder = self.var / "run" / "metrics" / str(self.process.pid)
        return {int(path.stem.removeprefix("counter_")): path for path in folder.glob("counter_*.db")}

    def all_have_counted(self) -> bool:
        return all(b"trials:plan" in path.read_bytes() for path in self.files().values())


def until(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    server = Gunicorn(tmp_path_factory.mktemp("gunicorn"))
    try:
        until(lambda: not processes.is_free(server.port))
        until(lambda: len(server.files()) == 2)
        yield server
    finally:
        server.process.terminate()
        server.process.wait(20)


def test_two_processes_count_into_one_sum_that_a_killed_one_stays_in(gunicorn: Gunicorn) -> None:
    sent = 0
    while sent < 40 or not gunicorn.all_have_counted():
        assert sent < 1000
        gunicorn.get_often("/run/x/plan", 20)
        sent += 20
    assert gunicorn.counted() == sent
    victim = min(gunicorn.workers())
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(gunicorn.workers() - {victim}) == 2)
    gunicorn.get_often("/run/x/plan", 20)
    assert gunicorn.counted() == sent + 20
    assert gunicorn.files()[victim].stat().st_size < metrics_folder.SPACE


def test_neither_gunicorns_log_nor_ours_shows_a_token(gunicorn: Gunicorn) -> None:
    token = "AbCdEfGhIjKlMnOpQrStUv"
    gunicorn.get(f"/run/{token}/plan")  # fails: there are no tables
    for nonsense in (f"GET /run/{token}/plan HTTP/9.9\r\n\r\n", f"GET  /run/{token}/\x01 nonsense\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", gunicorn.port)) as connection:
            connection.sendall(nonsense.encode())
            connection.recv(1000)
    lines = gunicorn.log.read_text().splitlines()
    assert any("/run/[token]/plan" in line for line in lines)
    assert token not in gunicorn.log.read_text()
    assert all(json.loads(line)["level"] for line in lines)


def test_the_folder_of_a_server_that_has_ended_goes_and_that_of_another_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(metrics_folder.VARIABLE, "")
    for name in ("999999999", str(os.getpid()), str(os.getppid())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "counter_1.db").touch()
    metrics_folder.begin(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([str(os.getpid()), str(os.getppid())])
    assert list((tmp_path / str(os.getpid())).iterdir()) == []
    assert os.environ[metrics_folder.VARIABLE] == str(tmp_path / str(os.getpid()))


def test_on_a_full_disk_a_process_counts_for_itself_instead_of_dying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv(metrics_folder.VARIABLE, str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    metrics_folder.reserve()
    assert metrics_folder.VARIABLE not in os.environ
    assert list(tmp_path.glob("*.db")) == []
