"""Arrivals: one place for each participant, in the right population, with the whole plan stored first."""

from __future__ import annotations

from collections import Counter

import pytest
from django.db import IntegrityError, transaction

from study.trials.exceptions import AlreadyTookPart, Full
from study.trials.models import Population, Session, Study, Trial, new_token, token_sha256
from study.trials.models.trials import PLANNED
from study.trials.plan import PlannedTrial, make_plan
from tests.study.factories import answer, answer_all, at_once, make_study, start

pytestmark = pytest.mark.django_db


def test_the_whole_plan_is_stored_before_the_first_trial() -> None:
    session, _ = make_study().start_session()
    assert list(session.trials.values_list("index", flat=True)) == list(range(22))


def test_the_plan_can_be_made_again_from_the_stored_seed() -> None:
    session, _ = make_study().start_session()
    session = Session.objects.get(pk=session.pk)
    assert session.slot is not None
    again = make_plan(session.design.json, session.slot.list_number, session.seed)
    stored = [(t.phase, t.pair_id, t.altered_side) for t in session.trials.order_by("index")]
    assert [(t.phase, t.pair, t.altered_side) for t in again] == stored


@pytest.mark.store
def test_every_column_of_the_plan_is_stored_as_it_was_made() -> None:
    study = make_study(
        size=4, strengths=(0.5, 1.0), procedure=Study.Procedure.ADAPTIVE, adaptive_trials=12, adaptive_minimum=6,
        protocol=Study.Protocol.FLICKER,
    )  # fmt: skip
    session, _ = study.start_session()
    assert session.slot is not None
    made = make_plan(session.design.now, session.slot.list_number, session.seed)
    stored = [
        PlannedTrial(
            trial.phase, trial.base_image_id, trial.pair_id, trial.altered_side, trial.altered_frame, trial.round,
            tuple(trial.candidates),
        )
        for trial in session.trials.order_by("index")
    ]  # fmt: skip
    assert stored == made
    assert {trial.pair for trial in made} > {None}
    assert list(PLANNED) == [field.attname for field in Trial._meta.concrete_fields if not field.primary_key]


@pytest.mark.store
def test_a_plan_that_breaks_a_rule_of_the_database_is_not_stored() -> None:
    session, _ = make_study(size=4).start_session()
    twice = make_plan(session.design.now, 0, session.seed)
    with pytest.raises(IntegrityError), transaction.atomic():
        Trial.objects.plan(session, twice)
    assert session.trials.count() == len(twice)


def test_the_token_is_stored_hashed_and_has_128_bits() -> None:
    session, token = make_study().start_session()
    assert len(token) == 22
    assert session.token_sha256 == token_sha256(token)
    assert token not in str(Session.objects.filter(pk=session.pk).values().get())
    assert Session.objects.by_token(token) == session


def test_places_are_filled_from_the_first_list_on() -> None:
    study = make_study(participants=4)
    assert [lists_of(study.start_session()[0]) for _ in range(4)] == [0, 1, 2, 3]


def test_nobody_is_admitted_beyond_the_places() -> None:
    study = make_study(participants=1)
    study.start_session()
    with pytest.raises(Full, match="Every place"):
        study.start_session()
    assert study.sessions.count() == 1


def test_preview_and_simulated_sessions_take_no_real_place() -> None:
    study = make_study(participants=2)
    for population in (Population.SIMULATED, Population.PREVIEW):
        for _ in range(3):  # one more than there are places
            study.start_session(population)
    assert study.free_places() == 2
    assert [lists_of(study.start_session()[0]) for _ in range(2)] == [0, 1]


def test_robots_beyond_the_places_get_the_next_lists() -> None:
    study = make_study(participants=2)
    assert [lists_of(study.start_session(Population.SIMULATED)[0]) for _ in range(4)] == [0, 1, 2, 3]


def test_a_simulated_session_has_the_same_order_in_every_installation() -> None:
    here, elsewhere = (make_study().start_session(Population.SIMULATED)[0] for _ in range(2))
    assert here.seed == elsewhere.seed


def test_a_persons_order_cannot_be_foretold() -> None:
    study = make_study()
    session, _ = study.start_session()
    session.withdraw()
    assert study.start_session()[0].seed != session.seed


