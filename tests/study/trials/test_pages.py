"""The participant's pages: information and consent, start, run."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import signing
from django.test import Client

from study.lab.models import Dataset
from study.trials.models import Population, Session, Study
from study.trials.views import START_SALT
from tests.study.factories import answer_all, make_study

pytestmark = pytest.mark.django_db


@pytest.fixture
def study() -> Study:
    return make_study()


def start_field(client: Client, study: Study, query: str = "") -> str:
    page = client.get(f"/s/{study.slug}/{query}")
    assert page.status_code == 200, page.content
    found = re.search(r'name="start" value="([^"]+)"', page.content.decode())
    assert found
    return found[1]


def begin(client: Client, study: Study, query: str = "", **fields: str) -> Any:
    form = {"start": start_field(client, study, query), "consent": "yes", **fields}
    return client.post(f"/s/{study.slug}/start", form)


def test_looking_at_the_page_starts_nothing(client: Client, study: Study) -> None:
    client.get(f"/s/{study.slug}/")
    client.head(f"/s/{study.slug}/")
    assert not study.sessions.exists()


def test_the_page_shows_information_consent_version_and_contact(client: Client, study: Study) -> None:
    page = client.get(f"/s/{study.slug}/").content.decode()
    assert study.information in page
    assert study.contact in page
    assert f"version {study.consent_version}" in page


def test_consent_starts_a_session_and_leads_to_its_run(client: Client, study: Study) -> None:
    reply = begin(client, study)
    session = study.sessions.get()
    assert reply.status_code == 302
    assert Session.objects.by_token(reply["Location"].split("/")[2]) == session
    assert session.population == Population.REAL
    assert session.consent_sha256 == study.consent_sha256()
    assert client.get(reply["Location"]).status_code == 200


def test_a_run_is_started_by_a_post_only(client: Client, study: Study) -> None:
    assert client.get(f"/s/{study.slug}/start").status_code == 405


def test_without_consent_nothing_starts(client: Client, study: Study) -> None:
    reply = client.post(f"/s/{study.slug}/start", {"start": start_field(client, study)})
    assert reply.status_code == 422
    assert "Please tick the box" in reply.content.decode()
    assert not study.sessions.exists()


def test_a_form_sent_twice_leads_to_the_same_run(client: Client, study: Study) -> None:
    form = {"start": start_field(client, study), "consent": "yes"}
    first, again = (client.post(f"/s/{study.slug}/start", form) for _ in range(2))
    assert first["Location"] == again["Location"]
    assert study.sessions.count() == 1


@pytest.mark.parametrize(
    "forged", ["", "x", signing.dumps({"study": "tiny"}, salt="another")], ids=["empty", "nonsense", "other salt"]
)
def test_a_form_that_is_not_ours_starts_nothing(client: Client, study: Study, forged: str) -> None:
    reply = client.post(f"/s/{study.slug}/start", {"start": forged, "consent": "yes"})
    assert reply.status_code == 400
    assert "open the study&#x27;s link again" in reply.content.decode()
    assert not study.sessions.exists()


def test_a_form_of_another_study_starts_nothing(client: Client, study: Study) -> None:
    other = make_study()
    reply = client.post(f"/s/{study.slug}/start", {"start": start_field(client, other), "consent": "yes"})
    assert reply.status_code == 400


def test_no_cookie_is_needed_to_start(study: Study) -> None:
    strict = Client(enforce_csrf_checks=True, headers={"Origin": "null"})
    form = {"start": start_field(strict, study), "consent": "yes"}
    assert Client(enforce_csrf_checks=True).post(f"/s/{study.slug}/start", form).status_code == 302


def test_the_recruiters_ids_are_read_from_the_link(client: Client, study: Study) -> None:
    begin(client, study, "?PROLIFIC_PID=p1&STUDY_ID=s&SESSION_ID=x&colour=red&sona_id=")
    assert study.sessions.get().recruiter_ids == {"PROLIFIC_PID": "p1", "STUDY_ID": "s", "SESSION_ID": "x"}


def test_a_known_recruiter_id_in_another_browser_is_turned_away(client: Client, study: Study) -> None:
    begin(client, study, "?PROLIFIC_PID=p1")
    reply = begin(Client(), study, "?PROLIFIC_PID=p1")
    assert reply.status_code == 403
    assert "recruiter id already" in reply.content.decode()
    assert "/run/" not in reply.content.decode()


def test_the_same_browser_finds_its_run_again(client: Client, study: Study) -> None:
    run = begin(client, study)["Location"]
    page = client.get(f"/s/{study.slug}/").content.decode()
    assert f'href="{run}"' in page
    assert "Go on where you stopped" in page
    assert "/run/" not in Client().get(f"/s/{study.slug}/").content.decode()


def test_a_browser_that_has_started_gets_no_second_form(client: Client, study: Study) -> None:
    begin(client, study)
    assert 'name="start"' not in client.get(f"/s/{study.slug}/").content.decode()


def test_a_form_opened_in_a_second_tab_before_the_first_was_sent_leads_to_the_same_run(
    client: Client, study: Study
) -> None:
    forms = [{"start": start_field(client, study), "consent": "yes"} for _ in range(2)]
    first, second = (client.post(f"/s/{study.slug}/start", form)["Location"] for form in forms)
    assert first == second
    assert study.sessions.count() == 1


def test_whoever_has_finished_finds_the_completion_code_again(client: Client, study: Study) -> None:
    run = begin(client, study, "?PROLIFIC_PID=p1")["Location"]
    session = study.sessions.get()
    session.begin_attempt()
    answer_all(session)
    session.complete()
    page = client.get(f"/s/{study.slug}/?PROLIFIC_PID=p1").content.decode()
    assert f'href="{run}"' in page
    assert "Show my completion code" in page
    assert client.get(run).status_code == 200
    origin = {"Sec-Fetch-Site": "same-origin"}
    reply = client.post(f"{run}complete", "{}", content_type="application/json", headers=origin)
    assert reply.json()["code"] == "THANKS"


def test_whoever_has_withdrawn_is_offered_no_run(client: Client, study: Study) -> None:
    begin(client, study)
    study.sessions.get().withdraw()
    assert "/run/" not in client.get(f"/s/{study.slug}/").content.decode()


def test_another_persons_link_in_the_same_browser_leads_to_a_run_of_their_own(client: Client, study: Study) -> None:
    first = begin(client, study, "?sona_id=1")["Location"]
    assert first not in client.get(f"/s/{study.slug}/?sona_id=2").content.decode()
    assert begin(client, study, "?sona_id=2")["Location"] != first


@pytest.mark.parametrize("value", ["a%00b", "a%0Ab", "%E2%80%AE1"])
def test_a_recruiters_id_that_cannot_be_printed_is_left_out(client: Client, study: Study, value: str) -> None:
    assert begin(client, study, f"?PROLIFIC_PID={value}&STUDY_ID=s").status_code == 302
    assert study.sessions.get().recruiter_ids == {"STUDY_ID": "s"}


def test_consent_to_a_text_that_was_replaced_is_asked_again(client: Client, study: Study) -> None:
    form = {"start": start_field(client, study), "consent": "yes"}
    study.amend("a clearer text", information="You will compare pictures of eyes, twice.", consent_version="2")
    reply = client.post(f"/s/{study.slug}/start", form)
    page = reply.content.decode()
    assert reply.status_code == 422
    assert "please read it once more" in page
    assert "pictures of eyes, twice." in page
    assert not study.sessions.exists()
    renewed = re.search(r'name="start" value="([^"]+)"', page)
    assert renewed
    assert client.post(f"/s/{study.slug}/start", {"start": renewed[1], "consent": "yes"}).status_code == 302
    assert study.sessions.get().consent_sha256 == study.consent_sha256()


def test_an_amendment_that_leaves_the_text_alone_asks_nobody_again(client: Client, study: Study) -> None:
    form = {"start": start_field(client, study), "consent": "yes"}
    study.amend("more people came forward", participants=9)
    assert client.post(f"/s/{study.slug}/start", form).status_code == 302


def test_a_study_whose_images_lost_their_clearance_takes_nobody(client: Client, study: Study) -> None:
    form = {"start": start_field(client, study), "consent": "yes"}
    Dataset.objects.filter(pk=study.dataset_id).update(may_display_to_participants=False)
    for reply in (client.get(f"/s/{study.slug}/"), client.post(f"/s/{study.slug}/start", form)):
        assert reply.status_code == 403
        assert "cannot be shown at the moment" in reply.content.decode()
    assert not study.sessions.exists()


def test_a_researcher_is_told_to_open_a_draft_before_a_preview(admin_client: Client) -> None:
    draft = make_study(opened=False)
    reply = admin_client.get(f"/s/{draft.slug}/?preview=1")
    assert reply.status_code == 404
    assert "This study is a draft: open it first. Preview sessions never count." in reply.content.decode()


def test_a_researcher_may_preview_again_in_the_same_browser(admin_client: Client, study: Study) -> None:
    first = begin(admin_client, study, "?preview=1")["Location"]
    assert begin(admin_client, study, "?preview=1")["Location"] != first


def test_the_resume_cookie_is_for_the_studys_page_alone(client: Client, study: Study) -> None:
    cookie = begin(client, study).cookies["run"]
    assert cookie["path"] == f"/s/{study.slug}/"
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


def test_whoever_has_started_may_go_on_when_all_places_are_taken(client: Client) -> None:
    study = make_study(participants=1)
    run = begin(client, study)["Location"]
    assert client.get(f"/s/{study.slug}/")["Location"] == run
    reply = Client().get(f"/s/{study.slug}/")
    assert reply.status_code == 403
    assert "Every place in this study is taken." in reply.content.decode()


def test_a_closed_study_says_so(client: Client, study: Study) -> None:
    study.close()
    reply = client.get(f"/s/{study.slug}/")
    assert reply.status_code == 403
    assert "This study is not open for participation." in reply.content.decode()


def test_a_form_loaded_before_the_study_closed_starts_nothing(client: Client, study: Study) -> None:
    form = {"start": start_field(client, study), "consent": "yes"}
    study.close()
    assert client.post(f"/s/{study.slug}/start", form).status_code == 403


def test_a_draft_or_unknown_study_is_not_found(client: Client) -> None:
    draft = make_study(opened=False)
    assert client.get(f"/s/{draft.slug}/").status_code == 404
    assert client.get("/s/nowhere/").status_code == 404
    assert client.post("/s/nowhere/start").status_code == 404


def test_an_unknown_run_is_not_found(client: Client) -> None:
    assert client.get(f"/run/{'A' * 22}/").status_code == 404


def test_a_withdrawn_run_says_that_it_is_over(client: Client, study: Study) -> None:
    session, token = study.start_session()
    session.withdraw()
    reply = client.get(f"/run/{token}/")
    assert reply.status_code == 410
    assert "This session has ended" in reply.content.decode()


# --- populations


def test_a_ticket_of_the_study_makes_a_simulated_session(client: Client, study: Study) -> None:
    begin(client, study, f"?ticket={study.simulation_ticket()}")
    assert study.sessions.get().population == Population.SIMULATED


@pytest.mark.parametrize("query", ["?ticket=forged", "?preview=1", "?ticket="])
def test_nobody_leaves_the_real_population_by_asking(client: Client, study: Study, query: str) -> None:
    reply = client.get(f"/s/{study.slug}/{query}")
    assert reply.status_code == 403
    assert 'name="start"' not in reply.content.decode()


@pytest.mark.parametrize("query", ["?population=preview", "?simulated=1"])
def test_other_parameters_change_no_population(client: Client, study: Study, query: str) -> None:
    begin(client, study, query, population="preview")
    assert study.sessions.get().population == Population.REAL


def test_a_researcher_sees_a_preview(client: Client, study: Study) -> None:
    client.force_login(get_user_model().objects.create_user("researcher", is_staff=True))
    begin(client, study, "?preview=1")
    assert study.sessions.get().population == Population.PREVIEW
    assert study.free_places() == study.participants


def test_a_ticket_of_another_study_is_no_ticket(client: Client, study: Study) -> None:
    assert client.get(f"/s/{study.slug}/?ticket={make_study().simulation_ticket()}").status_code == 403


def test_the_signed_field_names_no_pair_and_no_side(client: Client, study: Study) -> None:
    ticket = signing.loads(start_field(client, study), salt=START_SALT)
    assert set(ticket) == {"study", "population", "recruiter_ids", "token", "consent_sha256"}
