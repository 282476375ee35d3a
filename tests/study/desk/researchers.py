"""Researchers at the desk, for tests: somebody with a role on a study, signed in."""

from __future__ import annotations

from itertools import count

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from study.accounts.models import AuditEntry
from study.trials.models import Study
from study.trials.rights import Role

_serial = count(1)


def signed_in(study: Study | None = None, role: Role | None = None, *permissions: str) -> Client:
    """The browser of a new researcher with this role on the study and these permissions ("add_study")."""
    user = get_user_model().objects.create(username=f"researcher-{next(_serial)}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    if study is not None and role is not None:
        study.admit(user, role)
    client = Client()
    client.force_login(user)
    return client


def recorded() -> list[str]:
    """What the audit log says was done, the oldest first."""
    return list(AuditEntry.objects.order_by("n").values_list("action", flat=True))
