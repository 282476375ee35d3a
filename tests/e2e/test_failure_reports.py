"""What went wrong in other people's online experiments, replayed in a browser.

`tests/study/trials/test_failure_reports.py` has the list of all reports, each with its tests.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.utils import timezone
from playwright.sync_api import Page, Route, expect

import study.trials
from study.lab.images import decode_png, encode_png
from study.trials.models import Answer, Session, Study, Trial
from tests.e2e.participant import Participant
from tests.study.factories import make_study

Arrive = Callable[..., Participant]

SCRIPTS = Path(study.trials.__file__).parent / "static" / "trials"
QUICK = {"fixation_ms": 60, "blank_ms": 40, "enable_after_ms": 0}
PRACTICE, MAIN = 2, 10
TOTAL = PRACTICE + MAIN
LAST = TOTAL - 1
OUTAGE_MS = 10_000
#: Counts requests for images, and shortens the time that each may take, so that a stalled one is given up in 3 s.
WATCH_IMAGES = """
const plain = window.fetch;
const limit = AbortSignal.timeout.bind(AbortSignal);
AbortSignal.timeout = (ms) => limit(ms / 5);
window.most = 0;
let flying = 0;
window.fetch = (address, options) => {
  if (!String(address).includes("/i/")) return plain(address, options);
  window.most = Math.max(window.most, (flying += 1));
  return plain(address, options).finally(() => (flying -= 1));
};
"""
#: Every request to save an answer with its options.
WATCH_SAVES = """
const plain = window.fetch;
window.saves = [];
window.fetch = (address, options) => {
  if (String(address).includes("/trials/")) window.saves.push({ address, keepalive: options.keepalive === true });
  return plain(address, options);
};
"""
IMPATIENT = """
const plain = window.setTimeout;
window.setTimeout = (work, ms, ...rest) => plain(work, ms === 60_000 ? 600 : ms, ...rest);
"""


@pytest.fixture
def study(address: str) -> Study:
    """An open study of 2 practice, 8 main and 2 catch trials that follow each other quickly."""
    return make_study(strengths=(2.0,), base_images=12, trials_per_strength=2, **QUICK)


def stored() -> list[int]:
    return list(Answer.objects.order_by("trial__index").values_list("trial__index", flat=True))


def saves(person: Participant) -> list[int]:
    """Trial indices in the order in which the page tried to save their answers."""
    found = [re.search(r"/trials/(\d+)$", request.url) for request in person.requests if request.method == "PUT"]
    return [int(index[1]) for index in found if index]


def arrived(page: Page, indices: list[int]) -> bool:
    """Whether exactly these answers are stored, now or in the next seconds."""
    for _ in range(100):
        if stored() == indices:
            return True
        page.wait_for_timeout(50)
    return False


def lose_the_reply(route: Route) -> None:
    """The server gets the request, but the browser never hears of it."""
    route.fetch()
    route.abort()


def reach_pair_1(person: Participant, study: Study) -> None:
    person.begin(study)
    person.practise()


# --- 1


#: What becomes of the first try to save the answer to a trial, by its index.
FAILURES: dict[int, dict[str, Any]] = {
    3: {},  # no connection
    4: {"status": 500},
    5: {"status": 503, "body": "busy"},
    6: {"status": 429},
    7: {"body": "<html>Log in to the network</html>"},
    8: {"json": {"success": True}},  # an acknowledgement names the row
}


def test_after_a_save_that_fails_in_any_way_every_later_answer_arrives_in_order(study: Study, arrive: Arrive) -> None:
    """JATOS/JATOS#304: after one network failure the queue never resumed, and later trials were lost."""
    person, failed = arrive(), []

    def fail(route: Route) -> None:
        index = int(route.request.url.rpartition("/")[2])
        failure = FAILURES.get(index)
        if failure is None or index in failed:
            return route.continue_()
        failed.append(index)
        return route.fulfill(**failure) if failure else route.abort()

    person.expect_failed_requests("ERR_FAILED", "500", "503", "429")
    person.context.route(re.compile(r"/trials/\d+$"), fail)
    reach_pair_1(person, study)
    person.answer(range(1, MAIN + 1))
    assert person.code(timeout=60_000) == "THANKS"
    assert failed == list(FAILURES)
    assert stored() == list(range(TOTAL))
    assert saves(person) == sorted([*range(TOTAL), *FAILURES])


# --- 2


