"""Who stores answers: ours, a bare Django view on the same server and database, and oTree as pages and live.

Each is a server with participants who are about to answer. What makes participants ready (consent, plan, first page) is
done before the clock starts; an answer is what the browser sends for one trial and what it waits for.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from benchmarks.checkout import ROOT
from benchmarks.side_by_side.costs import Cost, cpu_seconds_of, memory_mb
from benchmarks.side_by_side.ours import TRIALS
from study.processes import free_port

OTREE = "otree==6.0.15"
PATIENCE_S = 60.0

Participants = list[dict[str, Any]]


class Contender(Protocol):
    """A running server."""

    name: str
    address: str
    #: Process id of the server, whose children do the work.
    process: int

    def participants(self, n: int) -> Participants:
        """So many new participants, as `closed_loop` wants them."""

    def stored(self) -> int:
        """How many answers there are in the database."""


@dataclass
class Django:
    """One of our two Django applications: `module` prepares it, `application` is served."""

    name: str
    module: str
    environment: dict[str, str]
    application: str
    address: str = ""
    process: int = 0

    def participants(self, n: int) -> Participants:
        found: Participants = json.loads(self.ask("participants", str(n)))
        return found

    def stored(self) -> int:
        return int(self.ask("stored"))

    def ask(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", self.module, *arguments],
            cwd=ROOT, env=self.environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout


@contextmanager
def django(name: str, application: str, database_url: str, folder: Path) -> Iterator[Django]:
    """`application`, made ready, under gunicorn as `serve` runs it."""
    found = installed(name, application, database_url, folder)
    found.ask("prepare")
    with served(found):
        yield found


def installed(name: str, application: str, database_url: str, folder: Path) -> Django:
    """`application` with a database that is there and a folder of its own, neither made ready nor running."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "DATABASE_URL": database_url, "BLINDSPOT_VAR": str(folder), "LOG_LEVEL": "WARNING"}
    environment.pop("REDIS_URL", None)
    package = application.rpartition(".")[0]
    module = f"{package}.prepare" if "bare" in package else "benchmarks.side_by_side.ours"
    return Django(name, module, environment, application)


@contextmanager
def served(found: Django) -> Iterator[Django]:
    """Under gunicorn as `serve` runs it, until the block ends."""
    port = free_port()
    command = [
        sys.executable, "-m", "gunicorn", found.application, "--config", "python:study.gunicorn",
        "--bind", f"127.0.0.1:{port}",
    ]  # fmt: skip
    log = Path(found.environment["BLINDSPOT_VAR"]) / "web.log"
    with running(command, ROOT, found.environment, log, port) as process:
        found.address, found.process = f"http://127.0.0.1:{port}", process
        yield found


@dataclass
class Otree:
    """oTree's server with the app of `otree_app`; mode: pages or live."""

    name: str
    mode: str
    address: str
    process: int
    folder: Path
    key: str = field(repr=False)

    def participants(self, n: int) -> Participants:
        session = self._api("/api/sessions", {"session_config_name": self.mode, "num_participants": n})["code"]
        people = [person["code"] for person in self._api(f"/api/sessions/{session}")["participants"]]
        return [self._participant(session, code) for code in people]

    def _participant(self, session: str, code: str) -> dict[str, Any]:
        before = [{"method": "GET", "path": f"/InitializeParticipant/{code}", "follow": True}]
        if self.mode == "live":
            page = f"page_name=Trial&page_index=1&session_code={session}"
            messages = [{"index": n, "choice": "left", "rt_ms": 512.5} for n in range(TRIALS)]
            return {"before": before, "socket": f"/live?participant_code={code}&{page}", "requests": messages}
        form = {"headers": {"Content-Type": "application/x-www-form-urlencoded"}, "body": "choice=left&rt_ms=512.5"}
        posts = [
            {"method": "POST", "path": f"/p/{code}/afc/Trial/{n}", "follow": True, **form} for n in range(1, TRIALS + 1)
        ]
        return {"before": before, "requests": posts}

    def _api(self, path: str, said: Mapping[str, Any] | None = None) -> Any:
        headers = {"otree-rest-key": self.key, "content-type": "application/json"}
        body = json.dumps(said).encode() if said else None
        with urllib.request.urlopen(urllib.request.Request(self.address + path, body, headers)) as reply:  # noqa: S310
            return json.load(reply)

    def stored(self) -> int:
        import sqlite3

        table = "afc_live_answer" if self.mode == "live" else "afc_pages_player"
        with closing(sqlite3.connect(self.folder / "db.sqlite3")) as database:
            (n,) = database.execute(f"SELECT count(*) FROM {table} WHERE choice IS NOT NULL").fetchone()  # noqa: S608
        return int(n)


