"""A researcher tries a draft in a real browser, with the truth over the page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client
from playwright.sync_api import expect

from study.trials.models import Population, Study
from study.trials.rights import Role
from tests.e2e.conftest import QUICK
from tests.e2e.participant import PHONE, Participant
from tests.study.factories import make_study

Arrive = Callable[..., Participant]


@pytest.fixture
def draft(address: str) -> Study:
    return make_study(opened=False, strengths=(2.0,), base_images=12, size=4, trials_per_strength=2, **QUICK)


def sign_in(person: Participant, study: Study) -> None:
    """As a researcher who may look at the study."""
    user, client = get_user_model().objects.create_user("researcher", is_staff=True), Client()
    study.admit(user, Role.VIEWER)
    client.force_login(user)
    value = client.cookies[settings.SESSION_COOKIE_NAME].value
    person.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": value, "url": person.address}])


@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_the_truth_lies_over_the_page_on_request_and_moves_nothing(
    draft: Study, arrive: Arrive, device: dict[str, object]
) -> None:
    person = arrive(**device)
    sign_in(person, draft)
    person.begin(draft)
    person.see("Practice 1")
    canvas = person.page.locator("canvas").first
    before = canvas.bounding_box()
    overlay = person.page.locator(".overlay")
    assert not [request for request in person.requests if "/truth/" in request.url]
    overlay.locator("summary").click()
    session = draft.sessions.get()
    trial = session.trials.get(index=0)
    expect(overlay.locator("dl")).to_contain_text(f"Altered{trial.altered_side}")
    assert session.population == Population.PREVIEW
    assert canvas.bounding_box() == before
    person.press(trial.altered_side)
    expect(overlay.locator("p")).to_contain_text(f"answered “{trial.altered_side}”: correct")
