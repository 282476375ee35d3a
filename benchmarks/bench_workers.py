"""How long do workers take to start, to stop and to be replaced, and how large is a web process?

    python -m benchmarks.bench_workers [--rounds 5]

On an installation of its own: SQLite, the embedded broker, workers and web server as `serve` starts them. The bars:

    a killed worker's job runs again    SIGKILL of the worker (another is started at once) or of its pool process alone,
                                        until the next attempt is claimed: <= 30 s
    a running training is cancelled     from the request to the row that says so: <= 2 s
    a worker starts                     from its launch until it has claimed a job that was waiting: <= 3 s
    a web process                       resident memory after pages were asked for: <= 150 MB, and no torch in it

Wall-clock times: they mean something on a machine that has nothing else to do. Writes var/bench/workers.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.bench_footprint import web_memory
from benchmarks.checkout import ROOT, commit
from benchmarks.side_channel.target import installation

if TYPE_CHECKING:
    from study.lab.models import Dataset, Job

OUT = ROOT / "var" / "bench" / "workers.json"
TARGET = {"kind": "fixed", "pitch": 0.0, "yaw": 0.5}
#: Long enough that something can happen to it.
EPOCHS = 2000


@dataclass(frozen=True)
class Row:
    """One bar: what was measured, each value, and the most that the worst may be."""

    what: str
    unit: str
    values: list[float]
    limit: float

    @property
    def holds(self) -> bool:
        return max(self.values) <= self.limit

    def __str__(self) -> str:
        median, worst = statistics.median(self.values), max(self.values)
        verdict = "holds" if self.holds else "FALLS SHORT"
        return (
            f"{self.what:<52}{len(self.values):>4}{median:>9.2f}{worst:>9.2f}{self.limit:>7g} {self.unit:<3} {verdict}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_workers", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement (default: %(default)s)")
    rounds = parser.parse_args(arguments).rounds
    os.environ["REDIS_URL"] = ""
    with installation():
        rows = measure(rounds)
    print(f"{'':<52}{'n':>4}{'median':>9}{'worst':>9}{'bar':>7}")
    print(*rows, sep="\n")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"commit": commit(), "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    return 0 if all(row.holds for row in rows) else 1


def measure(rounds: int) -> list[Row]:
    from django.conf import settings

    from study import processes

    with processes.embedded_broker(settings.VAR / "valkey") as broker:
        processes.use_broker(broker)
        dataset = discs(settings.VAR / "discs.npz")
        return [
            Row("worker start to its first task", "s", [start(dataset) for _ in range(rounds)], 3),
            Row("cancel of a running training", "s", [cancel(dataset) for _ in range(rounds)], 2),
            Row("worker killed: its job runs again", "s", [kill_worker(dataset) for _ in range(rounds)], 30),
            Row(
                "pool process killed: its job runs again", "s", [kill_pool_process(dataset) for _ in range(rounds)], 30
            ),
            *web_processes(),
        ]


# -- workers


def start(dataset: Dataset) -> float:
    """s from the launch of a worker until it has claimed the job that waits for it."""
    job = submit(dataset)
    before = time.monotonic()
    with gpu_worker():
        until(lambda: job.attempt == 1, job)
        taken = time.monotonic() - before
        end(job)
    return taken


def cancel(dataset: Dataset) -> float:
    """s from the request to cancel a running training until its row says that it is."""
    job = submit(dataset)
    with gpu_worker():
        until_training(job)
        before = time.monotonic()
        end(job)
        return time.monotonic() - before


def kill_worker(dataset: Dataset) -> float:
    """s from SIGKILL of a worker, after which another is started, until its job is claimed again."""
    job = submit(dataset)
    with gpu_worker() as pid:
        until_training(job)
        os.kill(pid, signal.SIGKILL)
        before = time.monotonic()
        with gpu_worker():
            until(lambda: job.attempt == 2, job)
            taken = time.monotonic() - before
            end(job)
    return taken


def kill_pool_process(dataset: Dataset) -> float:
    """The same for the worker's pool process; the worker itself goes on."""
    job = submit(dataset)
    with gpu_worker():
        until_training(job)
        os.kill(int(job.lease_owner.rsplit(":", 1)[1]), signal.SIGKILL)
        before = time.monotonic()
        until(lambda: job.attempt == 2, job)
        taken = time.monotonic() - before
        end(job)
    return taken


@contextmanager
def gpu_worker() -> Iterator[int]:
    from study import processes

    with processes.worker("gpu", concurrency=1) as process:
        yield process.pid


def submit(dataset: Dataset) -> Job:
    """A training of some minutes."""
    from study.lab.models import ModelRun

    recipe = {"width": 4, "batch_size": 32, "strength_schedule": [[1.0, EPOCHS]], "precision": "float32"}
    name = f"run-{ModelRun.objects.count()}"
    plan = {"network": "five_layer_cnn", "seed": 0, **recipe}
    return ModelRun.objects.plan(name, dataset, recipe=plan, target=TARGET).submit_training()


def until_training(job: Job) -> None:
    """Wait until there is a checkpoint to go on from."""
    until(lambda: job.stage == "training" and job.reached > 0, job)


def end(job: Job) -> None:
    job.request_cancel()
    until(lambda: job.is_over, job)


def until(condition: Callable[[], bool], job: Job, seconds: float = 120.0) -> None:
    """Wait for the condition on the job's row. SystemExit when it does not come true, or the job fails."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline or job.state == "failed":
            raise SystemExit(f"{job} did not do what was waited for: it is {job.state}. {job.error}")
        time.sleep(0.02)
        job.refresh_from_db()


def discs(path: Path) -> Dataset:
    """Noise that stands for eyes: what is learnt does not matter here."""
    from study.lab.models import Dataset

    chance = np.random.default_rng(5)
    np.savez(
        path,
        images=chance.integers(0, 256, (320, 24, 32), dtype=np.uint8),
        pitchyaw=chance.uniform(-0.4, 0.4, (320, 2)).astype(np.float32),
        subject=np.arange(320) % 20,
    )
    return Dataset.objects.arrays("noise", path)


# -- web processes


def web_processes() -> list[Row]:
    """Resident memory of each process of the web server after pages were asked for, and which have torch loaded."""
    found = web_memory()
    return [
        Row("web process, resident", "MB", [process["after"]["rss"] for process in found], 150),
        Row("web process, with torch loaded (1: yes)", "", [float(process["torch"]) for process in found], 0),
    ]


if __name__ == "__main__":
    sys.exit(main())
