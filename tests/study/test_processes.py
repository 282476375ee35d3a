"""The embedded broker and its manners: loopback, password, a clean end, and joining what runs already."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from study import processes
from study.celery import app
from study.supervision import Program


@pytest.fixture(autouse=True)
def _own_var(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.VAR = tmp_path
    monkeypatch.delenv("REDIS_URL", raising=False)


@pytest.fixture
def own_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Services in small: a real broker, and a sleeper for each worker."""

    def sleeper(queues: str, concurrency: int) -> Program:
        return Program(f"worker-{queues}", ("/bin/sleep", "60"))

    monkeypatch.setattr(processes, "worker_program", sleeper)
    monkeypatch.setenv("REDIS_URL", "")
    before = app.conf.broker_url
    yield
    app.conf.update(broker_url=before)


def test_the_embedded_broker_answers_on_loopback_only_with_its_password_and_ends_with_the_block(tmp_path: Path) -> None:
    with processes.embedded_broker(tmp_path / "valkey") as url:
        assert url.split("@")[1].startswith("127.0.0.1:")
        assert redis.Redis.from_url(url).ping()
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url("redis://" + url.split("@")[1]).ping()
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(url).ping()


def test_a_broker_that_cannot_start_says_where_its_log_is(tmp_path: Path) -> None:
    with processes.embedded_broker(tmp_path / "valkey") as url:
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        with (
            pytest.raises(processes.ServiceError, match=r"valkey ended at once.*log.valkey\.log"),
            processes.embedded_broker(tmp_path / "second", port=port),
        ):
            pass


def test_a_recorded_broker_is_found_while_it_runs_and_forgotten_after(tmp_path: Path) -> None:
    with processes.embedded_broker(tmp_path / "valkey") as url:
        with processes._recorded(url):
            assert processes._recorded_broker() == url
            assert os.stat(tmp_path / "run" / "broker.json").st_mode & 0o077 == 0
        assert processes._recorded_broker() is None


def test_a_stale_record_is_not_believed(tmp_path: Path) -> None:
    with processes.embedded_broker(tmp_path / "valkey") as url:
        pass
    with processes._recorded(url):
        assert processes._recorded_broker() is None


def test_free_ports_are_free() -> None:
    assert processes.is_free(processes.free_port())


def test_what_may_not_join_a_running_installation_says_so(own_processes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with processes.services(web=False):
        monkeypatch.setenv("REDIS_URL", "")
        with (
            pytest.raises(processes.ServiceError, match="is running its workers"),
            processes.services(web=False, may_join=False),
        ):
            pass


def test_what_may_not_join_names_the_process_and_the_pages_of_the_one_that_runs(tmp_path: Path) -> None:
    with processes.ours_alone(), processes._recorded("redis://here", "http://127.0.0.1:8000"):
        words = f"process {os.getpid()}.* is running its workers, with its pages at http://127.0.0.1:8000/admin/"
        with pytest.raises(processes.ServiceError, match=words), processes.ours_alone():
            pass


def test_no_port_is_chosen_for_an_installation_that_is_running_already() -> None:
    def choose() -> int:
        raise AssertionError("too early")

    with (
        processes.ours_alone(),
        pytest.raises(processes.ServiceError, match="is running its workers"),
        processes.services(web=True, port=choose, may_join=False),
    ):
        pass


def test_who_listens_on_a_port_is_named() -> None:
    with socket.socket() as mine:
        mine.bind(("127.0.0.1", 0))
        mine.listen()
        assert processes.listener(mine.getsockname()[1]).startswith(f"process {os.getpid()}, ")
    assert processes.listener(processes.free_port()) == ""


def test_a_second_command_joins_the_broker_of_the_first(own_processes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with processes.services(web=False) as first:
        monkeypatch.setenv("REDIS_URL", "")
        with processes.services(web=False) as second:
            assert second.broker == first.broker


def test_the_installation_is_free_again_when_the_first_has_ended(own_processes: None) -> None:
    with processes.services(web=False) as first:
        pass
    with processes.services(web=False, may_join=False) as second:
        assert second.broker != first.broker


def test_a_command_waits_for_a_broker_that_is_just_being_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([None, None, "redis://back"])
    monkeypatch.setattr(processes, "_recorded_broker", lambda: next(looks))
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        assert processes._join_or_own(first, may_join=False) is None
        assert processes._join_or_own(second, may_join=True) == "redis://back"


def test_a_command_that_waits_in_vain_names_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_TIMEOUT_S", 0.0)
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        assert processes._join_or_own(first, may_join=False) is None
        with pytest.raises(processes.ServiceError, match=r"does not answer: see .*valkey\.log"):
            processes._join_or_own(second, may_join=True)


def test_each_device_has_a_worker_of_its_own_that_sees_no_other() -> None:
    program = processes.worker_program("gpu", 1, device="1")
    assert program.environment == {"CUDA_VISIBLE_DEVICES": "1"}
    assert processes.worker_program("cpu", 1).environment == {}


def test_workers_of_different_commands_write_into_logs_of_their_own() -> None:
    names = [processes.worker_program("cpu", 1, **more).name for more in ({}, {"command": "work"})]
    assert names == ["worker-cpu", "work-cpu"]
