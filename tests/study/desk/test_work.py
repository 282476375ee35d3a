"""`manage.py work`: a host says what it lacks before it takes jobs, and starts one worker for each device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder

from study import processes
from study.celery import app
from study.desk import hosts
from study.desk.management.commands import work

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def ready(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A host that lacks nothing."""
    monkeypatch.setenv("REDIS_URL", "redis://broker")
    monkeypatch.setattr(hosts, "broker_answers", lambda: True)
    monkeypatch.setattr(connection, "close", lambda: None)
    settings.MINIMUM_FREE_MB = 0
    before = app.conf.broker_url
    yield
    app.conf.update(broker_url=before)


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command became, instead of becoming it."""
    found: list[Any] = []

    def exec_(program: str, command: tuple[str, ...], environment: dict[str, str]) -> None:
        found.append((command, environment))
        raise SystemExit

    monkeypatch.setattr(os, "execve", exec_)
    monkeypatch.setattr(os, "chdir", lambda folder: None)
    return found


def test_a_host_that_has_everything_lacks_nothing(settings: Any) -> None:
    assert hosts.missing() == []
    assert list(Path(settings.MEDIA_ROOT).iterdir()) == []


def test_it_names_the_migration_that_the_database_lacks() -> None:
    MigrationRecorder(connection).record_unapplied("lab", "0001_initial")
    assert hosts.missing() == [
        "The database is behind this host's code: it lacks lab.0001_initial; run `manage.py migrate` once, on one host."
    ]


def test_it_refuses_a_database_that_is_ahead_of_its_code() -> None:
    MigrationRecorder(connection).record_applied("lab", "9999_from_the_future")
    (sentence,) = hosts.missing()
    assert "ahead of this host's code, which does not know lab.9999_from_the_future" in sentence


def test_migrations_of_applications_that_are_gone_are_no_matter() -> None:
    MigrationRecorder(connection).record_applied("somebody_elses", "0001_initial")
    assert hosts.missing() == []


def test_it_says_that_the_database_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OperationalError("connection to server at 127.0.0.1\nrefused")

    monkeypatch.setattr(hosts, "missing_migrations", refuse)
    assert hosts.missing() == [
        "The database cannot be reached (DATABASE_URL): connection to server at 127.0.0.1 refused."
    ]


def test_a_sentence_that_ends_as_a_question_gets_no_further_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OperationalError("Is the server accepting TCP/IP connections?")

    monkeypatch.setattr(hosts, "missing_migrations", refuse)
    assert hosts.missing()[0].endswith("TCP/IP connections?")


def test_it_asks_for_a_broker_and_says_when_it_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "broker_answers", lambda: False)
    assert "The broker does not answer" in hosts.missing()[0]
    monkeypatch.delenv("REDIS_URL")
    assert "No broker is known: set REDIS_URL" in hosts.missing()[0]


def test_it_says_that_files_cannot_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, content: Any) -> None:
        raise PermissionError("denied")

    monkeypatch.setattr(storages["default"], "save", refuse)
    (sentence,) = hosts.missing()
    assert "files' storage cannot be written and read" in sentence
    assert sentence.endswith("denied.")


def test_it_says_how_much_room_is_missing(settings: Any) -> None:
    settings.MINIMUM_FREE_MB = 10**12
    (sentence,) = hosts.missing()
    assert "1000000000000 MB are wanted before work starts: make room" in sentence


def test_everything_that_is_missing_is_said_at_once(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setattr(work, "join", lambda: False)
    settings.MINIMUM_FREE_MB = 10**12
    with pytest.raises(CommandError, match=r"cannot take jobs yet\.\n- No broker.*\n- .* make room"):
        call_command("work")


def test_devices_are_counted_as_cuda_counts_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hosts, "DEVICE_FILES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert hosts.devices() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 3")
    assert hosts.devices() == ["2", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert hosts.devices() == []


def test_one_worker_takes_the_place_of_the_command_and_sees_its_device_alone(became: list[Any]) -> None:
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("work", "--queues", "gpu", "--device", "1", "--name", "lab", stdout=out)
    ((command, environment),) = became
    line = " ".join(command)
    assert "-Q gpu " in line
    assert f"-n lab-gpu1-{os.getpid()}@%h" in line
    assert "--pool prefork -c 1 --prefetch-multiplier 1 --max-tasks-per-child 1" in line
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert "NVIDIA device 1" in out.getvalue()


def test_other_queues_share_a_worker_of_the_wanted_width(became: list[Any]) -> None:
    with pytest.raises(SystemExit):
        call_command("work", "--queues", "default,cpu", "--concurrency", "3", stdout=StringIO())
    line = " ".join(became[0][0])
    assert "-Q cpu,default " in line
    assert "-c 3 " in line


def test_by_default_each_device_has_a_worker_and_the_other_queues_one_more() -> None:
    programs = work._programs(list(work.QUEUES), 1, "", ["0", "1"])
    assert [(program.name, dict(program.environment)) for program in programs] == [
        ("work-gpu0", {"CUDA_VISIBLE_DEVICES": "0"}),
        ("work-gpu1", {"CUDA_VISIBLE_DEVICES": "1"}),
        ("work-cpu-default", {}),
    ]


def test_without_a_device_the_queue_gpu_is_done_on_the_processor() -> None:
    programs = work._programs(["gpu"], 1, "", [])
    assert [(program.name, dict(program.environment)) for program in programs] == [("work-gpu", {})]


def test_a_torch_without_cuda_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "torch_uses_devices", lambda: False)
    assert "the NVIDIA device stays idle" in work._device_sentence(["0"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--queues", "gpus"], "There is no queue “gpus”"),
        (["--concurrency", "0"], "at least 1"),
        (["--queues", "cpu", "--device", "1"], "--device is for the queue gpu, which --queues leaves out"),
    ],
)
def test_bad_options_get_one_sentence(arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        call_command("work", *arguments)


def test_a_broker_of_this_installation_is_joined(monkeypatch: pytest.MonkeyPatch, became: list[Any]) -> None:
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setattr(processes, "_recorded_broker", lambda: "redis://here")
    with pytest.raises(SystemExit):
        call_command("work", "--queues", "cpu", stdout=StringIO())
    assert became[0][1]["REDIS_URL"] == "redis://here"
