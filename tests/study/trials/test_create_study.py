from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from study.accounts.models import AuditEntry
from study.trials.models import Study
from tests.study.factories import add_model, add_seed, make_study

pytestmark = pytest.mark.django_db


@pytest.fixture
def ready() -> Study:
    """A draft whose model and pairs another study can use as well."""
    return make_study(opened=False)


def create(ready: Study, *options: str, **more: Any) -> None:
    call_command("create_study", "--slug", "second", "--model-run", ready.model_run.name, *options, **more)


def test_a_study_is_made_as_a_draft(ready: Study, capsys: pytest.CaptureFixture[str]) -> None:
    create(ready, "--title", "Eyes", "--participants", "12", "--bound", "0.55")
    study = Study.objects.get(slug="second")
    assert (study.title, study.participants, study.bound, study.dataset) == ("Eyes", 12, 0.55, ready.dataset)
    assert capsys.readouterr().out == "/s/second/ is draft.\n"


def test_what_is_made_and_opened_is_in_the_audit_log(ready: Study) -> None:
    create(ready, "--information", "Look.", "--contact", "me@example.org", "--trials-per-strength", "6",
           "--trials-per-control", "2", "--catch-trials", "2", "--practice-trials", "2", "--practice-correct", "0",
           "--practice-rounds", "1", "--open")  # fmt: skip
    assert list(AuditEntry.objects.order_by("n").values_list("action", flat=True)) == ["created", "opened"]


def test_the_only_model_of_an_attack_is_found(ready: Study) -> None:
    assert ready.model_run.attack is not None
    call_command("create_study", "--slug", "second", "--attack", ready.model_run.attack.name)
    assert Study.objects.get(slug="second").model_run == ready.model_run


def test_a_study_that_cannot_open_is_not_created_and_says_why_as_often_as_it_is_tried(ready: Study) -> None:
    for _ in range(2):
        with pytest.raises(CommandError, match="cannot be opened, so it was not created: 28 main trials need"):
            create(ready, "--information", "Look.", "--contact", "me@example.org", "--open")
        assert Study.objects.get() == ready


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--bound", "0.7"], "bound"),
        (["--participants", "0"], "participants"),
        (["--slug", "not a slug"], "slug"),
        (["--dataset", "nowhere"], "There is no data set named 'nowhere'; there are: tiny"),
        (["--model-run", "nothing"], "There is no model run named 'nothing'"),
    ],
)
def test_what_makes_no_study_is_refused_in_one_sentence(ready: Study, options: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        create(ready, *options)
    assert Study.objects.count() == 1


def test_further_models_come_with_their_strengths(ready: Study) -> None:
    again, blend = (
        add_seed(ready).model_run,
        add_model(ready, "blend", family="blended", strengths=(0.1, 0.2)).model_run,
    )
    create(ready, "--further-model", again.name, f"{blend.name}:0.1,0.2")
    sources = Study.objects.get(slug="second").sources.all()
    assert [(source.model_run, source.strengths) for source in sources] == [(again, []), (blend, [0.1, 0.2])]


@pytest.mark.parametrize(
    ("further", "sentence"),
    [
        ("{primary}", "is the study's primary model already"),
        ("nothing", "There is no model run named 'nothing'"),
        ("{primary}:many", "names no model and strengths; write for example {primary}:0.2,0.4"),
        ("{again}:0.5", "They are those of {primary}, which has the same attack: leave them empty"),
    ],
)
def test_a_further_model_that_cannot_be_is_refused_and_nothing_is_made(
    ready: Study, further: str, sentence: str
) -> None:
    names = {"primary": ready.model_run.name, "again": add_seed(ready).model_run.name}
    with pytest.raises(CommandError, match=re.escape(sentence.format(**names))):
        create(ready, "--further-model", further.format(**names))
    assert Study.objects.get() == ready


def test_pay_and_the_day_of_erasure_are_options(ready: Study) -> None:
    create(ready, "--base-pay", "4.50", "--retain-until", "2030-01-31", "--looks-allowed")
    study = Study.objects.get(slug="second")
    assert (study.base_pay, study.retain_until, study.looks_allowed) == (Decimal("4.5"), date(2030, 1, 31), True)


def test_a_slug_is_used_once(ready: Study) -> None:
    with pytest.raises(CommandError, match="slug: Study with this Slug already exists"):
        create(ready, "--slug", ready.slug)


def test_a_model_has_to_be_named(ready: Study) -> None:
    with pytest.raises(CommandError, match="Say which model"):
        call_command("create_study", "--slug", "second")
    with pytest.raises(CommandError, match="no single model"):
        call_command("create_study", "--slug", "second", "--attack", "unheard-of")
