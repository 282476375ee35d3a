"""How a session goes on and ends: practice rounds, the screen, screening out, time limits, late answers."""

from __future__ import annotations

import contextlib
import re
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from study import trials
from study.trials import api
from study.trials.exceptions import Full, OutOfTurn, Over, Superseded
from study.trials.models import Answer, Session, SkippedTrial, Study, Trial
from tests.study.factories import answer, answer_all, at_once, make_study, start

pytestmark = pytest.mark.django_db

WRONG = {"left": "right", "right": "left"}


def client() -> Client:
    return Client(headers={"Sec-Fetch-Site": "same-origin"})


def practised(session: Session, correctly: bool) -> list[Answer]:
    """Answers to the next round of practice."""
    due = session.due_trials().filter(phase="practice")
    a_round = due.filter(round=due[0].round)
    return [answer(session, t.index, t.altered_side if correctly else WRONG[t.altered_side]) for t in a_round]


def away(session: Session, hours: float) -> None:
    Session.objects.filter(pk=session.pk).update(seen_at=timezone.now() - timedelta(hours=hours))
    session.refresh_from_db()


@pytest.fixture
def two_rounds() -> Study:
    return make_study(
        practice_trials=2, practice_correct=2, practice_rounds=2, screened_out_code="SORRY", base_images=26
    )


# --- practice


def test_every_round_of_practice_has_images_of_its_own(two_rounds: Study) -> None:
    session, _ = start(two_rounds)
    rounds = list(session.trials.filter(phase="practice").order_by("index").values_list("round", flat=True))
    assert rounds == [1, 1, 2, 2]
    images = session.trials.values_list("base_image", flat=True)
    assert len(set(images)) == len(images) == 24


def test_practice_that_is_passed_skips_the_later_rounds(two_rounds: Study) -> None:
    session, _ = start(two_rounds)
    first, last = practised(session, correctly=True)
    assert "practice" not in first.consequences()
    assert last.consequences()["practice"] == {"outcome": "passed", "correct": 2, "needed": 2, "of": 2}
    assert (last.consequences()["next_index"], session.next_index()) == (4, 4)
    assert session.progress == (2, 22)
    with pytest.raises(OutOfTurn):
        answer(session, 2)


def test_practice_that_is_not_passed_comes_once_more(two_rounds: Study) -> None:
    session, _ = start(two_rounds)
    last = practised(session, correctly=False)[-1]
    assert last.consequences()["practice"] == {"outcome": "again", "correct": 0, "needed": 2, "of": 2}
    assert last.consequences()["next_index"] == 2
    assert practised(session, correctly=True)[-1].consequences()["practice"]["outcome"] == "passed"
    assert not SkippedTrial.objects.exists()


def test_practice_that_is_never_passed_screens_out_and_frees_the_place(two_rounds: Study) -> None:
    session, token = start(two_rounds)
    practised(session, correctly=False)
    last = practised(session, correctly=False)[-1]
    assert last.consequences()["practice"]["outcome"] == "failed"
    session.refresh_from_db()
    assert (session.state, session.code) == (Session.State.SCREENED_OUT, "SORRY")
    assert session.events.get(kind="screened_out").data == {"reason": "practice"}
    assert two_rounds.free_places() == two_rounds.participants
    assert client().get(f"/run/{token}/plan").status_code == 410


def test_a_repeated_practice_answer_gets_the_same_reply_when_the_session_has_ended(two_rounds: Study) -> None:
    session, token = start(two_rounds)
    replies: list[Any] = []
    for index in range(4):
        side = WRONG[session.trials.get(index=index).altered_side]
        body = {"client_id": f"{index:032x}", "attempt": 1, "choice": side, "rt_ms": 500}
        put = {"path": f"/run/{token}/trials/{index}", "data": body, "content_type": "application/json"}
        replies.append(client().put(**put).json())
        assert client().put(**put).json() == replies[-1]
    assert replies[3]["practice"]["outcome"] == "failed"


def test_without_a_criterion_any_practice_passes() -> None:
    session, _ = start(make_study())
    outcome = practised(session, correctly=False)[-1].consequences()["practice"]
    assert (outcome["outcome"], outcome["needed"]) == ("passed", 0)


