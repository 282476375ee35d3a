"""The web application stays light: torch and the statistics are for workers and commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ["torch", "torchvision", "statsmodels", "matplotlib", "pandas", "scipy", "boto3", "botocore"]
RESIDENT_MB = 150  # of a process that has migrated and made a study besides: one that only serves has less

SCRIPT = f"""
import io, json, sys
from study.wsgi import application

def get(path):
    said = {{}}
    environ = {{
        "REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "localhost", "SERVER_PORT": "80",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr, "wsgi.url_scheme": "http", "QUERY_STRING": "",
    }}
    body = application(environ, lambda status, headers: said.update(status=status))
    b"".join(body)
    return said["status"][:3]

from django.core.management import call_command
from tests.study.factories import make_study, start

call_command("migrate", verbosity=0)
study = make_study()
_, token = start(study)
run = f"/run/{{token}}/"
addresses = [
    "/healthz", "/readyz", "/metrics", "/admin/login/", f"/s/{{study.slug}}/", run, run + "plan", run + "i/0/left",
]
statuses = [get(address) for address in addresses]

from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from study.desk import study_pages

desk = Client(HTTP_HOST="localhost")
desk.force_login(get_user_model().objects.create_superuser("r"))
desks = [reverse("admin:index"), *(page.address(study) for page in study_pages.pages() if page.tab and not page.states)]
statuses += [str(desk.get(address).status_code) for address in desks]
resident = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1000
heavy = [name for name in {HEAVY} if name in sys.modules]
print(json.dumps({{"statuses": statuses, "resident": resident, "heavy": heavy}}))
"""


def test_answering_requests_loads_neither_torch_nor_statistics(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "BLINDSPOT_VAR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "study.settings",
        "DEBUG": "1",
    }
    environment.pop("DATABASE_URL", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["resident"] < RESIDENT_MB
    assert (set(found["statuses"]), found["heavy"]) == ({"200"}, [])
    assert len(found["statuses"]) > 8
