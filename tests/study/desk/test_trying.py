"""The page "Try it": previews, and rehearsals that are asked for by a form."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from study.accounts.models import AuditEntry
from study.desk import rehearsing
from study.lab.models import Job
from study.trials.models import Population, Study
from study.trials.rights import Role
from tests.study.factories import make_study, start

pytestmark = pytest.mark.django_db

SMALL: dict[str, Any] = {"base_images": 22, "size": 4}
FORM = {"participants": "3", "observer": "people", "description": "", "seed": "0"}


@pytest.fixture
def draft() -> Study:
    return make_study(opened=False, **SMALL)


def address(study: Study) -> str:
    return f"/admin/trials/study/{study.pk}/try/"


def send(client: Client, study: Study, **changes: str) -> Any:
    return client.post(address(study), FORM | changes)


def page(client: Client, study: Study) -> str:
    reply = client.get(address(study))
    assert reply.status_code == 200
    return " ".join(reply.content.decode().split())


def test_it_leads_to_the_preview_and_lists_the_newest(admin_client: Client, draft: Study) -> None:
    session, _ = start(draft, Population.PREVIEW)
    text = page(admin_client, draft)
    assert f'href="/s/{draft.slug}/?preview=1"' in text
    assert f"Session {session.pk}<" in text
    assert "0 of 22" in text


def test_a_draft_that_cannot_be_shown_says_what_is_missing(admin_client: Client, draft: Study) -> None:
    draft.strengths = [9.0]
    draft.save()
    text = page(admin_client, draft)
    assert "no pairs at strength 9" in text
    assert "?preview=1" not in text


def test_a_rehearsal_is_queued_and_written_down(admin_client: Client, draft: Study) -> None:
    assert send(admin_client, draft).status_code == 302
    job = Job.objects.get()
    assert job.parameters == {
        "study": draft.pk,
        "design": draft.draft_version().sha256,
        "participants": 3,
        "observer": "people",
        "seed": 0,
    }
    entry = AuditEntry.objects.latest("pk")
    assert (entry.action, entry.after["participants"]) == ("started a rehearsal of", 3)
    assert f'data-job="{job.pk}"' in page(admin_client, draft)


def test_the_next_rehearsal_is_of_other_robots_by_default(admin_client: Client, draft: Study) -> None:
    send(admin_client, draft)
    assert 'name="seed" value="1"' in page(admin_client, draft)


def test_an_observer_may_be_described(admin_client: Client, draft: Study) -> None:
    send(admin_client, draft, observer="described", description='{"kind": "known_truth", "threshold": 2}')
    assert Job.objects.get().parameters["observer"] == {"kind": "known_truth", "threshold": 2}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"participants": "501"}, "less than or equal to 500"),
        ({"participants": "0"}, "greater than or equal to 1"),
        ({"observer": "described"}, "This is not JSON"),
        ({"observer": "described", "description": '{"kind": "oracle"}'}, "one of known_truth, softer_detail"),
        ({"observer": "described", "description": '{"kind": "known_truth", "lapse": 2}'}, "between 0 and .5"),
        ({"observer": "described", "description": '{"kind": "known_truth", "slope": "x"}'}, "wrong type"),
        ({"observer": "described", "description": "[1]"}, "one of known_truth, softer_detail"),
        ({"seed": "-1"}, "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_rehearsed_is_said_next_to_its_field(
    admin_client: Client, draft: Study, changes: dict[str, str], sentence: str
) -> None:
    reply = send(admin_client, draft, **changes)
    assert reply.status_code == 422
    assert sentence in reply.content.decode()
    assert not Job.objects.exists()
    assert not AuditEntry.objects.filter(action="started a rehearsal of").exists()


def test_a_draft_that_cannot_be_shown_is_not_rehearsed(admin_client: Client, draft: Study) -> None:
    draft.strengths = [9.0]
    draft.save()
    reply = send(admin_client, draft)
    assert reply.status_code == 422
    assert reply.content.decode().count("no pairs at strength 9") == 2


def test_robots_that_have_been_there_are_not_sent_again(admin_client: Client, draft: Study) -> None:
    send(admin_client, draft)
    finish(Job.objects.get())
    reply = admin_client.post(address(draft), FORM, follow=True)
    assert "have been there already" in reply.content.decode()
    assert AuditEntry.objects.filter(action="started a rehearsal of").count() == 1


def finish(job: Job) -> None:
    job.claim("worker")
    job.finish(
        job.attempt,
        {
            "sessions": 3, "complete": 2, "failed_practice": 1, "excluded": {"catch trials missed": 1}, "answers": 50,
            "catch": [3, 4], "answering_s": 31.4, "minutes": [2, 5],
        },
    )  # fmt: skip


def test_what_came_of_a_rehearsal_is_told(admin_client: Client, draft: Study) -> None:
    send(admin_client, draft)
    finish(Job.objects.get())
    text = page(admin_client, draft)
    for said in (
        "3 × people, seed 0", "as it is now", "2 of 3", "1: catch trials missed", "3 of 4", "31 s of answering",
        "people: 2 to 5 min", "Analyse the simulated answers",
    ):  # fmt: skip
        assert said in text
    draft.catch_trials = 1
    draft.save()
    assert "an earlier one" in page(admin_client, draft)


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.ANALYST, 302)])
def test_whoever_may_only_look_sends_no_robots(draft: Study, role: Role, status: int) -> None:
    user, client = get_user_model().objects.create_user("researcher", is_staff=True), Client()
    draft.admit(user, role)
    client.force_login(user)
    assert ("Send them" in page(client, draft)) == (status == 302)
    assert send(client, draft).status_code == status
    assert Job.objects.exists() == (status == 302)


def test_a_closed_study_takes_no_robots(admin_client: Client) -> None:
    study = make_study(**SMALL)
    study.close()
    assert "it takes nobody any more" in page(admin_client, study)
    assert send(admin_client, study).status_code == 422
    assert rehearsing.dry_run(study, "0" * 64) is None
