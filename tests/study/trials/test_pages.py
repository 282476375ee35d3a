"""The participant's pages: information and consent, start, run."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import signing
from django.test import Client
from django.utils import timezone

from study.lab.models import Dataset
from study.trials.models import Population, Session, Study
from study.trials.rights import Role
from study.trials.views import START_SALT
from tests.study.factories import answer, answer_all, make_study, start

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
    return client.post(f"/s/{study.slug}/start", filled(client, study, query) | fields)


def filled(client: Client, study: Study, query: str = "") -> dict[str, str]:
    """The form as somebody sends it who may and wants to take part."""
    criteria = {f"criterion-{i}": "yes" for i in range(len(study.texts().eligibility))}
    return {"start": start_field(client, study, query), "age": "34", "consent": "yes", **criteria}


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
    form = filled(client, study)
    del form["consent"]
    reply = client.post(f"/s/{study.slug}/start", form)
    assert reply.status_code == 422
    assert "Please tick the box" in reply.content.decode()
    assert not study.sessions.exists()


def test_a_form_sent_twice_leads_to_the_same_run(client: Client, study: Study) -> None:
    form = filled(client, study)
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
    reply = client.post(f"/s/{study.slug}/start", filled(client, other))
    assert reply.status_code == 400


def test_no_cookie_is_needed_to_start(study: Study) -> None:
    strict = Client(enforce_csrf_checks=True, headers={"Origin": "null"})
    form = filled(strict, study)
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
    forms = [filled(client, study) for _ in range(2)]
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
    form = filled(client, study)
    study.amend("a clearer text", information="You will compare pictures of eyes, twice.", consent_version="2")
    reply = client.post(f"/s/{study.slug}/start", form)
    page = reply.content.decode()
    assert reply.status_code == 422
    assert "please read it once more" in page
    assert "pictures of eyes, twice." in page
    assert not study.sessions.exists()
    assert begin(client, study).status_code == 302
    assert study.sessions.get().consent_sha256 == study.consent_sha256()


def test_an_amendment_that_leaves_the_text_alone_asks_nobody_again(client: Client, study: Study) -> None:
    form = filled(client, study)
    study.amend("more people came forward", participants=9)
    assert client.post(f"/s/{study.slug}/start", form).status_code == 302


def test_a_study_whose_images_lost_their_clearance_takes_nobody(client: Client, study: Study) -> None:
    form = filled(client, study)
    Dataset.objects.filter(pk=study.dataset_id).update(may_display_to_participants=False)
    for reply in (client.get(f"/s/{study.slug}/"), client.post(f"/s/{study.slug}/start", form)):
        assert reply.status_code == 403
        assert "cannot be shown at the moment" in reply.content.decode()
    assert not study.sessions.exists()


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
    form = filled(client, study)
    study.close()
    assert client.post(f"/s/{study.slug}/start", form).status_code == 403


def test_a_draft_or_unknown_study_is_not_found(client: Client) -> None:
    draft = make_study(opened=False)
    assert client.get(f"/s/{draft.slug}/").status_code == 404
    assert client.get("/s/nowhere/").status_code == 404
    assert client.post("/s/nowhere/start").status_code == 404


def test_an_unknown_run_is_not_found(client: Client) -> None:
    assert client.get(f"/run/{'A' * 22}/").status_code == 404


@pytest.mark.parametrize("address", ["/", "/s/nowhere/", f"/run/{'A' * 22}/", f"/run/{'A' * 22}/i/0/above"])
def test_an_address_without_a_page_says_so_in_the_readers_language(client: Client, address: str) -> None:
    reply = client.get(address, headers={"Accept-Language": "nl"})
    page = reply.content.decode()
    assert (reply.status_code, reply["Referrer-Policy"]) == (404, "no-referrer")
    assert "Op dit adres staat geen pagina" in page
    assert '<meta name="viewport"' in page


def test_a_withdrawn_run_says_that_it_is_over(client: Client, study: Study) -> None:
    session, token = study.start_session()
    session.withdraw()
    reply = client.get(f"/run/{token}/")
    assert reply.status_code == 410
    assert "You have withdrawn" in reply.content.decode()


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
    researcher = get_user_model().objects.create_user("researcher", is_staff=True)
    study.admit(researcher, Role.VIEWER)
    client.force_login(researcher)
    begin(client, study, "?preview=1")
    assert study.sessions.get().population == Population.PREVIEW
    assert study.free_places() == study.participants


def test_a_ticket_of_another_study_is_no_ticket(client: Client, study: Study) -> None:
    assert client.get(f"/s/{study.slug}/?ticket={make_study().simulation_ticket()}").status_code == 403


def test_the_signed_field_names_no_pair_and_no_side(client: Client, study: Study) -> None:
    ticket = signing.loads(start_field(client, study), salt=START_SALT)
    assert set(ticket) == {"study", "visit", "token", "consent_sha256"}
    assert ticket["visit"] == {"population": "real", "recruiter_ids": {}, "language": "en"}


# --- who may take part


def refused(client: Client, study: Study, query: str = "", **fields: str) -> str:
    """The page that somebody sees who is turned away at the form."""
    reply = begin(client, study, query, **fields)
    assert reply.status_code == 200
    assert not study.sessions.exists()
    return html.unescape(reply.content.decode())


def test_somebody_too_young_is_turned_away_and_nothing_is_stored(client: Client) -> None:
    page = refused(client, make_study(minimum_age=16), age="15")
    assert "It is for people who are at least 16 years old." in page
    assert "Nothing about you has been stored." in page
    assert not client.cookies


def test_the_question_for_the_age_does_not_give_the_limit_away(client: Client) -> None:
    page = client.get(f"/s/{make_study(slug='eyes', minimum_age=17).slug}/").content.decode()
    assert "How old are you, in years?" in page
    assert "17" not in re.sub(r'value="[^"]*"', "", page)


def test_somebody_just_old_enough_may_start(client: Client) -> None:
    assert begin(client, make_study(minimum_age=16), age="16").status_code == 302


def test_a_study_without_a_minimum_age_does_not_ask(client: Client) -> None:
    study = make_study(minimum_age=0)
    assert 'name="age"' not in client.get(f"/s/{study.slug}/").content.decode()
    assert begin(client, study, age="").status_code == 302


@pytest.mark.parametrize("age", ["", "old", "-1", "17.5", "400"])
def test_an_age_that_is_none_is_asked_again_next_to_the_field(client: Client, study: Study, age: str) -> None:
    reply = begin(client, study, age=age)
    assert reply.status_code == 422
    assert 'id="id_age_error">Please give your age in whole years, for example 34.</p>' in reply.content.decode()
    assert not study.sessions.exists()


def test_an_unmet_criterion_is_named_and_nothing_is_stored(client: Client) -> None:
    study = make_study(eligibility="I see well.\nI read English.")
    page = refused(client, study, **{"criterion-1": "no"})
    assert "<blockquote>I read English.</blockquote>" in page
    assert "I see well." not in page


def test_whoever_cannot_take_part_need_not_consent_first(client: Client) -> None:
    study = make_study(eligibility="I see well.")
    assert "I see well." in refused(client, study, consent="", **{"criterion-0": "no"})


def test_a_criterion_without_an_answer_is_asked_again_with_the_other_answers_kept(client: Client) -> None:
    study = make_study(eligibility="I see well.\nI read English.")
    reply = begin(client, study, age="51", **{"criterion-1": "maybe"})
    page = reply.content.decode()
    assert reply.status_code == 422
    assert 'id="id_criterion-1_error">Please answer yes or no.</p>' in page
    assert 'aria-describedby="id_criterion-1_error"' in page
    assert 'name="criterion-0" value="yes" checked' in page
    assert 'value="51"' in page


def test_the_first_field_with_a_problem_gets_the_focus(client: Client) -> None:
    study = make_study(eligibility="I see well.")
    page = begin(client, study, consent="", **{"criterion-0": ""}).content.decode()
    assert page.count(" autofocus") == 1
    assert re.search(r'name="criterion-0" value="yes" required autofocus', page)


def test_prolific_participants_who_are_turned_away_get_the_code_for_it_and_the_way_back(client: Client) -> None:
    study = make_study(recruiter="prolific", screened_out_code="SORRY")
    page = refused(client, study, "?PROLIFIC_PID=p1", age="12")
    assert ">SORRY</output>" in page
    assert 'href="https://app.prolific.com/submissions/complete?cc=SORRY"' in page
    assert "THANKS" not in page


def test_whoever_does_not_consent_is_asked_to_return_the_submission_and_gets_no_code(client: Client) -> None:
    study = make_study(recruiter="prolific", screened_out_code="SORRY")
    form = filled(client, study, "?PROLIFIC_PID=p1") | {"consent": ""}
    for reply in (client.get(f"/s/{study.slug}/?PROLIFIC_PID=p1"), client.post(f"/s/{study.slug}/start", form)):
        page = reply.content.decode()
        assert "please return your submission there" in page
        assert "SORRY" not in page
        assert "THANKS" not in page


def test_the_age_is_stored_nowhere(client: Client, study: Study) -> None:
    begin(client, study, age="43")
    session = study.sessions.get()
    assert session.device == {}
    assert [event.data for event in session.events.all()] == [{}]


def test_a_filled_trap_is_logged_and_the_session_starts_all_the_same(client: Client, study: Study) -> None:
    assert begin(client, study, website="https://spam.example").status_code == 302
    assert study.sessions.get().flags() == ["honeypot"]


def test_an_empty_trap_is_no_sign(client: Client, study: Study) -> None:
    begin(client, study, website="")
    assert study.sessions.get().flags() == []


def test_people_neither_see_nor_reach_the_trap(client: Client, study: Study) -> None:
    page = client.get(f"/s/{study.slug}/").content.decode()
    assert re.search(r'class="trap" aria-hidden="true">.*name="website" tabindex="-1" autocomplete="off"', page)


# --- what is said before


@pytest.mark.parametrize("protocol", Study.Protocol.values)
def test_every_protocol_is_described_in_its_own_words(client: Client, protocol: str) -> None:
    exposure = {"exposure_ms": 500} if protocol == "ifc" else {}
    page = client.get(f"/s/{make_study(protocol=protocol, **exposure).slug}/").content.decode()
    said = {
        "afc": "two images side by side and say",
        "ifc": "one after the other",
        "flicker": "epilepsy",
        "oddity": "two pairs of images",
        "yes_no": "one image at a time",
    }
    assert [name for name, words in said.items() if words in page] == [protocol]


def test_the_pay_rule_and_the_deadline_for_erasure_are_on_the_page(client: Client) -> None:
    study = make_study(payment="Two euros, also if you stop.", withdrawal_deadline="31 January 2027")
    page = client.get(f"/s/{study.slug}/").content.decode()
    assert "Two euros, also if you stop." in page
    assert "Your answers can be erased until: 31 January 2027" in page


def test_the_calibration_is_among_what_is_stored_only_where_there_is_one(client: Client) -> None:
    pages = [client.get(f"/s/{make_study(calibration=c).slug}/").content.decode() for c in ("none", "card")]
    assert ["How large your screen is" in page for page in pages] == [False, True]


# --- how a run ends


def finished(study: Study, **more: Any) -> tuple[Session, str]:
    session, token = start(study, **more)
    answer_all(session)
    session.complete()
    return session, token


def test_the_last_page_has_the_code_the_way_back_the_debriefing_and_the_number_for_erasure(client: Client) -> None:
    study = make_study(
        recruiter="prolific", debrief="The eyes were bent a little.", withdrawal_deadline="31 January 2027"
    )
    session, token = finished(study, recruiter_ids={"PROLIFIC_PID": "p1"})
    page = client.get(f"/run/{token}/").content.decode()
    assert ">THANKS</output>" in page
    assert 'href="https://app.prolific.com/submissions/complete?cc=THANKS"' in page
    assert "The eyes were bent a little." in page
    assert session.public_code in page
    assert "31 January 2027" in page


def test_the_last_page_shows_an_example_of_both_images(client: Client, study: Study) -> None:
    _, token = finished(study)
    page = client.get(f"/run/{token}/").content.decode()
    assert re.findall(r'<img src="(debrief/\d)" alt="([^"]+)"', page) == [
        ("debrief/1", "An image as it was"),
        ("debrief/2", "The same image, altered"),
    ]


def test_no_example_is_shown_once_the_images_lost_their_clearance(client: Client, study: Study) -> None:
    _, token = finished(study)
    Dataset.objects.filter(pk=study.dataset_id).update(may_display_to_participants=False)
    reply = client.get(f"/run/{token}/")
    assert reply.status_code == 200
    assert "debrief/1" not in reply.content.decode()


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("practice", "says nothing about your eyesight"),
        ("device", "this kind of device"),
        ("card", "could not be measured"),
        ("flicker", "whom flicker may harm"),
        ("window", "This screen cannot show"),
    ],
)
def test_a_run_that_cannot_go_on_says_why_and_gives_the_code_for_it(client: Client, cause: str, words: str) -> None:
    study = make_study(screened_out_code="SORRY")
    session, token = start(study)
    session.screen_out(cause)
    page = client.get(f"/run/{token}/").content.decode()
    assert words in page
    assert ">SORRY</output>" in page
    assert session.public_code in page


def test_a_run_that_was_left_for_too_long_ends_politely_with_its_answers_kept(client: Client, study: Study) -> None:
    session, token = start(study)
    answer(session, 0)
    Session.objects.filter(pk=session.pk).update(seen_at=timezone.now() - timedelta(hours=25))
    page = client.get(f"/run/{token}/").content.decode()
    session.refresh_from_db()
    assert session.state == Session.State.TIMED_OUT
    assert session.progress[0] == 1
    assert "The time to go on has passed" in page
    assert "interrupted for 24 hours" in page
    assert study.contact in page


def test_whoever_comes_back_after_the_end_is_shown_how_it_ended(client: Client, study: Study) -> None:
    run = begin(client, study)["Location"]
    study.sessions.get().screen_out("practice")
    page = client.get(f"/s/{study.slug}/").content.decode()
    assert f'href="{run}"' in page
    assert "Show how it ended" in page
    assert 'name="start"' not in page


@pytest.mark.parametrize("ending", ["active", "complete", "screened_out", "timed_out", "withdrawn"])
def test_contact_and_ethics_reference_are_on_every_page_of_a_run(client: Client, ending: str) -> None:
    study = make_study(ethics_reference="2026-014")
    session, token = start(study)
    if ending == "complete":
        answer_all(session)
    end = {
        "active": lambda: None,
        "complete": session.complete,
        "screened_out": lambda: session.screen_out("practice"),
        "timed_out": session.time_out,
        "withdrawn": session.withdraw,
    }
    end[ending]()
    page = client.get(f"/run/{token}/").content.decode()
    assert study.contact in page
    assert "2026-014" in page


# --- languages


@pytest.fixture
def polyglot() -> Study:
    """A study in English with a Dutch and a German translation."""
    study = make_study(opened=False, eligibility="I see well.", debrief="Some eyes were bent.")
    for language, title, sees, debrief in (
        ("nl", "Welk oog?", "Ik zie goed.", "Sommige ogen waren verbogen."),
        ("de", "Welches Auge?", "Ich sehe gut.", "Manche Augen waren verbogen."),
    ):
        study.translations.create(language=language, title=title, information=title, eligibility=sees, debrief=debrief)
    study.open()
    return study


def test_the_page_speaks_the_language_that_is_asked_for(client: Client, polyglot: Study) -> None:
    page = client.get(f"/s/{polyglot.slug}/?lang=nl").content.decode()
    assert '<html lang="nl" dir="ltr">' in page
    assert "Welk oog?" in page
    assert "Ik zie goed." in page
    assert "Wat er gebeurt" in page
    assert "What happens" not in page


def test_the_page_links_to_itself_in_the_other_languages(client: Client, polyglot: Study) -> None:
    page = html.unescape(client.get(f"/s/{polyglot.slug}/?PROLIFIC_PID=p1").content.decode())
    links = re.findall(r'<a href="([^"]+)" lang="(\w+)" hreflang="\w+"( aria-current="true")?>(\w+)</a>', page)
    assert links == [
        (f"/s/{polyglot.slug}/?PROLIFIC_PID=p1&lang={code}", code, ' aria-current="true"' if code == "en" else "", name)
        for code, name in (("en", "English"), ("de", "Deutsch"), ("nl", "Nederlands"))
    ]


def test_the_run_and_its_end_speak_the_language_in_which_it_was_started(client: Client, polyglot: Study) -> None:
    run = begin(client, polyglot, "?lang=de")["Location"]
    session = polyglot.sessions.get()
    assert (session.language, session.consent_sha256) == ("de", polyglot.consent_sha256("de"))
    assert '<html lang="de"' in client.get(run, headers={"Accept-Language": "nl"}).content.decode()
    session.begin_attempt()
    answer_all(session)
    session.complete()
    page = client.get(run).content.decode()
    assert "Manche Augen waren verbogen." in page
    assert "Done." not in page


def test_a_problem_with_the_form_is_told_in_its_language_with_the_links_kept(client: Client, polyglot: Study) -> None:
    form = filled(client, polyglot, "?lang=nl&sona_id=3") | {"age": "x"}
    page = html.unescape(client.post(f"/s/{polyglot.slug}/start?lang=nl&sona_id=3", form).content.decode())
    assert '<html lang="nl"' in page
    assert "Please give your age" not in page
    assert f"/s/{polyglot.slug}/?lang=de&sona_id=3" in page


def test_being_turned_away_is_told_in_the_language_of_the_form(client: Client, polyglot: Study) -> None:
    page = refused(client, polyglot, "?lang=de", **{"criterion-0": "no"})
    assert "<blockquote>Ich sehe gut.</blockquote>" in page
    assert '<html lang="de"' in page


def test_a_closed_study_says_so_in_the_visitors_language(client: Client, polyglot: Study) -> None:
    polyglot.close()
    page = client.get(f"/s/{polyglot.slug}/", headers={"Accept-Language": "nl"}).content.decode()
    assert '<html lang="nl"' in page
    assert "This study is not open" not in page
