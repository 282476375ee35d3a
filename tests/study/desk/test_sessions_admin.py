"""Sessions in the admin: who sees which, what stays hidden of people who take part now, and never a change."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from study.trials.models import Population, Session, Study
from study.trials.rights import Role
from tests.study.desk.researchers import signed_in
from tests.study.factories import answer, answer_all, make_study, start

pytestmark = pytest.mark.django_db

SMALL: dict[str, Any] = {"base_images": 22, "size": 4}
LIST = "/admin/trials/session/"


@pytest.fixture
def study() -> Study:
    return make_study(**SMALL)


def page(client: Client, session: Session) -> str:
    reply = client.get(reverse("admin:trials_session_change", args=[session.pk]))
    assert reply.status_code == 200
    return " ".join(reply.content.decode().split())


def table(text: str) -> str:
    """The trials of a session's page."""
    return text[text.index('id="trials"') :]


# --- the list


def test_the_list_shows_how_far_sessions_are(admin_client: Client, study: Study) -> None:
    session, _ = start(study)
    answer(session, 0)
    listed = admin_client.get(LIST).content.decode()
    assert f"Session {session.pk}" in listed
    assert "1 of 22" in listed


def test_trials_that_became_unnecessary_are_not_due(admin_client: Client) -> None:
    study = make_study(practice_trials=2, practice_correct=1, practice_rounds=2)
    session, _ = start(study)
    while trial := session.due_trials().first():
        answer(session, trial.index, trial.altered_side)
    due = session.trials.count() - 2
    assert f"{due} of {due}" in admin_client.get(LIST).content.decode()


def test_a_researcher_sees_the_sessions_of_their_own_studies_alone(study: Study) -> None:
    own, foreign = start(study)[0], start(make_study(**SMALL))[0]
    client = signed_in(study, Role.VIEWER)
    listed = client.get(LIST).content.decode()
    assert f"Session {own.pk}<" in listed
    assert f"Session {foreign.pk}<" not in listed
    assert page(client, own)
    assert client.get(reverse("admin:trials_session_change", args=[foreign.pk])).status_code == 404


def test_a_session_is_found_by_its_number_and_by_its_code(admin_client: Client, study: Study) -> None:
    first, second = start(study)[0], start(study)[0]
    for wanted in (str(first.pk), first.public_code):
        listed = admin_client.get(LIST, {"q": wanted}).content.decode()
        assert f"Session {first.pk}<" in listed
        assert f"Session {second.pk}<" not in listed


@pytest.mark.parametrize("guess", ["recruiter_ids__PROLIFIC_PID__startswith=5f8", "recruiter_key__gt=0", "seed__gte=0"])
def test_nobody_guesses_what_the_list_does_not_show(study: Study, guess: str) -> None:
    study.start_session(recruiter_ids={"PROLIFIC_PID": "5f8dd3a7"})
    assert signed_in(study, Role.VIEWER).get(f"{LIST}?{guess}").status_code == 400


@pytest.mark.parametrize("address", ["add", "delete"])
def test_sessions_are_neither_made_nor_deleted_by_hand(admin_client: Client, study: Study, address: str) -> None:
    arguments = [] if address == "add" else [start(study)[0].pk]
    assert admin_client.get(reverse(f"admin:trials_session_{address}", args=arguments)).status_code == 403


# --- one session


def test_a_session_has_its_events_its_trials_and_no_form_to_change_them(admin_client: Client, study: Study) -> None:
    study.close()
    session, token = start(study, Population.PREVIEW)
    answer_all(session)
    session.record_screen(attempt=1, scale=4, px_per_mm=None, distance_mm=None, device={"device": "phone"})
    text = page(admin_client, session)
    assert table(text).count(">800<") == 22
    assert table(text).count("<td>yes</td>") == 22
    assert "<dt>Device</dt><dd>phone</dd>" in text
    assert '<th scope="row">started</th>' in text
    assert session.public_code in text
    assert token not in text
    assert "_save" not in text


def test_what_people_answered_is_hidden_while_they_take_part(admin_client: Client, study: Study) -> None:
    session, _ = start(study)
    answer_all(session)
    session.log("different_answer", index=3, stored="left", choice="right", rt_ms=900.0, attempt=1)
    text = page(admin_client, session)
    assert "stay hidden until the study closes" in text
    assert table(text).count(">800<") == 22
    shown = re.sub(r"<[^>]+>", " ", text[text.index('id="events"') :])
    assert re.findall(r"\b(left|right|yes|no)\b", shown.replace("whether it was right stay", "")) == []
    assert str(session.seed) not in text


def test_neither_is_told_which_image_a_trial_showed(admin_client: Client, study: Study) -> None:
    session, _ = start(study)
    image = str(session.trials.get(index=2).base_image)
    assert image not in table(page(admin_client, session))
    study.close()
    assert image in table(page(admin_client, session))


def test_of_yes_and_no_the_condition_of_a_trial_is_hidden_too(admin_client: Client) -> None:
    session, _ = start(make_study(protocol="yes_no", **SMALL))
    assert "strength" not in table(page(admin_client, session))


def test_it_is_told_once_the_study_closes_or_where_looks_are_allowed(admin_client: Client, study: Study) -> None:
    session, _ = start(study)
    answer_all(session)
    study.close()
    assert table(page(admin_client, session)).count("<td>yes</td>") == 22
    open_plan, _ = start(make_study(looks_allowed=True, **SMALL))
    answer(open_plan, 0)
    assert "stay hidden" not in page(admin_client, open_plan)


def test_strengths_that_follow_from_answers_are_hidden_with_them(admin_client: Client) -> None:
    study = make_study(procedure="adaptive", adaptive_trials=8, adaptive_minimum=4, **SMALL)
    session, _ = start(study)
    answer_all(session)
    chosen = [trial.choice.pair.attack.name for trial in session.trials.filter(pair=None).select_related("choice")]
    text = table(page(admin_client, session))
    assert len(chosen) == 8
    main = [row for row in text.split("<tr>") if "<td>main</td>" in row]
    assert sum("strength" in row for row in main) == 4  # the controls, which are planned
    study.close()
    main = [row for row in table(page(admin_client, session)).split("<tr>") if "<td>main</td>" in row]
    assert sum("strength" in row for row in main) == 12


@pytest.mark.parametrize(("role", "told"), [(Role.ANALYST, False), (Role.EDITOR, True)])
def test_recruiters_ids_are_for_those_who_may_identify_people(study: Study, role: Role, told: bool) -> None:
    session, _ = study.start_session(recruiter_ids={"PROLIFIC_PID": "5f8dd3a7"})
    text = page(signed_in(study, role), session)
    assert ("5f8dd3a7" in text) == told
    assert ("Erase this session" in text) == told


def test_signs_of_a_script_are_told_and_exclude_nobody(admin_client: Client, study: Study) -> None:
    session, _ = start(study)
    assert "<dt>Signs of a script</dt><dd>none</dd>" in page(admin_client, session)
    session.log("honeypot")
    assert "cannot see was filled in. They exclude nobody." in page(admin_client, session)


def test_a_session_that_is_not_there_is_not_found(admin_client: Client) -> None:
    assert admin_client.get(reverse("admin:trials_session_change", args=[999_999])).status_code == 404
