"""An installation of our own to be ill-treated: its processes are kept running as a supervisor would.

Each service is started again when it ends. The processes of this installation, and no others, carry its folder in their
environment: by that they are found, whoever their parent is.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from study import processes, supervision
from tests.faults.ledger import Ledger
from tests.with_postgres import Cluster, initialised

VAR_SIZE = "192m"
LOOK_EVERY_S = 0.1
#: What a dead process leaves behind has so long to end by itself. Then it is told as an orphan, and ended.
MOURNING_S = 2.0


#: Starts a service for the length of a block, and yields its process id.
Run = Callable[[], AbstractContextManager[int]]


@dataclass(frozen=True, order=True)
class Process:
    """A process as it was found. started: in clock ticks since boot, so that a recycled id is not taken for it."""

    pid: int
    parent: int
    started: int
    command: str = field(compare=False)

    @property
    def is_alive(self) -> bool:
        now = _stat(self.pid)
        return now is not None and now[1] == self.started

    @property
    def job(self) -> str | None:
        """The id of the job whose work this is."""
        found = re.search(r"/jobs/([0-9a-f-]{36})/", self.command)
        return found[1] if found else None

    def kill(self, within_s: float = 5.0) -> bool:
        """Whether it was alive, and is dead now, by SIGKILL."""
        if not self.is_alive:
            return False
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        deadline = time.monotonic() + within_s
        while self.is_alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


def process(pid: int) -> Process | None:
    """The living process of this id."""
    stat = _stat(pid)
    if stat is None:
        return None
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    return Process(pid, *stat, command)


def _stat(pid: int) -> tuple[int, int] | None:
    """Parent and start time; None of a process that is gone, or dead and not yet collected by its parent."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (int(fields[1]), int(fields[19]))


class Service(threading.Thread):
    """Keeps one service running. It lives as long as the service may: the kernel ends children with their thread.

    `study.supervision.Supervisor` waits longer the more often something dies, up to half a minute, which is right for a
    service that is broken; here the service is sound and its killer is not, so it is started again after MOURNING_S.
    """

    def __init__(self, name: str, run: Run, here: Installation) -> None:
        super().__init__(name=name, daemon=True)
        self.run_once, self.here = run, here
        self.ending, self.up = threading.Event(), threading.Event()
        self.process: Process | None = None

    def run(self) -> None:
        while not self.ending.is_set():
            try:
                with self.run_once() as pid:
                    if running := process(pid):
                        self._watch(running)
            except (supervision.ServiceError, subprocess.CalledProcessError, OSError) as error:
                self.here.notes.write(service=self.name, what="did not start", detail=str(error))
                self.ending.wait(MOURNING_S)

    def _watch(self, running: Process) -> None:
        self.process = running
        self.here.notes.write(service=self.name, what="started", pid=running.pid)
        self.up.set()
        while running.is_alive and not self.ending.wait(LOOK_EVERY_S):
            pass
        self.up.clear()
        if not self.ending.is_set():
            self.here.notes.write(service=self.name, what="ended", pid=running.pid)
            self.ending.wait(MOURNING_S)
            self.here.tell_orphans(self.here.parentless(), f"{MOURNING_S:g} s after {self.name} {running.pid} ended")

    def end(self) -> None:
        self.ending.set()
        self.join()


