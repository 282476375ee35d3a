"""Accounts and the researchers' group: what a new account may, and what the group is given."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from study.accounts.groups import MAY, RESEARCHERS
from study.accounts.models import User
from tests.study.accounts.conftest import PASSWORD

pytestmark = pytest.mark.django_db


def granted() -> set[str]:
    of_group = Permission.objects.filter(group__name=RESEARCHERS).select_related("content_type")
    return {f"{permission.content_type.app_label}.{permission.codename}" for permission in of_group}


def wanted() -> set[str]:
    return {f"{label.split('.')[0]}.{verb}_{label.split('.')[1]}" for label, verbs in MAY.items() for verb in verbs}


def test_the_group_is_there_after_every_migration() -> None:
    assert granted() == wanted()


def test_an_old_database_gets_the_group_as_well() -> None:
    Group.objects.all().delete()
    call_command("migrate", verbosity=0)
    assert granted() == wanted()


@pytest.mark.parametrize(
    ("permission", "may"),
    [
        ("lab.add_dataset", True),
        ("lab.change_pair", True),
        ("lab.delete_pair", False),
        ("lab.view_job", True),
        ("lab.add_job", False),
        ("analysis.view_analysis", True),
        ("trials.add_study", True),
        ("trials.change_study", False),
        ("trials.view_session", False),
        ("accounts.view_auditentry", False),
        ("accounts.change_user", False),
        ("auth.change_group", False),
    ],
)
def test_what_a_researcher_may_do_with_rows(researcher: User, permission: str, may: bool) -> None:
    assert researcher.has_perm(permission) is may


def test_a_new_account_is_a_researchers_unless_one_chooses_otherwise(admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:accounts_user_add"))
    form = page.context["adminform"].form
    assert form["is_staff"].value() is True
    assert form["groups"].value() == [Group.objects.get(name=RESEARCHERS).pk]
    assert "May sign in here." in page.content.decode()


def test_a_new_account_has_what_was_ticked(admin_client: Client) -> None:
    group = Group.objects.get(name=RESEARCHERS)
    form = {"username": "ida", "password1": PASSWORD, "password2": PASSWORD}
    admin_client.post(reverse("admin:accounts_user_add"), {**form, "is_staff": "on", "groups": [group.pk]})
    admin_client.post(reverse("admin:accounts_user_add"), {**form, "username": "otto"})
    ida, otto = User.objects.get(username="ida"), User.objects.get(username="otto")
    assert (ida.is_staff, list(ida.groups.all())) == (True, [group])
    assert (otto.is_staff, list(otto.groups.all())) == (False, [])


@pytest.mark.parametrize("password", ["short", "password1234", "ida-lovelace"])
def test_an_easily_guessed_password_is_refused(admin_client: Client, password: str) -> None:
    form = {"username": "ida-lovelace", "password1": password, "password2": password}
    admin_client.post(reverse("admin:accounts_user_add"), form)
    assert not User.objects.filter(username="ida-lovelace").exists()


def test_the_list_of_accounts_shows_who_has_a_second_factor(
    admin_client: Client, researcher: User, recovery_codes: list[str]
) -> None:
    listed = admin_client.get(reverse("admin:accounts_user_changelist")).context["cl"].queryset
    assert {user.username: user.has_app for user in listed} == {"admin": False, "eva": True}
