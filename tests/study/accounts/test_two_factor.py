"""The page where a researcher sets up a second factor, and the installations where everybody has to."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from study.accounts import devices
from study.accounts.models import AuditEntry, User
from tests.study.accounts.conftest import SignIn, code_of, wrong_code_of

pytestmark = pytest.mark.django_db

PAGE = "/admin/two-factor/"


@pytest.fixture
def page(client: Client, researcher: User) -> Client:
    """A client in which the researcher is signed in."""
    client.force_login(researcher)
    return client


def press(page: Client, button: str, code: str = "") -> Any:
    return page.post(PAGE, {"do": button, "code": code})


def last() -> AuditEntry:
    return AuditEntry.objects.latest("n")


# --- setting it up


def test_the_page_shows_the_secret_as_a_picture_and_in_letters(page: Client) -> None:
    press(page, "begin")
    text = page.get(PAGE).content.decode()
    device = TOTPDevice.objects.get()
    assert devices.secret(device) in text
    assert "<svg" in text
    assert "style=" not in text


def test_the_app_counts_once_its_code_was_typed(page: Client, researcher: User) -> None:
    press(page, "begin")
    assert not devices.is_enrolled(researcher)
    press(page, "confirm", code_of(researcher))
    assert devices.is_enrolled(researcher)
    assert (last().actor, last().action) == ("eva", "set up the second factor of")


def test_ten_recovery_codes_are_shown_once_and_are_not_in_the_database(page: Client, researcher: User) -> None:
    press(page, "begin")
    text = press(page, "confirm", code_of(researcher)).content.decode()
    codes = re.findall(r"<code>(\w{4}-\w{4})</code>", text)
    assert len(set(codes)) == 10
    assert codes[0] not in page.get(PAGE).content.decode()
    kept = set(StaticToken.objects.values_list("token", flat=True))
    assert kept.isdisjoint(code.replace("-", "") for code in codes)
    assert devices.check(researcher, codes[0]) == devices.RECOVERY


def test_a_wrong_code_sets_nothing_up(page: Client, researcher: User) -> None:
    press(page, "begin")
    reply = press(page, "confirm", wrong_code_of(researcher))
    assert reply.context["form"].errors["code"]
    assert not devices.is_enrolled(researcher)
    assert not AuditEntry.objects.exists()


def test_an_app_is_not_replaced_without_a_code_of_it(page: Client, researcher: User, recovery_codes: list[str]) -> None:
    before = TOTPDevice.objects.get().key
    press(page, "begin")
    assert TOTPDevice.objects.get().key == before


def test_who_is_not_signed_in_is_asked_to(client: Client) -> None:
    assert client.get(PAGE).headers["Location"] == f"{reverse('admin:login')}?next=%2Fadmin%2Ftwo-factor%2F"


def test_the_page_is_kept_by_no_cache(page: Client) -> None:
    assert "no-store" in page.get(PAGE)["Cache-Control"]


# --- afterwards


def test_new_recovery_codes_replace_the_old_ones(page: Client, researcher: User, recovery_codes: list[str]) -> None:
    text = press(page, "renew", recovery_codes[0]).content.decode()
    fresh = re.findall(r"<code>(\w{4}-\w{4})</code>", text)
    assert last().action == "renewed the recovery codes of"
    assert devices.check(researcher, fresh[0]) == devices.RECOVERY
    with pytest.raises(devices.RefusedCode):
        devices.check(researcher, recovery_codes[1])


def test_a_code_removes_the_second_factor(page: Client, researcher: User, recovery_codes: list[str]) -> None:
    press(page, "remove", recovery_codes[0])
    assert not devices.is_enrolled(researcher)
    assert not StaticToken.objects.exists()
    assert last().action == "removed the second factor of"


@pytest.mark.parametrize("button", ["remove", "renew"])
def test_without_a_code_nothing_is_removed_or_renewed(
    page: Client, researcher: User, recovery_codes: list[str], button: str
) -> None:
    press(page, button, wrong_code_of(researcher))
    assert devices.is_enrolled(researcher)
    assert devices.check(researcher, recovery_codes[0]) == devices.RECOVERY
    assert last().action == "failed to sign in as"


def test_an_administrator_lets_in_who_lost_everything(
    admin_client: Client, researcher: User, recovery_codes: list[str]
) -> None:
    form = {"action": "remove_second_factor", "_selected_action": [researcher.pk]}
    admin_client.post(reverse("admin:accounts_user_changelist"), form)
    assert not devices.is_enrolled(researcher)
    assert (last().actor, last().action) == ("admin", "removed the second factor of")


def test_so_does_the_command(researcher: User, recovery_codes: list[str]) -> None:
    out = io.StringIO()
    call_command("remove_second_factor", "eva", stdout=out)
    assert not devices.is_enrolled(researcher)
    assert "by password alone" in out.getvalue()


def test_the_command_says_when_there_is_no_such_account() -> None:
    with pytest.raises(CommandError, match="There is no account 'nobody'"):
        call_command("remove_second_factor", "nobody")


# --- where everybody has to have one


@pytest.fixture
def _required(settings: Any) -> None:
    settings.REQUIRE_TWO_FACTOR = True


@pytest.mark.usefixtures("_required")
def test_who_has_none_is_led_to_setting_it_up(client: Client, researcher: User, sign_in: SignIn) -> None:
    sign_in()
    wanted = reverse("admin:trials_study_changelist")
    reply = client.get(wanted, follow=True)
    assert reply.redirect_chain[-1][0] == f"{PAGE}?next=%2Fadmin%2Ftrials%2Fstudy%2F"
    assert "Everybody who signs in here needs a second factor" in reply.content.decode()


@pytest.mark.usefixtures("_required")
def test_once_it_is_set_up_everything_is_open(client: Client, researcher: User, sign_in: SignIn) -> None:
    sign_in()
    press(client, "begin")
    press(client, "confirm", code_of(researcher))
    assert client.get(reverse("admin:index")).status_code == 200


@pytest.mark.usefixtures("_required")
def test_who_gave_a_code_is_let_in(client: Client, sign_in: SignIn, recovery_codes: list[str]) -> None:
    sign_in()
    client.post(reverse("admin:login_code"), {"code": recovery_codes[0]})
    assert client.get(reverse("admin:index")).status_code == 200


@pytest.mark.usefixtures("_required")
def test_a_session_from_before_is_asked_for_a_code(page: Client, recovery_codes: list[str]) -> None:
    reply = page.get(reverse("admin:index"), follow=True)
    assert reply.redirect_chain[-1][0].startswith(reverse("admin:login_code"))
    page.post(reverse("admin:login_code"), {"code": recovery_codes[0]})
    assert page.get(reverse("admin:index")).status_code == 200


@pytest.mark.usefixtures("_required")
def test_the_status_page_is_as_closed(client: Client, researcher: User, sign_in: SignIn) -> None:
    sign_in()
    assert client.get("/statusz?format=json").status_code == 401
