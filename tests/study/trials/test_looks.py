"""What a picture's request meets, read by one statement of our own, is what the ORM would have read."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext

from study.lab.models import BaseImage, Dataset, Pair
from study.trials.models import Session, Study, Trial
from study.trials.models.looks import BASE_IMAGE, DATASET, DESIGN, PAIR, SESSION, STUDY, TRIAL, look
from study.trials.models.studies import DesignVersion
from tests.study.factories import make_study, start

pytestmark = [pytest.mark.django_db, pytest.mark.store]

READ: dict[type[models.Model], tuple[str, ...]] = {
    Session: SESSION, DesignVersion: DESIGN, Study: STUDY, Dataset: DATASET, Trial: TRIAL, Pair: PAIR,
    BaseImage: BASE_IMAGE,
}  # fmt: skip


@pytest.fixture
def run() -> tuple[Session, str]:
    return start(make_study(base_images=22, size=4))


@pytest.fixture
def adaptive() -> tuple[Session, str]:
    study = make_study(
        base_images=24, size=4, strengths=(0.5, 1.0), procedure=Study.Procedure.ADAPTIVE, adaptive_trials=12,
        adaptive_minimum=6,
    )  # fmt: skip
    return start(study)


def same(read: Any, row: Any) -> bool:
    return [getattr(read, name) for name in READ[type(row)]] == [getattr(row, name) for name in READ[type(row)]]


def shapes(token: str, index: int, place: str) -> list[str]:
    """The statements that asking for a picture takes, without what they ask for."""
    with CaptureQueriesContext(connection) as seen:
        assert Client().get(f"/run/{token}/i/{index}/{place}").status_code == 200
    return [re.sub(r"'\w*'|\b\d+\b", "?", query["sql"]) for query in seen]


def test_everything_that_decides_what_is_shown_is_that_of_the_tables(run: tuple[Session, str]) -> None:
    session, token = run
    for index in (0, 5):
        stored = Trial.objects.select_related("pair__base_image", "session__study__dataset").get(
            session=session, index=index
        )
        found, trial = look(token, index)
        assert trial is not None
        assert trial.pair is not None
        read = (found, found.design, found.study, found.study.dataset, trial, trial.pair, trial.pair.base_image)
        rows = (
            stored.session, session.design, stored.session.study, stored.session.study.dataset, stored, stored.pair,
            stored.pair.base_image,
        )  # fmt: skip
        assert [same(one, row) for one, row in zip(read, rows, strict=True)] == [True] * len(rows)


@pytest.mark.parametrize("model", READ, ids=lambda model: model.__name__)
def test_columns_stand_in_the_order_of_their_model(model: type[models.Model]) -> None:
    order = [field.attname for field in model._meta.concrete_fields]
    assert list(READ[model]) == [name for name in order if name in READ[model]]


def test_the_plan_may_not_have_the_trial_and_the_token_may_be_nobodys(run: tuple[Session, str]) -> None:
    session, token = run
    assert look(token, 99) == (session, None)
    with pytest.raises(Session.DoesNotExist):
        look("A" * 22, 0)


def test_a_picture_takes_one_statement_whatever_it_shows(run: tuple[Session, str]) -> None:
    session, token = run
    asked = {tuple(shapes(token, trial.index, side)) for trial in session.trials.all() for side in ("left", "right")}
    assert len(asked) == 1
    assert len(next(iter(asked))) == 1


def test_candidates_are_looked_up_by_the_same_statements_where_the_pair_is_planned(
    adaptive: tuple[Session, str],
) -> None:
    session, token = adaptive
    chosen, planned = (
        session.trials.exclude(phase="practice").filter(pair__isnull=open_).first() for open_ in (True, False)
    )
    assert chosen is not None
    assert planned is not None
    places = [f"{side}/{number}" for side in ("left", "right") for number in (0, 1)]
    asked = {tuple(shapes(token, trial.index, place)) for trial in (chosen, planned) for place in places}
    assert len(asked) == 1
    assert vars(look(token, planned.index)[1]).keys() == vars(look(token, chosen.index)[1]).keys()


def test_there_is_no_picture_beyond_the_candidates(adaptive: tuple[Session, str]) -> None:
    session, token = adaptive
    index = session.trials.exclude(phase="practice").earliest("index").index
    for place in (f"{index}/left/2", "0/left/1"):
        assert Client().get(f"/run/{token}/i/{place}").status_code == 404
