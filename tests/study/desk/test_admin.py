from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from study.trials.models import Population, Study
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db


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


def test_a_draft_can_be_edited(admin_client: Client) -> None:
    study = make_study(opened=False)
    page = admin_client.get(reverse("admin:trials_study_change", args=[study.pk]))
    assert {"scale", "bound", "information"} <= set(page.context["adminform"].form.fields)


def test_a_study_that_was_opened_cannot_be_deleted(admin_client: Client) -> None:
    study = make_study()
    assert admin_client.get(reverse("admin:trials_study_delete", args=[study.pk])).status_code == 403


def test_a_browser_may_send_the_origin_that_the_admins_forms_are_checked_by(client: Client) -> None:
    assert client.get(reverse("admin:login"))["Referrer-Policy"] == "same-origin"


def test_the_admin_leads_to_no_site_that_is_not_there(admin_client: Client) -> None:
    assert "View site" not in admin_client.get(reverse("admin:index")).content.decode()
