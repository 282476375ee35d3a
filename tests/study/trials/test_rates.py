"""Who asks too often is told when to ask again, and nobody else is kept out by it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client

from study import rate_limits
from study.rate_limits import Limit
from study.trials.models import Study
from tests.study.factories import make_study, start
from tests.study.trials.test_pages import filled

pytestmark = pytest.mark.django_db

CAMPUS = "203.0.113.7"
FEW = Limit(2, 0.01)
PAGE = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture(autouse=True)
def _counted_afresh(settings: Any) -> None:
    rate_limits.store_at.cache_clear()
    settings.RATE_LIMITS = {"run": FEW, "starts": FEW, "misses": FEW}


@pytest.fixture
def study() -> Study:
    return make_study()


@pytest.fixture
def visitor() -> Client:
    return Client(REMOTE_ADDR=CAMPUS)


def test_a_run_that_asks_too_often_is_told_in_json_when_to_ask_again(visitor: Client, study: Study) -> None:
    _, token = start(study)
    replies = [visitor.get(f"/run/{token}/i/0/left") for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    refused = replies[-1]
    assert refused.json() == {"error": "too_many", "detail": "Too many requests: please try again in 100 s."}
    assert refused["Retry-After"] == "100"
    assert refused["Cache-Control"] == "private, no-store"
    assert refused["Referrer-Policy"] == "no-referrer"


def test_a_run_is_counted_wherever_it_is_asked_for_and_no_other_run_is(study: Study) -> None:
    (_, greedy), (_, other) = start(study), start(study)
    for address in (CAMPUS, "198.51.100.2"):
        assert Client(REMOTE_ADDR=address).get(f"/run/{greedy}/plan").status_code == 200
    assert Client(REMOTE_ADDR=CAMPUS).get(f"/run/{greedy}/plan").status_code == 429
    assert Client(REMOTE_ADDR=CAMPUS).get(f"/run/{other}/plan").status_code == 200


def test_an_answer_that_was_put_off_is_stored_when_it_comes_again(study: Study, settings: Any) -> None:
    session, token = start(study)
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "run": Limit(1, 1000.0)}
    said = {"client_id": "9d3a1a6e-31a8-4a9c-8a52-0d6b5c2f6a01", "attempt": 1, "choice": "left", "rt_ms": 700}
    client = Client(headers={"Sec-Fetch-Site": "same-origin"})
    statuses = [
        client.put(f"/run/{token}/trials/0", json.dumps(said), content_type="application/json").status_code
        for _ in range(30)
    ]
    assert set(statuses) <= {200, 201, 429}
    assert statuses.count(201) == 1
    assert session.trials.filter(answer__isnull=False).count() == 1


def test_starts_are_counted_by_address_and_the_form_is_not_lost(visitor: Client, study: Study) -> None:
    forms = [filled(Client(), study) for _ in range(3)]
    replies = [
        Client(REMOTE_ADDR=CAMPUS).post(f"/s/{study.slug}/start?PROLIFIC_PID=p{i}", form, headers=PAGE)
        for i, form in enumerate(forms)
    ]
    assert [reply.status_code for reply in replies] == [302, 302, 429]
    page = replies[-1].content.decode()
    sent_again = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page))
    assert sent_again == forms[-1]
    assert 'method="post"' in page
    assert 'data-again="100"' in page
    assert Client(REMOTE_ADDR="198.51.100.2").post(f"/s/{study.slug}/start", sent_again).status_code == 302


def test_looking_at_a_study_is_never_limited(visitor: Client, study: Study) -> None:
    assert {visitor.get(f"/s/{study.slug}/").status_code for _ in range(10)} == {200}


@pytest.mark.parametrize("address", ["/s/nowhere/", f"/run/{'A' * 22}/", f"/run/{'A' * 22}/plan"])
def test_guesses_are_counted_by_address(visitor: Client, address: str) -> None:
    assert [visitor.get(address).status_code for _ in range(3)] == [404, 404, 429]


def test_who_shares_an_address_with_a_guesser_is_served(visitor: Client, study: Study) -> None:
    for i in range(5):
        visitor.get(f"/run/{i}/")
    _, token = start(study)
    assert visitor.get(f"/run/{token}/plan").status_code == 200
    assert visitor.get(f"/s/{study.slug}/").status_code == 200
    assert visitor.post(f"/s/{study.slug}/start", filled(visitor, study)).status_code == 302


def test_people_read_it_in_their_language(visitor: Client) -> None:
    for _ in range(2):
        visitor.get("/s/nowhere/")
    reply = visitor.get("/s/nowhere/?PROLIFIC_PID=p", headers={**PAGE, "Accept-Language": "nl"})
    assert reply.status_code == 429
    page = reply.content.decode()
    assert "Een ogenblik geduld" in page
    assert 'method="get"' in page
    assert 'name="PROLIFIC_PID" value="p"' in page


def test_the_page_waits_a_few_seconds_at_least(visitor: Client, settings: Any) -> None:
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "misses": Limit(1, 1.0)}
    replies = [visitor.get("/s/nowhere/", headers=PAGE) for _ in range(2)]
    assert replies[-1]["Retry-After"] == "1"
    assert 'data-again="5"' in replies[-1].content.decode()


def test_this_machine_itself_is_not_counted_by_its_address(study: Study) -> None:
    for _ in range(5):
        assert Client().get("/s/nowhere/").status_code == 404
        assert Client().post(f"/s/{study.slug}/start", filled(Client(), study)).status_code == 302


def test_addresses_elsewhere_are_not_counted(visitor: Client) -> None:
    assert {visitor.get("/nowhere/").status_code for _ in range(5)} == {404}
    assert {visitor.get("/admin/login/").status_code for _ in range(5)} == {200}
