"""How a worker does a job: a process of its own does the work, this one watches it and keeps the job's row.

The work runs in a subprocess, because torch must not be loaded in a process that forks, and because running out of
memory must not take the worker along. The subprocess reports on standard output as `models.run` describes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction

from models import disks
from study.lab import disk, shutdown, sweeping
from study.lab.events import Event, events_of
from study.lab.files import StorageFailed
from study.lab.kinds import Result, Work, working_folder
from study.lab.lease import AWAY, Lease, patiently, repeatedly, tail
from study.lab.models import Job, canonical_json
from study.lab.models.jobs import OLDEST_PAYLOAD_VERSION, PAYLOAD_VERSION
from study.lab.models.sweeper import SWEEP_EVERY
from study.logs import about
from study.supervision import end_with

logger = logging.getLogger("study.lab")

#: What a process gets to write its checkpoint in when the worker ends, and when its work is not wanted any more.
STOP_GRACE_S = 12.0
CANCEL_GRACE_S = 1.0
#: When a process was stopped from outside, the worker may be about to hear that it is to end as well.
SHUTDOWN_FOLLOWS_S = 2.0

ENDING = "The worker was told to end."
#: What comes back by itself: database and storage.
OUTAGES = (*AWAY, StorageFailed)

# Idle OpenMP threads spin, and starve the process next door.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


class WorkFailed(Exception):  # noqa: N818 (it is a fact about the work, not about this program)
    """The work itself failed; the message is one sentence. Another attempt would fail likewise."""


class Interrupted(Exception):  # noqa: N818
    """The attempt was cut short from outside; another may succeed."""


class Returned(Exception):  # noqa: N818
    """This worker is told to end: another is to go on with the job."""


class Superseded(Exception):  # noqa: N818
    """Another attempt has the job: this one stops and stores nothing."""


def perform(job_id: str, prepare: Callable[[Job, Path], Work]) -> None:
    """Claim the job, do its work and store the result, once, however often this is called for the same job."""
    with about(job=job_id):
        job = _claimed(job_id)
        if job is None:
            return
        folder = working_folder(job)
        with (
            shutdown.on_sigterm(),
            Lease(job, job.attempt, folder / "errors.log") as lease,
            repeatedly(SWEEP_EVERY.total_seconds(), sweeping.sweep, "sweeper"),
        ):
            _attempt(job, prepare, folder, lease)


def _claimed(job_id: str) -> Job | None:
    job = patiently(Job.objects.filter(pk=job_id).first)
    if job is not None and job.payload_version > PAYLOAD_VERSION and not job.is_over:
        logger.warning("%s is of version %d: it is left to a newer worker.", job, job.payload_version)
        return None
    if job is None or not patiently(lambda: job.claim(f"{socket.gethostname()}:{os.getpid()}")):
        logger.info("Job %s: delivered again, or over; nothing to do.", job_id)
        return None
    return job


def _attempt(job: Job, prepare: Callable[[Job, Path], Work], folder: Path, lease: Lease) -> None:
    """Do the work and end the attempt in the one way that it deserves."""
    attempt = job.attempt
    try:
        if job.payload_version < OLDEST_PAYLOAD_VERSION:
            raise WorkFailed(f"It was submitted by a version ({job.payload_version}) that is too old: submit it anew.")
        for place in _places():
            disk.require_space(place)
        work = patiently(lambda: prepare(job, folder), OUTAGES, lambda: _stop_if_unwanted_or_ending(lease))
        _stop_if_unwanted_or_ending(lease)
        try:
            result = _run(job, work, folder, lease)
        finally:
            _write_down(lease)
        _stop_if_unwanted(lease)
        patiently(lambda: work.publish(result), OUTAGES, lambda: _stop_if_unwanted_or_ending(lease))
        _stop_if_unwanted(lease)
        patiently(lambda: _store(job, attempt, work, result))
    except Superseded:
        logger.warning("%s: attempt %d has lost the job; its result is dropped.", job, attempt)
    except Returned as returned:
        reason = str(returned)
        patiently(lambda: job.give_back(attempt, reason))
    except Interrupted as interrupted:
        reason = str(interrupted)
        patiently(lambda: job.interrupt(attempt, reason))
    except OUTAGES as error:
        reason = _outage(error)
        patiently(lambda: job.interrupt(attempt, reason))
    except (ObjectDoesNotExist, WorkFailed, ValueError, OSError) as error:
        sentence = _sentence(error)
        logger.warning("%s failed: %s", job, sentence)
        patiently(lambda: job.fail(attempt, sentence))
    except Exception as error:
        # A fault of this program: another attempt would meet it too, and nobody would learn of it.
        logger.exception("%s: this should not have happened.", job)
        sentence = f"A fault of this program, told of in the worker's log: {type(error).__name__}: {error}"
        patiently(lambda: job.fail(attempt, sentence))
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _store(job: Job, attempt: int, work: Work, result: Result) -> None:
    """End the job and store what it made, both or nothing. Raises Superseded when another attempt has the job."""
    with transaction.atomic():
        if job.finish(attempt, result):
            work.record(result)
        elif not job.has_succeeded(attempt):  # unless an earlier call was committed and the answer got lost
            raise Superseded


def _write_down(lease: Lease) -> None:
    """The last of what the work told. How it ended matters, this does not: it is tried once."""
    try:
        lease.write_down()
    except AWAY as error:
        logger.warning("%s: its last progress could not be written: %s", lease.job, error)


def _outage(error: Exception) -> str:
    """What was away for longer than a worker waits; another attempt may find it again."""
    said = " ".join(str(error).split())
    return said if isinstance(error, StorageFailed) else f"The database could not be reached ({said})."


def _sentence(error: Exception) -> str:
    if isinstance(error, ObjectDoesNotExist):
        return f"Something that this job needs has been deleted: {error}"
    if isinstance(error, OSError) and disk.is_for_want_of_room(error) and not isinstance(error, disk.DiskFull):
        return _ran_full()
    return str(error)


# -- the subprocess


def _run(job: Job, work: Work, folder: Path, lease: Lease) -> Result:
    """Run the work and return the fields of its `done` event, keeping progress, cancellation, shutdown on the way."""
    folder.mkdir(parents=True, exist_ok=True)
    specification = folder / f"specification-{job.attempt}.json"  # an older attempt may be about to write its own
    specification.write_text(canonical_json({**work.specification, "parent_pid": os.getpid()}))
    with (
        lease.log.open("w") as stderr,
        _process([sys.executable, "-m", work.module, str(specification)], stderr) as process,
    ):
        last = _watch(process, lease)
        code = process.wait()
    event = last.pop("event", None)
    if event == "done" and code == 0:
        return last
    if event == "failed":
        raise WorkFailed(_with_remedy(last["error"], disk.tells_of_want_of_room(last["error"])))
    if event == "stopped" or code < 0:
        if _shutdown_follows():
            raise Returned(ENDING)
        raise Interrupted(last["error"] if event == "stopped" else _ending(code))
    sentence = f"The work ended with code {code}. {_last_line(lease.log)}".strip()
    full = disk.tells_of_want_of_room(sentence) or disk.is_full(disks.fullest(*_places()))
    raise WorkFailed(_with_remedy(sentence, full))


@contextlib.contextmanager
def _process(command: list[str], stderr: IO[str]) -> Iterator[subprocess.Popen[str]]:
    worker = os.getpid()
    process = subprocess.Popen(
        command,
        cwd=settings.BASE_DIR,
        env={**os.environ, **ONE_THREAD},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        errors="replace",  # a library may print anything
        # Before Python starts: importing torch takes seconds, in which nobody could tell it that the worker is gone.
        preexec_fn=lambda: end_with(worker, signal.SIGKILL),  # noqa: PLW1509
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(CANCEL_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _watch(process: subprocess.Popen[str], lease: Lease) -> Event:
    """Follow the events until the output ends; return the last one. Nothing here waits for database or broker.

    Should the worker be killed, Celery has the kernel kill this process too, and the work dies with it. When the worker
    is told to end, so is the work, and what it says last decides: it may just have got done.
    """
    last: Event = {}
    kill_at: float | None = None
    for event in events_of(process):
        if event is not None:
            last = event
            _pass_on(event, lease)
        _stop_if_unwanted(lease)
        if kill_at is None and shutdown.is_requested():
            process.terminate()
            kill_at = time.monotonic() + STOP_GRACE_S
        if kill_at is not None and time.monotonic() > kill_at:
            process.kill()
    return last


def _stop_if_unwanted(lease: Lease) -> None:
    if lease.lost:
        raise Superseded
    if lease.cancelled:
        raise Interrupted("Cancelled.")


def _stop_if_unwanted_or_ending(lease: Lease) -> None:
    _stop_if_unwanted(lease)
    if shutdown.is_requested():
        raise Returned(ENDING)


def _pass_on(event: Event, lease: Lease) -> None:
    if event.get("event") == "progress":
        lease.tell({key: value for key, value in event.items() if key != "event"})
    elif event.get("event") == "checkpoint":
        lease.reached(float(event["fraction"]))


def _shutdown_follows() -> bool:
    """A service manager signals worker and work together, and the work may be the quicker to end."""
    deadline = time.monotonic() + SHUTDOWN_FOLLOWS_S
    while not shutdown.is_requested() and time.monotonic() < deadline:
        time.sleep(0.05)
    return shutdown.is_requested()


def _ending(code: int) -> str:
    name = signal.Signals(-code).name
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"The work was killed by {name}{hint}."


def _with_remedy(sentence: str, disk_was_full: bool) -> str:
    """The sentence of a work that failed; where the disk was full, with what to do about that."""
    return f"{sentence.rstrip('.')}. {_ran_full()}" if disk_was_full else sentence


def _places() -> tuple[Path, Path]:
    """What a job writes to."""
    return Path(settings.VAR), Path(settings.MEDIA_ROOT)


def _ran_full() -> str:
    return disks.ran_full(disks.fullest(*_places()), goes_on=True)


def _last_line(errors: Path) -> str:
    lines = tail(errors).strip().splitlines()
    return lines[-1] if lines else ""
