"""Researchers at the desk, for tests: somebody with a role on a study, signed in."""

from __future__ import annotations

from itertools import count

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client

from study.accounts.models import AuditEntry
from study.trials import design
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


def images_brought(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Fills while images are asked of the storage: each time, whether a transaction waits meanwhile."""
    outside = len(connection.savepoint_ids)
    waiting: list[bool] = []
    monkeypatch.setattr(design, "demand_images", lambda *_: waiting.append(len(connection.savepoint_ids) > outside))
    return waiting
