"""Sessions that are copied by the thousand, and what their number does to the figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.copies import copy
from benchmarks.side_by_side.contenders import Load
from benchmarks.side_by_side.costs import Cost
from benchmarks.side_by_side.filled import complete_session, sizes
from benchmarks.side_by_side.growing import (
    Filled,
    OnSqlite,
    curves_of_starts,
    rows_of_answers,
    rows_of_place,
    rows_of_starts,
)
from benchmarks.side_by_side.planned import SESSIONS, TRIALS_EACH, USUAL, Batch, study_of
from study.trials.models import Answer, Population, Session, Slot, Trial, TrialTrace
from tests.study.factories import make_study

LOAD = Load(2.0, (10.0, 20.0, 30.0), 1000, {"201": 1000}, 1000, cpu_s=1.0, database_cpu_s=1.0, memory_mb=100.0)


# --- what is stored


@pytest.mark.store
@pytest.mark.django_db
def test_a_copied_session_has_everything_of_the_first_and_nothing_that_must_be_its_own() -> None:
    study = make_study(base_images=22, size=4, practice_trials=0)
    first = complete_session(study)
    copy(first, 3)
    sessions = list(study.sessions.order_by("slot__list_number"))
    assert [session.slot.list_number for session in sessions if session.slot] == [0, 1, 2, 3]
    assert len({session.token_sha256 for session in sessions}) == 4
    assert all(session.state == Session.State.COMPLETE for session in sessions)
    plan = (
        "index",
        "pair_id",
        "altered_side",
        "answer__choice",
        "answer__correct",
        "trace__details",
        "trace__frame_ms",
    )
    expected = list(first.trials.order_by("index").values_list(*plan))
    for session in sessions[1:]:
        assert list(session.trials.order_by("index").values_list(*plan)) == expected
        assert session.events.count() == first.events.count() > 2
    assert Answer.objects.values("client_id").distinct().count() == 4 * len(expected)


@pytest.mark.django_db
def test_the_places_of_copies_are_nobody_elses() -> None:
    study = make_study(base_images=22, size=4, practice_trials=0)
    copy(complete_session(study), 3)
    free = Slot.objects.filter(study=study, population=Population.REAL, claimed_at=None)
    assert list(free.values_list("list_number", flat=True).order_by("list_number")) == [4, 5]


@pytest.mark.django_db
def test_a_complete_session_is_answered_right_and_says_how_it_was_shown() -> None:
    session = complete_session(make_study(base_images=22, size=4, practice_trials=0))
    assert session.slot is not None  # no rule of the design excludes it
    assert not Answer.objects.filter(correct=False).exists()
    trace = TrialTrace.objects.earliest("pk")
    assert trace.frame_ms == 16.67
    assert trace.details["input"] == "key"


@pytest.mark.django_db
def test_every_table_that_grows_has_a_size() -> None:
    assert all(size > 0 for size in sizes().values())


@pytest.mark.django_db
def test_a_plan_has_as_many_trials_as_its_curve_says() -> None:
    study = study_of(TRIALS_EACH[0], 1)
    session, _ = study.start_session()
    assert Trial.objects.filter(session=session).count() == TRIALS_EACH[0]


def test_a_run_on_sqlite_begins_with_what_was_filled_and_not_with_what_the_last_one_left(tmp_path: Path) -> None:
    stores = OnSqlite(tmp_path)
    (tmp_path / "small.sqlite3").write_bytes(b"filled")
    used = Path(stores.copied("small").removeprefix("sqlite:///"))
    used.write_bytes(b"used")
    used.with_name(f"{used.name}-wal").write_bytes(b"left")
    assert stores.copied("small") == f"sqlite:///{used}"
    assert used.read_bytes() == b"filled"
    assert not used.with_name(f"{used.name}-wal").exists()


# --- what is said of it


def test_an_answer_that_costs_a_quarter_more_in_the_large_database_misses_the_bar() -> None:
    costly = replace(LOAD, cpu_s=1.5)
    cpu, p50, *_, faults = rows_of_answers("a", "here", [costly, costly], [LOAD, LOAD], most=1.2)
    assert (cpu.ratio, cpu.ok) == (1.25, False)
    assert (p50.ratio, p50.ok) == (1.0, None)
    assert cpu.costs["ours"].cpu_s == pytest.approx(0.0025)
    assert faults.ok


def test_a_lost_answer_of_either_database_is_a_fault() -> None:
    *_, faults = rows_of_answers("a", "here", [LOAD], [replace(LOAD, stored=999)], most=1.2)
    assert (faults.ours, faults.ok) == (1.0, False)


def test_the_place_of_a_million_is_that_of_what_was_counted_many_times_over() -> None:
    tables = ("session", "slot", "sessionevent", "trial", "answer", "trialtrace")
    whole, sessions, *rest = rows_of_place("SQLite", Filled(1000, {f"trials_{table}": 100_000 for table in tables}))
    assert whole.id == "storage.mb_per_million.sqlite"
    assert (whole.ours, sessions.ours) == (600.0, 300.0)
    assert [row.ours for row in rest] == [100.0, 100.0, 100.0]


def batches(power: float = 1.0, per_session_s: float = 0.0) -> list[Batch]:
    by_trials = [Batch(trials, 0, Cost(0.1, 1e-4 * trials**power, 50.0)) for trials in TRIALS_EACH]
    by_sessions = [Batch(USUAL, n, Cost(0.1, 0.01 + per_session_s * n, 50.0)) for n in SESSIONS]
    return 3 * (by_trials + by_sessions)


def test_a_start_that_grows_as_its_plan_does_holds_the_bars() -> None:
    by_trials, by_sessions = rows_of_starts(batches())
    assert by_trials.ratio == by_sessions.ratio == pytest.approx(1.0)
    assert by_trials.ok
    assert by_sessions.ok


def test_a_start_that_grows_faster_than_its_plan_or_with_the_sessions_there_misses_them() -> None:
    by_trials, by_sessions = rows_of_starts(batches(power=1.5, per_session_s=1e-6))
    assert by_trials.ratio == pytest.approx(2.0)
    assert not by_trials.ok
    assert by_sessions.ratio == pytest.approx(0.015 / 0.01001)
    assert not by_sessions.ok


def test_the_curves_are_in_milliseconds_and_keep_the_two_kinds_of_start_apart() -> None:
    by_trials, by_sessions = curves_of_starts(batches())
    assert [x for x, _ in by_trials.lines["until it is stored"]] == list(TRIALS_EACH)
    assert [y for _, y in by_trials.lines["CPU, with the database's"]] == pytest.approx([5, 10, 20, 40])
    assert [x for x, _ in by_sessions.lines["until it is stored"]] == list(SESSIONS)
