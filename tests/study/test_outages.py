"""A database that goes away and comes back, under a web process with its pool of connections."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DataError, InterfaceError, OperationalError
from django.http import HttpResponse
from django.test import RequestFactory

from study.outages import DatabaseOutage
from tests.with_postgres import Cluster, initialised

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import io, json, sys
from study.wsgi import application
from django.conf import settings
from django.core.management import call_command
from tests.study.factories import make_study, start

def get(path, accept):
    said = {}
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "localhost", "SERVER_PORT": "80",
        "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr, "wsgi.url_scheme": "http", "QUERY_STRING": "",
        "HTTP_ACCEPT": accept,
    }
    body = application(environ, lambda status, headers: said.update(status=status, headers=dict(headers)))
    text = b"".join(body).decode()
    getattr(body, "close", lambda: None)()
    return {"status": int(said["status"][:3]), "retry": said["headers"].get("Retry-After"), "body": text}

call_command("migrate", verbosity=0)
study = make_study(base_images=22, size=4)
_, token = start(study)
print(json.dumps({"pool": "pool" in settings.DATABASES["default"]["OPTIONS"]}), flush=True)
for accept in sys.stdin:
    address = f"/run/{token}/plan" if "json" in accept else f"/s/{study.slug}/"
    print(json.dumps(get(address, accept.strip())), flush=True)
"""


class WebProcess:
    """One process of the web application, asked by hand."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def said(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def get(self, accept: str = "application/json") -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{accept}\n")
        self.process.stdin.flush()
        return self.said()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with initialised(durable=False) as fresh:
        fresh.start()
        try:
            yield fresh
        finally:
            fresh.stop()


@pytest.fixture(scope="module")
def web(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    environment = {
        **os.environ, "DJANGO_SETTINGS_MODULE": "study.settings", "DATABASE_URL": cluster.url,
        "BLINDSPOT_VAR": str(tmp_path_factory.mktemp("var")), "LOG_LEVEL": "CRITICAL",
        "DEBUG": "1",  # static files without a build
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        running = WebProcess(process)
        assert running.said() == {"pool": True}
        yield running
        assert process.stdin is not None
        process.stdin.close()


def test_while_the_database_restarts_a_page_is_told_to_ask_again_and_the_next_request_succeeds(
    cluster: Cluster, web: WebProcess
) -> None:
    assert web.get()["status"] == 200
    cluster.stop()
    during, page = web.get(), web.get("text/html")
    cluster.start()
    assert (during["status"], during["retry"]) == (503, "2")
    assert json.loads(during["body"])["error"] == "unavailable"
    assert page["status"] == 503
    assert page["body"].startswith("The server is busy or restarting.")
    came_back = time.monotonic()
    while (reply := web.get())["status"] != 200 and time.monotonic() - came_back < 10:
        time.sleep(0.2)
    assert reply["status"] == 200


def test_a_restart_between_two_requests_goes_unnoticed(cluster: Cluster, web: WebProcess) -> None:
    attempt = json.loads(web.get()["body"])["attempt"]
    cluster.stop()
    cluster.start()
    assert json.loads(web.get()["body"])["attempt"] == attempt + 1


@pytest.mark.parametrize("fault", [OperationalError("server closed the connection"), InterfaceError("closed")])
def test_what_the_database_could_not_do_is_asked_for_again(fault: Exception) -> None:
    reply = DatabaseOutage(lambda request: HttpResponse()).process_exception(RequestFactory().get("/"), fault)
    assert reply is not None
    assert (reply.status_code, reply["Retry-After"]) == (503, "2")


def test_a_fault_of_ours_is_not_passed_off_as_an_outage() -> None:
    middleware = DatabaseOutage(lambda request: HttpResponse())
    assert middleware.process_exception(RequestFactory().get("/"), DataError("out of range")) is None
