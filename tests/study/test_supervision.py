"""What is kept running: it comes back when it dies, with patience, and ends in good order with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from study import processes, supervision
from study.supervision import Program, ServiceError, Supervisor


@pytest.fixture(autouse=True)
def _quick(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.VAR = tmp_path
    monkeypatch.setattr(supervision, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(supervision, "LOOK_EVERY_S", 0.01)


def shell(name: str, script: str, **options: Any) -> Program:
    return Program(name, ("/bin/sh", "-c", script), **options)


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_is_killed_is_started_again_and_told_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pids = tmp_path / "pids"
    with Supervisor() as supervisor:
        supervisor.keep(shell("loop", f"echo $$ >> {pids}; exec sleep 60"))
        until(lambda: len(lines(pids)) == 1)
        os.kill(int(lines(pids)[0]), signal.SIGKILL)
        until(lambda: len(lines(pids)) == 2)
        assert is_alive(int(lines(pids)[1]))
    assert not is_alive(int(lines(pids)[1]))
    assert [record.message.split(";")[0] for record in caplog.records] == ["loop was killed by SIGKILL"]
    assert len(lines(supervision.log_path("supervisor"))) == 1


@pytest.mark.parametrize("can_be_asked", [True, False])
def test_the_return_of_what_died_is_told_once_it_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, can_be_asked: bool
) -> None:
    monkeypatch.setattr(supervision, "SETTLED_AFTER_S", 0.1)
    ready = tmp_path / "ready"
    with Supervisor() as supervisor:
        supervisor.keep(shell("loop", f"touch {ready}; exec sleep 60", ready=ready.exists if can_be_asked else None))
        os.kill(supervisor._tiers[0][0].process.pid, signal.SIGKILL)
        until(lambda: len(caplog.records) == 2)
    assert caplog.records[1].message == "loop is back."


def test_the_others_go_on_when_one_dies(tmp_path: Path) -> None:
    steady, frail = tmp_path / "steady", tmp_path / "frail"
    with Supervisor() as supervisor:
        supervisor.keep(
            shell("steady", f"echo $$ >> {steady}; exec sleep 60"), shell("frail", f"echo x >> {frail}; exit 3")
        )
        until(lambda: len(lines(frail)) == 3)
        assert len(lines(steady)) == 1


def test_the_pause_doubles_while_it_keeps_dying_up_to_a_longest_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "LONGEST_PAUSE_S", 0.2)
    with Supervisor() as supervisor:
        supervisor.keep(shell("frail", "exit 3"))
        until(lambda: len(caplog.records) >= 4)
    said = [record.message.partition("again in ")[2].partition(" ")[0] for record in caplog.records]
    assert said[:4] == ["0.05", "0.1", "0.2", "0.2"]


def test_after_good_health_the_pause_is_short_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "HEALTHY_AFTER_S", 0.0)
    with Supervisor() as supervisor:
        supervisor.keep(shell("frail", "exit 3"))
        until(lambda: len(caplog.records) >= 3)
    assert all("again in 0.05 s" in record.message for record in caplog.records)


def test_what_cannot_even_be_started_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    with Supervisor() as supervisor:
        supervisor.keep(Program("vanishing", (str(program),)))
        moved = program.rename(tmp_path / "away")
        os.kill(supervisor._tiers[0][0].process.pid, signal.SIGKILL)
        until(lambda: any("could not be started" in record.message for record in caplog.records))
        moved.rename(program)
        until(lambda: supervisor._tiers[0][0].process.poll() is None)


def test_what_a_dead_program_leaves_behind_ends_before_it_starts_again(tmp_path: Path) -> None:
    children = tmp_path / "children"
    stubborn = f"(trap '' TERM; exec sleep 60) & echo $! >> {children}; wait"
    with Supervisor() as supervisor:
        supervisor.keep(shell("parent", stubborn))
        until(lambda: len(lines(children)) == 1)
        os.kill(supervisor._tiers[0][0].process.pid, signal.SIGKILL)
        until(lambda: len(lines(children)) == 2)
        until(lambda: not is_alive(int(lines(children)[0])))
        assert is_alive(int(lines(children)[1]))
    until(lambda: not is_alive(int(lines(children)[1])))


def test_they_end_in_the_reverse_order_of_their_start(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    script = "trap 'sleep .1; echo {0} >> {1}; exit 0' TERM; touch {2}; while :; do sleep .02; done"
    ready = [tmp_path / name for name in ("broker", "worker", "web")]
    with Supervisor() as supervisor:
        for path in ready:
            supervisor.keep(shell(path.name, script.format(path.name, ended, path), ready=path.exists))
    assert lines(ended) == ["web", "worker", "broker"]


def test_one_that_will_not_end_is_ended_by_force(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervision, "STOP_TIMEOUT_S", 0.2)
    ready = tmp_path / "ready"
    with Supervisor() as supervisor:
        supervisor.keep(shell("deaf", f"trap '' TERM; touch {ready}; while :; do sleep .02; done", ready=ready.exists))
        pid = supervisor._tiers[0][0].process.pid
    assert not is_alive(pid)


def test_one_that_ends_at_once_says_where_its_log_is_and_the_others_end(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        with pytest.raises(ServiceError, match=r"frail ended at once with code 3: see .*frail\.log"):
            supervisor.keep(
                shell("good", f"echo $$ > {tmp_path}/pid; exec sleep 60"), shell("frail", "exit 3", ready=lambda: False)
            )
        assert supervisor._tiers == []
    until(lambda: not lines(tmp_path / "pid") or not is_alive(int(lines(tmp_path / "pid")[0])))


KEEPER = """
import sys, django; django.setup()
from study.supervision import Program, Supervisor
with Supervisor() as supervisor:
    supervisor.keep(Program("child", ("/bin/sh", "-c", "echo $$; exec sleep 60")))
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_the_programs_end_when_their_keeper_is_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "BLINDSPOT_VAR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "study.settings"}
    with subprocess.Popen(
        [sys.executable, "-c", KEEPER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "ready\n"
        log = tmp_path / "log" / "child.log"
        until(lambda: lines(log))
        keeper.kill()
    until(lambda: not is_alive(int(lines(log)[0])))


def test_a_broker_that_was_killed_comes_back_at_its_address_with_its_messages(tmp_path: Path) -> None:
    port = processes.free_port()
    url = f"redis://:secret@127.0.0.1:{port}/0"
    with Supervisor() as supervisor:
        supervisor.keep(processes.broker_program(tmp_path / "valkey", port, "secret"))
        client = redis.Redis.from_url(url)
        client.rpush("cpu", "message")
        client.execute_command("WAITAOF", 1, 0, 2000)
        os.kill(supervisor._tiers[0][0].process.pid, signal.SIGKILL)
        until(lambda: supervisor._tiers[0][0].start_at is not None)
        until(lambda: processes._answers(url))
        assert redis.Redis.from_url(url).lrange("cpu", 0, -1) == [b"message"]
