"""Does the researcher's desk stay quick with a million trials? `python -m benchmarks.bench_desk [--trials 1000000]`.

On a PostgreSQL made for this and removed after it: one study whose participants have answered 200 trials each, with
traces and events, and a second small one beside it. Asked for, signed in as a superuser and as the study's owner: every
list of the admin (its first page, and a search where it can be searched) and every page of the study. The
bars, of the median of some requests in one process, after one that is not counted:

    a list of the admin     <= 1000 ms
    a page of the study     <= 500 ms

Prints each with its queries; writes var/bench/desk.json. Takes some minutes, most of them to fill the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.checkout import ROOT, commit
from tests.with_postgres import cluster

if TYPE_CHECKING:
    from django.test import Client

    from study.trials.models import Study

OUT = ROOT / "var" / "bench" / "desk.json"
TRIALS_EACH = 200
LIST_MS, PAGE_MS = 1000.0, 500.0


@dataclass(frozen=True)
class Row:
    """One page: how long a request took, ms, how many queries it made, and the most that the median may be."""

    what: str
    median_ms: float
    worst_ms: float
    queries: int
    kilobytes: float
    limit_ms: float

    @property
    def holds(self) -> bool:
        return self.median_ms <= self.limit_ms

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "FALLS SHORT"
        return (
            f"{self.what:<48}{self.median_ms:>9.0f}{self.worst_ms:>9.0f}{self.queries:>9}{self.kilobytes:>9.0f}"
            f"{self.limit_ms:>8.0f} {verdict}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_desk", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    with cluster() as url, tempfile.TemporaryDirectory() as var:
        os.environ |= {"DATABASE_URL": url, "BLINDSPOT_VAR": var, "DJANGO_SETTINGS_MODULE": "study.settings"}
        os.environ |= {"DEBUG": "1"}  # static files without a manifest
        rows = measure(options.trials // TRIALS_EACH, options.repeats)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    content = {"commit": commit(), "trials": options.trials, "rows": [asdict(row) | {"ok": row.holds} for row in rows]}
    OUT.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{'':<48}{'median':>9}{'worst':>9}{'queries':>9}{'kB':>9}{'bar':>8}")
    print("\n".join(map(str, rows)))
    return 0 if all(row.holds for row in rows) else 1


def measure(sessions: int, repeats: int) -> list[Row]:
    """Fill the tables and ask for every page."""
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.test import Client

    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "testserver"]
    call_command("migrate", verbosity=0)
    study = fill(sessions)
    superuser, owner = _researchers(study)
    rows = []
    for name, user in (("superuser", superuser), ("owner", owner)):
        client = Client()
        client.force_login(user)
        rows += [_timed(f"{name}: {what}", client, address, repeats, LIST_MS) for what, address in lists()]
        rows += [_timed(f"{name}: {what}", client, address, repeats, PAGE_MS) for what, address in pages(study)]
    return rows


def fill(sessions: int) -> Study:
    """A study of so many complete real sessions, and a small one."""
    from benchmarks.copies import copy, settle
    from tests.study.factories import answer_all, make_study, start

    began = time.perf_counter()
    make_study()
    study = make_study(
        base_images=TRIALS_EACH,
        size=4,
        participants=sessions,
        trials_per_strength=84,
        trials_per_control=4,
        catch_trials=18,
        practice_trials=2,
    )
    session, _ = start(study)
    answer_all(session)
    session.refresh_from_db()
    copy(session, sessions - 1)
    settle()
    print(f"{sessions} sessions of {session.trials.count()} trials, made in {time.perf_counter() - began:.0f} s")
    return study


def _researchers(study: Study) -> tuple[Any, Any]:
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group

    from study.trials.rights import Role

    users = get_user_model().objects
    superuser = users.create_superuser("root")
    owner = users.create_user("owner", is_staff=True)
    owner.groups.set(Group.objects.all())
    study.admit(owner, Role.OWNER)
    return superuser, owner


def lists() -> Iterator[tuple[str, str]]:
    """Every list of the admin, its first page and a search where it can be searched."""
    from django.contrib import admin
    from django.urls import reverse

    for model, model_admin in admin.site._registry.items():
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        yield f"list of {model._meta.verbose_name_plural}", address
        if model_admin.search_fields:
            yield f"search of {model._meta.verbose_name_plural}", f"{address}?q=tiny"
    yield "index", reverse("admin:index")


def pages(study: Study) -> Iterator[tuple[str, str]]:
    """The study's form and all its pages, and the page of one session."""
    from django.urls import reverse

    from study.desk import study_pages

    yield "study", reverse("admin:trials_study_change", args=[study.pk])
    for page in study_pages.pages():
        if page.tab and (page.states is None or study.state in page.states):
            yield f"study: {page.tab}", page.address(study)
    session = study.sessions.order_by("pk").first()
    assert session is not None
    yield "session", reverse("admin:trials_session_change", args=[session.pk])


def _timed(what: str, client: Client, address: str, repeats: int, limit: float) -> Row:
    from django.db import connection

    queries = 0

    def count(execute: Any, *arguments: Any) -> Any:
        nonlocal queries
        queries += 1
        return execute(*arguments)

    with connection.execute_wrapper(count):
        reply = client.get(address)
        content = b"".join(reply) if reply.streaming else reply.content  # type: ignore[arg-type]
    if reply.status_code == 403:  # not for this researcher
        return Row(f"{what} (403)", 0.0, 0.0, queries, 0.0, limit)
    assert reply.status_code == 200, f"{address}: {reply.status_code}"
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        client.get(address)
        times.append(1000 * (time.perf_counter() - began))
    return Row(what, statistics.median(times), max(times), queries, len(content) / 1000, limit)


if __name__ == "__main__":
    sys.exit(main())
