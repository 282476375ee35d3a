"""Answers: stored once, never changed, never lost; erased only by withdrawal."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

import pytest

from study.trials.exceptions import (
    ClientIdTaken,
    DifferentAnswer,
    Frozen,
    NoSuchTrial,
    OutOfTurn,
    Over,
    Superseded,
    TrialsError,
    TrialsMissing,
)
from study.trials.models import Answer, Session, SessionEvent, Side, Trial, TrialTrace
from tests.study.factories import answer, answer_all, at_once, make_study, start

pytestmark = pytest.mark.django_db


@pytest.fixture
def session() -> Session:
    return start(make_study())[0]


def record(session: Session, index: int = 0, **changes: Any) -> tuple[Answer, bool]:
    fields = {"client_id": uuid.uuid4(), "attempt": 1, "choice": "left", "rt_ms": 612.5, **changes}
    return session.record_answer(index, **fields)


@pytest.mark.parametrize("side", Side.values)
def test_an_answer_is_right_when_it_names_the_side_of_the_altered_image(session: Session, side: str) -> None:
    trial = session.trials.get(index=0)
    stored, created = record(session, choice=side)
    assert created
    assert stored.correct == (trial.altered_side == side)


def test_the_trace_of_a_trial_is_kept(session: Session) -> None:
    record(session, trace={"frame_ms": 16.7, "dropped_frames": 2, "details": {"input": "key"}})
    trace = TrialTrace.objects.get(trial__session=session)
    assert (trace.frame_ms, trace.dropped_frames, trace.details) == (16.7, 2, {"input": "key"})


def test_the_same_answer_again_is_the_stored_one(session: Session) -> None:
    client_id = uuid.uuid4()
    first, _ = record(session, client_id=client_id)
    again, created = record(session, client_id=client_id)
    assert (again.pk, created) == (first.pk, False)


def test_the_same_answer_again_counts_even_from_a_page_loaded_since(session: Session) -> None:
    client_id = uuid.uuid4()
    first, _ = record(session, client_id=client_id)
    assert record(session, client_id=client_id, attempt=session.begin_attempt())[0] == first
    assert record(session, client_id=client_id, attempt=1)[0] == first


@pytest.mark.parametrize("changes", [{"choice": "right"}, {"rt_ms": 900.0}, {"client_id": uuid.uuid4()}])
def test_another_answer_to_the_same_trial_is_refused_and_logged(session: Session, changes: dict[str, Any]) -> None:
    client_id = uuid.uuid4()
    stored, _ = record(session, client_id=client_id)
    with pytest.raises(DifferentAnswer) as refusal:
        record(session, **{"client_id": client_id, **changes})
    assert refusal.value.stored == stored
    assert list(Answer.objects.values_list("choice", "rt_ms")) == [("left", 612.5)]
    event = session.events.get(kind="different_answer")
    assert event.data["index"] == 0


def test_answers_come_in_turn(session: Session) -> None:
    with pytest.raises(OutOfTurn):
        record(session, 1)
    record(session, 0)
    record(session, 1)


def test_a_newer_page_takes_over(session: Session) -> None:
    session.begin_attempt()
    with pytest.raises(Superseded):
        record(session, attempt=1)
    record(session, attempt=2)


def test_an_index_beyond_the_plan_is_no_trial(session: Session) -> None:
    with pytest.raises(NoSuchTrial):
        record(session, 22)


def test_a_client_id_stands_for_one_answer_only(session: Session) -> None:
    client_id = uuid.uuid4()
    record(session, 0, client_id=client_id)
    with pytest.raises(ClientIdTaken):
        record(session, 1, client_id=client_id)
    record(session, 1)


def test_practice_says_what_was_altered_and_the_study_does_not(session: Session) -> None:
    answer_all(session)
    told = {trial.phase: trial.answer.feedback() for trial in session.trials.select_related("answer")}
    assert told["practice"] is not None
    assert told["practice"]["correct"] is True
    assert (told["main"], told["catch"]) == (None, None)


# --- the end


def test_completion_is_refused_while_answers_are_missing(session: Session) -> None:
    answer(session, 0)
    with pytest.raises(TrialsMissing) as refusal:
        session.complete()
    assert refusal.value.missing == list(range(1, 22))
    assert Session.objects.get(pk=session.pk).state == Session.State.ACTIVE


def test_completion_gives_the_code_on_every_call_and_happens_once(session: Session) -> None:
    answer_all(session)
    assert (session.complete(), session.complete()) == ("THANKS", "THANKS")
    assert session.events.filter(kind="complete").count() == 1


def test_a_study_without_a_code_gives_the_participants_own() -> None:
    session, _ = start(make_study(completion_code=""))
    answer_all(session)
    assert session.complete() == session.public_code


def test_a_complete_session_takes_no_answer_but_still_knows_the_old_ones(session: Session) -> None:
    client_id = uuid.uuid4()
    record(session, client_id=client_id)
    answer_all(session)
    session.complete()
    with pytest.raises(Over):
        record(session)
    assert record(session, client_id=client_id)[1] is False


# --- withdrawal


def test_withdrawal_erases_answers_and_traces_and_leaves_a_tombstone(session: Session) -> None:
    answer_all(session)
    session.withdraw()
    assert not Answer.objects.exists()
    assert not TrialTrace.objects.exists()
    assert session.state == Session.State.WITHDRAWN
    assert session.events.get(kind="withdrawn").data == {"answers": 22}


def test_a_logged_answer_is_erased_too(session: Session) -> None:
    record(session)
    with pytest.raises(DifferentAnswer):
        record(session)
    session.withdraw()
    assert not session.events.filter(kind="different_answer").exists()


def test_withdrawing_twice_is_withdrawing_once(session: Session) -> None:
    session.withdraw()
    session.withdraw()
    assert session.events.filter(kind="withdrawn").count() == 1


def test_a_withdrawn_session_takes_nothing_any_more(session: Session) -> None:
    session.withdraw()
    for act in (lambda: record(session), session.complete, session.begin_attempt):
        with pytest.raises(Over):
            act()


def test_withdrawal_is_possible_after_the_end(session: Session) -> None:
    answer_all(session)
    session.complete()
    session.withdraw()
    assert not Answer.objects.exists()


def test_the_place_goes_to_somebody_else_only_once() -> None:
    study = make_study(participants=1)
    first, _ = study.start_session()
    first.withdraw()
    study.start_session()
    first.withdraw()
    assert study.free_places() == 0


# --- rows that never change


@pytest.mark.parametrize("model", [Trial, Answer, TrialTrace, SessionEvent])
def test_stored_rows_can_be_neither_changed_nor_deleted(session: Session, model: Any) -> None:
    answer(session, 0)
    row = model.objects.first()
    assert row is not None
    for act in (row.save, row.delete, model.objects.all().delete, lambda: model.objects.update(id=7)):
        with pytest.raises(Frozen):
            act()


# --- at the same moment


@pytest.mark.store
@pytest.mark.django_db(transaction=True)
def test_one_answer_sent_eight_times_at_once_is_one_row() -> None:
    session, _ = start(make_study())
    client_id = uuid.uuid4()
    replies = at_once(8, lambda _: record(session, client_id=client_id))
    assert len({stored.pk for stored, _ in replies}) == 1
    assert Counter(created for _, created in replies) == {True: 1, False: 7}


@pytest.mark.store
@pytest.mark.django_db(transaction=True)
def test_of_eight_different_answers_at_once_one_stays_and_seven_are_logged() -> None:
    session, _ = start(make_study())

    def send(n: int) -> type[TrialsError] | None:
        try:
            record(session, choice=Side.values[n % 2])
        except TrialsError as error:
            return type(error)
        return None

    assert Counter(at_once(8, send)) == {None: 1, DifferentAnswer: 7}
    assert session.events.filter(kind="different_answer").count() == 7
    assert Answer.objects.count() == TrialTrace.objects.count() == 1


@pytest.mark.store
@pytest.mark.django_db(transaction=True)
def test_eight_completions_at_once_are_one_with_one_code() -> None:
    session, _ = start(make_study())
    answer_all(session)
    assert at_once(8, lambda _: Session.objects.get(pk=session.pk).complete()) == ["THANKS"] * 8
    assert session.events.filter(kind="complete").count() == 1


@pytest.mark.store
@pytest.mark.django_db(transaction=True)
def test_pages_loaded_at_once_have_attempts_of_their_own() -> None:
    session, _ = make_study().start_session()
    assert sorted(at_once(8, lambda _: Session.objects.get(pk=session.pk).begin_attempt())) == list(range(1, 9))


@pytest.mark.store
@pytest.mark.django_db(transaction=True)
def test_an_answer_during_a_withdrawal_is_erased_or_refused() -> None:
    session, _ = start(make_study())

    def act(n: int) -> None:
        if n == 4:
            Session.objects.get(pk=session.pk).withdraw()
            return
        try:
            record(session)
        except TrialsError:
            return

    at_once(8, act)
    assert not Answer.objects.exists()
