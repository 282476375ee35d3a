"""What went wrong in other people's online experiments, by the public report that tells of it: the server's part.

Every report and where it is tested (files are below tests/):

 1. JATOS/JATOS#304
    e2e/test_failure_reports  test_after_a_save_that_fails_in_any_way_every_later_answer_arrives_in_order
    study/trials/test_failure_reports  test_a_refused_answer_takes_nothing_with_it
 2. JATOS/JATOS#306
    e2e/test_failure_reports  test_ten_seconds_offline_at_a_practice_trial_lose_nothing
    e2e/test_failure_reports  test_ten_seconds_offline_in_the_middle_lose_nothing_and_hold_nobody_up
    e2e/test_failure_reports  test_ten_seconds_offline_at_the_end_lose_nothing
    e2e/test_failure_reports  test_ten_seconds_offline_in_an_adaptive_session_wait_for_the_choice_and_lose_nothing
 3. jspsych/jsPsych#2050
    study/trials/test_failure_reports  test_the_completion_code_exists_only_once_every_planned_trial_is_saved
    e2e/test_failure_reports  test_no_code_is_asked_for_or_shown_before_the_last_answer_is_stored
    e2e/test_failure_reports  test_a_page_that_thinks_it_is_done_too_early_gets_no_code_but_the_missing_trial
 4. jspsych/jsPsych#3573, #2451
    study/trials/test_failure_reports  test_every_load_of_the_page_goes_on_at_the_next_unanswered_trial
    study/trials/test_failure_reports  test_whoever_was_away_for_too_long_does_not_go_on_but_is_told_so
    e2e/test_failure_reports  test_a_reload_of_the_consent_page_starts_nothing_and_loses_nothing
    e2e/test_journey  test_a_reload_goes_on_at_the_next_unanswered_trial
    e2e/test_failure_reports  test_a_reload_of_an_adaptive_session_shows_the_same_images_again
    e2e/test_failure_reports  test_whoever_comes_back_after_the_time_for_it_reads_a_polite_end
 5. jspsych/jsPsych#3685
    e2e/test_failure_reports  test_two_hundred_images_of_which_one_in_twenty_fails_or_stalls_are_all_loaded
 6. jspsych/jsPsych#1393
    e2e/test_failure_reports  test_an_image_that_arrives_cut_short_is_fetched_again_and_shown_whole
    e2e/test_loading  test_a_damaged_image_is_fetched_again_and_never_shown
 7. jspsych/jsPsych#275, #1934, #2926
    e2e/test_failure_reports  test_images_are_kept_as_bitmaps_and_need_no_network_once_they_are_there
    e2e/test_failure_reports  test_an_adaptive_session_shows_what_the_server_chose_and_asks_for_no_image_meanwhile
 8. Dallinger/Dallinger#5726, LimeSurvey/LimeSurvey PR#5213
    study/trials/test_failure_reports  test_eight_completions_at_once_are_one_transition_with_one_reply_to_all
    e2e/test_failure_reports  test_a_completion_whose_reply_is_lost_is_asked_for_again_and_is_one
 9. pmcharrison/psychTestR#97, NYUCCL/smile#66, decidim/decidim PR#8560
    study/trials/test_failure_reports  test_one_answer_from_a_double_click_is_one_row_with_one_reply
    study/trials/test_failure_reports  test_of_two_tabs_answering_at_once_only_the_newer_one_is_heard
    study/trials/test_failure_reports  test_a_different_answer_on_a_later_visit_is_logged_and_changes_nothing
    e2e/test_failure_reports  test_a_double_click_answers_one_trial
    e2e/test_failure_reports  test_an_answer_whose_reply_is_lost_is_sent_again_as_the_same_answer
10. NYUCCL/psiTurk#51
    study/trials/test_failure_reports  test_saving_after_a_reload_adds_to_what_is_stored_and_never_replaces_it
11. JATOS/JATOS#233
    study/trials/test_failure_reports  test_of_two_pages_of_one_run_exactly_the_newer_one_may_write
    e2e/test_journey  test_the_back_button_leads_into_the_same_run
    e2e/test_journey  test_the_older_of_two_tabs_is_told_at_once
12. empiricaly/meteor-empirica-core#5, #255, empiricaly/empirica#205
    study/trials/test_failure_reports  test_a_hundred_forms_at_once_lead_to_a_hundred_runs_on_lists_that_differ_by_none
    study/trials/test_failure_reports  test_a_hundred_for_ninety_places_are_ninety_runs_and_ten_who_hear_that_it_is_full
    study/trials/test_failure_reports  test_a_hundred_robots_for_seven_places_are_spread_over_lists_of_their_own
    study/trials/test_failure_reports  test_ten_who_leave_while_ten_arrive_lose_no_place_and_share_none
13. NYUCCL/psiTurk#295, #244, #258
    study/trials/test_failure_reports  test_previews_and_robots_take_no_place_and_are_not_in_the_data
    study/trials/test_failure_reports  test_the_place_of_whoever_does_not_finish_goes_to_the_next
    study/trials/test_failure_reports  test_places_of_ten_who_stayed_away_go_to_ten_who_arrive_at_once_and_to_no_more
14. rubenarslan/formr.org#676
    study/trials/test_failure_reports  test_a_run_that_is_advanced_by_many_requests_at_once_advances_by_one_trial
    study/trials/test_failure_reports  test_answers_sent_in_any_order_at_once_leave_no_gap
15. jspsych/jsPsych#3221
    e2e/test_display  test_every_image_pixel_is_k_by_k_device_pixels

Reports of one line, where a test makes sense, follow the fifteen in either file.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from study.trials.exceptions import Full
from study.trials.models import Answer, Population, Session, Study, sessions
from tests.study.factories import answer, answer_all, at_once, make_study, start

pytestmark = pytest.mark.django_db

TESTS = Path(__file__).parents[2]
TOTAL = 22


def on_both_databases(test: Any) -> Any:
    """For what happens at the same moment: real transactions, on SQLite and on PostgreSQL."""
    return pytest.mark.store(pytest.mark.django_db(transaction=True)(test))


class Tab:
    """One page of a run: what it sends, and the statuses and bodies that come back."""

    def __init__(self, token: str) -> None:
        self.root = f"/run/{token}"
        self.plan = Client().get(f"{self.root}/plan").json()

    def send(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        client = Client(headers={"Sec-Fetch-Site": "same-origin"})
        reply = client.generic(method, f"{self.root}/{path}", json.dumps(body), content_type="application/json")
        return reply.status_code, reply.json()

    def answer(self, index: int, **changes: Any) -> tuple[int, dict[str, Any]]:
        body = {"client_id": str(uuid.uuid4()), "attempt": self.plan["attempt"], "choice": "left", "rt_ms": 640.0}
        return self.send("PUT", f"trials/{index}", {**body, **changes})

    def complete(self) -> tuple[int, dict[str, Any]]:
        return self.send("POST", "complete", {})


@pytest.fixture
def study() -> Study:
    return make_study()


def start_form(study: Study, query: str = "") -> dict[str, str]:
    """The fields of the information page, filled in."""
    page = Client().get(f"/s/{study.slug}/{query}").content.decode()
    found = re.search(r'name="start" value="([^"]+)"', page)
    assert found, page
    return {"start": found[1], "consent": "yes", "age": "30"}


def send_form(study: Study, form: dict[str, str]) -> Any:
    return Client().post(f"/s/{study.slug}/start", form)


def lists_taken(study: Study, population: str = Population.REAL) -> Counter[int]:
    sessions = study.sessions.filter(population=population, slot__isnull=False)
    return Counter(sessions.values_list("slot__list_number", flat=True))


def test_each_of_the_fifteen_reports_has_the_tests_that_the_list_names() -> None:
    listed = re.findall(r"^ ?(\d+)\. |^    (\S+)  (test_\w+)$", __doc__ or "", re.MULTILINE)
    assert [int(number) for number, _, _ in listed if number] == list(range(1, 16))
    for (number, _, _), (_, file, _) in pairwise(listed):
        assert file or not number, f"report {number} has no test"
    for _, file, test in listed:
        assert not test or f"def {test}(" in (TESTS / f"{file}.py").read_text(), f"{file} has no {test}"


# --- 3


def test_the_completion_code_exists_only_once_every_planned_trial_is_saved(study: Study) -> None:
    """jspsych/jsPsych#2050: people were sent back to the recruiter before the upload had ended."""
    tab = Tab(study.start_session()[1])
    for index in range(TOTAL):
        status, body = tab.complete()
        assert (status, body["missing"]) == (409, list(range(index, TOTAL)))
        assert "THANKS" not in str(body)
        tab.answer(index)
    assert tab.complete() == (200, {"code": "THANKS", "return_url": None})


