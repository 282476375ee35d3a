"""Rehearsals: robots sent through a study as a job, once, and what came of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from study.desk import rehearsing
from study.desk.observers import KnownTruth
from study.lab.models import Job
from study.trials.exceptions import CannotOpen
from study.trials.models import Population, Session, Source, Study
from tests.study.factories import make_run, make_study, start

SMALL: dict[str, Any] = {"base_images": 22, "size": 4}


def rehearse(job: Job, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch, stopped: bool = False) -> Any:
    """What the worker's process makes of the job, with the test's server in the place of its own."""

    @contextmanager
    def robots_server() -> Iterator[str]:
        yield live_server.url

    monkeypatch.setattr("study.processes.robots_server", robots_server)
    specification = dict(rehearsing.rehearsal(job, Path()).specification)
    assert specification["work"] == "study.desk.rehearsing"
    return rehearsing.carry_out(specification, lambda: stopped)


def submit(study: Study, **changes: Any) -> Job:
    return rehearsing.submit(study, **{"participants": 2, "observer": "people", "seed": 3, **changes})


def succeed(job: Job, **result: Any) -> None:
    """As if a worker had done it."""
    job.claim("worker")
    job.finish(job.attempt, result)


# --- what is asked for


@pytest.mark.django_db
def test_the_same_rehearsal_is_held_once() -> None:
    study = make_study(**SMALL)
    assert submit(study) == submit(study)
    assert submit(study) != submit(study, seed=4)


@pytest.mark.django_db
def test_a_draft_that_has_changed_is_rehearsed_anew() -> None:
    draft = make_study(opened=False, **SMALL)
    before = submit(draft)
    draft.catch_trials = 1
    draft.save()
    assert submit(draft) != before


@pytest.mark.django_db
def test_a_closed_study_is_not_rehearsed() -> None:
    study = make_study(**SMALL)
    study.close()
    with pytest.raises(CannotOpen, match="takes nobody any more"):
        submit(study)


@pytest.mark.django_db
def test_a_draft_that_cannot_be_shown_is_not_rehearsed() -> None:
    draft = make_study(opened=False, strengths=(2.0,), **SMALL)
    draft.strengths = [9.0]
    draft.save()
    with pytest.raises(CannotOpen, match="no pairs at strength 9"):
        submit(draft)


@pytest.mark.django_db
def test_a_dry_run_is_found_by_the_hash_of_its_design() -> None:
    draft = make_study(opened=False, **SMALL)
    sha256 = draft.draft_version().sha256
    assert rehearsing.dry_run(draft, sha256) is None
    job = rehearsing.submit_dry_run(draft)
    assert rehearsing.dry_run(draft, sha256) == job
    assert not rehearsing.came_to_the_end(job)
    succeed(job, complete=1)
    later = submit(draft)
    found = rehearsing.dry_run(draft, sha256)
    assert (found, later.state) == (job, Job.State.QUEUED)
    assert found is not None
    assert rehearsing.came_to_the_end(found)
    assert rehearsing.dry_run(draft, "0" * 64) is None


@pytest.mark.django_db
def test_a_robot_that_failed_the_practice_is_no_dry_run() -> None:
    study = make_study(**SMALL)
    job = rehearsing.submit_dry_run(study)
    succeed(job, complete=0)
    job.refresh_from_db()
    assert not rehearsing.came_to_the_end(job)


# --- whom the robots are


@pytest.mark.django_db
@pytest.mark.parametrize(("family", "threshold"), [("wanet", 1.0), ("patch", 0.1), ("sinusoidal", 3.0)])
def test_usual_people_see_the_middle_strength_of_the_attacks_family(family: str, threshold: float) -> None:
    study = make_study(opened=False, family=family, **SMALL)
    attack = study.model_run.attack
    assert attack is not None
    assert rehearsing.usual_people(study) == KnownTruth(threshold={attack.name: threshold})


@pytest.mark.django_db
def test_usual_people_have_a_threshold_for_every_attack_of_the_study() -> None:
    study, other = make_study(opened=False, **SMALL), make_study(opened=False, family="patch", **SMALL)
    Source.objects.create(study=study, model_run=other.model_run)
    attacks = [run.attack.name for run in (study.model_run, other.model_run) if run.attack]
    assert rehearsing.usual_people(study).threshold == dict(zip(attacks, (1.0, 0.1), strict=True))


@pytest.mark.django_db
def test_there_is_nothing_to_see_in_a_clean_model() -> None:
    study = make_study(opened=False, **SMALL)
    study.model_run = make_run("another", study.dataset)
    with pytest.raises(ValueError, match="there is nothing to see"):
        rehearsing.usual_people(study)


@pytest.mark.django_db
@pytest.mark.parametrize("name", rehearsing.OBSERVERS)
def test_every_observer_that_is_offered_can_be_drawn(name: str) -> None:
    assert rehearsing.observers_of(make_study(opened=False, **SMALL), name).draw(1)


@pytest.mark.django_db
def test_an_observer_may_be_described_and_must_be_known() -> None:
    study = make_study(opened=False, **SMALL)
    described = {"kind": "known_truth", "threshold": 2.0}
    assert rehearsing.observers_of(study, described) == KnownTruth(threshold=2.0)
    with pytest.raises(ValueError, match="no observer named oracle"):
        rehearsing.observers_of(study, "oracle")


# --- what is done


@pytest.mark.django_db(transaction=True)
def test_a_rehearsal_sends_its_robots_and_says_what_came_of_them(
    live_server: LiveServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = make_study(opened=False, **SMALL)
    found = rehearse(submit(draft, observer="detector"), live_server, monkeypatch)
    assert (found["sessions"], found["complete"], found["failed_practice"]) == (2, 2, 0)
    assert found["answers"] == 44
    assert found["catch"] == [4, 4]
    assert found["excluded"] == {}
    assert found["answering_s"] > 0
    assert found["minutes"][0] <= found["minutes"][1]
    assert {s.population for s in draft.sessions.all()} == {Population.SIMULATED}
    assert '"stage": "answering"' in capsys.readouterr().out


@pytest.mark.django_db(transaction=True)
def test_another_attempt_sends_only_those_who_have_not_been_there(
    live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(**SMALL)
    job = submit(study, participants=1, observer="guesser")
    rehearse(job, live_server, monkeypatch)
    guessed = rehearse(job, live_server, monkeypatch)
    assert guessed["sessions"] == 1
    assert study.sessions.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_rehearsal_that_is_stopped_leaves_its_robots_on_their_way(
    live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(**SMALL)
    with pytest.raises(ValueError, match="was stopped"):
        rehearse(submit(study, participants=1), live_server, monkeypatch, stopped=True)
    assert study.sessions.get().progress[0] == 1


@pytest.mark.django_db
def test_a_draft_that_changed_meanwhile_is_not_rehearsed(
    live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = make_study(opened=False, **SMALL)
    job = submit(draft)
    draft.catch_trials = 1
    draft.save()
    with pytest.raises(ValueError, match="has changed since"):
        rehearse(job, live_server, monkeypatch)
    assert not draft.sessions.exists()


@pytest.mark.django_db
def test_rules_that_leave_robots_out_are_counted() -> None:
    study = make_study(**SMALL)
    session, _ = start(study, Population.SIMULATED)
    session.log(rehearsing.REHEARSED, job="j", person=1)
    session.log("excluded", rule="catch trials missed")
    found = rehearsing.outcome(rehearsing.rehearsed(study, "j"), study.shown_design)
    assert found["excluded"] == {"catch trials missed": 1}
    assert found["answering_s"] is None
    assert not rehearsing.rehearsed(study, "k").exists()
    assert Session.objects.count() == 1
