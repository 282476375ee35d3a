"""Simulated participants on a live server: they go through the pages, are marked, and notice broken images."""

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django.live_server_helper import LiveServer

from study.accounts.models import AuditEntry
from study.desk.observers import KnownTruth, Response, SofterDetail
from study.desk.simulation import SimulationError, simulate, within_window
from study.trials.models import Answer, Population, Session, Study, Trial
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db(transaction=True)

TRIALS_A_SESSION = 22


def test_every_trial_is_answered_and_the_sessions_are_marked_as_simulated(live_server: LiveServer) -> None:
    study = make_study()
    walks = simulate(study, KnownTruth(), base_url=live_server.url, participants=3)
    assert [walk.answered for walk in walks] == [TRIALS_A_SESSION] * 3
    assert Answer.objects.count() == 3 * TRIALS_A_SESSION
    sessions = Session.objects.all()
    assert {(s.population, s.state) for s in sessions} == {(Population.SIMULATED, Session.State.COMPLETE)}
    assert study.free_places() == study.participants


def test_bare_requests_show_what_they_are(live_server: LiveServer) -> None:
    simulate(make_study(), KnownTruth(), base_url=live_server.url, participants=1)
    assert Session.objects.get().flags() == ["no_input", "no_frames"]


def test_observers_of_known_truth_see_what_is_gross_and_guess_what_is_identical(live_server: LiveServer) -> None:
    study = make_study()
    simulate(study, KnownTruth(lapse=0.0, slope=6.0), base_url=live_server.url, participants=6)
    seen = Answer.objects.filter(trial__phase=Trial.Phase.CATCH).values_list("correct", flat=True)
    guessed = Answer.objects.filter(trial__pair__control="identity").values_list("correct", flat=True)
    assert all(seen)
    assert 0 < sum(guessed) < len(guessed)


def test_the_same_seed_gives_the_same_answers(live_server: LiveServer) -> None:
    choices = []
    for _ in range(2):
        study = make_study()
        simulate(study, KnownTruth(), base_url=live_server.url, participants=1, seed=4)
        answers = Answer.objects.filter(trial__session__study=study).order_by("trial__index")
        choices.append([answer.choice == answer.trial.altered_side for answer in answers])
    assert choices[0] == choices[1]


def test_an_observer_that_looks_tells_the_images_apart_by_what_was_served(live_server: LiveServer) -> None:
    study = make_study()
    simulate(study, SofterDetail(noise=0.0, lapse=0.0), base_url=live_server.url, participants=2)
    assert Answer.objects.count() == 2 * TRIALS_A_SESSION


@pytest.mark.parametrize("protocol", ["ifc", "flicker", "oddity", "yes_no"])
def test_observers_that_look_get_the_pictures_of_every_protocol(live_server: LiveServer, protocol: str) -> None:
    study = make_study(protocol=protocol, exposure_ms=500 if protocol == "ifc" else None)
    simulate(study, SofterDetail(), base_url=live_server.url, participants=1)
    assert Answer.objects.count() == TRIALS_A_SESSION


def test_an_adaptive_study_is_answered_by_the_strengths_it_chose(live_server: LiveServer) -> None:
    study = make_study(procedure="adaptive", adaptive_trials=12, adaptive_minimum=12, base_images=24)
    simulate(study, KnownTruth(threshold=0.05, slope=6.0, lapse=0.0), base_url=live_server.url, participants=1)
    chosen = Answer.objects.filter(trial__pair=None)
    assert [answer.correct for answer in chosen] == [True] * 12


def test_the_screen_is_measured_where_the_design_asks(live_server: LiveServer) -> None:
    study = make_study(calibration="card", distance="told", image_degrees=1.0, size=16)
    simulate(study, KnownTruth(), base_url=live_server.url, participants=1)
    session = Session.objects.get()
    assert session.px_per_degree == pytest.approx(41.9, abs=0.1)
    assert session.scale == 3