# --- 4


@pytest.mark.parametrize("answered", [0, 1, 2, 12, TOTAL])
def test_every_load_of_the_page_goes_on_at_the_next_unanswered_trial(study: Study, answered: int) -> None:
    """jspsych/jsPsych#3573: a reload lost everything."""
    session, token = start(study)
    for index in range(answered):
        answer(session, index)
    assert [Tab(token).plan["next_index"] for _ in range(2)] == [answered, answered]
    assert Answer.objects.count() == answered


def test_whoever_was_away_for_too_long_does_not_go_on_but_is_told_so(study: Study) -> None:
    """jspsych/jsPsych#2451: going on blindly, days later, is not wanted either."""
    session, token = start(study)
    answer(session, 0)
    Session.objects.filter(pk=session.pk).update(seen_at=timezone.now() - timedelta(hours=study.resume_hours + 1))
    reply = Client().get(f"/run/{token}/plan")
    assert (reply.status_code, reply.json()["error"]) == (410, "over")
    assert Client().get(f"/run/{token}/").status_code == 200
    assert Answer.objects.count() == 1
    session.refresh_from_db()
    assert session.state == Session.State.TIMED_OUT


# --- 8


@on_both_databases
def test_eight_completions_at_once_are_one_transition_with_one_reply_to_all() -> None:
    """Dallinger/Dallinger#5726, LimeSurvey/LimeSurvey PR#5213: the last page was processed twice."""
    session, token = start(make_study())
    answer_all(session)
    tab = Tab(token)
    replies = at_once(8, lambda _: tab.complete())
    assert replies == [(200, {"code": "THANKS", "return_url": None})] * 8
    assert session.events.filter(kind="complete").count() == 1


