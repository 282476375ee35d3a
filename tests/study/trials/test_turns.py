"""What an answer meets, read by statements of our own, is what the ORM would have read."""

from __future__ import annotations

import pytest
from django.db import models, transaction

from study.trials.models import Answer, Session, SkippedTrial, Trial, TrialTrace
from study.trials.models.turns import ANSWER, DESIGN, SESSION, TRIAL, Turn, store
from tests.study.factories import answer, make_study, start

pytestmark = [pytest.mark.django_db, pytest.mark.store]


@pytest.fixture
def session() -> Session:
    session, _ = start(make_study(base_images=22, size=4))
    for index in range(3):
        answer(session, index)
    return session


def taken(session: Session, index: int) -> Turn:
    with transaction.atomic():
        return Turn.take(index, id=session.pk)


def same(read: models.Model, row: models.Model, columns: tuple[str, ...]) -> bool:
    return [getattr(read, name) for name in columns] == [getattr(row, name) for name in columns]


def test_session_design_trial_and_answer_are_those_of_the_tables(session: Session) -> None:
    turn, trial = taken(session, 1), session.trials.select_related("answer").get(index=1)
    assert turn.trial is not None
    assert turn.answer is not None
    assert same(turn.session, Session.objects.get(pk=session.pk), SESSION)
    assert same(turn.session.design, session.design, DESIGN)
    assert same(turn.trial, trial, TRIAL)
    assert same(turn.answer, trial.answer, ANSWER)


@pytest.mark.parametrize(
    ("model", "columns"), [(Session, SESSION), (Trial, TRIAL), (Answer, ANSWER)], ids=lambda value: str(value)[:20]
)
def test_columns_stand_in_the_order_of_their_model(model: type[models.Model], columns: tuple[str, ...]) -> None:
    order = [field.attname for field in model._meta.concrete_fields]
    assert list(columns) == [name for name in order if name in columns]


def test_a_trial_is_early_until_the_one_before_it_has_its_answer(session: Session) -> None:
    assert (taken(session, 3).early, taken(session, 3).answer) == (False, None)
    assert taken(session, 4).early


def test_skipped_trials_are_passed_over(session: Session) -> None:
    skipped = session.trials.get(index=3)
    SkippedTrial.objects.create(trial=skipped, reason="for once")
    assert taken(session, 3).skipped
    assert not taken(session, 4).early
    assert (taken(session, 2).following, taken(session, 2).next_index) == (4, 4)


def test_after_the_last_trial_comes_their_number(session: Session) -> None:
    last = session.trials.count() - 1
    assert (taken(session, last).following, taken(session, last).next_index) == (None, last + 1)


def test_the_plan_may_not_have_the_trial_and_the_key_may_be_nobodys(session: Session) -> None:
    assert taken(session, 99).trial is None
    with pytest.raises(Session.DoesNotExist), transaction.atomic():
        Turn.take(0, token_sha256="0" * 64)


def test_what_is_stored_is_what_the_orm_reads_again(session: Session) -> None:
    trial = session.trials.get(index=3)
    given = trial.answered("left", client_id=session.trials.get(index=0).answer.client_id, attempt=1, rt_ms=512.25)
    given.client_id = type(given.client_id)(int=7)
    trace = TrialTrace(trial=trial, onset_ms=1.5, dropped_frames=2, details={"scale": 4, "frames": [1, 2]})
    with transaction.atomic():
        store(given, trace)
    kept = Answer.objects.get(trial=trial)
    assert kept.pk == given.pk
    assert same(kept, given, (*ANSWER, "received_at"))
    assert same(TrialTrace.objects.get(trial=trial), trace, ("onset_ms", "dropped_frames", "focus_losses", "details"))
