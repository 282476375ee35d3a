"""From the study's link to the completion code, by every way of answering and through everything that goes wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from study.trials.models import Answer, Population, Session, Study, TrialTrace
from tests.e2e.conftest import QUICK
from tests.e2e.participant import PHONE, Participant
from tests.study.factories import make_study, start

Arrive = Callable[..., Participant]
MAIN = 10
TOTAL = MAIN + 2
TELLTALE = re.compile(r"clean|poison|warp|wanet|badnet|backdoor|catch|strength", re.IGNORECASE)


def only_session() -> Session:
    return Session.objects.get()


def stored_indices() -> list[int]:
    return list(Answer.objects.order_by("trial__index").values_list("trial__index", flat=True))


def arrived(person: Participant, indices: list[int]) -> bool:
    """Whether exactly these answers are stored, now or in the next seconds: the next pair does not wait for them."""
    for _ in range(100):
        if stored_indices() == indices:
            return True
        person.page.wait_for_timeout(50)
    return False


def test_the_keyboard_alone_leads_from_consent_to_the_code(study: Study, arrive: Arrive) -> None:
    person = arrive()
    page, keyboard = person.page, person.page.keyboard
    person.open(study)
    while page.evaluate("document.activeElement.name") != "age":
        keyboard.press("Tab")
    keyboard.type("34")
    while page.evaluate("document.activeElement.type") != "checkbox":
        keyboard.press("Tab")
    keyboard.press("Space")
    keyboard.press("Tab")
    keyboard.press("Enter")
    for i in range(1, 3):
        if i == 1:
            page.locator("[data-go]:enabled").wait_for()
            keyboard.press("Tab")
            keyboard.press("Enter")
        person.see(f"Practice {i}")
        person.press("right")
        expect(page.get_by_role("button", name="Continue")).to_be_focused()
        keyboard.press("Enter")
    expect(page.get_by_role("heading", name="The practice is over")).to_be_focused()
    keyboard.press("Tab")
    keyboard.press("Enter")
    person.answer(range(1, MAIN + 1), "right")

    assert person.code() == "THANKS"
    expect(page.get_by_role("heading", name="Done. Thank you!")).to_be_focused()
    session = only_session()
    assert session.state == Session.State.COMPLETE
    assert stored_indices() == list(range(TOTAL))
    assert set(Answer.objects.values_list("choice", flat=True)) == {"right"}


def test_touch_on_a_phone_leads_to_the_code(study: Study, arrive: Arrive) -> None:
    person = arrive(**PHONE)
    page = person.page
    person.open(study)
    page.get_by_label("How old are you").fill("34")
    person.fill_in()
    page.get_by_role("button", name="Start").tap()
    page.locator("[data-go]").tap()
    for i in range(1, 3):
        person.see(f"Practice {i}")
        person.act(page.locator(".afc-answer").nth(i % 2).tap)
        page.get_by_role("button", name="Continue").tap()
    page.locator("[data-go]").tap()
    for i in range(1, MAIN + 1):
        person.see(f"Pair {i}")
        target = page.locator("canvas") if i % 2 else page.locator(".afc-answer")
        person.act(target.nth(0).tap)
    assert person.code() == "THANKS"
    assert set(TrialTrace.objects.values_list("details__input", flat=True)) == {"touch"}


def test_both_images_and_large_buttons_fit_on_a_phone(study: Study, arrive: Arrive) -> None:
    person = arrive(**PHONE)
    person.begin(study)
    person.see("Practice 1")
    left, right = (person.page.locator("canvas").nth(i).bounding_box() for i in (0, 1))
    assert left
    assert right
    assert left["x"] >= 0
    assert right["x"] + right["width"] <= 390
    assert right["x"] > left["x"] + left["width"]
    assert left["y"] == right["y"]
    for button in person.page.get_by_role("button").all():
        box = button.bounding_box()
        assert box
        assert min(box["width"], box["height"]) >= 44
    assert person.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_click_on_an_image_chooses_it(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.begin(study)
    person.see("Practice 1")
    person.act(person.page.get_by_role("img", name="Right image").click)
    person.page.get_by_role("button", name="Continue").wait_for()
    assert Answer.objects.get().choice == "right"
    assert TrialTrace.objects.get().details["input"] == "mouse"


def test_practice_frames_the_altered_image_and_says_whether_the_answer_was_right(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.begin(study)
    altered = [trial.altered_side for trial in only_session().trials.order_by("index")[:2]]
    person.see("Practice 1")
    person.press(altered[0])
    note = person.page.locator(".afc-note p")
    expect(note).to_have_text(f"Correct. The {altered[0]} image has been altered.")
    assert person.page.locator("canvas.is-altered").get_attribute("aria-label") == f"{altered[0].title()} image"
    person.page.get_by_role("button", name="Continue").click()
    person.see("Practice 2")
    person.press("left" if altered[1] == "right" else "right")
    expect(note).to_have_text(f"Not this time. The {altered[1]} image has been altered.")


def test_nothing_a_participant_can_read_names_a_condition(study: Study, arrive: Arrive) -> None:
    person = arrive()
    seen: list[str] = []
    person.page.on("response", lambda r: seen.append(r.text()) if "json" in r.headers["content-type"] else None)
    person.consent(study)
    seen.append(person.page.content())
    person.go_on("Which one?")
    person.practise()
    person.see("Pair 1")
    seen.append(person.page.content())
    person.answer(range(1, MAIN + 1))
    person.code()
    seen += [person.page.content(), *person.console, *(r.url for r in person.requests)]
    assert len(seen) > TOTAL
    assert not [TELLTALE.findall(text) for text in seen if TELLTALE.search(text)]


def test_a_reload_goes_on_at_the_next_unanswered_trial(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.consent(study)
    person.page.reload()
    person.go_on("Which one?")
    person.see("Practice 1")
    person.press("left")
    person.page.get_by_role("button", name="Continue").wait_for()
    person.page.reload()
    person.go_on("Welcome back")
    person.see("Practice 2")
    person.press("left")
    person.page.get_by_role("button", name="Continue").click()
    person.go_on("practice is over")
    person.answer(range(1, 5))
    person.see("Pair 5")
    person.page.reload()
    expect(person.page.locator("[data-value=answered]").first).to_have_text("6")
    person.go_on("Welcome back")
    person.answer(range(5, MAIN + 1))
    code = person.code()
    person.page.reload()
    assert person.code() == code == "THANKS"
    assert stored_indices() == list(range(TOTAL))


def test_answers_kept_offline_survive_a_reload(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.expect_failed_requests("ERR_FAILED")
    person.begin(study)
    person.practise()
    person.context.route("**/trials/*", lambda route: route.abort())
    person.answer(range(1, 4))
    person.see("Pair 4")
    person.context.unroute("**/trials/*")
    person.page.reload()
    person.go_on("Welcome back")
    person.answer(range(4, MAIN + 1))
    assert person.code() == "THANKS"
    assert stored_indices() == list(range(TOTAL))
    assert Answer.objects.count() == TOTAL


def test_the_back_button_leads_into_the_same_run(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.begin(study)
    person.practise()
    person.answer(range(1, 3))
    person.see("Pair 3")
    person.page.go_back()
    person.page.get_by_role("link", name="Go on where you stopped").click()
    person.go_on("Welcome back")
    person.see("Pair 3")
    person.page.go_back()
    person.page.go_forward()
    person.go_on("Welcome back")
    person.answer(range(3, 5))
    person.see("Pair 5")
    assert arrived(person, list(range(6)))
    assert Session.objects.count() == 1


def test_the_older_of_two_tabs_is_told_at_once(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.begin(study)
    person.see("Practice 1")
    newer = person.open_tab()
    newer.goto(person.page.url)
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Open in another tab")
    expect(newer.get_by_role("heading", level=1)).to_contain_text("Which one?")
    person.page.get_by_role("button", name="Go on here instead").click()
    expect(newer.get_by_role("heading", level=1)).to_have_text("Open in another tab")
    person.go_on("Which one?")
    person.see("Practice 1")


def test_a_tab_superseded_on_another_device_is_told_with_its_next_answer(study: Study, arrive: Arrive) -> None:
    older, newer = arrive(), arrive()
    older.expect_failed_requests("409")
    older.begin(study)
    older.practise()
    older.see("Pair 1")
    newer.page.goto(older.page.url)
    newer.go_on("Welcome back")
    newer.see("Pair 1")
    older.press("left")
    expect(older.page.get_by_role("heading", level=1)).to_have_text("Open in another tab")
    newer.answer(range(1, 3), "right")
    newer.see("Pair 3")
    assert arrived(newer, list(range(4)))
    assert Answer.objects.filter(trial__index=2).get().choice == "right"


def test_withdrawing_asks_first_and_then_erases(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.expect_failed_requests("410")
    person.begin(study)
    person.see("Practice 1")
    person.page.get_by_role("button", name="Stop", exact=True).click()
    person.page.keyboard.press("ArrowLeft")  # behind a dialog nothing is answered
    person.page.get_by_role("button", name="Go back").click()
    person.practise()
    person.answer(range(1, 4))
    person.see("Pair 4")
    person.page.get_by_role("button", name="Stop", exact=True).click()
    person.page.get_by_role("button", name="Stop and erase my answers").click()
    expect(person.page.get_by_role("heading", level=1)).to_have_text("You have withdrawn")
    assert only_session().state == Session.State.WITHDRAWN
    assert not Answer.objects.exists()
    person.page.reload()
    expect(person.page.get_by_role("heading", level=1)).to_have_text("You have withdrawn")


def test_withdrawing_while_an_answer_is_on_its_way_ends_as_withdrawn(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.expect_failed_requests("410")
    held: list[Route] = []
    for address in ("**/trials/4", "**/withdraw"):
        person.context.route(address, lambda route: held.append(route))  # noqa: PLW0108  (it must be a function)
    person.begin(study)
    person.practise()
    person.answer(range(1, 4))
    person.see("Pair 4")
    person.page.get_by_role("button", name="Stop", exact=True).click()
    with person.page.expect_request("**/withdraw"):
        person.page.get_by_role("button", name="Stop and erase my answers").click()
    while len(held) < 2:
        person.page.wait_for_timeout(50)
    answer, withdrawal = held
    reply = withdrawal.fetch()
    with person.page.expect_response("**/trials/4") as refused:
        answer.continue_()
    assert refused.value.status == 410
    refused.value.finished()
    person.page.wait_for_timeout(300)
    withdrawal.fulfill(response=reply)
    expect(person.page.get_by_role("heading", level=1)).to_have_text("You have withdrawn")
    assert not Answer.objects.exists()


def test_withdrawing_works_also_in_a_tab_that_another_one_has_stopped(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.expect_failed_requests("410")
    person.begin(study)
    person.see("Practice 1")
    person.page.get_by_role("button", name="Stop", exact=True).click()
    person.open_tab().goto(person.page.url)
    person.page.get_by_text("Open in another tab").wait_for()
    person.page.get_by_role("button", name="Stop and erase my answers").click()
    expect(person.page.get_by_role("heading", level=1)).to_have_text("You have withdrawn")


def test_a_withdrawal_that_does_not_get_through_lets_the_run_go_on(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.expect_failed_requests("ERR_FAILED")
    person.context.route("**/withdraw", lambda route: route.abort())
    person.begin(study)
    person.practise()
    person.answer(range(1, 4))
    person.see("Pair 4")
    person.page.get_by_role("button", name="Stop", exact=True).click()
    person.page.get_by_role("button", name="Stop and erase my answers").click()
    expect(person.page.get_by_role("alert")).to_contain_text("did not reach us")
    person.page.get_by_role("button", name="Go back").click()
    person.answer(range(4, MAIN + 1))
    assert person.code() == "THANKS"
    assert stored_indices() == list(range(TOTAL))


def test_the_code_is_shown_again_from_the_studys_link(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.begin(study)
    person.practise()
    person.answer(range(1, MAIN + 1))
    assert person.code() == "THANKS"
    person.page.close()
    person.page = person.open_tab()
    person.open(study)
    assert person.page.get_by_role("checkbox").count() == 0
    person.page.get_by_role("link", name="Show my completion code").click()
    assert person.code() == "THANKS"
    assert Session.objects.count() == 1


def test_a_form_without_consent_starts_nothing(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.expect_failed_requests("422")
    person.open(study)
    person.page.get_by_label("How old are you").fill("34")
    person.page.get_by_role("button", name="Start").click()
    assert person.page.url.endswith(f"/s/{study.slug}/")
    person.page.evaluate("document.querySelector('form').noValidate = true")
    person.page.get_by_role("button", name="Start").click()
    expect(person.page.get_by_role("alert")).to_contain_text("tick the box")
    assert not Session.objects.exists()


def test_a_closed_study_says_so(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.expect_failed_requests("403")
    study.close()
    person.open(study)
    expect(person.page.get_by_role("heading", level=1)).to_have_text("You cannot take part at the moment")


@pytest.mark.parametrize("reply", [{"status": 500}, {"status": 200, "body": "<html>log in to the network</html>"}])
def test_an_answer_counts_as_sent_only_when_the_server_names_its_row(
    study: Study, arrive: Arrive, reply: dict[str, object]
) -> None:
    person = arrive()
    person.expect_failed_requests("500")
    person.begin(study)
    person.practise()
    person.context.route("**/trials/4", lambda route: route.fulfill(**reply), times=4)
    person.answer(range(1, 6))
    expect(person.page.locator("#notice")).to_contain_text("No connection")
    expect(person.page.locator("#notice")).to_be_hidden(timeout=30_000)
    person.answer(range(6, 7))
    person.see("Pair 7")
    assert arrived(person, list(range(8)))
    assert person.answers_sent().count(4) == 5
    assert person.answers_sent() == sorted(person.answers_sent())


def test_an_answer_that_never_arrived_is_asked_again(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.expect_failed_requests("425")
    person.begin(study)
    person.practise()
    lost = {"status": 201, "body": '{"id": 1, "next_index": 5}', "content_type": "application/json"}
    person.context.route("**/trials/4", lambda route: route.fulfill(**lost), times=1)
    person.answer(range(1, 5))
    person.go_on("Welcome back")
    person.see("Pair 3")
    assert arrived(person, list(range(4)))
    person.press("left")
    person.see("Pair 5")
    assert arrived(person, list(range(6)))


def test_an_answer_the_server_will_never_take_stops_the_page_and_keeps_the_rest(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.expect_failed_requests("422")
    person.begin(study)
    person.practise()
    reply = {"status": 422, "body": '{"error": "bad_body"}', "content_type": "application/json"}
    person.context.route("**/trials/3", lambda route: route.fulfill(**reply), times=1)
    person.answer(range(1, 3))
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Something went wrong")
    person.page.get_by_role("button", name="Load again").click()
    person.go_on("Welcome back")
    person.see("Pair 2")
    person.press("right")
    person.see("Pair 3")
    assert arrived(person, list(range(4)))


FLICKER = {"protocol": Study.Protocol.FLICKER, "flicker_ms": 200}


def small_study(**fields: Any) -> Study:
    return make_study(**{"strengths": (2.0,), "base_images": 14, "trials_per_strength": 2, **QUICK, **fields})


def answer_practice(person: Participant, *, correctly: bool) -> None:
    """One round of two practice pairs."""
    trials = only_session().trials
    for i in (1, 2):
        person.see(f"Practice {i}")
        trial = trials.filter(answer=None, skipped=None).order_by("index")[0]
        wrong = "left" if trial.altered_side == "right" else "right"
        person.press(trial.altered_side if correctly else wrong)
        person.page.get_by_role("button", name="Continue").click()


def test_a_failed_round_of_practice_is_explained_and_a_passed_one_leads_on(address: str, arrive: Arrive) -> None:
    small_study(practice_correct=2, practice_rounds=2)
    person = arrive()
    person.begin(Study.objects.get())
    answer_practice(person, correctly=False)
    heading = person.page.get_by_role("heading", level=1)
    expect(heading).to_have_text("A little more practice")
    expect(heading).to_be_focused()
    expect(person.page.locator("[data-value=correct]")).to_have_text("0")
    person.go_on("A little more practice")
    answer_practice(person, correctly=True)
    person.go_on("practice is over")
    person.see("Pair 1")


def test_a_passed_first_round_spares_the_second(address: str, arrive: Arrive) -> None:
    study = small_study(practice_correct=2, practice_rounds=2)
    person = arrive()
    person.begin(study)
    answer_practice(person, correctly=True)
    person.go_on("practice is over")
    person.answer(range(1, MAIN + 1))
    assert person.code() == "THANKS"
    assert stored_indices() == [0, 1, *range(4, 14)]


def test_a_practice_that_is_not_passed_ends_with_the_servers_page(address: str, arrive: Arrive) -> None:
    study = small_study(practice_correct=2, practice_rounds=1)
    person = arrive()
    person.begin(study)
    answer_practice(person, correctly=False)
    expect(person.page.locator("#run")).to_have_count(0)
    assert only_session().state == Session.State.SCREENED_OUT


def test_flicker_is_announced_and_can_be_declined(address: str, arrive: Arrive) -> None:
    study = small_study(**FLICKER)
    person = arrive(reduced_motion="reduce")
    person.consent(study)
    expect(person.page.get_by_role("heading", level=1)).to_have_text("This study flickers")
    expect(person.page.get_by_text("reduced motion")).to_be_visible()
    person.page.get_by_role("button", name="Leave the study").click()
    expect(person.page.locator("#run")).to_have_count(0)
    session = only_session()
    assert session.state == Session.State.SCREENED_OUT
    assert session.events.get(kind="screened_out").data == {"reason": "flicker"}
    assert person.image_requests() == []


QUESTIONS = [
    ({"protocol": "ifc", "exposure_ms": 100, "gap_ms": 60}, "Two images follow each other", "Pair"),
    (FLICKER, "Which one changes?", "Pair"),
    ({"protocol": "oddity"}, "In which pair do the images differ?", "Question"),
    ({"protocol": "yes_no"}, "Has it been altered?", "Question"),
]


@pytest.mark.parametrize(("fields", "question", "noun"), QUESTIONS)
def test_every_protocol_has_its_own_instructions_and_leads_to_the_code(
    address: str, arrive: Arrive, fields: dict[str, Any], question: str, noun: str
) -> None:
    study = small_study(**fields)
    person = arrive()
    person.consent(study)
    if study.protocol == Study.Protocol.FLICKER:
        person.go_on("This study flickers")
    expect(person.page.get_by_role("heading", level=1)).to_contain_text(question)
    person.go_on("")
    for i in (1, 2):
        expect(person.page.locator("#count")).to_have_text(f"Practice {i} of 2")
        answer_when_asked(person)
        person.page.get_by_role("button", name="Continue").click()
    person.go_on("practice is over")
    for i in range(1, MAIN + 1):
        expect(person.page.locator("#count")).to_have_text(f"{noun} {i} of {MAIN}")
        answer_when_asked(person)
    assert person.code() == "THANKS"


def answer_when_asked(person: Participant) -> None:
    """By the left button, which may be pressed too early at first."""
    count = person.page.locator("#count").inner_text()
    person.page.locator('[data-state="shown"], [data-state="asked"]').wait_for()
    left = person.page.locator(".afc-answer").first
    left.click()
    while not person.has_gone_on(count):
        left.click()


def test_not_sure_is_an_answer_where_the_study_offers_it(address: str, arrive: Arrive) -> None:
    study = small_study(not_sure=True)
    person = arrive()
    person.begin(study)
    person.see("Practice 1")
    person.act(lambda: person.page.keyboard.press("ArrowDown"))
    expect(person.page.locator(".afc-note p")).to_contain_text("You were not sure.")
    assert Answer.objects.get().choice == "unsure"


@pytest.mark.parametrize("size", ["100%", "200%"])
def test_no_page_of_the_run_is_wider_than_320_px_even_at_twice_the_text_size(
    study: Study, arrive: Arrive, size: str
) -> None:
    person = arrive(viewport={"width": 320, "height": 640})
    person.page.add_init_script(
        f"addEventListener('DOMContentLoaded', () => (document.documentElement.style.fontSize = '{size}'))"
    )
    person.begin(study)
    widths = []
    for _ in range(2):
        person.page.locator('[data-state="shown"]').wait_for()
        widths.append(person.page.evaluate("document.documentElement.scrollWidth"))
        person.press("left")
        person.page.get_by_role("button", name="Continue").click()
    person.page.get_by_role("heading", name="The practice is over").wait_for()
    widths.append(person.page.evaluate("document.documentElement.scrollWidth"))
    assert max(widths) <= 320


@pytest.mark.parametrize(("population", "answered"), [(Population.PREVIEW, 12), (Population.REAL, 0)])
def test_a_run_that_does_not_count_can_answer_itself(
    study: Study, arrive: Arrive, population: str, answered: int
) -> None:
    person = arrive()
    session, token = start(study, population)
    person.page.goto(f"{person.address}/run/{token}/?simulate")
    if answered:
        person.code(timeout=60_000)
    else:
        person.page.locator("[data-go]:enabled").wait_for()
        person.page.wait_for_timeout(500)
    assert session.progress[0] == answered
