"""How much memory does an export take? `python -m benchmarks.bench_export [--participants 600]`.

A study whose participants have answered 200 trials each, with traces, is fetched from its page in every format, on
SQLite and on a PostgreSQL made for this, each time by a process of its own that is set up as a web process is. The bar,
of the growth of the process's peak memory from before the request to after its last byte:

    any format, 600 x 200 trials    <= 200 MB

Prints each with its size and its time; writes var/bench/export.json. Takes some minutes, most of them to fill the
tables.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

from benchmarks.checkout import ROOT, commit
from tests.with_postgres import cluster

OUT = ROOT / "var" / "bench" / "export.json"
TRIALS_EACH = 200
LIMIT_MB = 200.0
FORMATS = ("trials", "sessions", "json", "psych-ds")
BATCH = 20


@dataclass(frozen=True)
class Row:
    """One export: growth of the peak memory, length of what was sent, time to the first and to the last byte."""

    database: str
    format: str
    growth_mb: float
    sent_mb: float
    first_byte_s: float
    seconds: float

    @property
    def holds(self) -> bool:
        return self.growth_mb <= LIMIT_MB

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "FALLS SHORT"
        return (
            f"{self.database:<12}{self.format:<10}{self.growth_mb:>9.1f}{self.sent_mb:>9.1f}{self.first_byte_s:>9.2f}"
            f"{self.seconds:>9.1f} {verdict}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_export", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--participants", type=int, default=600)
    parser.add_argument("--step", choices=["fill", *FORMATS], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.step == "fill":
        fill(options.participants)
        return 0
    if options.step:
        print(json.dumps(fetch(options.step)))
        return 0
    rows = [row for name, environment in databases() for row in measure(name, environment, options.participants)]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    content = {"commit": commit(), "participants": options.participants, "rows": [asdict(row) for row in rows]}
    OUT.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{'':<22}{'grows MB':>9}{'sent MB':>9}{'first s':>9}{'all s':>9}")
    print("\n".join(map(str, rows)))
    return 0 if all(row.holds for row in rows) else 1


def databases() -> Iterator[tuple[str, Mapping[str, str]]]:
    """The environment of each kind of database, while the loop is at it."""
    for name, opened in (("SQLite", _sqlite), ("PostgreSQL", cluster)):
        with opened() as url, tempfile.TemporaryDirectory() as var:
            settings = {"DATABASE_URL": url, "BLINDSPOT_VAR": var, "DJANGO_SETTINGS_MODULE": "study.settings"}
            yield name, {**os.environ, **settings, "DEBUG": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@contextmanager
def _sqlite() -> Iterator[str]:
    """No address: a file in var."""
    yield ""


def measure(database: str, environment: Mapping[str, str], participants: int) -> list[Row]:
    """Fill the tables, and fetch in every format."""
    command = [sys.executable, "-m", "benchmarks.bench_export", "--participants", str(participants), "--step"]
    subprocess.run([*command, "fill"], check=True, cwd=ROOT, env=environment)
    rows = []
    for chosen in FORMATS:
        done = subprocess.run([*command, chosen], check=True, cwd=ROOT, env=environment, capture_output=True, text=True)
        rows.append(Row(database, chosen, **json.loads(done.stdout.splitlines()[-1])))
    return rows


def fill(participants: int) -> None:
    """A closed study of so many complete sessions, made by copying one that was answered."""
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from tests.study.factories import answer_all, make_study, start

    study = make_study(
        base_images=TRIALS_EACH, size=4, participants=participants, trials_per_strength=84, trials_per_control=4,
        catch_trials=18, practice_trials=2,
    )  # fmt: skip
    session, _ = start(study)
    answer_all(session)
    for first in range(1, participants, BATCH):
        _copy(session, range(first, min(first + BATCH, participants)))
    study.close()


def _copy(session: Any, numbers: range) -> None:
    """The same session again for each of the numbers, with trials, answers and traces."""
    from study.trials.models import Answer, Session, Trial, TrialTrace

    trials = list(session.trials.select_related("answer", "trace").order_by("index"))
    copies = Session.objects.bulk_create(
        _again(session, public_code=f"N{n}", token_sha256=f"{n:064d}", slot_id=None) for n in numbers
    )
    made = Trial.objects.bulk_create(_again(trial, session_id=copy.pk) for copy in copies for trial in trials)
    pairs = list(zip(made, trials * len(copies), strict=True))
    Answer.objects.bulk_create(_again(old.answer, trial_id=new.pk, client_id=uuid.uuid4()) for new, old in pairs)
    TrialTrace.objects.bulk_create(_again(old.trace, trial_id=new.pk) for new, old in pairs)


def _again(row: Any, **changed: Any) -> Any:
    values = {
        field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields if not field.primary_key
    }
    return type(row)(**{**values, **changed})


def fetch(chosen: str) -> dict[str, float]:
    """The fields of a Row, from asking for one export as a web process answers it."""
    import_module("study.wsgi")  # what makes this a web process to the database
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.test import Client
    from django.urls import reverse

    from study.trials.models import Study

    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "testserver"]
    client = Client()
    user = get_user_model().objects.filter(is_superuser=True).first()
    client.force_login(user or get_user_model().objects.create_superuser("root"))
    address = reverse("admin:study_data", args=[Study.objects.get().pk])
    client.get(address)
    before = _peak_mb()
    began = time.perf_counter()
    pieces = iter(client.post(address, {"population": "real", "format": chosen}))
    sent = len(next(pieces))
    first = time.perf_counter() - began
    sent += sum(len(piece) for piece in pieces)
    return {
        "growth_mb": _peak_mb() - before,
        "sent_mb": sent / 1e6,
        "first_byte_s": first,
        "seconds": time.perf_counter() - began,
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    sys.exit(main())
