"""Simulated participants at a real browser: they get through whatever a design puts between the link and the end."""

from __future__ import annotations

import builtins
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django.live_server_helper import LiveServer

from study.desk.browsing import simulate_in_browser
from study.desk.observers import KnownTruth, SofterDetail
from study.desk.simulation import SimulationError
from study.trials.models import Answer, Session, Study
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db(transaction=True)

SHARP = KnownTruth(threshold=0.05, slope=6.0, lapse=0.0)
QUICK = {"fixation_ms": 0, "blank_ms": 0, "enable_after_ms": 0}
SMALL = {"strengths": (2.0,), "base_images": 12, "trials_per_strength": 2, **QUICK}


def apart(act: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What `act` returns in a thread of its own: Playwright has an event loop in each, and other tests have theirs."""

    def run() -> Any:
        try:
            return act(*arguments, **options)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


def walk(study: Study, live_server: LiveServer, population: Any = SHARP) -> Any:
    return apart(simulate_in_browser, study, population, base_url=live_server.url, participants=1, quick=True)[0]


def test_it_answers_every_trial_by_keys_that_the_browser_vouches_for(live_server: LiveServer) -> None:
    study = make_study(**SMALL)
    assert walk(study, live_server).code == "THANKS"
    session = Session.objects.get()
    assert session.state == Session.State.COMPLETE
    assert session.progress == (12, 12)
    details = [answer.trial.trace.details for answer in Answer.objects.select_related("trial__trace")]
    assert {(seen["input"], seen["trusted"]) for seen in details} == {("key", True)}


def test_it_answers_by_what_is_true(live_server: LiveServer) -> None:
    walk(make_study(**SMALL), live_server)
    judged = Answer.objects.exclude(trial__pair__control__in=["identity", "resampled"])
    assert all(judged.values_list("correct", flat=True))


def test_a_robot_in_a_hurry_shows_by_nothing_but_its_pace(live_server: LiveServer) -> None:
    walk(make_study(**SMALL), live_server)
    assert set(Session.objects.get().flags()) <= {"too_fast", "too_regular"}


@pytest.mark.parametrize("protocol", ["ifc", "flicker", "oddity", "yes_no"])
def test_it_gets_through_every_protocol(live_server: LiveServer, protocol: str) -> None:
    study = make_study(protocol=protocol, exposure_ms=60 if protocol == "ifc" else None, gap_ms=20, **SMALL)
    assert walk(study, live_server, SofterDetail()).code == "THANKS"
    assert Answer.objects.count() == 12


def test_it_gets_through_an_adaptive_study(live_server: LiveServer) -> None:
    study = make_study(procedure="adaptive", adaptive_trials=4, adaptive_minimum=2, base_images=14, **QUICK)
    assert walk(study, live_server).code == "THANKS"
    assert Session.objects.get().progress == (14, 14)


def test_it_measures_its_screen_where_the_design_asks(live_server: LiveServer) -> None:
    study = make_study(calibration="card", distance="blind_spot", **SMALL)
    assert walk(study, live_server).code == "THANKS"
    assert Session.objects.get().px_per_degree == pytest.approx(4.0 * 600 * 0.017454, rel=0.01)


def test_a_failed_practice_is_the_end(live_server: LiveServer) -> None:
    study = make_study(practice_correct=2, practice_rounds=1, **SMALL)
    blind = KnownTruth(threshold=1e6, lapse=0.0, side_bias=9.0)
    done = walk(study, live_server, blind)
    assert (done.answered, done.passed) == (2, False)
    assert Session.objects.get().state == Session.State.SCREENED_OUT


def test_time_that_runs_out_is_waited_for(live_server: LiveServer) -> None:
    study = make_study(response_ms=500, **SMALL)
    assert walk(study, live_server).answered == 12
    assert set(Answer.objects.values_list("choice", flat=True)) == {"none"}


def test_the_command_says_how_many_answers_were_given(
    live_server: LiveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(**SMALL)
    options = {"participants": 1, "browser": True, "quick": True, "url": live_server.url}
    apart(call_command, "simulate_participants", study.slug, **options)
    assert "1 simulated participants gave 12 answers" in capsys.readouterr().out


def test_quick_without_a_browser_is_refused() -> None:
    study = make_study()
    with pytest.raises(CommandError, match="--quick goes with --browser"):
        call_command("simulate_participants", study.slug, quick=True)


def test_a_missing_chromium_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(SimulationError, match="Chromium is missing: install it"):
        simulate_in_browser(make_study(), SHARP, base_url="http://127.0.0.1:1", participants=1)


def test_a_missing_playwright_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_playwright(name: str, *more: Any, **named: Any) -> Any:
        if name.startswith("playwright"):
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without_playwright)
    with pytest.raises(SimulationError, match="`make dev` installs it"):
        simulate_in_browser(make_study(), SHARP, base_url="http://127.0.0.1:1", participants=1)
