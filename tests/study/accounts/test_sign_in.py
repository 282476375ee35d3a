"""Signing in: a password, a code of those who have set up a second factor, and the wait of those who guess."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice

from study.accounts import sign_in as steps
from study.accounts.models import AuditEntry, User
from tests.study.accounts.conftest import PASSWORD, SignIn, code_of, without_waiting, wrong_code_of

pytestmark = pytest.mark.django_db

LIMIT = 5


def is_signed_in(client: Client) -> bool:
    return client.get(reverse("admin:index")).status_code == 200


def give_code(client: Client, code: str) -> Any:
    return client.post(reverse("admin:login_code"), {"code": code, "next": "/admin/"})


def actions() -> list[str]:
    return list(AuditEntry.objects.order_by("n").values_list("action", flat=True))


# --- the password


def test_a_password_signs_in_who_has_no_second_factor(client: Client, researcher: User, sign_in: SignIn) -> None:
    assert sign_in().headers["Location"] == "/admin/"
    assert is_signed_in(client)
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.subject) == ("eva", "signed in", f"user {researcher.pk}: eva")


def test_the_page_says_nothing_of_whether_there_is_such_an_account(researcher: User, sign_in: SignIn) -> None:
    wrong, unknown = sign_in(password="wrong"), sign_in("nobody")
    assert wrong.context["form"].non_field_errors() == unknown.context["form"].non_field_errors()
    assert wrong.status_code == unknown.status_code == 200


def test_an_account_that_is_not_of_staff_is_not_let_in(client: Client, researcher: User, sign_in: SignIn) -> None:
    User.objects.update(is_staff=False)
    assert sign_in().status_code == 200
    assert not is_signed_in(client)


def test_a_failure_is_recorded_for_accounts_alone_and_without_what_was_typed(researcher: User, sign_in: SignIn) -> None:
    sign_in(password="geheim")
    sign_in("geheim", "geheim")
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.subject) == ("somebody who is not signed in", f"user {researcher.pk}: eva")
    assert entry.after == {"wrong": "password", "failures in a row": 1}
    kept = [str(value) for attempt in AccessAttempt.objects.values() for value in attempt.values()]
    assert kept
    assert not any("geheim" in value for value in kept)


def test_signing_out_is_recorded(client: Client, researcher: User, sign_in: SignIn) -> None:
    sign_in()
    client.post(reverse("admin:logout"))
    assert not is_signed_in(client)
    entry = AuditEntry.objects.latest("n")
    assert (entry.actor, entry.action) == ("eva", "signed out")


def test_a_changed_password_is_recorded(client: Client, researcher: User) -> None:
    client.force_login(researcher)
    form = {"old_password": PASSWORD, "new_password1": "another sentence", "new_password2": "another sentence"}
    client.post(reverse("admin:password_change"), form)
    assert actions() == ["changed the password of"]


def test_a_password_that_was_not_changed_is_not_recorded(client: Client, researcher: User) -> None:
    client.force_login(researcher)
    form = {"old_password": "wrong", "new_password1": "another sentence", "new_password2": "another sentence"}
    client.post(reverse("admin:password_change"), form)
    assert actions() == []


def test_a_session_ends_at_a_fixed_time_whatever_is_done_in_it(
    client: Client, researcher: User, sign_in: SignIn, settings: Any
) -> None:
    settings.SESSION_COOKIE_AGE = 3600
    sign_in()
    ends = client.session.get_expiry_date()
    assert timedelta(minutes=59) < ends - timezone.now() <= timedelta(hours=1)
    session = client.session
    session["something"] = "else"
    session.save()
    assert client.session.get_expiry_date() == ends


# --- who guesses has to wait


def test_after_some_failures_even_the_right_password_has_to_wait(
    client: Client, researcher: User, sign_in: SignIn
) -> None:
    for _ in range(LIMIT):
        reply = sign_in(password="wrong")
    assert reply.status_code == 429
    assert reply["Retry-After"] == "900"
    assert "Wait 15 minutes" in reply.content.decode()
    assert sign_in().status_code == 429
    assert not is_signed_in(client)
    assert len(actions()) == LIMIT  # attempts while waiting add no entries


def test_the_wait_is_over_after_a_quarter_of_an_hour(client: Client, researcher: User, sign_in: SignIn) -> None:
    for _ in range(LIMIT):
        sign_in(password="wrong")
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
    assert sign_in().status_code == 302


def test_a_success_forgets_the_failures_before_it(researcher: User, sign_in: SignIn) -> None:
    for _ in range(LIMIT - 1):
        sign_in(password="wrong")
    sign_in()
    assert sign_in(password="wrong").status_code == 200


@pytest.mark.parametrize("command", [["axes_reset"], ["axes_reset_username", "eva"]])
def test_whoever_runs_the_server_can_lift_the_wait(researcher: User, sign_in: SignIn, command: list[str]) -> None:
    for _ in range(LIMIT):
        sign_in(password="wrong")
    call_command(*command)
    assert sign_in().status_code == 302


def test_names_without_an_account_have_to_wait_as_well(researcher: User, sign_in: SignIn) -> None:
    for _ in range(LIMIT):
        reply = sign_in("nobody")
    assert reply.status_code == 429
    assert sign_in("somebody").status_code == 200


def test_a_researcher_elsewhere_is_not_kept_out_by_who_guesses(
    researcher: User, sign_in: SignIn, settings: Any
) -> None:
    settings.PROXIES = 1
    for _ in range(LIMIT):
        reply = sign_in(password="wrong", headers={"X-Forwarded-For": "203.0.113.1"})
    assert reply.status_code == 429
    assert sign_in(headers={"X-Forwarded-For": "198.51.100.7"}).status_code == 302


def test_a_made_up_address_does_not_help_who_guesses(researcher: User, sign_in: SignIn, settings: Any) -> None:
    settings.PROXIES = 1
    for i in range(LIMIT):
        reply = sign_in(password="wrong", headers={"X-Forwarded-For": f"192.0.2.{i}, 203.0.113.1"})
    assert reply.status_code == 429


def test_programs_without_a_network_do_not_wait(client: Client, researcher: User) -> None:
    assert client.login(username="eva", password=PASSWORD)


# --- the code


@pytest.mark.usefixtures("recovery_codes")
def test_a_password_alone_does_not_sign_in_who_has_a_second_factor(client: Client, sign_in: SignIn) -> None:
    reply = sign_in()
    assert reply.headers["Location"] == f"{reverse('admin:login_code')}?next=%2Fadmin%2F"
    assert not is_signed_in(client)
    assert client.get(reply.headers["Location"]).status_code == 200


@pytest.mark.usefixtures("recovery_codes")
def test_the_code_of_the_app_signs_in(client: Client, researcher: User, sign_in: SignIn) -> None:
    sign_in()
    assert give_code(client, code_of(researcher)).headers["Location"] == "/admin/"
    assert is_signed_in(client)
    assert AuditEntry.objects.latest("n").after == {"second factor": "app"}


@pytest.mark.usefixtures("recovery_codes")
def test_a_code_signs_in_once(client: Client, researcher: User, sign_in: SignIn) -> None:
    code = code_of(researcher)
    sign_in()
    give_code(client, code)
    client.logout()
    sign_in()
    assert give_code(client, code).status_code == 200
    assert not is_signed_in(client)


def test_a_recovery_code_signs_in_once(client: Client, sign_in: SignIn, recovery_codes: list[str]) -> None:
    sign_in()
    reply = client.post(
        reverse("admin:login_code"), {"code": recovery_codes[3].upper(), "next": "/admin/"}, follow=True
    )
    assert "You have 9 left" in reply.content.decode()
    assert AuditEntry.objects.latest("n").after == {"second factor": "recovery code"}
    client.logout()
    sign_in()
    assert give_code(client, recovery_codes[3]).status_code == 200
    assert not is_signed_in(client)


@pytest.mark.usefixtures("recovery_codes")
def test_a_wrong_code_is_refused_next_to_the_field_and_recorded(
    client: Client, researcher: User, sign_in: SignIn
) -> None:
    sign_in()
    reply = give_code(client, wrong_code_of(researcher))
    assert reply.context["form"].errors["code"] == [
        "That code is not right: type the one that the app shows now, or a recovery code not yet used."
    ]
    assert AuditEntry.objects.latest("n").after == {"wrong": "code", "failures in a row": 1}
    assert not is_signed_in(client)


@pytest.mark.usefixtures("recovery_codes")
def test_wrong_codes_make_the_next_one_wait(client: Client, researcher: User, sign_in: SignIn) -> None:
    TOTPDevice.objects.update(throttling_failure_timestamp=timezone.now(), throttling_failure_count=4)
    sign_in()
    reply = give_code(client, code_of(researcher))
    assert "wait 8 seconds before the next one" in reply.context["form"].errors["code"][0]


@pytest.mark.usefixtures("recovery_codes")
def test_wrong_codes_count_as_wrong_passwords_do(client: Client, researcher: User, sign_in: SignIn) -> None:
    sign_in()
    for _ in range(LIMIT):
        without_waiting()
        reply = give_code(client, wrong_code_of(researcher))
    assert reply.status_code == 429
    without_waiting()
    assert give_code(client, code_of(researcher)).status_code == 429
    assert not is_signed_in(client)


def test_without_a_password_no_code_is_asked_for(client: Client, recovery_codes: list[str]) -> None:
    assert give_code(client, recovery_codes[0]).headers["Location"] == reverse("admin:login")
    assert not is_signed_in(client)


def test_a_code_that_comes_too_late_is_given_in_vain(
    client: Client, sign_in: SignIn, recovery_codes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "PATIENCE_S", -1)
    sign_in()
    assert give_code(client, recovery_codes[0]).headers["Location"] == reverse("admin:login")
    assert not is_signed_in(client)


def test_a_password_that_was_changed_meanwhile_was_given_in_vain(
    client: Client, researcher: User, sign_in: SignIn, recovery_codes: list[str]
) -> None:
    sign_in()
    researcher.set_password("another sentence")
    researcher.save()
    assert give_code(client, recovery_codes[0]).headers["Location"] == reverse("admin:login")


@pytest.mark.parametrize("elsewhere", ["https://example.org/", "//example.org/", "javascript:alert(1)"])
def test_nobody_is_led_elsewhere(client: Client, sign_in: SignIn, recovery_codes: list[str], elsewhere: str) -> None:
    sign_in()
    reply = client.post(reverse("admin:login_code"), {"code": recovery_codes[0], "next": elsewhere})
    assert reply.headers["Location"] == reverse("admin:index")
