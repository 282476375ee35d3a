"""`manage.py serve` brings a whole installation up from nothing and takes all of it down again."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from study.processes import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


def own_environment(var: Path) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "DATABASE_URL"}}
    return others | {"BLINDSPOT_VAR": str(var)}


@contextmanager
def serving(var: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--port", str(free_port())],
        cwd=ROOT, env=own_environment(var), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    yield process
    process.kill()
    process.wait()


@dataclass(frozen=True)
class Installation:
    """One that runs, with its files in `var`; `said` is how it introduced itself."""

    process: "subprocess.Popen[str]"
    var: Path
    said: str


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One for two tests, the second of which ends it."""
    var = tmp_path_factory.mktemp("var")
    with serving(var) as process:
        yield Installation(process, var, introduction(process))


def introduction(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            return "".join(lines)
    raise AssertionError("serve ended early:\n" + "".join(lines))


def processes_naming(text: str) -> dict[int, str]:
    """Command lines of the processes whose environment holds this text, by their ids."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environment = (directory / "environ").read_bytes().decode(errors="replace")
            command = (directory / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if text in environment and command:
            found[int(directory.name)] = command
    return found


def commands_naming(text: str) -> list[str]:
    return list(processes_naming(text).values())


def test_it_prints_addresses_and_a_password_that_opens_the_admin_and_one_ctrl_c_ends_all(tmp_path: Path) -> None:
    with serving(tmp_path) as serve:
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


def test_a_wanted_port_that_is_taken_is_refused_with_the_name_of_who_has_it(tmp_path: Path) -> None:
    with socket.socket() as mine:
        mine.bind(("127.0.0.1", 0))
        mine.listen()
        port = mine.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "manage.py", "serve", "--port", str(port)],
            cwd=ROOT, env=own_environment(tmp_path), text=True, capture_output=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"CommandError: Port {port} is taken by process {os.getpid()}, ")
    assert done.stderr.endswith(": end that, or choose another --port.\n")


TRAINING = """
import django; django.setup()
from study.desk.demonstration import Demonstration
from study.processes import join
assert join()
eyes = dict(size=32, train_subjects=4, validation_subjects=2, test_subjects=4,
            train_images=256, validation_images=16, test_images=16)
recipe = dict(width=4, batch_size=8, strength_schedule=((2.0, 500),))
loop = Demonstration(name="long", participants=0, strengths=(), eyes=eyes, recipe=recipe, design={})
loop.rows()[2].submit_training()
"""


def until(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def test_a_process_that_is_killed_comes_back_and_is_told_of(installation: Installation) -> None:
    said, files = installation.process.stdout, str(installation.var)
    assert said is not None
    (web,) = re.findall(r"(http://127\.0\.0\.1:\d+)/admin/", installation.said)
    master = min(pid for pid, command in processes_naming(files).items() if "gunicorn" in command)
    os.kill(master, signal.SIGKILL)
    assert "web was killed by SIGKILL; starting it again in 1 s" in said.readline()

    def answers() -> bool:
        try:
            return requests.get(f"{web}/admin/login/", timeout=10).ok
        except requests.ConnectionError:
            return False

    until(lambda: master not in processes_naming(files) and answers(), 30)
    assert "web is back." in said.readline()


def test_its_processes_end_with_it_when_it_is_killed_also_those_that_they_started(
    installation: Installation,
) -> None:
    files = str(installation.var)
    environment = own_environment(installation.var) | {"DJANGO_SETTINGS_MODULE": "study.settings"}
    subprocess.run([sys.executable, "-c", TRAINING], cwd=ROOT, env=environment, check=True)
    until(lambda: any("models.run" in command for command in commands_naming(files)), 60)
    installation.process.kill()
    installation.process.wait()
    until(lambda: commands_naming(files) == [], 60)