def test_not_sure_passes_no_practice_however_the_coin_falls() -> None:
    session, _ = start(make_study(practice_correct=1, not_sure=True))
    Session.objects.filter(pk=session.pk).update(seed=seed_that_guesses(session.trials.get(index=0)))
    first, last = (answer(session, index, "unsure") for index in range(2))
    assert first.correct
    outcome = last.consequences()["practice"]
    assert (outcome["outcome"], outcome["correct"]) == ("failed", 0)


def seed_that_guesses(trial: Trial) -> int:
    """A seed whose coin falls on the side of the altered image."""
    return next(n for n in range(100) if Session(seed=n).coin(trial.index) == trial.altered_side)


def test_a_session_is_complete_without_the_trials_that_were_skipped(two_rounds: Study) -> None:
    session, _ = start(two_rounds)
    practised(session, correctly=True)
    answer_all(session)
    assert session.complete() == "THANKS"
    assert session.progress == (22, 22)


# --- the screen


def test_the_screen_is_kept_with_its_pixels_per_degree() -> None:
    session, token = start(make_study(calibration="card", distance="told"))
    body = {
        "attempt": 1, "scale": 4, "px_per_mm": 5.0, "calibration": "card_long", "distance_mm": 600, "distance": "told",
        "device": "computer", "device_pixel_ratio": 1.25,
    }  # fmt: skip
    reply = client().put(f"/run/{token}/screen", body, content_type="application/json")
    session.refresh_from_db()
    assert reply.json() == {"px_per_degree": session.px_per_degree}
    assert session.px_per_degree == pytest.approx(5.0 * 600 * 0.0174533, rel=1e-3)
    assert (session.scale, session.device["device"], session.device["distance"]) == (4, "computer", "told")
    assert session.events.get(kind="screen").data["calibration"] == "card_long"


@pytest.mark.parametrize("missing", ["px_per_mm", "distance_mm"])
def test_a_screen_that_was_not_measured_as_designed_is_refused(missing: str) -> None:
    _, token = start(make_study(calibration="card", distance="told"))
    body = {"attempt": 1, "scale": 4, "px_per_mm": 5.0, "distance_mm": 600}
    del body[missing]
    reply = client().put(f"/run/{token}/screen", body, content_type="application/json")
    assert (reply.status_code, reply.json()["error"]) == (422, "bad_body")


def test_where_the_design_asks_for_it_the_screen_is_measured_before_the_first_answer() -> None:
    session, _ = start(make_study(calibration="card"))
    with pytest.raises(OutOfTurn, match="The screen is measured before the first trial"):
        answer(session, 0)
    session.record_screen(attempt=1, scale=4, px_per_mm=5.0, distance_mm=None, device={})
    assert answer(session, 0).pk


@pytest.mark.parametrize(
    "wrong",
    [{"px_per_mm": 0.01}, {"distance_mm": 90000}, {"scale": 0.5}, {"scale": 3}, {"scale": 1000}, {"device": ["x"]}],
)
def test_a_screen_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    session, token = start(make_study())
    body = {"attempt": 1, "scale": 4, "px_per_mm": 5.0, "distance_mm": 600, **wrong}
    assert client().put(f"/run/{token}/screen", body, content_type="application/json").status_code == 422
    session.refresh_from_db()
    assert session.scale is None


@pytest.mark.parametrize(("scale", "status"), [(13, 200), (12, 422)])
def test_a_size_in_degrees_decides_the_scale(scale: int, status: int) -> None:
    _, token = start(make_study(calibration="card", distance="told", image_degrees=4.0))
    body = {"attempt": 1, "scale": scale, "px_per_mm": 5.0, "distance_mm": 600}  # 52.4 px per degree, images of 16 px
    assert client().put(f"/run/{token}/screen", body, content_type="application/json").status_code == status


def test_the_screen_of_an_older_tab_is_refused() -> None:
    session, _ = start(make_study())
    session.begin_attempt()
    with pytest.raises(Superseded):
        session.record_screen(attempt=1, scale=4, px_per_mm=None, distance_mm=None, device={})


