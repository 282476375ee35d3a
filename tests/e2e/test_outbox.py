"""Answers that cannot be sent: they are kept, offered as a file, and the file can be imported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from playwright.sync_api import Page, Route, expect

from study.trials.models import Answer, Session, Study
from tests.e2e.participant import Participant

Arrive = Callable[..., Participant]
TOTAL = 12
MAIN = 10
#: A minute passes in half a second.
IMPATIENT = """
const plain = window.setTimeout;
window.setTimeout = (work, ms, ...rest) => plain(work, ms === 60_000 ? 500 : ms, ...rest);
"""
REFUSED = {"body": '{"error": "bad_body", "detail": "No."}', "content_type": "application/json"}


def stored() -> list[int]:
    return list(Answer.objects.order_by("trial__index").values_list("trial__index", flat=True))


def save(page: Page, folder: Path) -> Path:
    """The file that the page offers."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save my answers").click()
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    return file


def practised(person: Participant, study: Study) -> None:
    person.begin(study)
    person.practise()


def test_after_a_minute_without_connection_the_answers_can_be_saved_and_imported(
    study: Study, arrive: Arrive, tmp_path: Path
) -> None:
    person = arrive()
    person.expect_failed_requests("ERR_INTERNET_DISCONNECTED")
    person.page.add_init_script(IMPATIENT)
    practised(person, study)
    person.answer(range(1, 9))
    person.see("Pair 9")
    person.context.set_offline(True)
    person.answer(range(9, MAIN + 1), "right")
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Sending your last answers…")
    file = save(person.page, tmp_path)
    session = Session.objects.get()
    assert file.name == f"answers-{session.public_code}.json"
    receipt = json.loads(file.read_text())
    assert (receipt["format"], receipt["code"]) == ("blindspot-receipt-1", session.public_code)
    assert [(answer["index"], answer["choice"]) for answer in receipt["answers"]] == [(10, "right"), (11, "right")]

    call_command("import_receipt", file)
    session.refresh_from_db()
    assert session.state == Session.State.COMPLETE
    assert stored() == list(range(TOTAL))
    person.context.set_offline(False)  # what comes in now is the same again
    assert person.code() == "THANKS"
    assert stored() == list(range(TOTAL))


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_an_answer_that_is_refused_for_good_is_set_aside_and_offered_as_a_file(
    study: Study, arrive: Arrive, tmp_path: Path, status: int
) -> None:
    person = arrive()
    person.expect_failed_requests(str(status))
    practised(person, study)
    person.context.route("**/trials/3", lambda route: route.fulfill(status=status, **REFUSED), times=1)
    person.answer(range(1, 3))
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Something went wrong")
    answers = json.loads(save(person.page, tmp_path).read_text())["answers"]
    assert answers[0]["index"] == 3
    person.page.get_by_role("button", name="Load again").click()
    person.go_on("Welcome back")
    person.see("Pair 2")


def test_answers_left_over_when_the_run_has_ended_can_be_saved_before_the_last_page(
    study: Study, arrive: Arrive, tmp_path: Path
) -> None:
    person = arrive()
    person.expect_failed_requests("410")
    practised(person, study)
    person.see("Pair 1")
    Session.objects.get().time_out()
    person.press("left")
    expect(person.page.get_by_role("heading", level=1)).to_have_text("This session has ended")
    file = save(person.page, tmp_path)
    call_command("import_receipt", file)
    assert stored() == [0, 1, 2]


def test_a_run_that_ended_while_nobody_answered_shows_how_it_ended(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.expect_failed_requests("410")
    person.consent(study)
    person.page.locator("[data-go]:enabled").wait_for()
    person.page.route("**/plan", end_and_continue)
    person.page.reload()
    expect(person.page.locator("#run")).to_have_count(0)
    expect(person.page.get_by_role("heading", level=1)).to_be_visible()


def test_answers_left_over_when_the_run_has_ended_during_set_up_can_be_saved(
    study: Study, arrive: Arrive, tmp_path: Path
) -> None:
    person = arrive()
    person.expect_failed_requests("410", "ERR_FAILED")
    practised(person, study)
    person.context.route("**/run/*/trials/*", lambda route: route.abort())
    person.answer(range(1, 3))
    person.see("Pair 3")
    person.page.route("**/screen", end_and_continue)
    person.page.reload()
    expect(person.page.get_by_role("heading", level=1)).to_have_text("This session has ended")
    call_command("import_receipt", save(person.page, tmp_path))
    assert stored() == [0, 1, 2, 3]


def test_a_browser_that_never_says_whether_it_has_written_an_answer_down_sends_it_all_the_same(
    study: Study, arrive: Arrive
) -> None:
    person = arrive()
    person.page.add_init_script("Object.defineProperty(IDBTransaction.prototype, 'oncomplete', { set() {} })")
    person.begin(study)
    person.practise()
    person.answer(range(1, MAIN + 1))
    assert person.code() == "THANKS"
    assert stored() == list(range(TOTAL))


@pytest.mark.parametrize("trouble", ["slow", "offline"])
def test_a_plan_that_does_not_come_is_waited_for_on_a_page_that_says_so(
    study: Study, arrive: Arrive, trouble: str
) -> None:
    person = arrive()
    person.expect_failed_requests("ERR_FAILED")
    held: list[Route] = []
    person.page.route("**/plan", lambda route: held.append(route) if trouble == "slow" else route.abort())
    person.consent(study)
    expect(person.page.get_by_role("heading", level=1)).to_have_text("One moment…")
    expect(person.page.get_by_text("There is no connection")).to_be_visible(visible=trouble == "offline")
    for route in held:
        route.continue_()
    person.page.unroute("**/plan")
    person.go_on("Which one?")


def end_and_continue(route: Any) -> None:
    """The time for coming back ends between the page and its plan."""
    Session.objects.get().time_out()
    route.continue_()