@dataclass
class Installation:
    """The processes under `var`, while the block of `installed` lasts. quota: whether `var` is small."""

    var: Path
    cluster: Cluster
    quota: bool
    notes: Ledger
    orphans: Ledger
    web_port: int = field(default_factory=processes.free_port)
    services: dict[str, Service] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    def keep(self, name: str, run: Run) -> None:
        """Start a service, wait until it is up, and keep it so."""
        service = self.services[name] = Service(name, run, self)
        service.start()
        if not service.up.wait(60):
            raise SystemExit(f"{name} did not start within a minute.")

    def keep_program(self, name: str, program: supervision.Program) -> None:
        self.keep(name, lambda: _started(program))

    def end_services(self) -> None:
        """End the services in the opposite order of their start."""
        for name in reversed(list(self.services)):
            self.services.pop(name).end()

    def end_all(self) -> None:
        """The same, and kill what outlives them, so that nothing stays."""
        self.end_services()
        for left in self.processes():
            left.kill()

    def processes(self) -> list[Process]:
        """All living processes of this installation but PostgreSQL's, by id."""
        mark = f"BLINDSPOT_VAR={self.var}\0".encode()
        pids = [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _carries(folder, mark)]
        found = (process(pid) for pid in pids if pid != os.getpid())
        return sorted(one for one in found if one and not self._is_postgres(one))

    def _is_postgres(self, found: Process) -> bool:
        return found.command.startswith("postgres:") or str(self.cluster.directory) in found.command

    def service(self, name: str) -> list[Process]:
        """The service's own process, if it is up."""
        service = self.services.get(name)
        found = service.process if service and service.up.is_set() else None
        return [found] if found and found.is_alive else []

    def children(self, *names: str) -> list[Process]:
        """Living children of these services' processes."""
        parents = {found.pid for name in names for found in self.service(name)}
        return [found for found in self.processes() if found.parent in parents]

    def backends(self) -> list[Process]:
        """PostgreSQL's processes that serve a client."""
        parents = [found.pid for found in self.service("postgres")]
        children = [process(int(pid)) for parent in parents for pid in _children(parent)]
        return sorted(found for found in children if found and "postgres: blindspot" in found.command)

    def works(self) -> list[Process]:
        """The processes that do a job's work."""
        return [found for found in self.processes() if found.job]

    def jobs_under(self, top: Process) -> list[str]:
        """Ids of the jobs whose work hangs on this process, its own included."""
        everyone = self.processes()
        family = {top.pid}
        for _ in everyone:  # as deep as there are processes at most
            family |= {found.pid for found in everyone if found.parent in family}
        return sorted({found.job for found in everyone if found.pid in family and found.job})

    def parentless(self) -> list[Process]:
        """Model processes whose parent is not one of this installation's processes."""
        everyone = self.processes()
        pids = {found.pid for found in everyone}
        return [found for found in everyone if found.job and found.parent not in pids]

    def tell_orphans(self, orphans: Iterable[Process], when: str) -> None:
        for found in orphans:
            self.orphans.write(pid=found.pid, command=found.command, when=when)

    def tell_survivors(self) -> None:
        """Write down whatever is still alive when it should all have ended."""
        self.tell_orphans(self.processes(), "after the installation had ended")


@contextlib.contextmanager
def installed(evidence: Path) -> Iterator[Installation]:
    """A fresh folder on a small file system of its own, PostgreSQL with durable commits, a broker; all removed after.

    The environment of this process, and so of those it starts, names them. Logs are kept in the folder of evidence.
    """
    with contextlib.ExitStack() as stack:
        var, quota = stack.enter_context(_small_folder())
        cluster = stack.enter_context(initialised(durable=True))
        notes, orphans = Ledger(evidence / "services.jsonl"), Ledger(evidence / "orphans.jsonl")
        here = Installation(var, cluster, quota, notes, orphans)
        port, password = processes.free_port(), secrets.token_urlsafe(24)
        os.environ |= {"BLINDSPOT_VAR": str(var), "DATABASE_URL": cluster.url}
        stack.callback(_keep_logs, here, evidence / "log")
        stack.callback(here.end_all)
        here.keep("postgres", lambda: _postgres(cluster))
        broker = processes.broker_program(var / "valkey", port, password)
        here.keep_program("valkey", broker)
        processes.use_broker(f"redis://:{password}@127.0.0.1:{port}/0")
        yield here


@contextlib.contextmanager
def _small_folder() -> Iterator[tuple[Path, bool]]:
    """A folder on a small tmpfs of its own, which takes root; else a plain one. (folder, whether it is small)."""
    folder = Path(tempfile.mkdtemp(prefix="blindspot-faults-"))
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={VAR_SIZE}", "blindspot-faults", str(folder)],
            check=False,
            stderr=subprocess.DEVNULL,
        ).returncode
    )
    try:
        yield folder, mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _postgres(cluster: Cluster) -> Iterator[int]:
    cluster.start()
    pid = cluster.postmaster
    try:
        yield pid
    finally:
        if process(pid):
            cluster.stop()


@contextlib.contextmanager
def _started(program: supervision.Program) -> Iterator[int]:
    with supervision.started(program) as running:
        yield running.pid


def _carries(folder: Path, mark: bytes) -> bool:
    try:
        return mark in (folder / "environ").read_bytes()
    except OSError:
        return False


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def _keep_logs(here: Installation, logs: Path) -> None:
    logs.mkdir(parents=True, exist_ok=True)
    for log in (here.var / "log").glob("*.log"):
        shutil.copy(log, logs / log.name)
    if (server := here.cluster.directory / "log").exists():
        shutil.copy(server, logs / "postgres.log")