# --- 9


@on_both_databases
def test_one_answer_from_a_double_click_is_one_row_with_one_reply() -> None:
    """pmcharrison/psychTestR#97: a double click saved the same answer twice."""
    tab = Tab(make_study().start_session()[1])
    client_id = str(uuid.uuid4())
    replies = at_once(8, lambda _: tab.answer(0, client_id=client_id))
    assert Counter(status for status, _ in replies) == {201: 1, 200: 7}
    assert len({json.dumps(body, sort_keys=True) for _, body in replies}) == 1
    assert Answer.objects.count() == 1


@on_both_databases
def test_of_two_tabs_answering_at_once_only_the_newer_one_is_heard() -> None:
    """NYUCCL/smile#66: a second tab overwrote what the first had saved."""
    token = make_study().start_session()[1]
    tabs = [Tab(token), Tab(token)]
    replies = at_once(8, lambda n: (n % 2, tabs[n % 2].answer(0, choice=["right", "left"][n % 2])))
    stored = Answer.objects.get()
    assert (stored.attempt, stored.choice) == (2, "left")
    for newer, (status, body) in replies:
        assert status == 201 or body["error"] in ({"different_answer"} if newer else {"superseded", "different_answer"})


def test_a_different_answer_on_a_later_visit_is_logged_and_changes_nothing(study: Study) -> None:
    """decidim/decidim PR#8560: whoever came back could answer again."""
    session, token = study.start_session()
    _, first = Tab(token).answer(0)
    status, body = Tab(token).answer(0, choice="right")
    assert (status, body["error"], body["id"]) == (409, "different_answer", first["id"])
    assert Answer.objects.get().choice == "left"
    assert session.events.get(kind="different_answer").data["choice"] == "right"


# --- 10


def test_saving_after_a_reload_adds_to_what_is_stored_and_never_replaces_it(study: Study) -> None:
    """NYUCCL/psiTurk#51: after a refresh the next save overwrote the earlier trials."""
    token = study.start_session()[1]
    kept: list[tuple[Any, ...]] = []
    for index in range(TOTAL):
        Tab(token).answer(index)  # a page that was loaded only now
        rows = list(Answer.objects.order_by("trial__index").values_list("pk", "client_id", "choice", "received_at"))
        assert rows[: len(kept)] == kept
        assert len(rows) == index + 1
        kept = rows


# --- 11


def test_of_two_pages_of_one_run_exactly_the_newer_one_may_write(study: Study) -> None:
    """JATOS/JATOS#233: a reload that was not allowed led to two sets of results."""
    token = study.start_session()[1]
    older, newer = Tab(token), Tab(token)
    status, body = older.answer(0)
    assert (status, body["error"]) == (409, "superseded")
    assert newer.answer(0)[0] == 201
    assert older.answer(1)[0] == 409
    assert study.sessions.count() == 1
    assert Answer.objects.count() == 1


# --- 12


