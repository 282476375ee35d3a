"""What deleting a researcher's account means for studies."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from study.accounts.models import AuditEntry, User
from study.trials.models import Study
from study.trials.rights import Role
from tests.study.desk.researchers import recorded
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db

REFUSAL = "would have no owner: name another one on the study&#x27;s page first."


@pytest.fixture
def study() -> Study:
    return make_study(base_images=22, size=4)


@pytest.fixture
def eva(study: Study) -> User:
    """The study's owner."""
    user = get_user_model().objects.create(username="eva")
    study.admit(user, Role.OWNER)
    return user


def delete(client: Client, *users: User, at_once: bool = False) -> str:
    """Delete them in the admin, the question whether to be answered by yes; what the page says."""
    address, sent = reverse("admin:accounts_user_changelist"), {"action": "delete_selected", "post": "yes"}
    data: dict[str, Any] = {**sent, "_selected_action": [user.pk for user in users]}
    if not at_once:
        address, data = reverse("admin:accounts_user_delete", args=[users[0].pk]), {"post": "yes"}
    return client.post(address, data, follow=True).content.decode()


@pytest.mark.parametrize("at_once", [False, True])
def test_the_last_owner_of_a_study_is_not_deleted(admin_client: Client, study: Study, eva: User, at_once: bool) -> None:
    assert f"{study} ({study.slug}) {REFUSAL}" in delete(admin_client, eva, at_once=at_once)
    assert study.role_of(eva) == Role.OWNER
    assert recorded() == []


def test_all_owners_of_a_study_are_not_deleted_together(admin_client: Client, study: Study, eva: User) -> None:
    ida = get_user_model().objects.create(username="ida")
    study.admit(ida, Role.OWNER)
    assert REFUSAL in delete(admin_client, eva, ida, at_once=True)
    assert User.objects.filter(pk__in=[eva.pk, ida.pk]).count() == 2


@pytest.mark.parametrize("at_once", [False, True])
def test_roles_that_go_with_an_account_are_recorded(
    admin_client: Client, study: Study, eva: User, at_once: bool
) -> None:
    study.admit(get_user_model().objects.create(username="ida"), Role.OWNER)
    delete(admin_client, eva, at_once=at_once)
    assert recorded() == ["deleted", "removed a member of"]
    entry = AuditEntry.objects.latest("n")
    assert entry.subject == f"study {study.pk}: {study}"
    assert entry.after == {"researcher": "eva", "role": Role.OWNER}


def test_a_draft_that_is_discarded_takes_its_members_along_without_a_word(eva: User) -> None:
    study = make_study(opened=False, base_images=22, size=4)
    study.admit(eva, Role.OWNER)
    study.discard()
    assert recorded() == []
