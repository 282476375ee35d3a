"""The pages of text in a real browser: the form by keyboard, the code, the example, languages, narrow and large."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Locator, Page, Route, expect

from study.rate_limits import Limit
from study.trials import rates
from study.trials.models import Session, Study
from tests.e2e.participant import PHONE, Participant
from tests.study.factories import answer_all, make_study, start

Arrive = Callable[..., Participant]
CLIPBOARD = "navigator.clipboard.readText()"


@pytest.fixture
def polyglot(address: str) -> Study:
    """A study with a criterion, in English, Dutch and German, whose participants come from Prolific."""
    study = make_study(
        opened=False,
        recruiter="prolific",
        screened_out_code="SORRY",
        eligibility="I see well.",
        payment="Two euros.",
        withdrawal_deadline="31 January 2027",
        debrief="Some eyes were bent a little.",
    )
    texts = ("title", "information", "eligibility", "payment", "withdrawal_deadline", "debrief")
    for language in ("nl", "de"):
        study.translations.create(language=language, **dict.fromkeys(texts, language))
    study.open()
    return study


def finished(study: Study, **more: str) -> str:
    """The token of a complete run."""
    session, token = start(study, **more)
    answer_all(session)
    session.complete()
    return token


def turned(route: Route) -> None:
    """The page from right to left, as in Arabic or Hebrew."""
    reply = route.fetch()
    route.fulfill(response=reply, body=reply.text().replace('dir="ltr"', 'dir="rtl"', 1))


def left_edge(element: Locator) -> float:
    return float(element.evaluate("element => element.getBoundingClientRect().left"))


def right_edge(element: Locator) -> float:
    return float(element.evaluate("element => element.getBoundingClientRect().right"))


def is_narrower_than_its_window(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def test_the_keyboard_alone_answers_every_question_of_the_form(polyglot: Study, arrive: Arrive) -> None:
    person = arrive()
    person.open(polyglot)
    page, keyboard = person.page, person.page.keyboard
    page.locator("[name=age]").focus()
    keyboard.type("34")
    keyboard.press("Tab")
    keyboard.press("Space")  # the first of the radio buttons: yes
    keyboard.press("Tab")
    expect(page.get_by_role("checkbox")).to_be_focused()
    keyboard.press("Space")
    keyboard.press("Tab")
    keyboard.press("Enter")
    page.wait_for_url("**/run/**")
    assert Session.objects.get().flags() == []


def test_a_problem_is_told_next_to_its_field_which_has_the_focus(polyglot: Study, arrive: Arrive) -> None:
    person = arrive()
    person.expect_failed_requests("422")
    person.open(polyglot)
    person.fill_in()
    person.page.locator("[name=age]").fill("999")
    person.page.get_by_role("button", name="Start").click()
    age = person.page.get_by_label("How old are you")
    expect(age).to_be_focused()
    expect(age).to_have_accessible_description("Please give your age in whole years, for example 34.")
    expect(person.page.get_by_role("radio", name="Yes")).to_be_checked()


def test_whoever_does_not_meet_a_criterion_reads_which_and_finds_the_way_back(polyglot: Study, arrive: Arrive) -> None:
    person = arrive()
    person.open(polyglot, "?PROLIFIC_PID=p1")
    person.fill_in()
    person.page.get_by_role("radio", name="No").check()
    person.page.get_by_role("button", name="Start").click()
    expect(person.page.locator("blockquote")).to_have_text("I see well.")
    expect(person.page.get_by_role("link", name="Finish and return")).to_have_attribute(
        "href", "https://app.prolific.com/submissions/complete?cc=SORRY"
    )
    assert not Session.objects.exists()


def test_the_code_is_copied_by_its_button(polyglot: Study, arrive: Arrive) -> None:
    person = arrive(permissions=["clipboard-read", "clipboard-write"])
    person.page.goto(f"{person.address}/run/{finished(polyglot)}/")
    person.page.get_by_role("button", name="Copy").click()
    expect(person.page.get_by_role("button", name="Copied")).to_be_visible()
    assert person.page.evaluate(CLIPBOARD) == "THANKS"


def test_the_example_shows_both_images_side_by_side_and_one_over_the_other(polyglot: Study, arrive: Arrive) -> None:
    person = arrive()
    page = person.page
    page.goto(f"{person.address}/run/{finished(polyglot)}/")
    original, altered = page.get_by_alt_text("An image as it was"), page.get_by_alt_text("The same image, altered")
    for image in (original, altered):
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth") > 0
    assert right_edge(original) <= left_edge(altered)
    overlay = page.get_by_role("button", name="Lay the altered image over the other one")
    overlay.click()
    expect(overlay).to_have_attribute("aria-pressed", "true")
    assert altered.bounding_box() == original.bounding_box()
    overlay.click()
    assert right_edge(original) <= left_edge(altered)


def test_another_language_is_one_click_away_and_is_kept_to_the_end(polyglot: Study, arrive: Arrive) -> None:
    person = arrive()
    person.open(polyglot, "?PROLIFIC_PID=p1")
    person.page.get_by_role("link", name="Deutsch").click()
    assert "PROLIFIC_PID=p1" in person.page.url
    expect(person.page.locator("html")).to_have_attribute("lang", "de")
    person.fill_in()
    person.page.get_by_role("button", name="Starten").click()
    person.page.wait_for_url("**/run/**")
    expect(person.page.locator("html")).to_have_attribute("lang", "de")
    person.page.locator("[data-go]:enabled").wait_for()  # no image is on its way any more
    session = Session.objects.get()
    answer_all(session)
    session.complete()
    person.page.reload()
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Geschafft. Vielen Dank!")


def test_the_language_of_the_browser_is_spoken_unasked(polyglot: Study, arrive: Arrive) -> None:
    person = arrive(locale="nl-BE")
    person.open(polyglot)
    expect(person.page.locator("html")).to_have_attribute("lang", "nl")


@pytest.mark.parametrize("language", [code for code, _ in settings.LANGUAGES])
def test_no_page_of_text_is_wider_than_a_phone_nor_at_twice_the_text_size(
    polyglot: Study, arrive: Arrive, language: str
) -> None:
    person = arrive(**PHONE)
    person.expect_failed_requests("410")
    screened, withdrawn, timed_out = (start(polyglot, language=language) for _ in range(3))
    screened[0].screen_out("practice")
    withdrawn[0].withdraw()
    timed_out[0].time_out()
    tokens = [finished(polyglot, language=language), *(token for _, token in (screened, withdrawn, timed_out))]
    for path in (f"s/{polyglot.slug}/?lang={language}", *(f"run/{token}/" for token in tokens)):
        person.page.goto(f"{person.address}/{path}")
        expect(person.page.locator("html")).to_have_attribute("lang", language)
        assert is_narrower_than_its_window(person.page), path
        person.page.evaluate("document.documentElement.style.fontSize = '200%'")
        assert is_narrower_than_its_window(person.page), path


def test_from_right_to_left_the_page_turns_and_stays_within_its_window(polyglot: Study, arrive: Arrive) -> None:
    person = arrive()
    person.page.route(re.compile("/s/"), turned)
    person.open(polyglot)
    label, box = person.page.locator(".check").last, person.page.get_by_role("checkbox")
    assert right_edge(box) == pytest.approx(right_edge(label), abs=1)
    assert is_narrower_than_its_window(person.page)


def test_who_has_to_wait_arrives_without_doing_anything(
    arrive: Arrive, study: Study, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "run": Limit(2, 1.0)}
    monkeypatch.setattr(rates, "SHORTEST_PAUSE_S", 1)
    person, (_, token) = arrive(), start(study)
    person.expect_failed_requests("429")
    for _ in range(3):
        person.page.goto(f"{person.address}/run/{token}/")
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Please wait a moment")
    expect(person.page.locator("#run")).to_be_attached(timeout=10_000)
