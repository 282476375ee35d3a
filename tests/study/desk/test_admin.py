from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from study.trials.models import Population, Session, Study
from tests.study.factories import answer, answer_all, make_study, start

pytestmark = pytest.mark.django_db


def act(admin_client: Client, action: str, study: Study) -> str:
    page = reverse("admin:trials_study_changelist")
    reply = admin_client.post(page, {"action": action, "_selected_action": [study.pk]}, follow=True)
    study.refresh_from_db()
    return reply.content.decode()


def test_a_study_is_opened_and_closed_from_the_list(admin_client: Client) -> None:
    study = make_study(opened=False)
    assert "is open." in act(admin_client, "open_studies", study)
    assert study.state == Study.State.OPEN
    assert "is closed." in act(admin_client, "close_studies", study)
    assert study.state == Study.State.CLOSED


def test_the_reason_why_a_study_cannot_open_is_shown(admin_client: Client) -> None:
    study = make_study(opened=False, displayable=False)
    assert "not cleared for display" in act(admin_client, "open_studies", study)
    assert study.state == Study.State.DRAFT


def test_the_list_counts_sessions_by_population(admin_client: Client) -> None:
    study = make_study()
    study.start_session()
    for _ in range(2):
        study.start_session(Population.SIMULATED)
    page = admin_client.get(reverse("admin:trials_study_changelist"))
    listed = page.context["cl"].queryset.get()
    assert (listed.real, listed.simulated, listed.preview) == (1, 2, 0)
    assert study.get_absolute_url() in page.content.decode()


def test_design_fields_of_an_open_study_are_read_only(admin_client: Client) -> None:
    study = make_study()
    page = admin_client.get(reverse("admin:trials_study_change", args=[study.pk]))
    fields = page.context["adminform"].form.fields
    assert Study.DESIGN_FIELDS.isdisjoint(fields)
    assert "completion_code" in fields
    assert study.current_design is not None
    assert study.current_design.sha256 in page.content.decode()


def test_a_draft_can_be_edited(admin_client: Client) -> None:
    study = make_study(opened=False)
    page = admin_client.get(reverse("admin:trials_study_change", args=[study.pk]))
    assert {"scale", "bound", "information"} <= set(page.context["adminform"].form.fields)


def test_a_study_that_was_opened_cannot_be_deleted(admin_client: Client) -> None:
    study = make_study()
    assert admin_client.get(reverse("admin:trials_study_delete", args=[study.pk])).status_code == 403


def test_a_session_shows_its_answers_and_lets_nobody_change_them(admin_client: Client) -> None:
    session, token = start(make_study())
    answer_all(session)
    page = admin_client.get(reverse("admin:trials_session_change", args=[session.pk]))
    text = page.content.decode()
    assert text.count("800.0") == 22
    assert session.public_code in text
    assert token not in text
    assert "_save" not in text


@pytest.mark.parametrize("address", ["add", "delete"])
def test_sessions_are_neither_made_nor_deleted_by_hand(admin_client: Client, address: str) -> None:
    session: Session = start(make_study())[0]
    arguments: list[Any] = [] if address == "add" else [session.pk]
    assert admin_client.get(reverse(f"admin:trials_session_{address}", args=arguments)).status_code == 403


def test_the_list_of_sessions_shows_progress(admin_client: Client) -> None:
    session, _ = start(make_study())
    answer_all(session)
    assert "22 of 22" in admin_client.get(reverse("admin:trials_session_changelist")).content.decode()


def test_a_browser_may_send_the_origin_that_the_admins_forms_are_checked_by(client: Client) -> None:
    assert client.get(reverse("admin:login"))["Referrer-Policy"] == "same-origin"


def test_a_session_answers_what_is_due_and_not_what_it_was_spared(admin_client: Client) -> None:
    study = make_study(practice_trials=2, practice_correct=1, practice_rounds=2)
    session, _ = start(study)
    while trial := session.due_trials().first():
        answer(session, trial.index, trial.altered_side)
    planned = session.trials.count()
    listed = admin_client.get(reverse("admin:trials_session_changelist"))
    assert f"{planned - 2} of {planned - 2}" in listed.content.decode()


def test_the_admin_leads_to_no_site_that_is_not_there(admin_client: Client) -> None:
    assert "View site" not in admin_client.get(reverse("admin:index")).content.decode()
