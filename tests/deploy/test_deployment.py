"""The files for other machines agree with the code: no image is built here, but names and times can be checked."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from study import gunicorn
from study.lab import jobs
from study.queues import QUEUES
from study.supervision import STOP_TIMEOUT_S

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == COMPOSE["x-app"]["image"]}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE_FILES = [DEPLOY / "compose.yaml", DEPLOY / "data-host.yaml"]


def documented_variables() -> set[str]:
    return set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE))


def example() -> dict[str, str]:
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def unit(path: Path) -> dict[str, str]:
    lines = (line for line in path.read_text().splitlines() if "=" in line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def commands() -> list[list[str]]:
    """Every command line of ours that a container or a unit runs."""
    found = [service["command"] for service in OURS.values() if "command" in service]
    for path in UNITS:
        found += [
            shlex.split(line) for line in re.findall(r"^ExecStart(?:Pre)?=-?(.+)$", path.read_text(), re.MULTILINE)
        ]
    shell = re.search(r'^CMD \["sh", "-ec", "(.+)"\]$', DOCKERFILE, re.MULTILINE)
    assert shell is not None
    return found + [shlex.split(part.strip().removeprefix("exec ")) for part in shell[1].split(";")]


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_variable_that_a_container_is_given_is_documented(name: str) -> None:
    assert set(OURS[name]["environment"]) - documented_variables() == set()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_every_variable_of_a_unit_is_documented_or_its_own(path: Path) -> None:
    given = {pair.split("=")[0] for pair in unit(path)["Environment"].split()}
    own = set(re.findall(r"\$\{([A-Z_]+)\}", unit(path)["ExecStart"]))
    assert given - documented_variables() - {"OMP_WAIT_POLICY"} == own


def test_the_example_names_what_compose_asks_for_and_nothing_else() -> None:
    asked = {name for path in COMPOSE_FILES for name in re.findall(r"(?<!\$)\$\{([A-Z_]+)", path.read_text())}
    assert asked | {"DATA_HOST"} == set(example())


def test_the_example_holds_no_secret() -> None:
    assert {name: value for name, value in example().items() if value} == {
        "WEB_CONCURRENCY": "2", "WORKER_QUEUES": "cpu,default",
    }  # fmt: skip


def test_production_settings_demand_only_what_compose_gives() -> None:
    demanded = set(re.findall(r'_required_in_production\("([A-Z_]+)"', (ROOT / "study" / "settings.py").read_text()))
    assert demanded
    assert demanded <= set(COMPOSE["x-app"]["environment"])


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_exists(command: list[str]) -> None:
    if "manage.py" in command:
        assert command[command.index("manage.py") + 1] in get_commands()
    else:
        assert "gunicorn" in command
        config = command[command.index("--config") + 1]
        assert importlib.util.find_spec(config.removeprefix("python:")) is not None


@pytest.mark.parametrize("command", [line for line in commands() if "work" in line], ids=" ".join)
def test_workers_take_queues_that_exist(command: list[str]) -> None:
    queues = command[command.index("--queues") + 1]
    usual = re.search(r":-([a-z,]+)\}", queues)
    named = (usual[1] if usual else queues).split(",")
    assert set(named) <= set(QUEUES) or queues == "${WORKER_QUEUES}"


def test_one_host_with_its_gpu_takes_jobs_of_every_queue() -> None:
    taken = f"{example()['WORKER_QUEUES']},{SERVICES['worker-gpu']['command'][3 + 1]}"
    assert set(taken.split(",")) == set(QUEUES)


def test_what_the_image_copies_is_there_and_is_not_ignored() -> None:
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert {"manage.py", "study", "requirements.txt"} <= set(sources)
    let_in = re.findall(r"^!(.+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert sorted(sources) == sorted(let_in)
    assert all((ROOT / source).exists() for source in sources)


def test_the_image_runs_the_python_of_the_project_and_not_as_root() -> None:
    requires = re.search(r'requires-python = ">=([\d.]+)', (ROOT / "pyproject.toml").read_text())
    assert requires is not None
    assert f"ARG PYTHON={requires[1]}-slim" in DOCKERFILE
    assert DOCKERFILE.rindex("\nUSER blindspot") > DOCKERFILE.rindex("\nFROM ")


def test_the_packages_that_come_from_another_index_are_pinned_in_the_requirements() -> None:
    pattern = re.search(r"grep -E '(.+?)' requirements", DOCKERFILE)
    assert pattern is not None
    chosen = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if re.match(pattern[1], line)]
    assert [line.split("==")[0] for line in chosen] == ["torch", "torchvision"]


@pytest.mark.parametrize("name", [name for name in OURS if name.startswith("worker")])
def test_a_container_of_workers_waits_for_their_checkpoints(name: str) -> None:
    assert seconds(OURS[name]["stop_grace_period"]) > STOP_TIMEOUT_S > jobs.STOP_GRACE_S


def test_so_does_systemd() -> None:
    worker = unit(DEPLOY / "systemd" / "blindspot-worker.service")
    assert int(worker["TimeoutStopSec"]) > STOP_TIMEOUT_S
    assert worker["KillMode"] == "mixed"


def test_the_web_server_is_given_the_time_to_finish_its_requests() -> None:
    assert seconds(SERVICES["web"]["stop_grace_period"]) > gunicorn.graceful_timeout
    assert int(unit(DEPLOY / "systemd" / "blindspot-web.service")["TimeoutStopSec"]) > gunicorn.graceful_timeout


def test_the_proxy_closes_idle_connections_before_the_web_server_does() -> None:
    kept = re.search(r"keepalive (\d+)s", (DEPLOY / "Caddyfile").read_text())
    assert kept is not None
    assert int(kept[1]) < gunicorn.keepalive


def test_the_proxy_neither_logs_nor_compresses_nor_shows_what_is_for_insiders() -> None:
    lines = [line.split("#")[0].split() for line in (DEPLOY / "Caddyfile").read_text().splitlines()]
    directives = {line[0] for line in lines if line}
    assert not {"log", "encode"} & directives
    (inside,) = (line for line in lines if line[:1] == ["@inside"])
    assert inside[1:] == ["path", "/metrics", "/readyz"]


def test_the_folder_of_a_container_alone_can_be_written_by_its_user() -> None:
    """Else it has the owner and the mode of the folder that it covers in the volume: made by Docker, for root alone."""
    user, var = re.search(r"useradd .*--uid (\d+)", DOCKERFILE), re.search(r"BLINDSPOT_VAR=(\S+)", DOCKERFILE)
    assert user is not None
    assert var is not None
    for service in OURS.values():
        (folder,) = (entry for entry in service["tmpfs"] if entry.startswith(var[1]))
        assert folder.split(":")[1].split(",") == [f"uid={user[1]}", "mode=0700"]


def test_uploads_arrive_on_a_disk_and_not_in_the_web_servers_memory() -> None:
    web = OURS["web"]
    folder = web["environment"]["TMPDIR"]
    assert folder in {volume.split(":")[1] for volume in web["volumes"]}
    assert folder not in {entry.split(":")[0] for entry in web["tmpfs"]}
    assert set(OURS["worker-cpu"]["volumes"]) < set(web["volumes"])


def test_only_the_proxy_is_open_to_the_world() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"proxy"}


def test_a_data_host_listens_on_its_private_address_alone() -> None:
    services = yaml.safe_load((DEPLOY / "data-host.yaml").read_text())["services"]
    assert set(services) <= set(SERVICES)
    assert all(port.startswith("${DATA_HOST:?") for service in services.values() for port in service["ports"])


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_every_service_comes_back_and_has_a_limit(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["deploy"]["resources"]["limits"]["memory"]


def test_the_broker_keeps_its_messages_on_disk_and_never_evicts_one() -> None:
    command = SERVICES["broker"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"


def compose_client() -> bool:
    asked = subprocess.run(["sh", "-c", "docker compose version"], capture_output=True, check=False)
    return asked.returncode == 0


if compose_client():

    @pytest.mark.parametrize("files", [COMPOSE_FILES[:1], COMPOSE_FILES], ids=["one host", "data host"])
    def test_docker_compose_itself_accepts_the_files(files: list[Path], tmp_path: Path) -> None:
        """Only where the client is; without it there is no such test, rather than one that passes."""
        environment = tmp_path / "env"
        environment.write_text("".join(f"{name}={value or 'x'}\n" for name, value in example().items()))
        options = [word for path in files for word in ("-f", str(path))]
        done = subprocess.run(
            ["docker", "compose", "--env-file", str(environment), *options, "--profile", "gpu", "config", "--quiet"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
