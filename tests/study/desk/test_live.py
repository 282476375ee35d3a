"""The live view: what it shows, to whom, how fresh it is, and what it hides while a study is blind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError
from django.test import Client

from study.desk import counting, live
from study.trials.models import Population, Study
from study.trials.rights import Role
from tests.study.factories import answer_all, make_study, start

pytestmark = pytest.mark.django_db

SMALL: dict[str, Any] = {"base_images": 22, "size": 4}


@pytest.fixture
def study() -> Study:
    return make_study(**SMALL)


@pytest.fixture(autouse=True)
def _counted_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the test's own thread, which alone sees what is not committed; and nothing is left of another test."""

    class Here:
        def __init__(self, function: Any, **limits: float) -> None:
            self.function, self.keep_s = function, limits["keep_s"]

        def __call__(self) -> None:
            self.function()

    monkeypatch.setattr(live, "Bounded", Here)
    live._watched.clear()
    yield
    live._watched.clear()


def page(client: Client, study: Study, query: str = "", part: str = "") -> str:
    reply = client.get(f"/admin/trials/study/{study.pk}/live/{part}{query}")
    assert reply.status_code == 200
    return " ".join(reply.content.decode().split())


def words(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def take_part(study: Study, population: str = Population.REAL, *, correctly: bool = True) -> None:
    session, _ = start(study, population)
    answer_all(session, correctly=correctly)
    session.complete()


# --- who sees it, and what


def test_it_is_for_those_who_have_a_role_on_the_study(study: Study) -> None:
    user, client = get_user_model().objects.create_user("researcher", is_staff=True), Client()
    client.force_login(user)
    for part in ("", "figures/"):
        assert client.get(f"/admin/trials/study/{study.pk}/live/{part}").status_code == 404
    study.admit(user, Role.VIEWER)
    assert page(client, study)
    assert page(client, study, part="figures/")


def test_an_empty_study_says_so(admin_client: Client, study: Study) -> None:
    text = words(page(admin_client, study))
    assert "0 of 6 places filled" in text
    assert "Nobody has begun yet." in text
    assert "none answered yet" in text


def test_it_shows_places_answers_and_sessions(admin_client: Client, study: Study) -> None:
    take_part(study)
    text = words(page(admin_client, study))
    assert "1 of 6 places filled" in text
    assert "Catch trials right 100 % of 2" in text
    assert f"Session {study.sessions.get().pk} " in text
    assert "22 of 22" in text


def test_the_charts_are_drawn_on_the_server(admin_client: Client, study: Study) -> None:
    take_part(study)
    text = page(admin_client, study)
    assert re.findall(r'<title id="[^"]*">([^<]*)</title>', text) == [
        "Arrivals by hour", "Drop-off by trial", "Median response times",
    ]  # fmt: skip
    assert "style=" not in text


def test_the_figures_come_alone_for_the_script(admin_client: Client, study: Study) -> None:
    take_part(study)
    part = page(admin_client, study, part="figures/")
    assert part.startswith("<div data-counted=")
    assert "<html" not in part
    assert "1 of 6 places filled" in words(part)


def test_recruiters_ids_are_not_on_it(admin_client: Client, study: Study) -> None:
    session, _ = study.start_session(recruiter_ids={"PROLIFIC_PID": "5f8dd3a7"})
    text = page(admin_client, study)
    assert "5f8dd3a7" not in text
    assert session.public_code not in text


# --- blindness


def test_detection_rates_are_hidden_while_people_take_part(admin_client: Client, study: Study) -> None:
    take_part(study)
    text = words(page(admin_client, study))
    assert "Detection rates stay hidden until the study closes" in text
    assert "right answers" not in text
    told = re.findall(r"([0-9]+ %) (?:right )?of 2", text)
    assert told == ["100 %", "100 %"]  # the catch trials, and the identical pairs
    assert "%" not in text[text.index("Detection rates stay hidden") :]


def test_they_are_told_once_the_study_closes(admin_client: Client, study: Study) -> None:
    take_part(study)
    assert "Detection rates stay hidden" in words(page(admin_client, study))
    study.close()
    text = words(page(admin_client, study))
    assert "Detection rates stay hidden" not in text
    assert "100 % 61 to 100 %" in text  # six answers at each strength


def test_they_are_told_where_the_plan_allows_looks(admin_client: Client) -> None:
    study = make_study(looks_allowed=True, **SMALL)
    take_part(study)
    assert "right answers" in words(page(admin_client, study))


@pytest.mark.parametrize("population", [Population.SIMULATED, Population.PREVIEW])
def test_what_is_no_persons_is_never_hidden_and_always_marked(
    admin_client: Client, study: Study, population: str
) -> None:
    take_part(study, population)
    text = words(page(admin_client, study, f"?population={population}"))
    assert "right answers" in text
    assert f"These are {population} sessions" in text
    assert "0 of 6 places filled" in words(page(admin_client, study))


def test_a_population_that_there_is_not_is_the_real_one(admin_client: Client, study: Study) -> None:
    take_part(study)
    assert "1 of 6 places filled" in words(page(admin_client, study, "?population=everybody"))


# --- faults of the study


def test_an_identity_control_off_chance_is_a_fault() -> None:
    identical = counting.Condition("wanet", 0.0, "identity", False, 15, 15, 0, 0, 30, 28)
    found = live.control(identical)
    assert found is not None
    assert found.rate is not None
    assert found.rate.off_chance
    fine = live.control(replace(identical, correct=18))
    assert fine is not None
    assert fine.rate is not None
    assert not fine.rate.off_chance
    assert live.control(replace(identical, control="resampled")) is None


def test_and_the_page_says_so(admin_client: Client, study: Study) -> None:
    for _ in range(5):
        take_part(study)  # who are right ten times out of ten where there is nothing to see
    assert "off chance at .01, which is a fault of the study" in words(page(admin_client, study))


# --- how fresh it is


def test_until_new_figures_are_there_the_last_ones_are_shown(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = live.watch(study, Population.REAL)
    before = watched.figures()
    assert before is not None

    def hang() -> None:
        raise live.TookTooLong

    monkeypatch.setattr(watched, "counted", hang)
    assert watched.figures() is before


def test_what_takes_long_is_counted_less_often(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = live.watch(study, Population.REAL)
    watched.figures()
    assert watched.counted.keep_s == live.KEEP_S
    clock = iter([100.0, 102.0])
    monkeypatch.setattr(live.time, "monotonic", lambda: next(clock))
    watched.figures()
    assert watched.counted.keep_s == pytest.approx(40.0)


def test_while_the_first_are_counted_the_page_asks_for_patience(
    admin_client: Client, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live.Watch, "figures", lambda watched: None)
    assert "data-live-waiting" in page(admin_client, study, part="figures/")


def test_tables_that_cannot_be_counted_are_told_of(
    admin_client: Client, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("canceling statement due to statement timeout")

    monkeypatch.setattr(counting, "figures", fail)
    assert "could not be counted: canceling statement" in page(admin_client, study)


def test_who_looks_at_the_same_shares_what_was_counted(study: Study) -> None:
    assert live.watch(study, Population.REAL) is live.watch(study, Population.REAL)
    assert live.watch(study, Population.REAL) is not live.watch(study, Population.SIMULATED)
    blind = live.watch(study, Population.REAL)
    study.close()
    assert live.watch(study, Population.REAL) is not blind


def test_only_so_many_studies_are_kept_an_eye_on(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_WATCHED", 2)
    first = live.watch(study, Population.REAL)
    live.watch(study, Population.SIMULATED)
    live.watch(study, Population.PREVIEW)
    assert len(live._watched) == 2
    assert live.watch(study, Population.REAL) is not first


# --- pictures


def test_values_fall_into_bins_of_one_width() -> None:
    assert live.binned([1.0, 1.1, 1.9, 3.0], bins=2) == [("1.00", 3.0), ("2.00", 1.0)]
    assert live.binned([1.5, 1.5]) == [("1.50", 2.0)]
    assert live.binned([]) == []


def test_medians_that_lie_close_together_share_a_bin_rather_than_a_label() -> None:
    found = live.binned([0.745 + n / 1000 for n in range(31)])
    assert [label for label, _ in found] == ["0.74", "0.75", "0.76", "0.77"]
    assert [count for _, count in found] == [5.0, 10.0, 10.0, 6.0]