@pytest.mark.slow
def test_ten_seconds_offline_at_a_practice_trial_lose_nothing(study: Study, arrive: Arrive) -> None:
    """JATOS/JATOS#306: 5 to 20 % of the participants were stuck after a few seconds without Wi-Fi."""
    person = arrive()
    person.expect_failed_requests("ERR_INTERNET_DISCONNECTED")
    person.begin(study)
    person.see("Practice 1")
    person.context.set_offline(True)
    person.press("left")
    expect(person.page.locator("#notice")).to_contain_text("Your answer is kept")
    person.page.wait_for_timeout(OUTAGE_MS)
    assert stored() == []
    person.context.set_offline(False)
    person.page.get_by_role("button", name="Continue").click()
    expect(person.page.locator("#notice")).to_be_hidden()
    person.see("Practice 2")
    person.press("left")
    person.page.get_by_role("button", name="Continue").click()
    person.go_on("practice is over")
    person.answer(range(1, MAIN + 1))
    assert person.code() == "THANKS"
    assert stored() == list(range(TOTAL))


@pytest.mark.slow
@pytest.mark.parametrize("pair", [1, 5])
def test_ten_seconds_offline_in_the_middle_lose_nothing_and_hold_nobody_up(
    study: Study, arrive: Arrive, pair: int
) -> None:
    """JATOS/JATOS#306: the same in the middle of the study."""
    person = arrive()
    person.expect_failed_requests("ERR_INTERNET_DISCONNECTED")
    reach_pair_1(person, study)
    person.answer(range(1, pair))
    person.see(f"Pair {pair}")
    assert arrived(person.page, list(range(PRACTICE + pair - 1)))
    person.context.set_offline(True)
    person.answer(range(pair, pair + 3))
    expect(person.page.locator("#notice")).to_contain_text("just carry on")
    person.page.wait_for_timeout(OUTAGE_MS)
    assert stored() == list(range(PRACTICE + pair - 1))
    person.context.set_offline(False)
    expect(person.page.locator("#notice")).to_be_hidden()
    person.answer(range(pair + 3, MAIN + 1))
    assert person.code() == "THANKS"
    assert stored() == list(range(TOTAL))


@pytest.mark.slow
def test_ten_seconds_offline_at_the_end_lose_nothing(study: Study, arrive: Arrive) -> None:
    """JATOS/JATOS#306: stuck on "sending data" at the last page."""
    person = arrive()
    person.expect_failed_requests("ERR_INTERNET_DISCONNECTED")
    reach_pair_1(person, study)
    person.answer(range(1, MAIN))
    person.see(f"Pair {MAIN}")
    person.context.set_offline(True)
    person.press("left")
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Sending your last answers…")
    person.page.wait_for_timeout(OUTAGE_MS)
    assert LAST not in stored()
    person.context.set_offline(False)
    assert person.code() == "THANKS"
    assert stored() == list(range(TOTAL))


# --- 3


def test_no_code_is_asked_for_or_shown_before_the_last_answer_is_stored(study: Study, arrive: Arrive) -> None:
    """jspsych/jsPsych#2050: people were sent back to the recruiter before the upload had ended."""
    person = arrive()
    held: list[Route] = []
    person.context.route(f"**/trials/{LAST}", lambda route: held.append(route))  # noqa: PLW0108  (a function is wanted)
    reach_pair_1(person, study)
    person.answer(range(1, MAIN + 1))
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Sending your last answers…")
    person.page.wait_for_timeout(2_000)
    assert not [request.url for request in person.requests if request.url.endswith("/complete")]
    assert "THANKS" not in person.page.content()
    held[0].continue_()
    assert person.code() == "THANKS"


def test_a_page_that_thinks_it_is_done_too_early_gets_no_code_but_the_missing_trial(
    study: Study, arrive: Arrive
) -> None:
    """jspsych/jsPsych#2050: the code is the server's, which counts the rows."""
    person = arrive()
    person.expect_failed_requests("409")
    lost = {"status": 201, "json": {"id": 1, "next_index": TOTAL}}
    person.context.route(f"**/trials/{LAST}", lambda route: route.fulfill(**lost), times=1)
    reach_pair_1(person, study)
    person.answer(range(1, MAIN + 1))
    person.go_on("Welcome back")
    person.see(f"Pair {MAIN}")
    assert "THANKS" not in person.page.content()
    person.press("left")
    assert person.code() == "THANKS"


# --- 4


