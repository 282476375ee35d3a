"""The versions of a design, what changed between them, and their documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db.models import QuerySet
from django.urls import reverse

from study.desk.versions import Change, changes
from study.lab.models import sha256_of
from study.trials.models import Study
from study.trials.rights import Role
from tests.study.desk.researchers import signed_in
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db


def get(study: Study, name: str, **query: Any) -> Any:
    return signed_in(study, Role.VIEWER).get(reverse(f"admin:study_{name}", args=[study.pk]), query)


def test_every_version_stands_there_with_reason_hash_and_what_changed() -> None:
    study = make_study(base_images=22, size=4)
    study.amend("Faster.", blank_ms=200)
    page = get(study, "versions")
    text = page.content.decode()
    for version in study.design_versions.all():
        assert version.sha256 in text
    assert "Faster." in text
    assert page.context["changes"] == [Change("timing.blank_ms", "400", "200")]


def test_a_version_that_no_longer_holds_says_why() -> None:
    study = make_study(base_images=22, size=4)
    QuerySet(Study).filter(pk=study.pk).update(bound=0.55)
    assert "The study says otherwise than its design: bound." in get(study, "versions").content.decode()


def test_long_parts_are_compared_by_their_number_and_hash() -> None:
    study = make_study(opened=False, base_images=22, size=4)
    before = study.design_json()
    after = {**before, "pairs": before["pairs"][1:]}
    (change,) = changes(before, after)
    assert change.part == "pairs"
    assert str(change.before).startswith("94 entries")
    assert str(change.after).startswith("93 entries")


def test_the_json_is_what_was_hashed() -> None:
    study = make_study(base_images=22, size=4)
    reply = get(study, "versions_json", n=1)
    assert study.current_design is not None
    assert sha256_of(json.loads(reply.content)) == study.current_design.sha256
    assert f'filename="{study.slug}-design-1.json"' in reply["Content-Disposition"]


def test_preregistrations_are_handed_out_as_markdown_and_pdf() -> None:
    study = make_study(base_images=22, size=4)
    assert study.current_design is not None
    assert study.current_design.sha256 in get(study, "preregistration_md").content.decode()
    assert get(study, "preregistration_pdf", n=1).content.startswith(b"%PDF-")


def test_a_draft_has_a_preregistration_marked_as_such() -> None:
    study = make_study(opened=False, base_images=22, size=4)
    assert "DRAFT: not frozen" in get(study, "preregistration_md").content.decode()


@pytest.mark.parametrize("number", ["2", "x", "²", "9" * 30])
def test_a_version_that_there_is_not_is_not_found(number: str) -> None:
    assert get(make_study(base_images=22, size=4), "preregistration_md", n=number).status_code == 404


def test_a_draft_that_cannot_be_shown_has_none() -> None:
    study = make_study(opened=False, base_images=3, size=4)
    assert get(study, "preregistration_md").status_code == 404
