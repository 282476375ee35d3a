"""What the live view counts, and what it must not count while a study is blind."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from study.desk import counting
from study.desk.counting import Condition, Figures
from study.lab.models import Job
from study.trials.models import Choice, Population, Session, Study
from tests.study.factories import answer, answer_all, make_study, start

pytestmark = pytest.mark.django_db

SMALL: dict[str, Any] = {"base_images": 22, "size": 4}


@pytest.fixture
def study() -> Study:
    return make_study(**SMALL)


def figures(study: Study, population: str = Population.REAL, *, with_rates: bool = False) -> Figures:
    return counting.figures(study, population, with_rates=with_rates)


def condition(found: Figures, control: str = "", strength: float | None = 2.0, *, is_catch: bool = False) -> Condition:
    (one,) = [c for c in found.conditions if (c.control, c.strength, c.is_catch) == (control, strength, is_catch)]
    return one


def test_nothing_is_counted_where_nobody_was(study: Study) -> None:
    found = figures(study)
    assert (found.arrived, found.in_time, found.present) == (0, 0, 0)
    assert (found.conditions, found.left_at, found.medians_s, found.arrivals.counts) == ([], [], [], [])


def test_sessions_are_counted_by_state_and_those_left_out_by_rule(study: Study) -> None:
    done, wrong, gone, stays = (start(study)[0] for _ in range(4))
    answer_all(done)
    done.complete()
    answer_all(wrong, correctly=False)
    wrong.complete()
    gone.withdraw()
    found = figures(study)
    assert found.states == {"complete": 2, "active": 1, "withdrawn": 1}
    assert found.excluded == {"catch trials missed": 1}
    assert (found.arrived, found.in_time, found.present, found.wanted) == (4, 1, 1, 6)
    Session.objects.filter(pk=stays.pk).update(seen_at=timezone.now() - timedelta(minutes=6))
    assert figures(study).present == 0


def test_each_population_is_counted_for_itself(study: Study) -> None:
    for population in Population.values:
        start(study, population)
    assert [figures(study, population).arrived for population in Population.values] == [1, 1, 1]


def test_what_a_draft_was_tried_with_is_not_counted_once_it_is_open() -> None:
    draft = make_study(opened=False, **SMALL)
    answer_all(start(draft, Population.SIMULATED)[0])
    assert figures(draft, Population.SIMULATED).arrived == 1
    draft.open()
    found = figures(draft, Population.SIMULATED)
    assert (found.arrived, found.conditions) == (0, [])


def test_answers_are_counted_by_condition_and_by_what_was_said() -> None:
    study = make_study(not_sure=True, response_ms=2000, **SMALL)
    session, _ = start(study)
    said = [Choice.LEFT, Choice.RIGHT, Choice.UNSURE, Choice.NONE]
    for n, trial in enumerate(session.due_trials()):
        answer(session, trial.index, said[n % 4])
    counted = figures(study).conditions
    assert sum((c.left or 0) + (c.right or 0) + c.unsure + c.late for c in counted) == 20
    assert {c.given + c.late for c in counted if not c.control and not c.is_catch} == {6}
    assert all(c.late for c in counted if not c.control and not c.is_catch)


def test_whether_answers_are_right_stays_hidden_but_for_catch_trials_and_identical_pairs(study: Study) -> None:
    answer_all(start(study)[0])
    blind = figures(study)
    assert condition(blind, is_catch=True, strength=7.0).correct == 2
    assert condition(blind, "identity", 0.0).correct == 2
    assert [c.correct for c in blind.conditions if c.control != "identity" and not c.is_catch] == [None] * 4
    seen = figures(study, with_rates=True)
    assert condition(seen).correct == 6
    assert condition(seen, "other_field").correct == 2


def test_how_often_people_said_yes_stays_hidden_as_well() -> None:
    study = make_study(protocol="yes_no", **SMALL)
    answer_all(start(study)[0])
    hidden = condition(figures(study))
    assert (hidden.left, hidden.right, hidden.given) == (None, None, 6)
    told = condition(figures(study, with_rates=True))
    assert (told.left, told.right) == (3, 3)


def test_strengths_that_an_adaptive_study_chose_stay_hidden_too() -> None:
    study = make_study(procedure="adaptive", adaptive_trials=8, adaptive_minimum=4, **SMALL)
    answer_all(start(study)[0])
    (chosen,) = [c for c in figures(study).conditions if not c.control and not c.is_catch]
    assert (chosen.strength, chosen.given, chosen.correct) == (None, 8, None)
    told = [c for c in figures(study, with_rates=True).conditions if not c.control and not c.is_catch]
    assert sum(c.given for c in told) == 8
    assert {c.strength for c in told} <= {0.5, 2.0}


def test_drop_off_is_told_by_those_whose_session_is_over(study: Study) -> None:
    done, stays, left, gone = (start(study)[0] for _ in range(4))
    answer_all(done)
    done.complete()
    for session in (left, gone):
        answer(session, 0)
        answer(session, 1)
    answer(left, 2)
    left.time_out()
    gone.withdraw()
    answer(stays, 0)
    assert figures(study).left_at == pytest.approx([1, 1, 1, 2 / 3, 1 / 3])


def test_response_times_are_told_by_the_median_of_each_complete_session(study: Study) -> None:
    for times in ([400.0, 600.0], [900.0, 900.0]):
        session, _ = start(study)
        for n, trial in enumerate(session.due_trials()):
            answer(session, trial.index, trial.altered_side, times[n % 2])
        session.complete()
    assert figures(study).medians_s == pytest.approx([0.5, 0.9])


def test_arrivals_are_counted_by_the_hour_and_later_by_the_day(study: Study) -> None:
    sessions = [start(study)[0] for _ in range(3)]
    assert [n for _, n in figures(study).arrivals.counts] == [3]
    assert figures(study).arrivals.by_hour
    Session.objects.filter(pk=sessions[0].pk).update(created_at=timezone.now() - timedelta(days=5))
    later = figures(study).arrivals
    assert (later.by_hour, [n for _, n in later.counts]) == (False, [1, 2])


def test_hours_in_which_nobody_came_are_shown_as_such() -> None:
    first = datetime(2026, 11, 22, 9, tzinfo=UTC)
    counted = counting.Arrivals(True, [(first, 2), (first + timedelta(hours=2), 1)])
    assert [n for _, n in counted.without_gaps()] == [2, 0, 1]
    assert counting.Arrivals(True, []).without_gaps() == []


def test_troubles_are_counted_with_the_sessions_that_met_them(study: Study) -> None:
    session, _ = start(study)
    session.record_answer(
        0, client_id=uuid.uuid4(), attempt=1, choice="left", rt_ms=500,
        trace={"details": {"failed_saves": 3}},
    )  # fmt: skip
    session.log("damaged_image", index=4)
    assert session.events.get(kind="failed_saves").data == {"index": 0, "tries": 3}
    assert figures(study).troubles == {
        "failed_saves": (1, 1), "different_answer": (0, 0), "receipt": (0, 0), "damaged_image": (1, 1),
    }  # fmt: skip


def test_only_known_devices_are_named(study: Study) -> None:
    for device in ("phone", "phone", "<b>toaster</b>"):
        session, _ = start(study)
        session.record_screen(attempt=1, scale=4, px_per_mm=None, distance_mm=None, device={"device": device})
    assert figures(study).devices == {"phone": 2}


def test_the_newest_sessions_come_with_their_progress_and_without_recruiters_ids(study: Study) -> None:
    start(study)
    session, _ = start(study)
    answer(session, 0)
    newest = figures(study).newest
    assert (newest[0].pk, newest[0].stored, newest[0].due) == (session.pk, 1, 22)
    assert "recruiter_ids" in newest[0].get_deferred_fields()


def test_the_studys_own_jobs_are_named(study: Study) -> None:
    job = Job.objects.submit(Job.Kind.PLAN, {"study": study.pk})
    Job.objects.submit(Job.Kind.PLAN, {"study": study.pk + 1})
    assert figures(study).jobs == [job]


def test_the_number_of_queries_does_not_grow_with_the_sessions(
    study: Study, django_assert_max_num_queries: Any
) -> None:
    for _ in range(4):
        answer_all(start(study)[0], but=10)
    with django_assert_max_num_queries(24):
        figures(study)
