"""`manage.py serve` brings a whole installation up from nothing and takes all of it down again."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from study.processes import free_port

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    environment = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "DATABASE_URL"}}
    environment["BLINDSPOT_VAR"] = str(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--port", str(free_port())],
        cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    yield process
    process.kill()
    process.wait()


def introduction(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            return "".join(lines)
    raise AssertionError("serve ended early:\n" + "".join(lines))


def commands_naming(text: str) -> list[str]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environment = (directory / "environ").read_bytes().decode(errors="replace")
            command = (directory / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if text in environment and command:
            found.append(command)
    return found


def test_it_prints_addresses_and_a_password_that_opens_the_admin_and_one_ctrl_c_ends_all(
    serve: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    said = introduction(serve)
    address = re.search(r"(http://127\.0\.0\.1:\d+)/admin/", said)
    password = re.search(r"as admin with the password (\S+)", said)
    assert address is not None
    assert password is not None
    browser = requests.Session()
    browser.get(f"{address[1]}/admin/login/", timeout=10)
    form = {"username": "admin", "password": password[1], "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    page = browser.post(f"{address[1]}/admin/login/?next=/admin/", form, timeout=10)
    assert "Studies" in page.text
    assert len(commands_naming(str(tmp_path))) > 4

    serve.send_signal(signal.SIGINT)
    assert serve.wait(60) == 0
    assert commands_naming(str(tmp_path)) == []


def test_its_processes_do_not_outlive_it_when_it_is_killed(serve: "subprocess.Popen[str]", tmp_path: Path) -> None:
    introduction(serve)
    serve.kill()
    serve.wait()
    deadline = time.monotonic() + 40
    while commands_naming(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert commands_naming(str(tmp_path)) == []