def test_a_failed_practice_ends_the_walk(live_server: LiveServer) -> None:
    study = make_study(practice_correct=2, practice_rounds=1)
    blind = KnownTruth(threshold=1e6, lapse=0.0, side_bias=9.0)  # always left: one of two is wrong
    walk = simulate(study, blind, base_url=live_server.url, participants=1)[0]
    assert (walk.answered, walk.passed) == (2, False)
    assert Session.objects.get().state == Session.State.SCREENED_OUT


def test_questions_about_eligibility_are_answered_and_the_trap_is_left_empty(live_server: LiveServer) -> None:
    study = make_study(eligibility="I see well, with glasses or without.\nI am not at school any more.")
    simulate(study, KnownTruth(), base_url=live_server.url, participants=1)
    session = Session.objects.get()
    assert session.state == Session.State.COMPLETE
    assert "honeypot" not in session.events.values_list("kind", flat=True)


@pytest.mark.parametrize(
    ("rt_ms", "exposure_ms", "kept"), [(900.0, None, True), (1100.0, None, False), (1100.0, 200, True)]
)
def test_time_runs_out_after_the_response_window(rt_ms: float, exposure_ms: int | None, kept: bool) -> None:
    response = within_window(Response("left", rt_ms), {"response_ms": 1000, "exposure_ms": exposure_ms})
    assert response == (Response("left", rt_ms) if kept else Response("none", 1000.0))


def test_a_damaged_image_stops_the_simulation_with_its_address(live_server: LiveServer) -> None:
    study = make_study()
    for trial_image in study.dataset.base_images.all():
        content = bytearray(trial_image.path.read_bytes())
        content[60] ^= 1
        trial_image.path.write_bytes(bytes(content))
    with pytest.raises(SimulationError, match=r"GET .*/i/0/(left|right) was answered with 500"):
        simulate(study, KnownTruth(), base_url=live_server.url, participants=1)


def test_the_command_reports_how_many_answers_were_given(
    live_server: LiveServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study()
    observer = tmp_path / "observer.json"
    observer.write_text(json.dumps({"kind": "known_truth", "threshold": 1.0}))
    call_command("simulate_participants", study.slug, participants=2, observer=observer, url=live_server.url)
    assert "2 simulated participants gave 44 answers" in capsys.readouterr().out
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.after) == ("started a rehearsal of", {"participants": 2, "seed": 0})


def test_an_unknown_study_is_refused() -> None:
    with pytest.raises(CommandError, match="There is no study named 'nowhere'"):
        call_command("simulate_participants", "nowhere")


def test_a_closed_study_is_refused() -> None:
    study = make_study()
    study.close()
    with pytest.raises(CommandError, match="is closed: it takes nobody any more"):
        call_command("simulate_participants", study.slug)


def test_robots_try_a_draft(live_server: LiveServer) -> None:
    study = make_study(opened=False)
    assert simulate(study, KnownTruth(), base_url=live_server.url, participants=1)[0].answered == TRIALS_A_SESSION
    assert study.sessions.get().design == study.draft_version()


def test_whoever_has_been_there_is_not_sent_again(live_server: LiveServer) -> None:
    study, arrived = make_study(), []
    simulate(
        study,
        KnownTruth(),
        base_url=live_server.url,
        participants=2,
        seed=1,
        been={1_000_003},
        arrived=lambda person, token: arrived.append((person, Session.objects.by_token(token))),
    )
    assert arrived == [(1_000_004, study.sessions.get())]


def test_a_bad_observer_file_is_refused_before_anybody_starts(tmp_path: Path) -> None:
    study = make_study()
    observer = tmp_path / "observer.json"
    observer.write_text('{"kind": "oracle"}')
    with pytest.raises(CommandError, match="kind"):
        call_command("simulate_participants", study.slug, observer=observer)
    assert not Study.objects.get(pk=study.pk).sessions.exists()


def test_a_server_that_is_not_there_is_said_in_a_sentence() -> None:
    study = make_study()
    with pytest.raises(SimulationError, match=r"GET http://127\.0\.0\.1:1/s/.* had no answer"):
        simulate(study, KnownTruth(), base_url="http://127.0.0.1:1", participants=1)


def test_a_proxy_of_the_environment_is_not_asked(live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert len(simulate(make_study(), KnownTruth(), base_url=live_server.url, participants=1)) == 1
