"""What every page tells the browser: no script and no style but our own files, and cookies that only we read."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from study.accounts.models import User
from study.trials.models import Study
from tests.study.accounts.conftest import SignIn, code_of
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db


@pytest.fixture
def study() -> Study:
    return make_study(base_images=22, size=4)


def assert_strict(response: Any) -> None:
    policy = dict(part.strip().split(" ", 1) for part in response["Content-Security-Policy"].split(";"))
    assert "unsafe" not in str(policy)
    assert policy["default-src"] == "'self'"
    assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy.get("script-src", "'self'") == policy.get("style-src", "'self'") == "'self'"
    assert response["X-Content-Type-Options"] == "nosniff"
    text = response.content.decode()
    inline = re.search(r"<style|\sstyle=|\son\w+=\"|<script(?![^>]*\b(?:src=|type=\"application/json\"))", text)
    assert inline is None, inline


@pytest.mark.parametrize(
    "name",
    ["index", "trials_study_changelist", "lab_job_changelist", "accounts_auditentry_changelist", "accounts_user_add",
     "password_change", "two_factor"],
)  # fmt: skip
def test_pages_of_the_admin_are_strict(admin_client: Client, name: str) -> None:
    response = admin_client.get(reverse(f"admin:{name}"))
    assert response.status_code == 200
    assert_strict(response)


def test_the_pages_at_the_door_are_strict(
    client: Client, researcher: User, sign_in: SignIn, recovery_codes: list[str]
) -> None:
    assert_strict(client.get(reverse("admin:login")))
    sign_in()
    assert_strict(client.get(reverse("admin:login_code")))
    client.post(reverse("admin:login_code"), {"code": code_of(researcher)})
    assert_strict(client.get(reverse("admin:two_factor")))


def test_pages_of_participants_are_strict(client: Client, study: Study) -> None:
    assert_strict(client.get(f"/s/{study.slug}/"))
    _, token = study.start_session()
    assert_strict(client.get(f"/run/{token}/"))


@pytest.mark.parametrize(("address", "status"), [("/nowhere", 404), ("/s/nowhere/", 404), ("/admin/nowhere/", 302)])
def test_error_pages_are_strict(client: Client, address: str, status: int) -> None:
    response = client.get(address)
    assert response.status_code == status
    assert_strict(response)


def test_the_page_for_those_who_have_to_wait_is_strict(researcher: User, sign_in: SignIn) -> None:
    for _ in range(5):
        response: Any = sign_in(password="wrong")
    assert response.status_code == 429
    assert_strict(response)


@pytest.mark.parametrize(("failure", "status"), [(RuntimeError, 500), (OperationalError, 503)])
def test_failures_are_strict(
    client: Client, study: Study, monkeypatch: pytest.MonkeyPatch, failure: type[Exception], status: int
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr("study.trials.views.get_object_or_404", fail)
    client.raise_request_exception = False
    response = client.get(f"/s/{study.slug}/")
    assert response.status_code == status
    assert_strict(response)


def test_a_host_that_is_not_ours_is_refused_strictly(client: Client) -> None:
    response = client.get("/admin/login/", headers={"Host": "elsewhere.example.org"})
    assert response.status_code == 400
    assert_strict(response)


# --- cookies


def test_the_cookie_of_a_session_is_closed_to_scripts_and_other_sites(
    client: Client, researcher: User, sign_in: SignIn, settings: Any
) -> None:
    sign_in()
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == pytest.approx(12 * 3600, abs=2)


def test_participants_are_given_no_session_and_none_is_asked_for(client: Client, study: Study, settings: Any) -> None:
    client.cookies[settings.SESSION_COOKIE_NAME] = "s" * 32
    _, token = study.start_session()
    with CaptureQueriesContext(connection) as seen:
        pages = [client.get(f"/s/{study.slug}/"), client.get(f"/run/{token}/"), client.get(f"/run/{token}/plan")]
    assert [page.status_code for page in pages] == [200, 200, 200]
    assert not [query for query in seen if re.search(r"django_session|accounts_|axes_|otp_", query["sql"])]
    assert not [page for page in pages if settings.SESSION_COOKIE_NAME in page.cookies]
