"""The probes: alive, ready, and in nobody's way."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.db import connections
from django.test import Client

from study import health, processes
from study.bounded import TookTooLong
from study.lab import files
from study.lab.models import Pair
from tests.study.factories import make_study


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> Iterator[None]:
    health._examine.forget()
    health._amiss.clear()
    yield
    health._examine.forget()
    health._amiss.clear()


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have these functions be the checks."""
    return lambda *functions: monkeypatch.setattr(health, "CHECKS", functions)


def failing() -> None:
    raise OSError("password=hunter2")


def passing() -> None:
    """Nothing is amiss."""


def test_the_process_is_alive_without_asking_the_database() -> None:
    reply = Client().get("/healthz")  # without the fixture `db`, a query would raise
    assert (reply.status_code, reply.content) == (200, b"ok\n")


@pytest.mark.django_db(transaction=True)
def test_it_is_ready_and_says_how_long_each_check_took() -> None:
    reply = Client().get("/readyz")
    assert reply.status_code == 200
    assert reply.json()["ready"] is True
    assert list(reply.json()["checks"]) == ["database", "migrations", "files"]
    assert all(check["ok"] and 0 < check["ms"] < 2000 for check in reply.json()["checks"].values())


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_probe_by_address_over_plain_http_is_answered_and_never_stored(path: str, settings: Any, checks: Any) -> None:
    settings.SECURE_SSL_REDIRECT, settings.ALLOWED_HOSTS = True, ["study.example.org"]
    checks(passing)
    reply = Client(HTTP_HOST="10.1.2.3:8000").get(path)
    assert reply.status_code == 200
    assert reply["Cache-Control"] == "no-store"
    assert not reply.cookies
    assert Client(HTTP_HOST="10.1.2.3:8000").get("/admin/").status_code in (301, 400)


def test_probes_are_only_read(checks: Any) -> None:
    checks(passing)
    client = Client(enforce_csrf_checks=True)
    assert [client.post(path).status_code for path in ("/healthz", "/readyz")] == [405, 405]
    assert client.head("/readyz").status_code == 200


def test_probes_do_not_fill_the_log(checks: Any, caplog: pytest.LogCaptureFixture) -> None:
    checks(passing)
    with caplog.at_level(logging.INFO):
        Client().get("/healthz")
        Client().get("/readyz")
    assert caplog.records == []


def test_what_fails_is_named_without_telling_strangers_more(checks: Any) -> None:
    checks(passing, failing)
    reply = Client().get("/readyz")
    assert reply.status_code == 503
    assert reply.json()["ready"] is False
    assert reply.json()["checks"]["failing"]["detail"] == "It fails: OSError."
    assert b"hunter2" not in reply.content


def test_becoming_unready_and_ready_again_is_told_once_each(checks: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "study.health"):
        for check in (failing, failing, passing, passing):
            checks(check)
            health._examine.forget()
            health.readiness()
    assert [record.getMessage() for record in caplog.records] == [
        "Not ready: failing. It fails: OSError.",
        "Ready again: failing.",
    ]


def test_a_check_that_hangs_is_given_up_and_not_begun_twice(checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, released = [], threading.Event()

    def hanging() -> None:
        begun.append(True)
        released.wait(10)

    checks(passing, hanging)
    monkeypatch.setattr(health._examine, "limit_s", 0.05)
    before = time.monotonic()
    replies = [Client().get("/readyz") for _ in range(3)]
    released.set()
    assert time.monotonic() - before < 1
    assert [reply.status_code for reply in replies] == [503] * 3
    assert replies[0].json()["checks"]["passing"]["ok"] is True
    assert replies[0].json()["checks"]["hanging"]["detail"].startswith("No result in")
    assert len(begun) == 1


def test_many_probes_at_once_check_once(checks: Any) -> None:
    calls = []
    checks(lambda: calls.append(time.sleep(0.02)))
    threads = [threading.Thread(target=health.readiness) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


@pytest.mark.django_db(transaction=True)
def test_a_database_that_cannot_be_opened_makes_the_host_unready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "NAME", "/nowhere/at/all.sqlite3")
    reply = Client().get("/readyz")
    assert reply.status_code == 503
    assert reply.json()["checks"].keys() == {"database"}
    assert reply.json()["checks"]["database"]["detail"] == "It fails: OperationalError."


@pytest.mark.django_db(transaction=True)
def test_code_that_is_ahead_of_the_database_is_not_ready_and_code_that_is_behind_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = health.migrations_of_this_code()
    monkeypatch.setattr(health, "migrations_of_this_code", lambda: known | {("lab", "9999_future")})
    ahead = Client().get("/readyz")
    monkeypatch.setattr(health, "migrations_of_this_code", lambda: known - {max(known)})
    health._examine.forget()
    behind = Client().get("/readyz")
    assert (ahead.status_code, behind.status_code) == (503, 200)
    assert ahead.json()["checks"]["migrations"]["detail"] == "Migrations not applied: 1; run manage.py migrate."


def lose_an_image(settings: Any) -> None:
    (Path(settings.MEDIA_ROOT) / Pair.objects.filter(control="").first().file).unlink()  # type: ignore[union-attr]


@pytest.mark.django_db(transaction=True)
def test_an_image_that_is_lost_is_told_of_and_takes_no_other_study_down(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    study = make_study()
    lose_an_image(settings)
    reply = Client().get("/readyz")
    assert reply.status_code == 200
    assert (reply.json()["ready"], reply.json()["degraded"]) == (True, True)
    lost = "Files of open studies that are lost: 1; `manage.py verify` names them."
    assert reply.json()["checks"]["files"]["detail"] == lost
    health._examine.forget()
    Client().get("/readyz")
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert told == [f"Ready, but not whole: files. {lost}"]
    study.close()
    health._examine.forget()
    assert Client().get("/readyz").json()["degraded"] is False


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("shared_in_memory")
def test_a_host_whose_images_may_still_come_from_the_storage_is_not_ready(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(opened=False)
    files.publish(image.stored for image in (*study.dataset.base_images.all(), *Pair.objects.all()))
    study.open()
    lose_an_image(settings)
    storage = storages["default"]

    def away(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(type(storage), "_open", away)
        reply = Client().get("/readyz")
    assert reply.status_code == 503
    assert reply.json()["checks"]["files"]["detail"] == "Files of open studies are still in the storage alone."
    health._examine.forget()
    assert Client().get("/readyz").json()["degraded"] is False


def test_what_ends_just_after_the_limit_is_no_fault_of_the_probe(checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def late() -> None:
        raise TookTooLong

    checks(passing)
    with monkeypatch.context() as patched:
        patched.setattr(health, "_examine", late)
        patched.setattr(health, "_found", [health.Check("passing", True, 2000.0)])
        assert [check.ok for check in health.readiness()] == [True]


@pytest.mark.django_db(transaction=True)
def test_answers_need_no_broker_so_its_death_leaves_the_host_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    from study.celery import app

    monkeypatch.setattr(app.conf, "broker_url", f"redis://127.0.0.1:{processes.free_port()}/0")
    assert Client().get("/readyz").status_code == 200
