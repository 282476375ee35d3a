"""Who is left out: the same people while the study runs and when it is analysed."""

from __future__ import annotations

import uuid
from collections import Counter
from statistics import median

import numpy as np
import pytest

from study.analysis.exclusions import broken_rules
from study.analysis.tables import read_study
from study.trials.exclusions import CATCH, FAST, FOCUS, HASTY, MISSED, SAME_SIDE, Answers, ExclusionRules
from study.trials.models import Choice, Population, Session, Study
from study.trials.models.sessions import EXCLUDED
from tests.study.factories import make_study, start

RULES = ExclusionRules(
    catch_correct_below=3,
    same_side_at_least=14,
    missed_above_share=0.1,
    median_rt_below_ms=450,
    fast_above_share=0.2,
    focus_above_share=0.1,
)


def draw(seed: int, people: int = 60) -> Answers:
    """People of all sorts with 0 to 24 answers each, in no order."""
    rng = np.random.default_rng(seed)
    person = rng.permutation(np.repeat(np.arange(people), rng.integers(0, 25, people)))
    n = len(person)
    of_person = rng.random((4, people))[:, person]
    return Answers(
        person=person,
        left=rng.random(n) < of_person[0],
        correct=rng.random(n) < 0.5 + 0.5 * of_person[1],
        is_catch=rng.random(n) < 0.2,
        unsure=rng.random(n) < 0.1,
        rt_ms=np.where(rng.random(n) < 0.4 * of_person[0], 150.0, rng.lognormal(5.6 + 1.2 * of_person[2], 0.5, n)),
        focus_losses=np.where(rng.random(n) < 0.1, np.nan, (rng.random(n) < 0.2 * of_person[3]).astype(float)),
    )


def broken_one_by_one(answers: Answers, person: int, missed_share: float) -> str | None:
    """The declared rules in words, one participant and one answer at a time."""
    rows = [i for i in range(len(answers.person)) if answers.person[i] == person]
    sides = Counter(bool(answers.left[i]) for i in rows if not answers.unsure[i])
    known = [i for i in rows if not np.isnan(answers.focus_losses[i])]
    broken = {
        MISSED: missed_share > 0.1,
        CATCH: sum(bool(answers.correct[i]) for i in rows if answers.is_catch[i]) < 3,
        SAME_SIDE: max(sides.values(), default=0) >= 14,
        HASTY: bool(rows) and median(answers.rt_ms[i] for i in rows) < 450,
        FAST: bool(rows) and sum(answers.rt_ms[i] < 200 for i in rows) / len(rows) > 0.2,
        FOCUS: bool(known) and sum(answers.focus_losses[i] > 0 for i in known) / len(known) > 0.1,
    }
    return next((rule for rule, broke in broken.items() if broke), None)


@pytest.mark.parametrize("seed", range(5))
def test_everybody_at_once_is_judged_as_one_by_one(seed: int) -> None:
    answers, missed = (
        draw(seed),
        np.random.default_rng(seed).choice([0.0, 0.1, 0.2, np.nan], 60, p=[0.4, 0.2, 0.1, 0.3]),
    )
    found = RULES.broken(answers, missed)
    assert found == [broken_one_by_one(answers, person, missed[person]) for person in range(60)]
    assert len(set(found)) > 4


def test_each_rule_is_met_in_the_random_people() -> None:
    rules = {rule for seed in range(5) for rule in RULES.broken(draw(seed), np.full(60, 0.2 if seed == 4 else 0.0))}
    assert rules == {None, MISSED, CATCH, SAME_SIDE, HASTY, FAST, FOCUS}


def test_without_rules_nobody_is_left_out_whatever_they_do() -> None:
    assert set(ExclusionRules().broken(draw(1), np.ones(60))) == {None}
    assert ExclusionRules().in_words() == []


def test_a_report_can_say_each_rule_that_is_used() -> None:
    assert RULES.in_words() == [
        "more than 10% of the planned trials without an answer in time",
        "fewer than 3 catch trials right",
        "14 or more answers on one side",
        "a median response time below 450 ms",
        "more than 20% of the answers in less than 200 ms",
        "the focus lost in more than 10% of the answered trials",
    ]


def take_part(study: Study, seed: int) -> Session:
    """A session of somebody careless in a way of their own, to the end."""
    rng = np.random.default_rng(seed)
    session, _ = start(study, Population.SIMULATED)  # whose plans are the same every time
    attention, leaning, haste, wandering = rng.random(4)
    for trial in session.due_trials():
        other = {"left": "right", "right": "left"}[trial.altered_side]
        choice = trial.altered_side if rng.random() < 0.7 + attention else other
        choice = "left" if rng.random() < leaning - 0.3 else choice
        choice = Choice.UNSURE if rng.random() < 0.1 else choice
        choice = Choice.NONE if rng.random() < 0.05 else choice
        session.record_answer(
            trial.index,
            client_id=uuid.uuid4(),
            attempt=session.attempt,
            choice=choice,
            rt_ms=float(np.round(rng.lognormal(5.4 + 1.2 * haste, 0.5), 1)),
            trace={"focus_losses": int(rng.random() < 0.2 * wandering)} if rng.random() < 0.9 else None,
        )
    session.complete()
    return session


@pytest.mark.django_db
def test_the_place_goes_to_somebody_else_exactly_when_the_analysis_leaves_the_session_out() -> None:
    study = make_study(
        participants=24, not_sure=True, response_ms=5000, enable_after_ms=0, median_rt_below_ms=350,
        fast_above_share=0.15, focus_above_share=0.1,
    )  # fmt: skip
    sessions = [take_part(study, seed) for seed in range(16)]
    live = {f"P{s.pk}": e.data["rule"] for s in sessions if (e := s.events.filter(kind=EXCLUDED).first())}
    material = read_study(study, Population.SIMULATED)
    assert broken_rules(material.trials, material.rules, material.missed) == live
    assert len(set(live.values())) >= 3
    assert len(live) < len(sessions)
