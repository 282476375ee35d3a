"""A researcher with a password, and an app that shows codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from study.accounts import devices
from study.accounts.models import User

PASSWORD = "a long enough sentence"

SignIn = Callable[..., Any]


@pytest.fixture
def researcher(db: None) -> User:
    user = User.objects.create_user("eva", "eva@example.org", PASSWORD, is_staff=True)
    user.groups.add(Group.objects.get(name="Researchers"))
    return user


@pytest.fixture
def sign_in(client: Client) -> SignIn:
    """Send the form with name and password; follows no redirect."""

    def send(username: str = "eva", password: str = PASSWORD, **request: Any) -> HttpResponse:
        form = {"username": username, "password": password, "next": "/admin/"}
        reply: Any = client.post(reverse("admin:login"), form, **request)
        return reply

    return send


@pytest.fixture
def recovery_codes(researcher: User) -> list[str]:
    """Of the researcher, who has set up a second factor a while ago."""
    devices.begin(researcher)
    codes = devices.confirm(researcher, code_of(researcher))
    TOTPDevice.objects.update(last_t=-1)
    return codes


def code_of(user: User) -> str:
    """What the researcher's app shows now."""
    device = TOTPDevice.objects.get(user=user)
    return f"{TOTP(device.bin_key).token():06d}"


def wrong_code_of(user: User) -> str:
    right = code_of(user)
    return right[:-1] + str((int(right[-1]) + 5) % 10)


def without_waiting() -> None:
    """Let the seconds pass that a wrong code makes the next one wait."""
    TOTPDevice.objects.update(throttling_failure_timestamp=None)
