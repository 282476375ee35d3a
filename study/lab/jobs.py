"""How a worker does a job: a process of its own does the work, this one watches it and keeps the job's row.

The work runs in a subprocess, because torch must not be loaded in a process that forks, and because running out of
memory must not take the worker along. The subprocess reports on standard output as `models.run` describes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction

from study.lab.kinds import Result, Work, working_folder
from study.lab.models import Job, canonical_json

logger = logging.getLogger("study.lab")

HEARTBEAT_EVERY_S = 5.0
LOOK_EVERY_S = 1.0
REPORT_EVERY_S = 0.5
SWEEP_EVERY_S = 15.0
STOP_GRACE_S = 10.0

# Idle OpenMP threads spin, and starve the process next door.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


class WorkFailed(Exception):  # noqa: N818 (it is a fact about the work, not about this program)
    """The work itself failed; the message is one sentence. Another attempt would fail likewise."""


class Interrupted(Exception):  # noqa: N818
    """The attempt was cut short from outside; another may succeed."""


class Superseded(Exception):  # noqa: N818
    """Another attempt has the job: this one stops and stores nothing."""


def perform(job_id: str, prepare: Callable[[Job, Path], Work]) -> None:
    """Claim the job, do its work and store the result, once, however often this is called for the same job."""
    job = Job.objects.filter(pk=job_id).first()
    if job is None or not job.claim(f"{socket.gethostname()}:{os.getpid()}"):
        logger.info("Job %s: delivered again, or over; nothing to do.", job_id)
        return
    attempt, folder = job.attempt, working_folder(job)
    try:
        work = prepare(job, folder)
        result = _run(job, attempt, work, folder)
        work.publish(result)
        with transaction.atomic():
            if not job.finish(attempt, result):
                raise Superseded
            work.record(result)
    except Superseded:
        logger.warning("%s: attempt %d has lost the job; its result is dropped.", job, attempt)
    except Interrupted as interrupted:
        job.interrupt(attempt, str(interrupted))
    except ObjectDoesNotExist as missing:
        job.fail(attempt, f"Something that this job needs has been deleted: {missing}")
    except (WorkFailed, ValueError, OSError) as error:
        job.fail(attempt, str(error))
    else:
        shutil.rmtree(folder, ignore_errors=True)


# -- the subprocess


def _run(job: Job, attempt: int, work: Work, folder: Path) -> Result:
    """Run the work and return the fields of its `done` event, keeping lease, progress and cancellation on the way."""
    folder.mkdir(parents=True, exist_ok=True)
    specification = folder / "specification.json"
    specification.write_text(canonical_json({**work.specification, "parent_pid": os.getpid()}))
    errors = folder / "errors.log"
    with (
        errors.open("w") as stderr,
        _process([sys.executable, "-m", work.module, str(specification)], stderr) as process,
    ):
        last = _watch(job, attempt, process)
        code = process.wait()
    event = last.pop("event", None)
    if event == "done" and code == 0:
        return last
    if event == "failed":
        raise WorkFailed(last["error"])
    if event == "stopped" or code < 0:
        raise Interrupted(_ending(code))
    raise WorkFailed(f"The work ended with code {code}. {_last_line(errors)}".strip())


@contextlib.contextmanager
def _process(command: list[str], stderr: IO[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        cwd=settings.BASE_DIR,
        env={**os.environ, **ONE_THREAD},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _watch(job: Job, attempt: int, process: subprocess.Popen[str]) -> dict[str, Any]:
    """Follow the events until the output ends; return the last one.

    Should the worker be killed, Celery has the kernel kill this process too, and the work dies with it. The other jobs
    are swept from here, because while every worker has work, nobody takes the message that asks for it.
    """
    heartbeat, look, report = Every(HEARTBEAT_EVERY_S), Every(LOOK_EVERY_S), Every(REPORT_EVERY_S)
    sweep = Every(SWEEP_EVERY_S)
    last: dict[str, Any] = {}
    unreported = False
    for event in _events(process):
        if event is not None:
            last, unreported = event, event.get("event") == "progress"
        if unreported and report.is_due():
            job.report(attempt, {key: value for key, value in last.items() if key != "event"})
            unreported = False
        if heartbeat.is_due() and not job.heartbeat(attempt):
            raise Superseded
        if look.is_due() and job.cancel_requested(attempt):
            raise Interrupted("Cancelled.")
        if sweep.is_due():
            Job.objects.sweep()
    return last


class Every:
    """Says at most once in so many seconds that it is time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.last = time.monotonic()

    def is_due(self) -> bool:
        now = time.monotonic()
        if now - self.last < self.seconds:
            return False
        self.last = now
        return True


def _events(process: subprocess.Popen[str]) -> Iterator[dict[str, Any] | None]:
    """The process's events as they come, and None several times a second while there are none."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_forward, args=(process.stdout, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=0.2)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        yield json.loads(line)


def _forward(stream: IO[str] | None, lines: queue.SimpleQueue[str | None]) -> None:
    for line in stream or ():
        lines.put(line)
    lines.put(None)


def _ending(code: int) -> str:
    if code >= 0:
        return "The work was stopped from outside."
    name = signal.Signals(-code).name
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"The work was killed by {name}{hint}."


def _last_line(errors: Path) -> str:
    lines = errors.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
