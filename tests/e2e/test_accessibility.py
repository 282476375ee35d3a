"""axe finds nothing on any page that a participant can meet, and nothing serious on any page of a researcher, at the
width of a phone and of a desk, in light and dark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.admin import site
from django.contrib.auth import get_user_model
from django.test import Client
from playwright.sync_api import Page

from study.accounts import audit
from study.lab.models import Job
from tests.e2e import axe
from tests.e2e.participant import PHONE, Participant
from tests.e2e.tour import tour
from tests.study.endpoints import Endpoint, endpoints
from tests.study.factories import answer_all, make_study, start


@pytest.mark.slow
@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_on_any_page(
    address: str, arrive: Callable[..., Participant], device: dict[str, Any]
) -> None:
    found, visited = [], set()
    for name, page in tour(lambda: arrive(**device), make_study):
        visited.add(name)
        found += [f"{name}: {axe.told(violation)}" for violation in axe.violations(page)]
    assert found == []
    assert len(visited) == 44


#: How a researcher's page is looked at: its width in px and the colours asked for.
LOOKS: tuple[tuple[int, Any], ...] = ((1280, "light"), (390, "dark"))
#: Pages of a study that are others in each of its states.
BY_STATE = ("/change/", "/opening/", "/live/")
#: Beside the addresses that say it all: a form with a preset, and forms to be sent as they come, which are refused.
PRESET = "/admin/trials/study/add/?preset=afc-threshold"
REFUSED = {PRESET: "Save", "/admin/lab/modelrun/train/": "Train", "/admin/accounts/user/add/": "Save"}
#: So many rows of a list are as good as all; there is a second page of them then.
ROWS = 8
#: Django's own button beside a group's permissions has a name that only its title may give it.
NOT_OURS = ".search-label-icon"


@pytest.mark.slow
def test_axe_finds_nothing_serious_on_any_page_of_a_researcher(
    address: str, arrive: Callable[..., Participant], monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in site._registry.values():
        monkeypatch.setattr(room, "list_per_page", ROWS)
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("ada", password="her password"))
    _make_rows()
    page, found = arrive().page, []
    page.goto(f"{address}/admin/")
    found += _faults("signing in", page)
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("not her password")
    page.get_by_role("button", name="Sign in").click()
    page.locator(".errornote").wait_for()
    found += _faults("signing in refused", page)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": address}])
    paths = [*_pages(client), PRESET]
    for path in paths:
        page.goto(f"{address}{path}")
        found += _faults(path, page)
    for path, button in REFUSED.items():
        page.goto(f"{address}{path}")
        page.get_by_role("button", name=button, exact=True).click()
        page.locator(".errornote").wait_for()
        found += _faults(f"{path} refused", page)
    assert found == []
    assert len(paths) > 70


def _faults(where: str, page: Page) -> Iterator[str]:
    """What is serious on the page in each of LOOKS."""
    for width, colours in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=colours)
        page.evaluate("document.getAnimations().forEach((one) => one.finish())")  # colours change by and by
        for violation in axe.violations(page, leave_out=NOT_OURS):
            if violation["impact"] in ("serious", "critical"):
                yield f"{where} at {width} px, {colours}: {axe.told(violation)}"


def _make_rows() -> None:
    """A study in every state, and a row of everything that has a page."""
    make_study(opened=False, base_images=22, size=4)
    opened, closed = (make_study(base_images=22, size=4) for _ in range(2))
    for study in (opened, closed):
        answer_all(start(study)[0])
        start(study)
    closed.close()
    audit.record("closed", closed, {"state": "open"}, {"state": "closed"})
    for n, state in enumerate((Job.State.RUNNING, Job.State.FAILED)):
        job = Job.objects.submit(Job.Kind.VERIFY, {"study": opened.pk, "design": str(n)})
        Job.objects.filter(pk=job.pk).update(state=state, log_tail="It began.\nIt went on.", error="It failed: try it.")


def _pages(client: Client) -> Iterator[str]:
    """The addresses of all pages that this researcher can open."""
    for endpoint in endpoints():
        if endpoint.parts[0].startswith("admin") or str(endpoint) == "/statusz":
            for path in _addresses(endpoint):
                response = client.get(path)
                if response.status_code == 200 and not response.streaming and b"<html" in response.content:
                    yield path


def _addresses(endpoint: Endpoint) -> Iterator[str]:
    """Of a page without a place in its address; of one about a row, for such rows."""
    if not endpoint.places:
        yield endpoint.filled(())
        return
    row = re.fullmatch("admin/([a-z]+)/([a-z]+)/", endpoint.parts[0])
    if row is None or len(endpoint.places) > 1:
        return
    rows = apps.get_model(*row.groups()).objects.order_by("pk")
    if row[2] == "study":
        rows = rows if endpoint.parts[1] in BY_STATE else rows.filter(state="open")
    for found in rows if row[2] in ("study", "job") else rows[:1]:
        yield endpoint.filled((str(found.pk),))
