"""The arithmetic of arrivals, and what counts as a session that is whole and in balance."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks.side_by_side.arrivals import Arrived
from benchmarks.side_by_side.arriving import Meeting, whole_and_balanced
from benchmarks.side_by_side.contenders import Load
from study.trials.plan import Cell, Kind, rotate

CELLS = [Cell(Kind("wanet", "", 1.0), 4), Cell(Kind("wanet", "", 2.0), 4), Cell(Kind("wanet", "identity", 0.0), 2)]
STIMULI = range(10)


def met(session: int, list_number: int) -> list[Meeting]:
    return [
        Meeting(session, stimulus, str(kind), side, is_main=True)
        for stimulus, kind, side in rotate(STIMULI, CELLS, list_number)
    ]


def whole(*sessions: Sequence[Meeting]) -> int:
    return whole_and_balanced([meeting for session in sessions for meeting in session], trials=len(STIMULI))


def mirrored(session: Sequence[Meeting]) -> list[Meeting]:
    return [meeting._replace(side={"left": "right", "right": "left"}[meeting.side]) for meeting in session]


def test_lists_in_a_row_are_in_balance() -> None:
    for n in (1, 7, 40):
        assert whole(*(met(session, session) for session in range(n))) == n


def test_a_session_without_its_last_trial_is_not_whole() -> None:
    assert whole(met(0, 0), met(1, 1)[:-1]) == 1


def test_a_session_that_shows_an_image_twice_is_not_counted() -> None:
    sessions = [
        [*met(session, session), *(Meeting(session, image, "catch", side, is_main=False) for image, side in caught)]
        for session, caught in enumerate([[(10, "left"), (11, "right")], [(0, "left"), (11, "right")]])
    ]
    assert whole_and_balanced([meeting for session in sessions for meeting in session], trials=12) == 1


def test_a_session_with_one_more_on_the_left_is_not_counted() -> None:
    session = met(1, 1)
    at = next(n for n, meeting in enumerate(session) if meeting.side == "right")
    session[at] = session[at]._replace(side="left")
    assert whole(met(0, 0), session) == 1


def test_the_same_list_again_and_again_is_out_of_balance() -> None:
    assert whole(*(met(session, 0) for session in range(2))) == 0
    turned = [met(session, 0) if session % 2 else mirrored(met(session, 0)) for session in range(8)]
    assert whole(*turned) == 0  # sides are even, but an image meets the same cell eight times and the others never


def load(people: int, seconds: float, cpu_s: float, database_cpu_s: float = 0.0, stored: int | None = None) -> Load:
    stored = people if stored is None else stored
    return Load(seconds, (10.0,) * people, people, {"302": people}, stored, cpu_s, database_cpu_s, 90.0)


def test_an_arrival_is_the_start_and_all_that_the_page_asks_for() -> None:
    found = Arrived({"start": load(10, 1.0, 0.2, 0.1), "page": load(10, 0.5, 0.1), "plan": load(10, 0.5, 0.1)})
    assert (found.people, found.rate, found.cpu_ms) == (10, 5.0, pytest.approx(50.0))
    assert found.cost.wall_s == pytest.approx(0.03)
    assert found.faults == 0


def test_a_start_whose_plan_is_not_there_is_a_fault() -> None:
    assert Arrived({"start": load(10, 1.0, 0.2, stored=8)}).faults == 2