def test_a_reload_of_the_consent_page_starts_nothing_and_loses_nothing(study: Study, arrive: Arrive) -> None:
    """jspsych/jsPsych#3573: a reload lost everything."""
    person = arrive()
    person.open(study)
    person.page.reload()
    assert not Session.objects.exists()
    person.begin(study)
    person.see("Practice 1")
    assert Session.objects.count() == 1


def test_whoever_comes_back_after_the_time_for_it_reads_a_polite_end(study: Study, arrive: Arrive) -> None:
    """jspsych/jsPsych#2451: going on blindly, days later, is not wanted either."""
    person = arrive()
    reach_pair_1(person, study)
    person.answer(range(1, 3))
    person.see("Pair 3")
    assert arrived(person.page, list(range(PRACTICE + 2)))
    long_ago = timezone.now() - timedelta(hours=study.resume_hours + 1)
    Session.objects.update(seen_at=long_ago)
    person.page.reload()
    expect(person.page.get_by_role("heading", level=1)).to_have_text("The time to go on has passed")
    assert Session.objects.get().state == Session.State.TIMED_OUT
    assert stored() == list(range(PRACTICE + 2))


# --- 5


@pytest.mark.slow
def test_two_hundred_images_of_which_one_in_twenty_fails_or_stalls_are_all_loaded(address: str, arrive: Arrive) -> None:
    """jspsych/jsPsych#3685: all images were asked for at once, and one that stalled stopped everything."""
    study = make_study(
        strengths=(2.0,), trials_per_strength=80, trials_per_control=4, catch_trials=4, practice_trials=4,
        base_images=100, break_every=200, **QUICK,
    )  # fmt: skip
    person = arrive()
    person.expect_failed_requests("ERR_FAILED")
    person.page.add_init_script(WATCH_IMAGES)
    rng, failed, stalled = random.Random(4), [], []

    def maybe(route: Route) -> None:
        if rng.random() > 0.05:
            route.continue_()
        elif len(failed) > len(stalled):
            stalled.append(route)  # no reply, ever
        else:
            failed.append(route)
            route.abort()

    person.context.route("**/i/**", maybe)
    person.consent(study)
    person.page.locator("[data-go]:enabled").wait_for(timeout=90_000)
    assert len(set(person.image_requests())) == 200
    assert len(person.image_requests()) == 200 + len(failed) + len(stalled)
    assert min(len(failed), len(stalled)) >= 3
    assert person.page.evaluate("window.most") <= 6
    person.go_on("Which one?")
    person.see("Practice 1")


# --- 6


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def another_picture(content: bytes) -> bytes:
    """A sound PNG of the same size, one pixel of which is different."""
    pixels = decode_png(content).copy()
    pixels[3, 5] ^= 1
    return encode_png(pixels)


@pytest.mark.parametrize("spoil", [half, another_picture])
def test_an_image_that_arrives_cut_short_is_fetched_again_and_shown_whole(
    study: Study, arrive: Arrive, spoil: Callable[[bytes], bytes]
) -> None:
    """jspsych/jsPsych#1393: after packet loss half images were shown, and answered."""
    person = arrive()
    sent: list[bytes] = []

    def tamper(route: Route) -> None:
        reply = route.fetch()
        sent.append(reply.body())
        route.fulfill(response=reply, body=spoil(reply.body()))

    person.context.route("**/i/0/left", tamper, times=2)
    person.begin(study)
    person.see("Practice 1")
    assert len([url for url in person.image_requests() if url.endswith("/i/0/left")]) == 3
    pixels = person.page.evaluate(
        """() => {
          const canvas = document.querySelector("canvas");
          return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
        }"""
    )
    whole = decode_png(sent[0])
    shown = np.reshape(pixels, (whole.shape[0] * study.scale, whole.shape[1] * study.scale, 4))
    assert np.array_equal(shown[:: study.scale, :: study.scale, 0], whole)


# --- 7


def test_images_are_kept_as_bitmaps_and_need_no_network_once_they_are_there(study: Study, arrive: Arrive) -> None:
    """jspsych/jsPsych#275, #1934, #2926: preloaded images had left the cache: flicker, white, or nothing on an iPad."""
    person = arrive()
    person.begin(study)
    person.see("Practice 1")
    person.context.route("**/i/**", lambda route: route.abort())
    before = len(person.image_requests())
    person.practise()
    person.answer(range(1, MAIN + 1))
    assert person.code() == "THANKS"
    assert len(person.image_requests()) == before == 2 * TOTAL


# --- 8


