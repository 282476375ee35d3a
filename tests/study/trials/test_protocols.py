"""What each protocol shows and takes for an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.test import Client

from study.lab.images import decode_png
from study.trials.exceptions import CannotOpen, NotOffered
from study.trials.models import Answer, Choice, Session, Study, Trial
from study.trials.protocols import LAYOUTS
from tests.study.factories import answer, make_study, start

pytestmark = pytest.mark.django_db


def pixels(token: str, index: int, side: str, number: int = 0) -> Any:
    reply = Client().get(f"/run/{token}/i/{index}/{side}/{number}")
    assert reply.status_code == 200, reply.content
    return decode_png(reply.content)


def a_trial(session: Session, side: str = "left") -> Trial:
    trial = session.trials.filter(phase="main", pair__control="", altered_side=side).order_by("index").first()
    assert trial is not None
    return trial


def is_altered(trial: Trial, shown: Any) -> bool:
    assert trial.pair is not None
    altered, clean = (np.array_equal(shown, decode_png(image.read())) for image in (trial.pair, trial.base_image))
    assert altered != clean
    return altered


@pytest.mark.parametrize("protocol", ["flicker", "oddity"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_one_of_four_pictures_is_altered_and_it_is_on_its_side(protocol: str, side: str) -> None:
    session, token = start(make_study(protocol=protocol))
    trial = a_trial(session, side)
    places = [(s, frame) for s in ("left", "right") for frame in (0, 1)]
    altered = [place for place in places if is_altered(trial, pixels(token, trial.index, *place))]
    assert altered == [(side, trial.altered_frame)]


def test_either_picture_of_the_altered_place_can_be_the_altered_one() -> None:
    session, _ = start(make_study(protocol="oddity"))
    assert set(session.trials.values_list("altered_frame", flat=True)) == {0, 1}


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_yes_no_trial_shows_one_picture_altered_when_yes_is_right(side: str) -> None:
    session, token = start(make_study(protocol="yes_no"))
    trial = a_trial(session, side)
    assert is_altered(trial, pixels(token, trial.index, "left")) is (side == "left")
    assert Client().get(f"/run/{token}/i/{trial.index}/right").status_code == 404


def test_half_of_the_yes_no_trials_of_a_cell_show_the_clean_image() -> None:
    session, _ = start(make_study(protocol="yes_no"))
    cell = session.trials.filter(phase="main", pair__control="", pair__strength=2.0)
    assert [cell.filter(altered_side=side).count() for side in ("left", "right")] == [3, 3]


@pytest.mark.parametrize(("protocol", "number"), [("afc", 1), ("ifc", 1), ("flicker", 2), ("yes_no", 1)])
def test_there_are_no_pictures_beyond_the_protocols(protocol: str, number: int) -> None:
    _, token = start(make_study(protocol=protocol, exposure_ms=1000))
    assert Client().get(f"/run/{token}/i/3/left/{number}").status_code == 404


def test_the_plan_says_which_pictures_there_are() -> None:
    for protocol, layout in LAYOUTS.items():
        _, token = start(make_study(protocol=protocol, exposure_ms=1000))
        plan = Client().get(f"/run/{token}/plan").json()
        assert (plan["protocol"], plan["sides"], plan["frames"]) == (protocol, list(layout.sides), layout.frames)


def test_every_protocol_of_a_study_has_a_layout() -> None:
    assert set(LAYOUTS) == set(Study.Protocol.values)


# --- what may be answered


def test_not_sure_is_a_guess_that_a_stored_coin_decides() -> None:
    session, _ = start(make_study(not_sure=True))
    stored = [answer(session, i, Choice.UNSURE) for i in range(session.trials.count())]
    assert [a.side for a in stored] == [session.coin(i) for i in range(len(stored))]
    assert [a.correct for a in stored] == [a.side == a.trial.altered_side for a in stored]
    assert {a.side for a in stored} == {"left", "right"}


def test_the_coin_of_another_session_falls_otherwise() -> None:
    study = make_study(not_sure=True)
    first, second = (start(study)[0] for _ in range(2))
    assert [first.coin(i) for i in range(40)] != [second.coin(i) for i in range(40)]


@pytest.mark.parametrize("choice", [Choice.UNSURE, Choice.NONE])
def test_answers_that_the_study_does_not_offer_are_refused(choice: str) -> None:
    session, token = start(make_study())
    with pytest.raises(NotOffered):
        answer(session, 0, choice)
    body = {"client_id": "0" * 32, "attempt": 1, "choice": choice, "rt_ms": 10}
    reply = Client(headers={"Sec-Fetch-Site": "same-origin"}).put(
        f"/run/{token}/trials/0", body, content_type="application/json"
    )
    assert (reply.status_code, reply.json()["field"]) == (422, "choice")
    assert not Answer.objects.exists()


def test_a_trial_whose_window_has_passed_is_neither_right_nor_wrong() -> None:
    session, _ = start(make_study(response_ms=2000))
    stored = answer(session, 0, Choice.NONE, rt_ms=2000)
    assert (stored.correct, stored.side) == (None, "")
    assert session.next_index() == 1


# --- what goes together


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"protocol": "ifc"}, "exposure_ms: Two intervals need a fixed exposure"),
        ({"exposure_ms": 20}, "exposure_ms: Browsers cannot show"),
        ({"mask_ms": 200}, "mask_ms: A mask follows"),
        ({"flicker_ms": 100}, "flicker_ms: "),
        ({"image_degrees": 4.0}, "image_degrees: A size in degrees needs"),
        ({"image_degrees": -1.0}, "image_degrees: A width"),
        ({"distance": "told"}, "distance: A distance is of use"),
        ({"practice_correct": 3}, "practice_correct: More right answers"),
        ({"procedure": "adaptive", "protocol": "yes_no"}, "procedure: A yes/no criterion"),
        ({"procedure": "adaptive", "adaptive_minimum": 50}, "adaptive_minimum: The minimum"),
        ({"return_url": "https://elsewhere.example/"}, "return_url: "),
    ],
)
def test_settings_that_do_not_go_together_open_no_study(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(CannotOpen, match=said):
        make_study(**fields)


# --- smooth enlargement


def test_every_image_is_enlarged_alike_and_smoothly() -> None:
    session, token = start(make_study(enlargement=3))
    assert Client().get(f"/run/{token}/plan").json()["image"] == {"width": 48, "height": 48}
    replies = [Client().get(f"/run/{token}/i/{i}/{side}").content for i in range(22) for side in ("left", "right")]
    assert len({len(content) for content in replies}) == 1
    trial = a_trial(session)
    shown = decode_png(Client().get(f"/run/{token}/i/{trial.index}/right").content)
    assert shown.shape == (48, 48)
    plain = decode_png(trial.base_image.read())
    assert np.abs(shown[1::3, 1::3].astype(int) - plain).max() < 12
    assert not np.array_equal(shown, plain.repeat(3, 0).repeat(3, 1))