@on_both_databases
def test_a_hundred_forms_at_once_lead_to_a_hundred_runs_on_lists_that_differ_by_none() -> None:
    """empiricaly/meteor-empirica-core#5: of 90 who came together some were in several games at once."""
    study = make_study(participants=100)
    forms = [start_form(study, f"?participant={n}") for n in range(100)]
    replies = at_once(100, lambda n: send_form(study, forms[n]))
    assert {reply.status_code for reply in replies} == {302}
    assert len({reply["Location"] for reply in replies}) == 100
    assert lists_taken(study) == dict.fromkeys(range(100), 1)
    assert study.sessions.values("recruiter_key").distinct().count() == 100
    for session in study.sessions.all():
        assert session.trials.count() == TOTAL


@on_both_databases
def test_a_hundred_for_ninety_places_are_ninety_runs_and_ten_who_hear_that_it_is_full() -> None:
    """empiricaly/empirica#205: 92 of 1,383 were told that it was full when it was not."""
    study = make_study(participants=90)

    def arrive(n: int) -> str:
        try:
            study.start_session(recruiter_ids={"participant": str(n)})
        except Full:
            return "full"
        return "in"

    assert Counter(at_once(100, arrive)) == {"in": 90, "full": 10}
    assert lists_taken(study) == dict.fromkeys(range(90), 1)


@on_both_databases
def test_a_hundred_robots_for_seven_places_are_spread_over_lists_of_their_own() -> None:
    """empiricaly/meteor-empirica-core#255: conditions filled up unevenly when many came at once."""
    study = make_study(participants=7)
    at_once(100, lambda _: study.start_session(Population.SIMULATED))
    assert lists_taken(study, Population.SIMULATED) == dict.fromkeys(range(100), 1)
    assert study.free_places() == 7


@on_both_databases
def test_ten_who_leave_while_ten_arrive_lose_no_place_and_share_none() -> None:
    """empiricaly/meteor-empirica-core#255, the other way round: a place that is given back at the same moment."""
    study = make_study(participants=10)
    first = [study.start_session()[0] for _ in range(10)]

    def act(n: int) -> None:
        if n < 10:
            Session.objects.get(pk=first[n].pk).withdraw()
            return
        while True:
            try:
                study.start_session()
            except Full:
                time.sleep(0.02)
            else:
                return

    at_once(20, act)
    active = study.sessions.filter(state=Session.State.ACTIVE)
    assert Counter(active.values_list("slot__list_number", flat=True)) == dict.fromkeys(range(10), 1)
    assert study.free_places() == 0


# --- 13


@pytest.mark.parametrize("population", [Population.PREVIEW, Population.SIMULATED])
def test_previews_and_robots_take_no_place_and_are_not_in_the_data(study: Study, population: str) -> None:
    """NYUCCL/psiTurk#295: debug runs counted in the balancing."""
    answer_all(start(study, population)[0])
    assert study.free_places() == study.participants
    assert list(study.trial_rows()) == []
    assert start(study)[0].slot.list_number == 0  # type: ignore[union-attr]


def withdraw(session: Session) -> None:
    session.withdraw()


def screen_out(session: Session) -> None:
    session.screen_out("device")


def time_out(session: Session) -> None:
    session.time_out()


def stay_away(session: Session) -> None:
    long_ago = timezone.now() - timedelta(hours=session.study.resume_hours + 1)
    Session.objects.filter(pk=session.pk).update(seen_at=long_ago)


@pytest.mark.parametrize("leave", [withdraw, screen_out, time_out, stay_away])
def test_the_place_of_whoever_does_not_finish_goes_to_the_next(leave: Any) -> None:
    """NYUCCL/psiTurk#244, #258: runs that were given up or excluded kept their condition filled."""
    study = make_study(participants=1)
    session, _ = start(study)
    answer(session, 0)
    assert study.free_places() == 0
    leave(session)
    assert study.free_places() == 1
    newcomer, _ = start(study)
    assert newcomer.slot == session.slot
    assert study.free_places() == 0
    answer_all(newcomer)
    assert newcomer.complete() == "THANKS"


@on_both_databases
def test_places_of_ten_who_stayed_away_go_to_ten_who_arrive_at_once_and_to_no_more() -> None:
    """NYUCCL/psiTurk#258, at the same moment: each place that timed out is given away once."""
    study = make_study(participants=10)
    for _ in range(10):
        stay_away(study.start_session()[0])

    def arrive(_: int) -> str:
        try:
            study.start_session()
        except Full:
            return "full"
        return "in"

    assert Counter(at_once(14, arrive)) == {"in": 10, "full": 4}
    active = study.sessions.filter(state=Session.State.ACTIVE)
    assert Counter(active.values_list("slot__list_number", flat=True)) == dict.fromkeys(range(10), 1)
    assert study.sessions.filter(state=Session.State.TIMED_OUT).count() == 10


