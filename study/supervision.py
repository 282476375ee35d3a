"""Programs that keep running: each writes a log, ends with whoever started it, and is started again when it dies."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from django.conf import settings

logger = logging.getLogger("study.processes")

START_TIMEOUT_S = 30.0
# Longer than a worker needs to write a checkpoint and to give its job back.
STOP_TIMEOUT_S = 40.0
LOOK_EVERY_S = 0.1
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
HEALTHY_AFTER_S = 60.0
# Of a program that cannot be asked whether it works.
SETTLED_AFTER_S = 5.0
PR_SET_PDEATHSIG = 1


class ServiceError(RuntimeError):
    """A process did not start; the message says which, and where its log is."""


@dataclass(frozen=True)
class Program:
    """What to start.

    name: of its log and in messages. stdin: what it reads; options with a secret belong here, for everybody can read a
    command line. ready: whether it does its work; None: as soon as it runs. environment: beside this process's own.
    """

    name: str
    command: tuple[str, ...]
    stdin: str = field(default="", repr=False)
    ready: Callable[[], bool] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def started(program: Program) -> Iterator[subprocess.Popen[bytes]]:
    """The program for as long as the block lasts, nobody watching it. Raises ServiceError when it does not come up."""
    process = _launch(program)
    try:
        _wait(program, process)
        yield process
    finally:
        _end(process)


class Supervisor:
    """Keeps programs running for as long as its block lasts, and ends them in the reverse order of their start.

    One that dies is started again after 1 s, and after twice as long each time it dies again, up to 30 s; a minute of
    health brings the pause back to 1 s. Each death and each return is told in one line, at the terminal and in the log
    `supervisor`.
    """

    def __init__(self) -> None:
        self._tiers: list[list[_Kept]] = []
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._all_ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Supervisor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._ending.set()
        for tier in reversed(self._tiers):
            _end(*(kept.process for kept in tier))
        self._all_ended.set()
        self._thread.join()

    def keep(self, *programs: Program) -> None:
        """Start the programs side by side and keep them running; they will also be ended side by side.

        Raises ServiceError when one does not come up; what was kept before stays.
        """
        tier = [_Kept(program, _launch(program)) for program in programs]
        try:
            for kept in tier:
                _wait(kept.program, kept.process)
        except BaseException:
            _end(*(kept.process for kept in tier))
            raise
        with self._lock:
            self._tiers.append(tier)

    def _watch(self) -> None:
        while not self._ending.wait(LOOK_EVERY_S):
            with self._lock:
                if self._ending.is_set():
                    break
                for tier in self._tiers:
                    for kept in tier:
                        kept.look()
        # The kernel ends a child with the thread that started it: this one must outlive them.
        self._all_ended.wait()


class _Kept:
    """A program and the process that runs it now."""

    def __init__(self, program: Program, process: subprocess.Popen[bytes]) -> None:
        self.program = program
        self.process = process
        self.since = time.monotonic()
        self.pause = FIRST_PAUSE_S
        self.start_at: float | None = None
        self.is_returning = False

    def look(self) -> None:
        """Notice a death or a return, or start again what has been dead for long enough."""
        if self.start_at is None:
            if self.process.poll() is not None:
                self._mourn()
            elif self.is_returning and self._works():
                self.is_returning = False
                _tell(f"{self.program.name} is back.")
        elif time.monotonic() >= self.start_at:
            self._start_again()

    def _mourn(self) -> None:
        # What it leaves behind may finish its request or write its checkpoint during the pause.
        _signal_group(self.process, signal.SIGTERM)
        self._wait_and_tell(_ending(self.process.returncode))

    def _start_again(self) -> None:
        _signal_group(self.process, signal.SIGKILL)
        try:
            self.process = _launch(self.program)
        except OSError as error:
            self._wait_and_tell(f"could not be started: {error}")
        else:
            self.since, self.start_at, self.is_returning = time.monotonic(), None, True

    def _works(self) -> bool:
        ready = self.program.ready
        return ready() if ready else time.monotonic() - self.since >= SETTLED_AFTER_S

    def _wait_and_tell(self, what: str) -> None:
        if self.start_at is None and time.monotonic() - self.since >= HEALTHY_AFTER_S:
            self.pause = FIRST_PAUSE_S
        pause, self.pause = self.pause, min(2 * self.pause, LONGEST_PAUSE_S)
        self.start_at = time.monotonic() + pause
        _tell(f"{self.program.name} {what}; starting it again in {pause:g} s (log: {log_path(self.program.name)}).")


@contextlib.contextmanager
def until_signalled() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, instead of ending this process; for its main thread."""
    ended = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: ended.set()) for number in numbers]
    try:
        yield ended
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def log_path(name: str) -> Path:
    """Where the process of this name writes its log."""
    return Path(settings.VAR) / "log" / f"{name}.log"


def _tell(line: str) -> None:
    logger.warning(line)
    # A disk that is full must not end the watch.
    with contextlib.suppress(OSError), _log("supervisor") as log:
        log.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}\n".encode())


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _log(name: str) -> IO[bytes]:
    path = log_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")


# -- one process


def _launch(program: Program) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    with _log(program.name) as log:
        process = subprocess.Popen(
            program.command, cwd=settings.BASE_DIR, stdin=subprocess.PIPE if program.stdin else subprocess.DEVNULL,
            stdout=log, stderr=subprocess.STDOUT, env=_environment(program),
            process_group=0,  # Ctrl-C is answered by the parent alone, and what the child starts can be ended with it
            preexec_fn=lambda: end_with(parent),  # noqa: PLW1509
        )  # fmt: skip
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:  # one that ended at once is noticed as such
            stdin.write(program.stdin.encode())
    return process


def _environment(program: Program) -> dict[str, str]:
    common = {"DJANGO_SETTINGS_MODULE": "study.settings", "OMP_WAIT_POLICY": "PASSIVE"}
    return {**os.environ, **common, **program.environment}


_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def end_with(parent: int, number: signal.Signals = signal.SIGTERM) -> None:
    """In the child: an end, by this signal, when the parent ends, which it may have done since the fork."""
    if _prctl is not None:
        _prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def _wait(program: Program, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while program.ready is not None:
        if process.poll() is not None:
            raise ServiceError(
                f"{program.name} ended at once with code {process.returncode}: see {log_path(program.name)}."
            )
        if program.ready():
            return
        if time.monotonic() > deadline:
            raise ServiceError(
                f"{program.name} did not answer within {START_TIMEOUT_S:.0f} s: see {log_path(program.name)}."
            )
        time.sleep(0.05)


def _end(*processes: subprocess.Popen[bytes]) -> None:
    """End the processes together: politely, then by force, and with each all that it started."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - time.monotonic(), 0.0))
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