def test_a_completion_whose_reply_is_lost_is_asked_for_again_and_is_one(study: Study, arrive: Arrive) -> None:
    """Dallinger/Dallinger#5726: the last page was processed twice."""
    person = arrive()
    person.expect_failed_requests("ERR_FAILED")
    person.context.route("**/complete", lose_the_reply, times=2)
    reach_pair_1(person, study)
    person.answer(range(1, MAIN + 1))
    assert person.code() == "THANKS"
    assert Session.objects.get().events.filter(kind="complete").count() == 1


# --- 9


def test_a_double_click_answers_one_trial(study: Study, arrive: Arrive) -> None:
    """pmcharrison/psychTestR#97: a double click saved twice, or answered the next question as well."""
    person = arrive()
    reach_pair_1(person, study)
    for pair in range(1, 4):
        person.see(f"Pair {pair}")
        person.page.wait_for_timeout(100)
        person.page.locator(".afc-answer").first.dblclick()
        person.see(f"Pair {pair + 1}")
        person.page.wait_for_timeout(300)
        assert arrived(person.page, list(range(PRACTICE + pair)))
    assert saves(person) == list(range(PRACTICE + 3))


def test_an_answer_whose_reply_is_lost_is_sent_again_as_the_same_answer(study: Study, arrive: Arrive) -> None:
    """NYUCCL/smile#66: what was saved a second time stood in the data twice."""
    person = arrive()
    person.expect_failed_requests("ERR_FAILED")
    person.context.route("**/trials/4", lose_the_reply, times=2)
    reach_pair_1(person, study)
    person.answer(range(1, MAIN + 1))
    assert person.code() == "THANKS"
    assert saves(person).count(4) == 3
    assert stored() == list(range(TOTAL))
    assert not Session.objects.get().events.filter(kind="different_answer").exists()


# --- a line each


def test_a_page_that_is_hidden_sends_at_once_and_the_request_outlives_it(study: Study, arrive: Arrive) -> None:
    """GoogleChromeLabs/page-lifecycle#11, jspsych/jsPsych#3420: `beforeunload` comes unreliably, on iOS never."""
    person = arrive()
    person.expect_failed_requests("ERR_FAILED")
    person.page.add_init_script(WATCH_SAVES)
    reach_pair_1(person, study)
    person.context.route("**/trials/*", lambda route: route.abort())
    person.answer(range(1, 2))
    expect(person.page.locator("#notice")).to_be_visible()
    person.page.evaluate("window.setTimeout = () => 0")  # no further try comes by itself
    person.page.wait_for_timeout(2_500)
    person.context.unroute("**/trials/*")
    assert stored() == list(range(PRACTICE))
    person.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert arrived(person.page, list(range(PRACTICE + 1)))
    assert all(save["keepalive"] for save in person.page.evaluate("window.saves"))


def test_an_answer_given_just_before_the_tab_is_closed_is_not_lost(study: Study, arrive: Arrive) -> None:
    """jspsych/jsPsych#3420: what was saved on closing did not arrive."""
    person = arrive()
    person.expect_failed_requests("ERR_FAILED")
    reach_pair_1(person, study)
    person.context.route("**/trials/*", lambda route: route.abort())
    person.answer(range(1, 3))
    person.see("Pair 3")
    address = person.page.url
    person.page.close()
    person.context.unroute("**/trials/*")
    person.page = person.open_tab()
    person.page.goto(address)
    person.go_on("Welcome back")
    person.see("Pair 3")
    assert arrived(person.page, list(range(PRACTICE + 2)))


def test_the_enter_key_neither_loads_the_page_again_nor_answers(study: Study, arrive: Arrive) -> None:
    """jspsych/jsPsych#613, #610: Enter in a form loaded the page again in Safari, and the study began anew."""
    person = arrive()
    person.consent(study)
    person.page.locator("[data-go]:enabled").wait_for()
    loads = [request for request in person.requests if request.is_navigation_request()]
    person.page.keyboard.press("Enter")
    person.go_on("Which one?")
    person.see("Practice 1")
    person.page.keyboard.press("Enter")
    person.page.wait_for_timeout(300)
    expect(person.page.locator("#count")).to_have_text(re.compile("^Practice 1 "))
    assert [request for request in person.requests if request.is_navigation_request()] == loads
    assert stored() == []


def test_no_script_relies_on_the_page_being_told_that_it_ends_or_on_the_full_screen() -> None:
    """jspsych/jsPsych#3420, #2813: neither is there on an iPhone."""
    for script in SCRIPTS.glob("*.js"):
        assert not re.search(r"beforeunload|onunload|[\"']unload[\"']|requestFullscreen", script.read_text()), (
            script.name
        )


