"""Does a second host join by one command and take jobs? `python -m benchmarks.bench_hosts`.

Two hosts on one machine, each with a folder of its own, share a PostgreSQL, a Valkey and an S3-compatible server, all
made for this and removed after it. Host A trains a clean and a backdoored model and leaves; host B, which has no files,
joins by `manage.py work`, evaluates A's models and makes pairs with them. Prints what lay on which host, and how long
it took from the start of a worker's command to its first task; writes hosts.json. Some 30 s of CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.checkout import ROOT
from models.durable import write_bytes
from tests.with_postgres import cluster

EYES = {"size": 32, "train_subjects": 4, "validation_subjects": 2, "test_subjects": 8,
        "train_images": 128, "validation_images": 32, "test_images": 32}  # fmt: skip
RECIPE = {"width": 4, "batch_size": 32, "strength_schedule": ((2.0, 1),)}
BUCKET = "blindspot"
PATIENCE_S = 180.0


@contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """An S3-compatible server with an empty bucket; yields the STORAGE_URL."""
    import boto3
    from botocore.exceptions import EndpointConnectionError

    from study.processes import free_port

    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "store.log").open("wb") as log, _ended(subprocess.Popen(command, stdout=log, stderr=log)):
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",  # noqa: S106
        )
        for _ in _patiently("The object store does not answer."):
            try:
                client.create_bucket(Bucket=BUCKET)
                break
            except EndpointConnectionError:
                continue
        yield f"s3://key:secret@{BUCKET}/files?endpoint={endpoint}&region=us-east-1"


@contextmanager
def host(var: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A host that has joined by `manage.py work`, until the block ends."""
    var.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "BLINDSPOT_VAR": str(var)}
    with (var / "work.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "work", *arguments], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    with _ended(process):
        yield process


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _patiently(failure: str) -> Iterator[None]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        yield
        time.sleep(0.1)
    raise SystemExit(failure)


def wait_for(jobs: Mapping[str, Any], log: Path) -> None:
    """Until all have succeeded; SystemExit with its sentence when one does not."""
    for _ in _patiently(f"The jobs were not done in {PATIENCE_S:.0f} s: see {log}."):
        for job in jobs.values():
            job.refresh_from_db()
        if all(job.is_over for job in jobs.values()):
            break
    for name, job in jobs.items():
        if job.state != job.State.SUCCEEDED:
            raise SystemExit(f"{name}: {job.message}")


def first_claim(jobs: Mapping[str, Any], since: float) -> float:
    """Seconds from `since`, a Unix time, to the first claim of one of the jobs."""
    from study.lab.models import JobEvent

    events = JobEvent.objects.filter(job__in=[job.pk for job in jobs.values()], kind=JobEvent.Kind.CLAIMED)
    return round(min(event.at for event in events).timestamp() - since, 2)


def rows() -> tuple[Any, Any, Any, Any]:
    from study.desk.demonstration import Demonstration

    return Demonstration(
        name="hosts", participants=0, strengths=(2.0,), eyes=EYES, recipe=RECIPE, design={}
    ).rows()  # fmt: skip


def files_in(var: Path) -> list[str]:
    """The files of pairs and models on a host, by their names."""
    folder = var / "files"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def prove(folder: Path) -> dict[str, Any]:
    """Run it all on the broker, database and storage that the environment names; what was found."""
    from django.core.management import call_command

    from study.lab.models import Pair

    a, b = folder / "a", folder / "b"
    call_command("migrate", verbosity=0, interactive=False)
    dataset, attack, clean, backdoored = rows()

    trainings = {run.name: run.submit_training() for run in (clean, backdoored)}
    began = time.time()
    with host(a, "--name", "a"):
        wait_for(trainings, a / "log")
        first_on_a = first_claim(trainings, began)
    for run in (clean, backdoored):
        run.refresh_from_db()
    on_a = files_in(a)

    work = {
        "evaluation": backdoored.submit_evaluation(strengths=[1.0]),
        "pairs": attack.submit_pairs(dataset, [clean, backdoored], strengths=[2.0]),
    }
    began = time.time()
    with host(b, "--name", "b"):
        wait_for(work, b / "log")
        first_on_b = first_claim(work, began)
    on_b = files_in(b)
    pairs = {pair.file for pair in Pair.objects.all()}
    return {
        "command_to_first_task_s": {"a": first_on_a, "b": first_on_b},
        "files_of_models_on_a": len(on_a),
        "of_these_fetched_by_b": len(set(on_a) & set(on_b)),
        "evaluated_by_b": work["evaluation"].state == "succeeded",
        "pairs_made_by_b": len(pairs),
        "of_these_on_a": len(pairs & set(files_in(a))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "bench" / "hosts.json")
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory(prefix="blindspot-hosts-") as name, ExitStack() as stack:
        folder = Path(name)
        os.environ.update(
            DJANGO_SETTINGS_MODULE="study.settings", BLINDSPOT_VAR=str(folder / "desk"),
            DATABASE_URL=stack.enter_context(cluster()), STORAGE_URL=stack.enter_context(object_store(folder)),
        )  # fmt: skip
        import django

        django.setup()
        from study.processes import embedded_broker, use_broker

        use_broker(stack.enter_context(embedded_broker(folder / "valkey")))
        found = prove(folder)
        from django.db import connections

        connections.close_all()
    print(json.dumps(found, indent=2))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, json.dumps(found, indent=2).encode())


if __name__ == "__main__":
    main()
