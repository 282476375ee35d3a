"""From a draft to an open study by way of the checks."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from study.desk.freezing import freeze, link_template, proofs_of
from study.lab.models import Job, sha256_of
from study.trials.models import Study
from study.trials.rights import Role
from tests.study.desk.researchers import images_brought, recorded, signed_in
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db


def draft(**fields: Any) -> Study:
    return make_study(opened=False, base_images=22, size=4, **{"ethics_reference": "2026-17", **fields})


def page(study: Study) -> str:
    return reverse("admin:study_opening", args=[study.pk])


def prove(study: Study) -> str:
    """As workers would: both checks of the present design succeed. Returns its hash."""
    sha256 = sha256_of(study.design_json())
    for kind, result in ((Job.Kind.VERIFY, {}), (Job.Kind.REHEARSE, {"complete": 1})):
        job = Job.objects.submit(kind, {"study": study.pk, "design": sha256})
        Job.objects.filter(pk=job.pk).update(state=Job.State.SUCCEEDED, result=result)
    return sha256


def open_it(client: Client, study: Study, slug: str | None = None) -> HttpResponse:
    reply: Any = client.post(page(study), {"open": "1", "slug": study.slug if slug is None else slug}, follow=True)
    study.refresh_from_db()
    return reply


def test_the_checks_of_a_draft_are_submitted_for_its_design_and_shown() -> None:
    study = draft()
    editor = signed_in(study, Role.EDITOR)
    shown = editor.post(page(study), {"check": "1"}, follow=True).content.decode()
    sha256 = sha256_of(study.design_json())
    assert {job.parameters["design"] for job in Job.objects.all()} == {sha256}
    assert set(Job.objects.values_list("kind", flat=True)) == {Job.Kind.VERIFY, Job.Kind.REHEARSE}
    assert [proof.stands for proof in proofs_of(study, sha256)] == ["under way", "under way"]
    assert sha256 in shown
    assert "started the checks of" in recorded()


def test_a_draft_whose_checks_hold_is_opened_by_typing_its_name() -> None:
    study = draft()
    sha256 = prove(study)
    editor = signed_in(study, Role.EDITOR)
    assert "Freeze and open" in editor.get(page(study)).content.decode()
    shown = open_it(editor, study).content.decode()
    assert study.state == Study.State.OPEN
    assert study.current_design is not None
    assert study.current_design.sha256 == sha256
    assert sha256 in shown
    assert f"http://testserver/s/{study.slug}/" in shown
    assert recorded()[-1] == "opened"


def test_images_are_brought_before_the_transaction_that_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    study = draft()
    sha256 = prove(study)
    waiting = images_brought(monkeypatch)
    freeze(study, sha256)
    assert (study.state, waiting) == (Study.State.OPEN, [False])


def test_another_name_opens_nothing() -> None:
    study = draft()
    prove(study)
    reply = open_it(signed_in(study, Role.OWNER), study, "another")
    assert reply.status_code == 422
    assert f"Type {study.slug} to show that you mean this study." in reply.content.decode()
    assert study.state == Study.State.DRAFT


@pytest.mark.parametrize("kind", [Job.Kind.VERIFY, Job.Kind.REHEARSE])
def test_without_a_check_that_succeeded_nothing_opens(kind: str) -> None:
    study = draft()
    prove(study)
    Job.objects.filter(kind=kind).update(state=Job.State.FAILED)
    assert "run the checks first" in open_it(signed_in(study, Role.OWNER), study).content.decode()
    assert study.state == Study.State.DRAFT


def test_a_robot_that_came_to_no_end_proves_nothing() -> None:
    study = draft()
    sha256 = prove(study)
    Job.objects.filter(kind=Job.Kind.REHEARSE).update(result={"complete": 0})
    assert [proof.stands for proof in proofs_of(study, sha256)] == ["in order", "failed"]


def test_checks_of_an_earlier_design_do_not_count() -> None:
    study = draft()
    prove(study)
    study.bound = 0.55
    study.save()
    assert "run the checks first" in open_it(signed_in(study, Role.OWNER), study).content.decode()
    assert study.state == Study.State.DRAFT


def test_what_is_missing_stands_in_the_way_of_the_checks_too() -> None:
    study = draft(ethics_reference="")
    owner = signed_in(study, Role.OWNER)
    shown = owner.post(page(study), {"check": "1"}, follow=True).content.decode()
    assert "Put right what is missing first" in shown
    assert "Give the reference of the ethics approval" in shown
    assert not Job.objects.exists()


def test_analysts_see_the_checks_and_start_none() -> None:
    study = draft()
    analyst = signed_in(study, Role.ANALYST)
    assert analyst.get(page(study)).status_code == 200
    assert analyst.post(page(study), {"check": "1"}).status_code == 403
    assert not Job.objects.exists()


def test_who_has_no_role_finds_no_such_page() -> None:
    assert signed_in().get(page(draft())).status_code == 404


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        ({}, ""),
        (
            {"recruiter": "prolific"},
            "?PROLIFIC_PID={{%PROLIFIC_PID%}}&STUDY_ID={{%STUDY_ID%}}&SESSION_ID={{%SESSION_ID%}}",
        ),
        ({"recruiter": "sona"}, "?sona_id=%SURVEY_CODE%"),
        (
            {"recruiter": "custom", "recruiter_parameters": {"person": "pid", "submission": ["visit"]}},
            "?pid=(pid)&visit=(visit)",
        ),
    ],
)
def test_the_recruiters_link_names_what_the_recruiter_fills_in(fields: dict[str, Any], query: str) -> None:
    assert link_template(Study(**fields), "https://x.org/s/a/") == f"https://x.org/s/a/{query}"
