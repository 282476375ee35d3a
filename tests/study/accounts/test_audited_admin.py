"""What is done in the admin is in the log: who, what, and the changed fields before and after."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse

from study.accounts.models import AuditEntry, User

pytestmark = pytest.mark.django_db

PASSWORD = "a long enough sentence"


@pytest.fixture
def researcher() -> User:
    return User.objects.create_user("eva", "eva@example.org", PASSWORD)


def form_of(user: User, **changes: Any) -> dict[str, Any]:
    fields = {
        "username": user.username,
        "email": user.email,
        "is_active": "on",
    }
    return {**fields, **changes}


def last() -> AuditEntry:
    return AuditEntry.objects.latest("n")


def change(client: Client, user: User, **changes: Any) -> None:
    form = form_of(user, **changes)
    reply = client.post(reverse("admin:accounts_user_change", args=[user.pk]), form)
    assert reply.status_code == 302, reply.context["errors"]


def test_a_change_names_who_made_it_and_what_of_the_row_was_and_became(admin_client: Client, researcher: User) -> None:
    change(admin_client, researcher, email="new@example.org")
    entry = last()
    assert (entry.actor, entry.action, entry.subject) == ("admin", "changed", f"user {researcher.pk}: eva")
    assert (entry.before["email address"], entry.after["email address"]) == ("eva@example.org", "new@example.org")
    assert "username" not in entry.after


def test_groups_that_a_researcher_joins_are_named(admin_client: Client, researcher: User) -> None:
    group = Group.objects.create(name="Night shift")
    change(admin_client, researcher, groups=[group.pk])
    assert last().after["groups"] == ["Night shift"]


def test_saving_without_a_change_records_nothing(admin_client: Client, researcher: User) -> None:
    change(admin_client, researcher)
    entries = AuditEntry.objects.count()
    researcher.refresh_from_db()
    change(admin_client, researcher)
    assert AuditEntry.objects.count() == entries


def test_a_new_row_is_recorded_without_its_password(admin_client: Client) -> None:
    form = {"username": "ida", "password1": PASSWORD, "password2": PASSWORD}
    admin_client.post(reverse("admin:accounts_user_add"), form)
    entry = last()
    assert (entry.action, entry.after["username"], entry.after["password"]) == ("created", "ida", "(not shown)")
    assert User.objects.get(username="ida").password not in str(entry.after)


def test_a_deletion_keeps_what_the_row_was(admin_client: Client, researcher: User) -> None:
    admin_client.post(reverse("admin:accounts_user_delete", args=[researcher.pk]), {"post": "yes"})
    entry = last()
    assert (entry.action, entry.subject) == ("deleted", f"user {researcher.pk}: eva")
    assert entry.before["email address"] == "eva@example.org"


def test_rows_deleted_together_have_an_entry_each(admin_client: Client, researcher: User) -> None:
    other = User.objects.create_user("otto")
    form = {"action": "delete_selected", "_selected_action": [researcher.pk, other.pk], "post": "yes"}
    admin_client.post(reverse("admin:accounts_user_changelist"), form)
    assert set(AuditEntry.objects.filter(action="deleted").values_list("subject", flat=True)) == {
        f"user {researcher.pk}: eva",
        f"user {other.pk}: otto",
    }


def test_the_permissions_of_a_group_are_recorded(admin_client: Client) -> None:
    permission = Permission.objects.get(codename="view_user")
    admin_client.post(reverse("admin:auth_group_add"), {"name": "Readers", "permissions": [permission.pk]})
    assert last().after == {"name": "Readers", "permissions": [str(permission)]}


def test_a_password_set_by_an_administrator_is_recorded_and_not_shown(admin_client: Client, researcher: User) -> None:
    form = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true", "set-password": "1"}
    reply = admin_client.post(reverse("admin:auth_user_password_change", args=[researcher.pk]), form)
    assert reply.status_code == 302
    entry = last()
    assert (entry.action, entry.subject) == ("set the password of", f"user {researcher.pk}: eva")
    assert (entry.before, entry.after) == ({}, {})


def test_a_rows_history_shows_its_entries_and_no_others(admin_client: Client, researcher: User) -> None:
    other = User.objects.create_user("otto")
    change(admin_client, other, email="otto@example.org")
    change(admin_client, researcher, email="new@example.org")
    page = admin_client.get(reverse("admin:accounts_user_history", args=[researcher.pk])).content.decode()
    assert "new@example.org" in page
    assert "otto@example.org" not in page


def test_the_history_of_a_row_that_is_not_there_is_not_found(admin_client: Client) -> None:
    assert admin_client.get(reverse("admin:accounts_user_history", args=[999])).status_code == 404


def test_django_keeps_no_log_of_its_own(admin_client: Client, researcher: User) -> None:
    change(admin_client, researcher, email="new@example.org")
    assert not LogEntry.objects.exists()