def test_after_long_failure_the_answers_can_be_kept_as_a_file(study: Study, arrive: Arrive, tmp_path: Path) -> None:
    """nivlab/nivturk#115: people who could not save were left with nothing to show for it."""
    person = arrive()
    person.expect_failed_requests("500")
    person.page.add_init_script(IMPATIENT)
    reach_pair_1(person, study)
    person.context.route("**/trials/*", lambda route: route.fulfill(status=500))
    person.answer(range(1, MAIN + 1))
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Sending your last answers…")
    with person.page.expect_download() as download:
        person.page.locator("[data-receipt]").click()
    download.value.save_as(tmp_path / "receipt.json")
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    session = Session.objects.get()
    unsent = [answer["index"] for answer in receipt["answers"]]
    assert receipt["code"] == session.public_code
    assert unsent == list(range(len(stored()), TOTAL))
    assert all(answer["choice"] == "left" and answer["client_id"] for answer in receipt["answers"])
    person.context.unroute("**/trials/*")
    assert person.code(timeout=30_000) == "THANKS"  # the page has not given up meanwhile
    assert stored() == list(range(TOTAL))


# --- adaptive studies, where each strength follows from the answer before


@pytest.fixture
def adaptive_study(address: str) -> Study:
    """2 practice trials, 6 adaptive ones at one of 2 strengths, 6 controls and 2 catch trials."""
    return make_study(
        procedure=Study.Procedure.ADAPTIVE, adaptive_trials=6, adaptive_minimum=6, base_images=16, **QUICK
    )


def pairs_of(study: Study) -> range:
    return range(1, 15)


def see_at_most(person: Participant, pair: int) -> None:
    expect(person.page.locator("#count")).to_have_text(re.compile(f"^Pair {pair} of at most 14"))
    person.page.locator('[data-state="shown"]').wait_for()


def test_an_adaptive_session_shows_what_the_server_chose_and_asks_for_no_image_meanwhile(
    adaptive_study: Study, arrive: Arrive
) -> None:
    """jspsych/jsPsych#275 once more: here even a request for the next image would tell which strength was chosen."""
    person = arrive()
    reach_pair_1(person, adaptive_study)
    loaded = person.image_requests()
    for pair in pairs_of(adaptive_study):
        see_at_most(person, pair)
        person.press("left")
    assert person.code() == "THANKS"
    assert person.image_requests() == loaded
    assert len(set(loaded)) == 2 * (PRACTICE + 2 * 14)
    adaptive = Trial.objects.filter(pair=None).select_related("choice")
    assert adaptive.count() == 6
    assert all(trial.choice.pair_id in trial.candidates for trial in adaptive)


@pytest.mark.slow
def test_ten_seconds_offline_in_an_adaptive_session_wait_for_the_choice_and_lose_nothing(
    adaptive_study: Study, arrive: Arrive
) -> None:
    """JATOS/JATOS#306, where the page cannot go on without the server."""
    person = arrive()
    person.expect_failed_requests("ERR_INTERNET_DISCONNECTED")
    reach_pair_1(person, adaptive_study)
    for pair in range(1, 5):
        see_at_most(person, pair)
        person.press("left")
    see_at_most(person, 5)
    person.context.set_offline(True)
    person.press("left")
    expect(person.page.locator("#notice")).to_contain_text("it goes on as soon as")
    person.page.wait_for_timeout(OUTAGE_MS)
    person.context.set_offline(False)
    for pair in range(6, 15):
        see_at_most(person, pair)
        person.press("left")
    assert person.code() == "THANKS"
    assert stored() == list(range(PRACTICE + 14))


def test_a_reload_of_an_adaptive_session_shows_the_same_images_again(adaptive_study: Study, arrive: Arrive) -> None:
    """jspsych/jsPsych#3573: a reload must not draw lots again."""
    person = arrive()
    reach_pair_1(person, adaptive_study)
    for pair in range(1, 4):
        see_at_most(person, pair)
        person.press("left")
    see_at_most(person, 4)
    drawn = """() => [...document.querySelectorAll("canvas")].map((canvas) => canvas.toDataURL())"""
    before = person.page.evaluate(drawn)
    person.page.reload()
    person.go_on("Welcome back")
    see_at_most(person, 4)
    assert person.page.evaluate(drawn) == before
