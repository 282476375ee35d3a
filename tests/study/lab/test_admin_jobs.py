"""Jobs in the admin: live while they are under way, cancelled and tried again from wherever they are shown."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from study.accounts.models import AuditEntry
from study.lab.admin.jobs import JobAdmin
from study.lab.models import Job, ModelRun

pytestmark = pytest.mark.django_db


def job_page(client: Client, job: Job) -> str:
    return client.get(reverse("admin:lab_job_change", args=[job.pk])).content.decode()


def test_the_job_list_shows_how_far_a_job_is(admin_client: Client, runs: tuple[ModelRun, ModelRun]) -> None:
    job = runs[0].submit_training()
    job.claim("a")
    job.heartbeat(1, progress={"stage": "training", "fraction": 0.25})
    page = admin_client.get(reverse("admin:lab_job_changelist")).content.decode()
    assert re.search(rf'data-job="{job.pk}"[^>]*>running <progress max="1" value="0.250"', page)
    assert "It is at training, 25%." in page


def test_a_job_shows_what_happened_to_it(admin_client: Client, runs: tuple[ModelRun, ModelRun]) -> None:
    job = runs[0].submit_training()
    job.claim("here:17")
    job.fail(1, "No <such> file.")
    page = job_page(admin_client, job)
    assert "<td>claimed by a worker</td><td>by here:17</td>" in page
    assert "<td>failed</td><td>No &lt;such&gt; file.</td>" in page
    assert re.search(r"<tr><td>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC</td><td>1</td><td>failed", page)


def test_a_job_shows_the_end_of_what_it_printed(admin_client: Client, runs: tuple[ModelRun, ModelRun]) -> None:
    job = runs[0].submit_training()
    assert " data-job-log hidden>" in job_page(admin_client, job)
    Job.objects.update(log_tail="a warning\nRuntimeError: <CUDA>\n\n")
    page = job_page(admin_client, job)
    assert "<summary data-job-line>RuntimeError: &lt;CUDA&gt;</summary>" in page
    assert "a warning\nRuntimeError: &lt;CUDA&gt;" in page


def test_a_jobs_page_leads_to_what_it_is_about(admin_client: Client, runs: tuple[ModelRun, ModelRun]) -> None:
    page = job_page(admin_client, runs[0].submit_training())
    assert "<h1>Train a model: disc-clean</h1>" in page
    address = reverse("admin:lab_modelrun_change", args=[runs[0].pk])
    assert f'model run <a href="{address}">disc-clean</a>' in page


def test_what_workers_keep_for_themselves_is_folded(admin_client: Client, runs: tuple[ModelRun, ModelRun]) -> None:
    shown, folded = job_page(admin_client, runs[0].submit_training()).split("<details>")
    for name in ("idempotency_key", "payload_version", "lease_owner", "told_again"):
        assert f"field-{name}" in folded
        assert f"field-{name}" not in shown


def test_jobs_are_cancelled_and_tried_again_from_the_list(
    admin_client: Client, runs: tuple[ModelRun, ModelRun]
) -> None:
    job = runs[0].submit_training()
    for action, state in (("cancel", Job.State.CANCELLED), ("try_again", Job.State.QUEUED)):
        data = {"action": action, "_selected_action": [str(job.pk)]}
        assert admin_client.post(reverse("admin:lab_job_changelist"), data).status_code == 302
        job.refresh_from_db()
        assert job.state == state


def test_the_list_says_how_many_jobs_it_stopped(admin_client: Client, runs: tuple[ModelRun, ModelRun]) -> None:
    running, queued = (run.submit_training() for run in runs)
    running.claim("a")
    chosen = {"action": "cancel", "_selected_action": [str(running.pk), str(queued.pk)]}
    for sentence in (
        "1 job is cancelled; 1 job stops within seconds.",
        "1 job stops within seconds; 1 job was over already.",
    ):
        page = admin_client.post(reverse("admin:lab_job_changelist"), chosen, follow=True)
        assert [str(message) for message in page.context["messages"]] == [sentence]


def test_a_jobs_page_has_the_buttons_that_apply(admin_client: Client, runs: tuple[ModelRun, ModelRun]) -> None:
    job = runs[0].submit_training()
    cancel, retry = (reverse(f"admin:lab_job_{verb}", args=[job.pk]) for verb in ("cancel", "retry"))
    for pressed, other, message in (
        (cancel, retry, "Cancelled by admin."),
        (retry, cancel, "It waits for a worker."),
    ):
        page = job_page(admin_client, job)
        assert f'action="{pressed}"' in page
        assert f'action="{other}"' not in page
        assert message in admin_client.post(pressed, follow=True).content.decode()
    job.claim("a")
    job.finish(1, {})
    page = job_page(admin_client, job)
    assert cancel not in page
    assert retry not in page


def test_the_buttons_are_for_those_who_may_change_jobs_and_change_nothing_when_looked_at(
    client: Client, admin_client: Client, runs: tuple[ModelRun, ModelRun]
) -> None:
    job = runs[0].submit_training()
    cancel = reverse("admin:lab_job_cancel", args=[job.pk])
    viewer = get_user_model().objects.create_user("viewer", password="secret", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_job"))
    client.force_login(viewer)
    assert cancel not in job_page(client, job)
    assert client.post(cancel).status_code == 403
    assert admin_client.get(cancel).status_code == 405
    assert admin_client.post(reverse("admin:lab_job_cancel", args=[uuid4()])).status_code == 404
    job.refresh_from_db()
    assert job.state == Job.State.QUEUED


def test_a_job_is_followed_while_it_is_under_way_and_no_longer(
    admin_client: Client, runs: tuple[ModelRun, ModelRun]
) -> None:
    job = runs[0].submit_training()
    page = job_page(admin_client, job)
    states = reverse("admin:lab_job_state")
    assert f'data-job="{job.pk}" data-states="{states}">' in page
    assert page.count("lab/follow_jobs.js") == 1
    job.request_cancel()
    assert f'data-job="{job.pk}" data-states="{states}" data-over>' in job_page(admin_client, job)


def states(client: Client, *jobs: Job) -> Any:
    return client.get(reverse("admin:lab_job_state"), {"job": [str(job.pk) for job in jobs]})


def test_many_jobs_are_asked_for_at_once(admin_client: Client, runs: tuple[ModelRun, ModelRun]) -> None:
    running, queued = (run.submit_training() for run in runs)
    running.claim("here:1")
    running.heartbeat(1, progress={"stage": "training", "fraction": 0.5}, log_tail="one\ntwo\n")
    told = states(admin_client, running, queued).json()
    assert set(told) == {str(running.pk), str(queued.pk)}
    one = told[str(running.pk)]
    assert (one["stage"], one["fraction"], one["line"], one["over"]) == ("training", 0.5, "two", False)
    assert [event["what"] for event in one["events"]] == ["queued", "claimed by a worker"]
    assert told[str(queued.pk)]["message"] == "It waits for a worker."


def test_a_job_that_is_over_says_so(admin_client: Client, runs: tuple[ModelRun, ModelRun]) -> None:
    job = runs[0].submit_training()
    job.claim("a")
    job.fail(1, "No such file.")
    told = states(admin_client, job).json()[str(job.pk)]
    assert (told["over"], told["message"]) == (True, "No such file.")


def test_how_a_job_stands_is_for_those_who_may_view_jobs(
    client: Client, admin_client: Client, runs: tuple[ModelRun, ModelRun]
) -> None:
    job = runs[0].submit_training()
    client.force_login(get_user_model().objects.create_user("staff", is_staff=True))
    assert states(client, job).status_code == 403
    assert admin_client.get(reverse("admin:lab_job_state"), {"job": "7"}).status_code == 404


def test_a_verb_leads_back_to_the_page_it_was_pressed_on_and_nowhere_else(
    admin_client: Client, runs: tuple[ModelRun, ModelRun]
) -> None:
    job = runs[0].submit_training()
    run_page = reverse("admin:lab_modelrun_change", args=[runs[0].pk])
    own_page = reverse("admin:lab_job_change", args=[job.pk])
    for verb, came_from, leads_to in (
        ("cancel", run_page, run_page),
        ("retry", "https://elsewhere.example/", own_page),
    ):
        answer = admin_client.post(reverse(f"admin:lab_job_{verb}", args=[job.pk]), {"next": came_from})
        assert answer["Location"] == leads_to


def test_who_stopped_a_job_is_in_the_log(admin_client: Client, runs: tuple[ModelRun, ModelRun]) -> None:
    job = runs[0].submit_training()
    for verb in ("cancel", "retry"):
        admin_client.post(reverse(f"admin:lab_job_{verb}", args=[job.pk]))
    assert [entry.action for entry in AuditEntry.objects.order_by("n")] == ["cancelled", "tried again"]


def test_the_page_of_a_set_up_shows_the_jobs_it_led_to(admin_client: Client, runs: tuple[ModelRun, ModelRun]) -> None:
    set_up = Job.objects.submit(Job.Kind.SET_UP, {"what": "models"})
    assert "What it led to" not in job_page(admin_client, set_up)
    set_up.claim("a")
    set_up.finish(1, {"model_runs": [runs[0].pk]})
    training = runs[0].submit_training()
    page = job_page(admin_client, set_up)
    assert f'data-job="{training.pk}"' in page.split("What it led to")[1]


def test_the_job_list_says_which_model_a_job_is_about(admin_client: Client, runs: tuple[ModelRun, ModelRun]) -> None:
    jobs = [run.submit_training() for run in runs]
    page = admin_client.get(reverse("admin:lab_job_changelist"))
    titles = {job.pk: JobAdmin(Job, admin.site).job(job) for job in page.context["cl"].queryset}
    assert titles == {job.pk: f"train a model: {run.name}" for job, run in zip(jobs, runs, strict=True)}


def test_job_pages_cost_as_many_queries_for_much_as_for_little(
    admin_client: Client, runs: tuple[ModelRun, ModelRun], django_assert_num_queries: Any
) -> None:
    job = runs[0].submit_training()
    for address in (reverse("admin:lab_job_changelist"), reverse("admin:lab_job_change", args=[job.pk])):
        with CaptureQueriesContext(connection) as few:
            admin_client.get(address)
        runs[1].submit_training()
        for attempt in range(job.attempt + 1, job.attempt + 4):
            job.claim("a")
            job.give_back(attempt, "The worker was told to end.")
        with django_assert_num_queries(len(few)):
            admin_client.get(address)