def test_a_withdrawn_session_gives_its_place_back() -> None:
    study = make_study(participants=1)
    study.start_session()[0].withdraw()
    assert lists_of(study.start_session()[0]) == 0


def test_a_form_sent_twice_starts_one_session() -> None:
    study, token = make_study(), new_token()
    assert study.start_session(token=token)[0] == study.start_session(token=token)[0]
    assert study.sessions.count() == 1
    assert study.free_places() == 5


def test_a_known_recruiter_id_never_gets_a_second_session_nor_the_first_one() -> None:
    study = make_study()
    study.start_session(recruiter_ids={"PROLIFIC_PID": "p1", "SESSION_ID": "a"})
    with pytest.raises(AlreadyTookPart):
        study.start_session(recruiter_ids={"PROLIFIC_PID": "p1", "SESSION_ID": "b"})
    assert study.sessions.count() == 1
    assert study.free_places() == 5


def test_the_same_person_may_take_part_in_another_study() -> None:
    for study in (make_study(), make_study()):
        study.start_session(recruiter_ids={"PROLIFIC_PID": "p1"})
        assert study.sessions.count() == 1


def test_a_person_who_withdrew_cannot_come_in_again_but_is_no_longer_named() -> None:
    study = make_study()
    session, _ = study.start_session(recruiter_ids={"PROLIFIC_PID": "p1"})
    session.withdraw()
    assert session.recruiter_ids == {}
    assert "p1" not in str(Session.objects.values().get())
    with pytest.raises(AlreadyTookPart):
        study.start_session(recruiter_ids={"PROLIFIC_PID": "p1"})


@pytest.mark.store
@pytest.mark.django_db(transaction=True)
def test_a_hundred_who_start_at_once_all_get_a_list_of_their_own() -> None:
    study = make_study(participants=100)
    sessions = at_once(100, lambda n: study.start_session(recruiter_ids={"participant": str(n)})[0])
    assert Counter(lists_of(session) for session in sessions) == dict.fromkeys(range(100), 1)
    assert study.sessions.count() == 100
    assert study.free_places() == 0


@pytest.mark.store
@pytest.mark.django_db(transaction=True)
def test_people_who_come_twice_at_once_take_one_place_each_and_no_place_is_lost() -> None:
    study = make_study(participants=10)

    def arrive(n: int) -> bool:
        try:
            study.start_session(recruiter_ids={"participant": str(n // 2)})
        except (AlreadyTookPart, Full):
            return False
        return True

    assert Counter(at_once(20, arrive)) == {True: 10, False: 10}
    assert study.free_places() == 0


@pytest.mark.store
@pytest.mark.django_db(transaction=True)
def test_one_form_sent_eight_times_at_once_starts_one_session() -> None:
    study, token = make_study(), new_token()
    assert len(set(at_once(8, lambda _: study.start_session(token=token)[0]))) == 1
    assert study.free_places() == 5


@pytest.mark.store
@pytest.mark.django_db(transaction=True)
def test_robots_who_come_at_once_never_share_a_list() -> None:
    study = make_study(participants=2)
    sessions = at_once(12, lambda _: study.start_session(Population.SIMULATED)[0])
    assert sorted(lists_of(session) for session in sessions) == list(range(12))


def test_progress_counts_stored_answers() -> None:
    session, _ = start(make_study())
    answer(session, 0)
    assert session.progress == (1, 22)
    assert session.next_index() == 1
    answer_all(session)
    assert session.next_index() == 22


def lists_of(session: Session) -> int:
    assert session.slot is not None
    return session.slot.list_number


def test_a_robot_at_a_place_that_was_given_back_gets_an_order_of_its_own() -> None:
    study = make_study()
    first, _ = study.start_session(Population.SIMULATED)
    first.withdraw()
    second, _ = study.start_session(Population.SIMULATED)
    assert second.slot == first.slot
    plans = [list(s.trials.order_by("index").values_list("base_image", "altered_side")) for s in (first, second)]
    assert plans[0] != plans[1]
    assert sorted(plans[0][2:]) == sorted(plans[1][2:])