def test_a_screen_that_does_not_do_ends_the_session_with_its_code() -> None:
    study = make_study(
        screened_out_code="SORRY",
        screened_out_url="https://example.org/back?cc={code}",
        return_hosts=["example.org"],
    )
    session, token = start(study)
    url, body = f"/run/{token}/screen-out", {"reason": "window"}
    replies = [client().post(url, body, content_type="application/json") for _ in range(2)]
    assert [reply.json() for reply in replies] == [
        {"code": "SORRY", "return_url": "https://example.org/back?cc=SORRY"}
    ] * 2
    assert session.events.filter(kind="screened_out").count() == 1
    assert study.free_places() == study.participants


def test_a_page_gives_no_reason_of_its_own_invention() -> None:
    _, token = start(make_study(base_images=22, size=4))
    url, body = f"/run/{token}/screen-out", {"reason": "ada_lovelace"}
    assert client().post(url, body, content_type="application/json").status_code == 422


def test_every_reason_of_the_pages_is_known() -> None:
    pages = Path(trials.__file__).parent.glob("templates/trials/*.html")
    given = r'(?:cannot.html" with reason|data-screen-out)="(\w+)"'
    assert {reason for page in pages for reason in re.findall(given, page.read_text())} == api.REASONS


def test_a_complete_session_is_not_screened_out() -> None:
    session, _ = start(make_study())
    answer_all(session)
    session.complete()
    with pytest.raises(Over):
        session.screen_out("window")


# --- places of those who are left out


def test_whoever_breaks_an_exclusion_rule_gives_the_place_to_somebody_else() -> None:
    study = make_study(participants=1)
    careless, _ = start(study)
    answer_all(careless, correctly=False)
    assert careless.complete() == "THANKS"
    assert careless.events.get(kind="excluded").data == {"rule": "catch trials missed"}
    newcomer, _ = start(study)
    assert newcomer.slot == careless.slot
    careless.withdraw()
    assert study.free_places() == 0
    newcomer.withdraw()
    assert study.free_places() == 1


def test_a_newcomer_who_withdraws_frees_the_place_that_an_excluded_session_had() -> None:
    study = make_study(participants=1)
    careless, _ = start(study)
    answer_all(careless, correctly=False)
    careless.complete()
    start(study)[0].withdraw()
    assert study.free_places() == 1


def test_whoever_withdraws_leaves_no_sign_of_how_the_trials_went() -> None:
    session, _ = start(make_study())
    session.record_screen(attempt=1, scale=4, px_per_mm=5.0, distance_mm=600, device={"device": "phone"})
    session.log("honeypot")
    answer_all(session, correctly=False)
    session.complete()
    session.withdraw()
    assert list(session.events.values_list("kind", flat=True)) == ["started", "complete", "withdrawn"]


def test_the_place_of_a_session_that_is_analysed_stays_taken() -> None:
    study = make_study(participants=1)
    session, _ = start(study)
    answer_all(session)
    session.complete()
    assert study.free_places() == 0


# --- staying away


def test_whoever_comes_back_in_time_goes_on() -> None:
    session, _ = start(make_study(resume_hours=2))
    away(session, 1.9)
    assert session.begin_attempt() == 2


def test_whoever_stays_away_too_long_is_told_so_and_keeps_no_place() -> None:
    study = make_study(resume_hours=2)
    session, token = start(study)
    answer(session, 0)
    away(session, 2.1)
    assert client().get(f"/run/{token}/plan").status_code == 410
    session.refresh_from_db()
    assert session.state == Session.State.TIMED_OUT
    assert Answer.objects.count() == 1
    assert study.free_places() == study.participants


def test_an_answer_counts_as_being_there() -> None:
    session, _ = start(make_study(resume_hours=2))
    away(session, 1.9)
    answer(session, 0)
    session.refresh_from_db()
    assert not session.is_away()


def test_there_is_a_free_place_until_all_are_taken_and_again_when_somebody_stays_away() -> None:
    study = make_study(participants=1, resume_hours=2)
    assert study.has_free_place()
    session, _ = start(study)
    assert not study.has_free_place()
    away(session, 2.1)
    assert study.has_free_place()


