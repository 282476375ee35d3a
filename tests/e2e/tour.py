"""A walk past every page that a participant can meet: for the accessibility check and for the pictures in docs/.

Needs the studies in the same database, because somebody has to know the right answers to fail or pass the practice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.test import override_settings
from playwright.sync_api import Page

from study.rate_limits import Limit
from study.trials.models import Session, Study
from tests.e2e.participant import KEYS, Participant
from tests.study.factories import answer, answer_all, start

#: What studies on the tour have beyond the settings of each.
COMMON: dict[str, Any] = {
    "strengths": (2.0,),
    "trials_per_strength": 2,
    "practice_trials": 2,
    "fixation_ms": 400,
    "blank_ms": 40,
    "enable_after_ms": 0,
}
PROTOCOLS: dict[str, dict[str, Any]] = {
    "ifc": {"exposure_ms": 1500, "gap_ms": 60},
    "flicker": {},
    "oddity": {"not_sure": True},
    "yes_no": {},
}
#: Texts of a study, as they stand in its translations.
IN_DUTCH = {
    "title": "Hoe klein mag een verschil zijn?",
    "information": "We onderzoeken hoe kleine veranderingen in een beeld mensen nog opmerken.",
    "eligibility": "Ik zie goed, zo nodig met bril of lenzen.",
}
IN_GERMAN = {
    "title": "Wie klein darf ein Unterschied sein?",
    "information": "Wir untersuchen, wie kleine Veränderungen eines Bildes Menschen noch bemerken.",
    "eligibility": "Ich sehe gut, wenn nötig mit Brille oder Linsen.",
}
#: Says after a moment, not after a minute, that sending takes long.
IMPATIENT = """(() => {
  const later = window.setTimeout;
  window.setTimeout = (work, ms, ...more) => later(work, ms === 60_000 ? 200 : ms, ...more);
})();"""
Bring = Callable[[], Participant]
Make = Callable[..., Study]
Stops = Iterator[tuple[str, Page]]


def tour(bring: Bring, make: Make) -> Stops:
    """(name, page) of every stop. `bring()` brings somebody with a browser of their own, `make(**fields)` a study."""
    for name, page in _stops(bring, make):
        page.wait_for_timeout(250)  # until buttons have taken on their colour
        yield name, page


def _stops(bring: Bring, make: Make) -> Stops:
    yield from _from_the_link_to_the_code(bring, make)
    yield from _other_languages(bring, make)
    yield from _without_connection(bring, make)
    yield from _turned_away(bring, make)
    yield from _other_ends(bring, make)
    yield from _screens_that_do_not_do(bring, make)
    yield from _measuring_that_fails(bring, make)
    for protocol, fields in PROTOCOLS.items():
        yield from _a_trial(bring, make(**COMMON, protocol=protocol, **fields))


def _from_the_link_to_the_code(bring: Bring, make: Make) -> Stops:
    study = make(
        **{**COMMON, "practice_trials": 2, "practice_correct": 2, "practice_rounds": 2},
        calibration="card",
        distance="told",
        break_every=5,
        eligibility="I see well, with glasses or lenses if I need them.\nI am not looking at a screen in bright sun.",
        payment="Two euros, also if you stop early.",
        withdrawal_deadline="31 January 2027",
        consent=(
            "By starting I agree that\n\n- my answers are **analysed** and published without my name,\n"
            "- I was able to [ask questions](mailto:researcher@example.org)."
        ),
        instructions="### A hint\n\nLook at the *whole* image: what was altered may be anywhere.",
        debrief="## How it was done\n\nIn the altered images the pixels had been moved a little, all over the image.",
    )
    person = bring()
    person.expect_failed_requests("422", "ERR_INTERNET_DISCONNECTED")
    page = person.page
    person.open(study)
    yield "information", page
    person.fill_in()
    page.get_by_role("checkbox").uncheck()
    page.locator("form").evaluate("form => (form.noValidate = true)")
    page.get_by_role("button", name="Start").click()
    page.locator(".problem").first.wait_for()
    yield "consent-missing", page
    person.fill_in()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/run/**")
    session = study.sessions.get()

    page.locator(".outline").wait_for()
    yield "setup-card", page
    for _ in range(3):
        page.get_by_role("button", name="Larger", exact=True).click()
    page.get_by_role("button", name="It fits").click()
    page.get_by_label("Distance in centimetres").fill("60")
    yield "setup-distance", page
    page.get_by_role("button", name="Go on").click()
    page.locator("[data-go]:enabled").wait_for()
    yield "instructions", page
    page.locator("[data-go]").click()
    page.locator('[data-state="fixation"]').wait_for()
    yield "fixation", page

    yield from _practise(person, session, range(2), correctly=False)
    page.locator("[data-go]:enabled").wait_for()
    yield "practice-again", page
    page.locator("[data-go]").click()
    yield from _practise(person, session, range(2, 4), correctly=True)
    page.locator("[data-go]:enabled").wait_for()
    yield "practice-over", page
    page.locator("[data-go]").click()

    person.see("Pair 1")
    yield "pair", page
    page.get_by_role("button", name="Stop", exact=True).click()
    yield "withdraw", page
    page.get_by_role("button", name="Go back").click()
    person.answer(range(1, 3))
    person.see("Pair 3")
    person.context.set_offline(True)
    person.press("left")
    page.locator("#notice:not([hidden])").wait_for()
    person.see("Pair 4")
    yield "offline", page
    person.context.set_offline(False)
    page.locator("#notice").wait_for(state="hidden")
    person.answer(range(4, 6))
    page.locator("[data-go]:enabled").wait_for()
    yield "break", page

    page.reload()
    page.get_by_role("button", name="Measure again").wait_for()
    yield "setup-again", page
    page.locator("[data-go]").click()
    page.locator("[data-loading]").wait_for(state="attached")
    page.locator("[data-go]:enabled").wait_for()
    yield "resume", page
    second = person.open_tab()
    second.goto(page.url)
    page.locator("[data-reload]").wait_for()
    yield "other-tab", page
    second.close()

    answer_all(Session.objects.get(pk=session.pk))
    Session.objects.get(pk=session.pk).complete()
    page.reload()
    person.code()
    yield "end", page
    person.leave()


def _practise(person: Participant, session: Session, indices: range, *, correctly: bool) -> Stops:
    page = person.page
    for index in indices:
        person.see(f"Practice {index % 2 + 1}")
        if index == 0:
            yield "practice", page
        side = session.trials.get(index=index).altered_side
        wrong = {"left": "right", "right": "left"}[side]
        page.keyboard.press(KEYS[side if correctly else wrong])
        page.get_by_role("button", name="Continue").wait_for()
        if index in (0, 2):
            yield "feedback-wrong" if index == 0 else "feedback-right", page
        page.get_by_role("button", name="Continue").click()


def _other_languages(bring: Bring, make: Make) -> Stops:
    study = make(**COMMON, opened=False, eligibility="I see well, with glasses or lenses if I need them.")
    for language, texts in (("nl", IN_DUTCH), ("de", IN_GERMAN)):
        study.translations.create(language=language, **texts)
    study.open()
    person = bring()
    for name, language in (("dutch", "nl"), ("german", "de"), ("right-to-left", "en")):
        person.open(study, f"?lang={language}")
        if name == "right-to-left":  # as in Arabic or Hebrew
            person.page.evaluate("document.documentElement.dir = 'rtl'")
        yield name, person.page
    person.leave()


def _without_connection(bring: Bring, make: Make) -> Stops:
    """The last answer cannot be sent: first the page waits, later it offers the answers as a file."""
    person = bring()
    person.expect_failed_requests("ERR_INTERNET_DISCONNECTED")
    page = person.page
    page.add_init_script(IMPATIENT)
    session, token = start(make(**COMMON))
    for trial in session.trials.order_by("index")[: session.trials.count() - 1]:
        answer(session, trial.index)
    page.goto(f"{person.address}/run/{token}/")
    page.locator("[data-go]:enabled").click()
    page.locator('[data-state="shown"]').wait_for()
    person.context.set_offline(True)
    person.press("left")
    page.get_by_role("button", name="Save my answers").wait_for()
    yield "sending", page
    person.leave()


def _turned_away(bring: Bring, make: Make) -> Stops:
    study = make(**COMMON, eligibility="I see well.")
    person = bring()
    person.expect_failed_requests("403", "404", "429")
    page = person.page
    person.open(study)
    person.fill_in()
    page.locator("[name=age]").fill("12")
    page.get_by_role("button", name="Start").click()
    page.locator("[name=age]").wait_for(state="detached")
    yield "too-young", page
    study.pause()
    page.goto(f"{person.address}/s/{study.slug}/")
    yield "study-paused", page
    study.close()
    page.goto(f"{person.address}/s/{study.slug}/")
    yield "closed", page
    page.goto(f"{person.address}/s/{study.slug[:-1]}/")
    yield "not-found", page
    token = start(make(**COMMON))[1]
    with override_settings(RATE_LIMITS={**settings.RATE_LIMITS, "run": Limit(1, 0.01)}):
        for _ in range(2):
            page.goto(f"{person.address}/run/{token}/")
    yield "too-many", page
    person.leave()


def _other_ends(bring: Bring, make: Make) -> Stops:
    study = make(**COMMON, screened_out_code="SORRY")
    person = bring()
    person.expect_failed_requests("410")
    for name, end in (
        ("screened-out", lambda session: session.screen_out("practice")),
        ("timed-out", Session.time_out),
        ("withdrawn", Session.withdraw),
    ):
        session, token = start(study)
        end(session)
        person.page.goto(f"{person.address}/run/{token}/")
        yield name, person.page
    person.leave()


def _screens_that_do_not_do(bring: Bring, make: Make) -> Stops:
    person = bring()
    page = person.page
    study = make(**COMMON, scale=60)
    page.goto(f"{person.address}/run/{start(study)[1]}/")
    page.locator("[data-screen-out]").wait_for()
    yield "setup-window", page
    study = make(**COMMON)
    page.goto(f"{person.address}/run/{start(study)[1]}/")
    page.locator("[data-go]:enabled").click()
    person.see("Practice 1")
    size = page.viewport_size
    assert size
    page.set_viewport_size({"width": size["width"], "height": 30})
    page.locator('[data-state="paused"]').wait_for(state="attached")
    page.set_viewport_size(size)
    yield "paused", page
    person.leave()


def _measuring_that_fails(bring: Bring, make: Make) -> Stops:
    """By the blind spot, which may be skipped; the images would then be too large for the design."""
    study = make(**COMMON, calibration="card", distance="blind_spot", image_degrees=0.05)
    person = bring()
    page = person.page
    page.goto(f"{person.address}/run/{start(study)[1]}/")
    for _ in range(5):
        page.get_by_role("button", name="Smaller", exact=True).click()
    page.get_by_role("button", name="It fits").click()
    tell = page.get_by_role("button", name="Type the distance instead")
    tell.wait_for()
    yield "setup-blind-spot", page
    tell.click()
    page.get_by_label("Distance in centimetres").fill("60")
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Measure again").wait_for()
    yield "setup-size", page
    person.leave()


def _a_trial(bring: Bring, study: Study) -> Stops:
    person = bring()
    page = person.page
    page.goto(f"{person.address}/run/{start(study)[1]}/")
    if study.protocol == Study.Protocol.FLICKER:
        page.get_by_role("button", name="I want to take part").wait_for()
        yield "flicker-warning", page
        page.locator("[data-go]").click()
    page.locator("[data-loading]").wait_for(state="attached")
    page.locator("[data-go]:enabled").wait_for()
    yield f"{study.protocol}-instructions", page
    page.locator("[data-go]").click()
    page.locator('[data-state="shown"]').wait_for()
    yield f"{study.protocol}-trial", page
    person.leave()
