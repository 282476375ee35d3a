"""Trying a study before and while it runs: drafts too, never counted, with the truth for researchers alone."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from study.trials.exceptions import CannotOpen, Frozen, NotOpen
from study.trials.models import DesignVersion, Population, Session, Study
from study.trials.rights import Role
from tests.study.desk.researchers import signed_in
from tests.study.factories import answer, make_study, start
from tests.study.trials.test_pages import begin

pytestmark = pytest.mark.django_db

SMALL: dict[str, Any] = {"base_images": 22, "size": 4}


@pytest.fixture
def draft() -> Study:
    return make_study(opened=False, **SMALL)


# --- the version of a draft


def test_a_draft_has_the_design_that_would_be_frozen(draft: Study) -> None:
    tried = draft.draft_version()
    assert tried.draft
    assert tried.sha256 == draft.open().sha256


def test_the_version_of_a_draft_stays_the_same_row_until_something_changes(draft: Study) -> None:
    first = draft.draft_version()
    assert draft.draft_version() == first
    draft.trials_per_control = 4
    draft.trials_per_strength = 2
    draft.save()
    second = draft.draft_version()
    assert (first.n, second.n) == (1, 2)
    assert second.sha256 != first.sha256


def test_a_draft_that_cannot_be_shown_says_what_is_missing(draft: Study) -> None:
    draft.strengths = [3.5]
    draft.save()
    with pytest.raises(CannotOpen, match=r"no pairs at strength 3.5"):
        draft.draft_version()


def test_settings_that_do_not_go_together_cannot_be_tried(draft: Study) -> None:
    draft.mask_ms = 100
    draft.save()
    with pytest.raises(CannotOpen, match="A mask follows a fixed exposure"):
        draft.draft_version()


def test_what_was_tried_is_not_verified_as_frozen(draft: Study) -> None:
    draft.draft_version()
    assert DesignVersion.checks() == []
    draft.open()
    assert [check.name for check in DesignVersion.checks()] == [f"design {draft.slug} v1"]


def test_an_open_study_has_no_version_of_a_draft() -> None:
    with pytest.raises(CannotOpen, match="is open already"):
        make_study(**SMALL).draft_version()


# --- who may start


@pytest.mark.parametrize("population", [Population.PREVIEW, Population.SIMULATED])
def test_previews_and_robots_may_try_a_draft(draft: Study, population: str) -> None:
    session, _ = draft.start_session(population)
    assert session.design == draft.draft_version()
    assert session.trials.count() == 22


def test_nobody_real_takes_part_in_a_draft(draft: Study) -> None:
    with pytest.raises(NotOpen):
        draft.start_session()
    assert not DesignVersion.objects.exists()


@pytest.mark.parametrize(
    ("state", "welcome"),
    [
        ("open", {"real", "simulated", "preview"}),
        ("paused", {"simulated", "preview"}),
        ("closed", {"preview"}),
    ],
)
def test_whether_one_may_start_depends_on_the_state_and_on_who_one_is(state: str, welcome: set[str]) -> None:
    study = make_study(**SMALL)
    Study.objects.filter(pk=study.pk).update(state=state)
    started = set()
    for population in Population.values:
        try:
            started.add(study.start_session(population)[0].population)
        except NotOpen:
            continue
    assert started == welcome


def test_a_paused_study_turns_newcomers_away_and_still_shows_its_preview() -> None:
    study = make_study(**SMALL)
    study.pause()
    client = signed_in(study, Role.VIEWER)
    assert client.get(f"/s/{study.slug}/").status_code == 403
    assert begin(client, study, "?preview=1").status_code == 302


# --- the page of a draft


def test_a_draft_is_previewed_from_its_address(draft: Study) -> None:
    client = signed_in(draft, Role.VIEWER)
    assert client.get(f"/s/{draft.slug}/?lang=en")["Location"] == f"/s/{draft.slug}/?lang=en&preview=1"
    page = client.get(f"/s/{draft.slug}/?preview=1").content.decode()
    assert draft.information in page
    assert "22 questions" in page
    assert client.get(begin(client, draft, "?preview=1")["Location"]).status_code == 200
    assert draft.sessions.get().population == Population.PREVIEW


@pytest.mark.parametrize("address", ["", "?preview=1", "?ticket=forged"])
def test_a_draft_is_nobody_elses_business(draft: Study, address: str) -> None:
    for client in (Client(), signed_in()):
        assert client.get(f"/s/{draft.slug}/{address}").status_code == 404
        assert client.post(f"/s/{draft.slug}/start").status_code == 404


def test_a_preview_is_for_those_who_have_a_role_on_the_study() -> None:
    study = make_study(**SMALL)
    assert signed_in().get(f"/s/{study.slug}/?preview=1").status_code == 403


def test_the_page_of_a_draft_that_cannot_be_shown_says_why(draft: Study) -> None:
    draft.strengths = [3.5]
    draft.save()
    page = signed_in(draft, Role.VIEWER).get(f"/s/{draft.slug}/?preview=1")
    assert page.status_code == 403
    assert "no pairs at strength 3.5" in page.content.decode()


# --- what a draft was tried with, later


def test_whoever_tried_the_draft_counts_no_more_once_it_is_open(draft: Study) -> None:
    tried = [draft.start_session(Population.SIMULATED)[0] for _ in range(2)]
    assert set(draft.sessions_of(Population.SIMULATED)) == set(tried)
    draft.open()
    assert not draft.sessions_of(Population.SIMULATED).exists()
    session, _ = draft.start_session(Population.SIMULATED)
    assert session.slot is not None
    assert session.slot.list_number == 0
    assert session.seed == tried[0].seed
    assert list(draft.sessions_of(Population.SIMULATED)) == [session]


def test_only_the_newest_draft_counts(draft: Study) -> None:
    draft.start_session(Population.SIMULATED)
    draft.catch_trials = 1
    draft.save()
    session, _ = draft.start_session(Population.SIMULATED)
    assert list(draft.sessions_of(Population.SIMULATED)) == [session]


def test_a_run_of_the_draft_ends_as_it_began_though_the_study_has_opened(draft: Study) -> None:
    session, _ = start(draft, Population.PREVIEW)
    draft.open()
    assert answer(session, 0).attempt == 1
    assert draft.free_places() == draft.participants


# --- a draft that is given up


def test_a_discarded_draft_takes_along_what_it_was_tried_with(draft: Study) -> None:
    session, _ = start(draft, Population.PREVIEW)
    answer(session, 0)
    session.withdraw()
    answer(start(draft, Population.SIMULATED)[0], 0)
    kept, _ = start(make_study(**SMALL))
    draft.discard()
    assert list(Study.objects.all()) == [kept.study]
    assert list(Session.objects.all()) == [kept]
    assert {version.study_id for version in DesignVersion.objects.all()} == {kept.study_id}


@pytest.mark.parametrize("state", ["open", "paused", "closed"])
def test_a_study_that_was_opened_is_never_discarded(draft: Study, state: str) -> None:
    stale = Study.objects.get(pk=draft.pk)
    draft.open()
    Study.objects.filter(pk=draft.pk).update(state=state)
    with pytest.raises(Frozen, match="never deleted"):
        stale.discard()
    assert Study.objects.filter(pk=draft.pk).exists()


# --- the truth


def truth(client: Client, token: str, index: int = 0) -> Any:
    return client.get(f"/run/{token}/truth/{index}")


def test_a_researcher_is_told_the_truth_of_a_trial_in_a_preview() -> None:
    study = make_study(**SMALL)
    session, token = start(study, Population.PREVIEW)
    trial = session.trials.filter(phase="catch").select_related("pair__attack").get(index=session_catch(session))
    told = truth(signed_in(study, Role.VIEWER), token, trial.index).json()
    facts = dict(told["truth"])
    assert facts["Phase"] == "catch trial"
    assert facts["Condition"] == f"{trial.pair.attack}, strength 7, gross"
    assert facts["Altered"] == trial.altered_side
    assert facts["Mean displacement"] == "4.2 px of the image"
    assert facts["Stimulus"] == str(trial.base_image)
    assert told["answer"] is None


def session_catch(session: Session) -> int:
    return session.trials.filter(phase="catch").values_list("index", flat=True)[0]


def test_and_whether_the_answer_was_right() -> None:
    study = make_study(**SMALL)
    session, token = start(study, Population.PREVIEW)
    wrong = {"left": "right", "right": "left"}[session.trials.get(index=0).altered_side]
    answer(session, 0, wrong)
    told = truth(signed_in(study, Role.VIEWER), token).json()
    assert told["answer"] == {"said": wrong, "correct": False, "rt_ms": 800}


def test_the_truth_of_a_strength_that_is_not_chosen_yet_is_not_made_up() -> None:
    study = make_study(**SMALL, procedure="adaptive", adaptive_trials=8, adaptive_minimum=4)
    session, token = start(study, Population.PREVIEW)
    last = session.trials.filter(pair=None).latest("index")
    facts = dict(truth(signed_in(study, Role.VIEWER), token, last.index).json()["truth"])
    assert facts["Condition"] == "chosen once the answers before it are stored"
    assert "Altered" not in facts


@pytest.mark.parametrize("population", [Population.REAL, Population.SIMULATED])
def test_not_even_a_superuser_is_told_the_truth_of_another_population(admin_client: Client, population: str) -> None:
    _, token = start(make_study(**SMALL), population)
    reply = truth(admin_client, token)
    assert reply.status_code == 404
    assert reply.content == truth(admin_client, "A" * 22).content


def test_nobody_is_told_the_truth_of_a_preview_without_the_right_to_it() -> None:
    study = make_study(**SMALL)
    _, token = start(study, Population.PREVIEW)
    for client in (Client(), signed_in()):
        assert truth(client, token).status_code == 404


def test_there_is_no_truth_beyond_the_plan(admin_client: Client) -> None:
    _, token = start(make_study(**SMALL), Population.PREVIEW)
    assert truth(admin_client, token, 22).status_code == 404


@pytest.mark.parametrize("population", Population.values)
def test_the_overlay_is_loaded_in_a_preview_alone(admin_client: Client, population: str) -> None:
    _, token = start(make_study(**SMALL), population)
    page = admin_client.get(f"/run/{token}/").content.decode()
    assert ("overlay" in page) == (population == Population.PREVIEW)


def test_the_overlay_is_loaded_for_researchers_alone() -> None:
    _, token = start(make_study(**SMALL), Population.PREVIEW)
    assert "overlay" not in Client().get(f"/run/{token}/").content.decode()


def test_robots_of_a_draft_neither_free_nor_take_a_place_of_the_opened_study(draft: Study) -> None:
    robots = [start(draft, Population.SIMULATED)[0] for _ in range(2)]
    draft.open()
    held = [start(draft, Population.SIMULATED)[0] for _ in range(2)]
    assert [robot.slot for robot in robots] == [session.slot for session in held]
    robots[0].withdraw()
    robots[1].time_out()
    assert not draft.slots.filter(pk__in=[session.slot_id for session in held], claimed_at=None).exists()


def test_a_place_is_freed_though_a_robot_of_the_draft_had_it(draft: Study) -> None:
    start(draft, Population.SIMULATED)
    draft.open()
    session, _ = start(draft, Population.SIMULATED)
    session.withdraw()
    assert draft.slots.get(pk=session.slot_id).claimed_at is None


def test_answers_that_a_robot_of_the_draft_sends_late_take_no_place(draft: Study) -> None:
    robot, _ = start(draft, Population.SIMULATED)
    draft.open()
    answers = [
        {"index": trial.index, "client_id": uuid4(), "choice": trial.altered_side, "rt_ms": 900.0}
        for trial in robot.trials.order_by("index")
    ]
    robot.import_answers(answers)
    assert robot.state == Session.State.COMPLETE
    assert not draft.slots.exclude(claimed_at=None).exists()