def test_a_place_whose_taker_stays_away_goes_to_somebody_else_when_it_is_needed() -> None:
    study = make_study(participants=1, resume_hours=2)
    gone, _ = start(study)
    away(gone, 3)
    assert study.free_places() == 1
    newcomer, _ = start(study)
    gone.refresh_from_db()
    assert gone.state == Session.State.TIMED_OUT
    assert newcomer.slot == gone.slot


@pytest.mark.store
@pytest.mark.django_db(transaction=True)
def test_one_of_many_who_come_at_once_gets_the_place_of_somebody_who_stays_away_or_it_is_kept() -> None:
    study = make_study(participants=1, resume_hours=2)
    gone, _ = start(study)
    away(gone, 3)

    def act(n: int) -> None:
        with contextlib.suppress(Full, Over):
            answer(gone, 0) if n == 4 else study.start_session()

    at_once(9, act)
    assert study.sessions.filter(state=Session.State.ACTIVE).count() == 1
    assert study.free_places() == 0


def test_a_late_answer_is_welcome_while_the_place_is_still_held() -> None:
    session, _ = start(make_study(resume_hours=2))
    away(session, 3)
    assert answer(session, 0).pk


def test_withdrawing_after_the_place_was_given_away_leaves_the_newcomers_place() -> None:
    study = make_study(participants=1, resume_hours=2)
    gone, _ = start(study)
    away(gone, 3)
    start(study)
    gone.refresh_from_db()
    gone.withdraw()
    assert study.free_places() == 0


def test_whoever_is_there_is_not_timed_out() -> None:
    session, _ = start(make_study(resume_hours=2))
    assert not session.time_out_if_away()
    assert session.state == Session.State.ACTIVE


# --- answers that come by a receipt


def receipt(session: Session, indices: range) -> list[dict[str, Any]]:
    return [{"index": i, "client_id": uuid.uuid4(), "choice": "left", "rt_ms": 700.0} for i in indices]


def test_imported_answers_complete_a_session_that_had_timed_out() -> None:
    session, _ = start(make_study())
    answer(session, 0)
    session.time_out()
    assert session.import_answers(receipt(session, range(1, 22))) == 21
    assert session.state == Session.State.COMPLETE
    assert session.events.get(kind="receipt").data == {"answers": 21, "new": 21}


def test_importing_a_receipt_twice_stores_nothing_twice() -> None:
    session, _ = start(make_study())
    answers = receipt(session, range(5))
    assert [session.import_answers(answers), session.import_answers(answers)] == [5, 0]
    assert session.state == Session.State.ACTIVE
    assert session.events.filter(kind="receipt").count() == 1


@pytest.mark.parametrize("n", [0, 5])
def test_a_session_that_had_timed_out_stays_so_while_answers_are_missing(n: int) -> None:
    session, _ = start(make_study())
    session.time_out()
    session.import_answers(receipt(session, range(n)))
    assert session.state == Session.State.TIMED_OUT


def test_a_session_that_a_receipt_completes_has_its_place_again() -> None:
    study = make_study(participants=1)
    session, _ = start(study)
    session.time_out()
    sides = session.trials.values_list("altered_side", flat=True)
    session.import_answers([{**a, "choice": sides[a["index"]]} for a in receipt(session, range(22))])
    assert study.free_places() == 0


def test_a_receipt_with_a_gap_stores_nothing() -> None:
    session, _ = start(make_study())
    with pytest.raises(OutOfTurn):
        session.import_answers([*receipt(session, range(2)), *receipt(session, range(3, 5))])
    assert not Answer.objects.exists()


def test_a_withdrawn_session_takes_no_receipt() -> None:
    session, _ = start(make_study())
    session.withdraw()
    with pytest.raises(Over):
        session.import_answers(receipt(session, range(2)))


def test_a_session_that_a_receipt_brought_back_leaves_a_newcomers_place_alone() -> None:
    study = make_study(participants=1, resume_hours=2)
    gone, _ = start(study)
    away(gone, 3)
    start(study)
    gone.refresh_from_db()
    gone.import_answers(receipt(gone, range(22)))
    gone.withdraw()
    assert study.free_places() == 0