# --- 14


@on_both_databases
def test_a_run_that_is_advanced_by_many_requests_at_once_advances_by_one_trial() -> None:
    """rubenarslan/formr.org#676: the position was read before the lock, and 18 people got everything twice."""
    token = make_study().start_session()[1]
    tab = Tab(token)
    for index in range(4):
        assert Counter(status for status, _ in at_once(6, lambda _, i=index: tab.answer(i))) == {201: 1, 409: 5}  # type: ignore[misc]
    stored = list(Answer.objects.order_by("trial__index").values_list("trial__index", flat=True))
    assert stored == [0, 1, 2, 3]
    assert Tab(token).plan["next_index"] == 4


@on_both_databases
def test_answers_sent_in_any_order_at_once_leave_no_gap() -> None:
    """rubenarslan/formr.org#676: whoever asks for a later position is led to the present one."""
    session, token = make_study().start_session()
    tab = Tab(token)
    statuses = at_once(8, lambda n: tab.answer(7 - n)[0])
    stored = list(Answer.objects.order_by("trial__index").values_list("trial__index", flat=True))
    assert stored == list(range(len(stored)))
    assert Counter(statuses) == {201: len(stored)} | ({425: 8 - len(stored)} if len(stored) < 8 else {})
    assert session.next_index() == len(stored)


# --- a line each


def test_link_previews_use_up_neither_link_nor_place(study: Study) -> None:
    """JATOS/JATOS#164: a chat program's preview of a link for one use had used it before the person came."""
    for _ in range(10):
        assert Client(headers={"User-Agent": "Slackbot-LinkExpanding"}).get(f"/s/{study.slug}/").status_code == 200
    assert study.free_places() == study.participants
    assert send_form(study, start_form(study)).status_code == 302


def test_people_without_a_recruiters_id_are_not_taken_for_one_another(study: Study) -> None:
    """Dallinger/Dallinger#827: without a fingerprint everybody was the same participant."""
    for query in ("", "?PROLIFIC_PID=", "?PROLIFIC_PID=%20", ""):
        assert send_form(study, start_form(study, query)).status_code == 302
    assert study.sessions.count() == 4
    assert set(study.sessions.values_list("recruiter_key", flat=True)) == {None}


def test_the_export_reads_row_by_row(study: Study) -> None:
    """JATOS/JATOS#166: an export of 600 people with 120 trials each was held in memory as a whole."""
    answer_all(start(study)[0])
    rows = study.trial_rows()
    assert isinstance(rows, Iterator)
    assert not isinstance(rows, list)
    assert next(rows)["trial_index"] == 2


def test_every_answer_is_saved_by_itself(study: Study) -> None:
    """audiolabs/webMUSHRA#108: results were sent only at the end, and lost with the page."""
    tab = Tab(study.start_session()[1])
    for index in range(5):
        tab.answer(index)
        assert Answer.objects.count() == index + 1


def test_a_refused_answer_takes_nothing_with_it(study: Study) -> None:
    """JATOS/JATOS#304: after one request that failed the rest were dropped."""
    tab = Tab(study.start_session()[1])
    assert tab.answer(0, rt_ms=-1)[0] == 422
    assert tab.answer(0)[0] == 201
    assert tab.answer(5)[0] == 425
    assert tab.answer(1)[0] == 201


def test_an_answer_that_could_not_be_stored_is_not_acknowledged(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """addrummond/ibex#8: "results sent" with nothing on the server."""
    tab = Tab(study.start_session()[1])

    def fail(*_: Any) -> None:
        raise OperationalError("The disk is full.")

    monkeypatch.setattr(sessions, "store", fail)
    client = Client(raise_request_exception=False, headers={"Sec-Fetch-Site": "same-origin"})
    body = {"client_id": str(uuid.uuid4()), "attempt": 1, "choice": "left", "rt_ms": 640.0}
    reply = client.put(f"{tab.root}/trials/0", json.dumps(body), content_type="application/json")
    assert (reply.status_code, reply["Retry-After"]) == (503, "2")
    assert not Answer.objects.exists()
    monkeypatch.undo()
    assert tab.answer(0)[0] == 201