@contextmanager
def otree(mode: str, folder: Path, trials: int = TRIALS) -> Iterator[Otree]:
    """oTree as its `prodserver` runs it, on SQLite; trials: of a participant, one a page."""
    python = otree_python()
    shutil.copytree(Path(__file__).with_name("otree_app"), folder)
    for wanted in ("_static", "_templates"):
        (folder / wanted).mkdir()
    key, port = secrets.token_urlsafe(12), free_port()
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OTREE_PRODUCTION": "1", "OTREE_REST_KEY": key}
    environment["BENCH_TRIALS"] = str(trials)
    environment.pop("DATABASE_URL", None)
    command = [str(python.with_name("otree")), "prodserver1of2", f"127.0.0.1:{port}"]
    with running(command, folder, environment, folder / "web.log", port) as process:
        yield Otree(f"oTree, {mode}", mode, f"http://127.0.0.1:{port}", process, folder, key)


def otree_python() -> Path:
    """The interpreter of an environment that has oTree, made at first use: its old pins fit no other."""
    folder = ROOT / "var" / "bench" / "otree-venv"
    python = folder / "bin" / "python"
    if not (folder / "bin" / "otree").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", OTREE], check=True)
    return python


@contextmanager
def running(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path, port: int
) -> Iterator[int]:
    """A server in a process group of its own, from when it listens until the block ends; yields its id."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdout=output, stderr=output, start_new_session=True
        )
    try:
        _until_it_listens(port, process, log)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"The server on port {port} does not start; its log is {log}.")


@dataclass(frozen=True)
class Load:
    """What one run of the closed loop told, the servers' CPU-seconds, and their memory after it; `received`: bytes."""

    seconds: float
    latencies_ms: tuple[float, ...]
    acknowledged: int
    statuses: Mapping[str, int]
    stored: int
    cpu_s: float
    database_cpu_s: float
    memory_mb: float
    received: int = 0

    @property
    def rate(self) -> float:
        return self.acknowledged / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU of server and database for one answer."""
        return 1000 * (self.cpu_s + self.database_cpu_s) / self.acknowledged

    @property
    def database_cpu_ms(self) -> float:
        """Of that, what the database took."""
        return 1000 * self.database_cpu_s / self.acknowledged

    def latency_ms(self, share: float) -> float:
        """What this share of the answers, in thousandths, came within."""
        return statistics.quantiles(self.latencies_ms, n=1000)[round(1000 * share) - 1]

    @property
    def cost(self) -> Cost:
        """Of one answer; its wall time is the mean that a participant waited."""
        return Cost(statistics.fmean(self.latencies_ms) / 1000, self.cpu_ms / 1000, self.memory_mb)

    @property
    def faults(self) -> int:
        """Other replies than were wanted, and acknowledged answers that are not there, or are there more than once."""
        return sum(self.statuses.values()) - self.acknowledged + abs(self.stored - self.acknowledged)


def load(  # noqa: PLR0917
    contender: Contender, folder: Path, people: int, at_once: int, seconds: float, think_s: float = 0.0,
    database: int | None = None,
) -> Load:  # fmt: skip
    """One run: `people` get ready, `at_once` of them answer at a time."""
    participants, stored = contender.participants(people), contender.stored()
    found = sent(contender, folder, participants, at_once, seconds, think_s, database)
    return replace(found, stored=contender.stored() - stored)


def sent(  # noqa: PLR0917
    contender: Contender, folder: Path, participants: Participants, at_once: int, seconds: float, think_s: float = 0.0,
    database: int | None = None, *, again: bool = False,
) -> Load:  # fmt: skip
    """What comes of these participants' requests; what they stored is not counted. again: over and over, in time."""
    specification = folder / "load.json"
    specification.write_text(json.dumps({
        "address": contender.address, "seconds": seconds, "think_s": think_s, "at_once": at_once, "again": again,
        "participants": participants,
    }))  # fmt: skip
    python = otree_python() if isinstance(contender, Otree) else Path(sys.executable)
    before = cpu_seconds_of(contender.process), cpu_seconds_of(database)
    script = Path(__file__).with_name("closed_loop.py")
    done = subprocess.run([python, script, specification], check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)
    after = cpu_seconds_of(contender.process), cpu_seconds_of(database)
    acknowledged = len(told["acknowledged"])
    return Load(
        seconds=told["seconds"],
        latencies_ms=tuple(told["latencies_ms"]),
        acknowledged=acknowledged,
        statuses=told["statuses"],
        stored=acknowledged,
        cpu_s=after[0] - before[0],
        database_cpu_s=after[1] - before[1],
        memory_mb=memory_mb(contender.process) + (memory_mb(database) if database else 0.0),
        received=told["received"],
    )
