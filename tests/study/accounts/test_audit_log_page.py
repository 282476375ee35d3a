"""The audit log in the admin: read, searched and verified; changed by nobody, superusers included."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.urls import reverse

from study.accounts import audit
from study.accounts.admin import page_of
from study.accounts.models import AuditEntry, User
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db

LIST = "/admin/accounts/auditentry/"


@pytest.fixture
def _entries(db: None) -> None:
    with audit.acting("eva"):
        audit.record("changed", "study 1: Eyes", {"bound": 0.6, "title": "Eyes"}, {"bound": 0.55})
    with audit.acting("otto"):
        audit.record("opened", "study 2: Mouths")


def text(client: Client, address: str) -> str:
    return str(client.get(address).content.decode())


@pytest.mark.usefixtures("_entries")
@pytest.mark.parametrize("sought", ["eva", "Eyes", "changed"])
def test_entries_are_found_by_who_what_and_whom(admin_client: Client, sought: str) -> None:
    found = admin_client.get(LIST, {"q": sought}).context["cl"].queryset
    assert [entry.n for entry in found] == [1]


@pytest.mark.usefixtures("_entries")
def test_an_entrys_page_shows_what_was_and_what_became(admin_client: Client) -> None:
    page = text(admin_client, f"{LIST}1/change/")
    cells = re.findall(r"<t[hd][^>]*>\s*(.*?)\s*</t[hd]>", page.split("<tbody>")[1].split("</tbody>")[0])
    assert cells == ["bound", "0.6", "0.55", "title", "Eyes", '<span class="quiet">nothing</span>']
    assert AuditEntry.objects.get(n=1).sha256 in page


def test_an_entry_leads_to_what_it_is_about(admin_client: Client) -> None:
    study = make_study(opened=False, base_images=22, size=4)
    audit.record("changed", study)
    address = reverse("admin:trials_study_change", args=[study.pk])
    assert f'<a href="{address}">study {study.pk}: Which eye?</a>' in text(admin_client, f"{LIST}1/change/")


@pytest.mark.parametrize("subject", ["everything", "unicorn 3: Bob", "", "study"])
def test_what_has_no_page_of_its_own_has_none(subject: str) -> None:
    assert page_of(subject) == ""


# --- nobody changes it


@pytest.mark.usefixtures("_entries")
@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("add/", {"n": 9, "actor": "eva"}),
        ("1/change/", {"actor": "nobody"}),
        ("1/delete/", {"post": "yes"}),
    ],
)
def test_a_superuser_neither_adds_nor_changes_nor_deletes(
    admin_client: Client, address: str, form: dict[str, Any]
) -> None:
    before = list(AuditEntry.objects.values())
    assert admin_client.post(LIST + address, form).status_code == 403
    assert list(AuditEntry.objects.values()) == before


@pytest.mark.usefixtures("_entries")
def test_no_action_on_the_list_changes_it(admin_client: Client) -> None:
    before = list(AuditEntry.objects.values())
    admin_client.post(LIST, {"action": "delete_selected", "_selected_action": ["1"], "post": "yes"})
    assert list(AuditEntry.objects.values()) == before
    assert "delete_selected" not in text(admin_client, LIST)


@pytest.mark.usefixtures("_entries")
def test_no_page_offers_to_change_it(admin_client: Client) -> None:
    for address in (LIST, f"{LIST}1/change/"):
        page = text(admin_client, address)
        assert not re.search(r'name="_save|class="addlink"|deletelink', page)


def test_its_head_is_not_in_the_admin_at_all() -> None:
    assert not [
        model for model in admin.site._registry if model.__name__ in {"AuditHead", "TOTPDevice", "StaticDevice"}
    ]


# --- whether it holds


@pytest.mark.usefixtures("_entries")
def test_a_button_says_whether_the_chain_holds_and_when_that_was(admin_client: Client) -> None:
    page = admin_client.post(f"{LIST}verify/", follow=True).content.decode()
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC: The audit log holds: 2 entries", page)


@pytest.mark.usefixtures("_entries")
def test_a_button_names_what_was_tampered_with(admin_client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_auditentry SET actor = 'nobody' WHERE n = 1")
    page = admin_client.post(f"{LIST}verify/", follow=True).content.decode()
    assert "is not as it was written. Entry 1 is not what was written." in page


@pytest.mark.usefixtures("_entries")
def test_verifying_is_asked_for_by_a_button_alone(admin_client: Client) -> None:
    assert admin_client.get(f"{LIST}verify/").status_code == 405


@pytest.mark.usefixtures("_entries")
@pytest.mark.parametrize("address", ["", "1/change/", "verify/"])
def test_researchers_do_not_see_what_others_do(client: Client, researcher: User, address: str) -> None:
    client.force_login(researcher)
    send = client.post if address == "verify/" else client.get
    assert send(LIST + address).status_code == 403
