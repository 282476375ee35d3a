"""No number of queries grows with the number of trials, and none of a participant's reads a whole table."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.study.factories import answer_all, make_study, start

pytestmark = [pytest.mark.django_db, pytest.mark.store]

LENGTHS = {
    10: {"trials_per_strength": 2, "trials_per_control": 2, "catch_trials": 2},
    200: {"trials_per_strength": 158, "trials_per_control": 16, "catch_trials": 8},
}


class Visit:
    """A participant's page and a researcher's, on a study with this many trials; counts what they ask the database."""

    def __init__(self, trials: int) -> None:
        settings = {"family": "blended", "strengths": (2.0,), "participants": 3, **LENGTHS[trials]}
        self.study = make_study(base_images=trials, size=4, **settings)
        self.session, self.token = start(self.study)  # which also reads the design: once a process
        self.client = Client(headers={"Sec-Fetch-Site": "same-origin"})
        self.counts: dict[str, int] = {}

    @contextmanager
    def counted(self, what: str) -> Iterator[None]:
        with CaptureQueriesContext(connection) as seen:
            yield
        self.counts[what] = len(seen)

    def ask(self, what: str, method: str, path: str, content: Any = None) -> Any:
        with self.counted(what):
            body = json.dumps(content) if content is not None else ""
            reply = self.client.generic(method, f"/run/{self.token}/{path}", body, content_type="application/json")
        assert reply.status_code in (200, 201), reply.content
        return reply

    def answer(self, what: str, index: int, attempt: int) -> None:
        right = self.session.trials.get(
            index=index
        ).altered_side  # or a rule might exclude the session, by more queries
        said = {"client_id": str(uuid.uuid4()), "attempt": attempt, "choice": right, "rt_ms": 700}
        self.ask(what, "PUT", f"trials/{index}", said)
        self.ask(f"{what} again", "PUT", f"trials/{index}", said)

    def take_part(self) -> None:
        with self.counted("start"):
            self.study.start_session()
        self.ask("page", "GET", "")
        attempt = self.ask("plan", "GET", "plan").json()["attempt"]
        self.ask("image", "GET", "i/2/left")
        self.answer("practice answer", 0, attempt)
        self.session.refresh_from_db()
        last = self.session.trials.count() - 1
        answer_all(self.session, but=1)
        self.answer("last answer", last, attempt)
        self.ask("complete", "POST", "complete", {})
        self.ask("page at the end", "GET", "")
        with self.counted("withdraw"):
            self.study.sessions.latest("pk").withdraw()

    def look(self) -> None:
        """As a researcher."""
        researcher, _ = get_user_model().objects.get_or_create(username="r", is_staff=True, is_superuser=True)
        self.client.force_login(researcher)
        for what, address in {
            "list of studies": "study/",
            "study": f"study/{self.study.pk}/change/",
            "list of sessions": f"session/?study={self.study.pk}",
            "session": f"session/{self.session.pk}/change/",
        }.items():
            with self.counted(what):
                assert self.client.get(f"/admin/trials/{address}").status_code == 200
        with self.counted("trial table"):
            assert list(self.study.trial_rows())
        with self.counted("session table"):
            assert list(self.study.session_rows())


def test_no_number_of_queries_grows_with_the_number_of_trials() -> None:
    ContentType.objects.get_for_models(*apps.get_models())  # which the admin reads once a process
    counts = []
    for trials in LENGTHS:
        visit = Visit(trials)
        assert visit.session.trials.count() == trials
        visit.take_part()
        visit.look()
        counts.append(visit.counts)
    few, many = counts
    assert many == few


# --- how the database finds what it is asked for

TABLES = ("trials_study", "trials_slot", "trials_session", "trials_trial", "trials_answer", "lab_pair", "lab_baseimage")
WHOLE = re.compile(r"SCAN (?P<sqlite>\w+)(?! USING)|Seq Scan on (?P<postgresql>\w+)")


def tables_read_as_a_whole(statement: str) -> set[str]:
    """Whatever else the database could do: a table is small here, and would be read as a whole for that alone."""
    explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}[connection.vendor]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"{explain} {statement}")
        plan = "\n".join(str(row) for row in cursor.fetchall())
    return {found for match in WHOLE.finditer(plan) for found in match.groups() if found in TABLES}


def test_nothing_that_a_participant_asks_for_reads_a_whole_table() -> None:
    visit = Visit(10)
    with CaptureQueriesContext(connection) as seen:
        visit.client.get(f"/s/{visit.study.slug}/")
        visit.take_part()
    asked = [query["sql"] for query in seen if query["sql"].startswith("SELECT")]
    assert len(asked) > 30
    assert tables_read_as_a_whole("SELECT * FROM trials_trial WHERE phase = 'main'") == {"trials_trial"}
    read = {sql: found for sql in dict.fromkeys(asked) if (found := tables_read_as_a_whole(sql))}
    assert read == {}
