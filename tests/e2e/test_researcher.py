"""A researcher gets from an empty database to a study that was run and its report by clicks and typing alone."""

from __future__ import annotations

import csv
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.e2e.participant import Participant, profile
from tests.e2e.researcher import PEOPLE, TRIALS, Researcher, installed, tour

pytestmark = pytest.mark.slow

ANSWERS = """
select 'P' || trial.session_id, answer.choice, answer.correct from trials_answer answer
join trials_trial trial on trial.id = answer.trial_id join trials_session session on session.id = trial.session_id
where session.population = 'real' and trial.phase != 'practice'
"""


def test_clicks_alone_lead_from_an_empty_database_to_an_opened_study_three_participants_and_a_report(
    browser: Browser, tmp_path: Path
) -> None:
    people: list[Participant] = []

    def bring() -> Participant:
        people.append(Participant(profile(browser), installation.address))
        return people[-1]

    with installed(tmp_path / "var") as installation:
        desk = Participant(profile(browser), installation.address)
        desk.expect_failed_requests("422")  # an export that is refused
        people.append(desk)
        researcher = Researcher(desk.page, installation)
        for _ in tour(researcher, bring):
            assert not researcher.page.locator(".errornote, .errorlist").count()
        trials = list(csv.DictReader(researcher.fetch("Trials (CSV)").splitlines()))
        assert [fault for person in people for fault in person.faults()] == []
    assert len(trials) == PEOPLE * TRIALS
    with sqlite3.connect(tmp_path / "var" / "blindspot.sqlite3") as database:
        stored = Counter(database.execute(ANSWERS))
    assert stored == Counter((row["participant"], row["response_side"], int(row["correct"])) for row in trials)
