"""The demonstration by a click: asked for once, with workers of its own, and stopped with all that it began."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from models.stopping import Terminated
from study import processes
from study.accounts.models import AuditEntry
from study.desk import demonstrating, demonstration
from study.desk.demonstration import STAGES, Demonstration
from study.lab import following
from study.lab.following import JobFailed
from study.lab.models import Job
from study.trials.models import Study
from study.trials.rights import Role
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db

INDEX = reverse("admin:index")
START = reverse("admin:demonstrate")


# --- the click


def test_a_click_begins_the_demonstration_once(admin_client: Client) -> None:
    for _ in range(2):
        assert admin_client.post(START).status_code == 302
    job = Job.objects.get(kind=Job.Kind.DEMONSTRATE)
    assert AuditEntry.objects.filter(action="started", subject__contains=str(job)).exists()
    assert f'data-job="{job.pk}"' in admin_client.get(INDEX).content.decode()


def test_who_may_not_make_studies_cannot_begin_it() -> None:
    client = Client()
    client.force_login(get_user_model().objects.create_user("r", is_staff=True))
    assert b"Run the demonstration" not in client.get(INDEX).content
    assert client.post(START).status_code == 403
    assert not Job.objects.exists()


def test_a_link_alone_begins_nothing(admin_client: Client) -> None:
    assert admin_client.get(START).status_code == 405
    assert not Job.objects.exists()


def test_the_first_page_leads_to_what_it_made(admin_client: Client, admin_user: Any) -> None:
    job = demonstrating.submit(admin_user)
    Job.objects.filter(pk=job.pk).update(state=Job.State.SUCCEEDED, result={"study": 7, "report": 9})
    said = admin_client.get(INDEX).content.decode()
    assert reverse("admin:trials_study_change", args=[7]) in said
    assert reverse("admin:analysis_report", args=[9, "report.html"]) in said


# --- the process


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing is started; the names of the workers that would have been."""
    names: list[str] = []

    @contextmanager
    def worker(queue: str, concurrency: int, name: str = "") -> Iterator[None]:
        names.append(queue)
        yield
        names.remove(queue)

    @contextmanager
    def server() -> Iterator[str]:
        yield "http://127.0.0.1:1"

    monkeypatch.setattr(processes, "worker", worker)
    monkeypatch.setattr(processes, "robots_server", server)
    monkeypatch.setattr(demonstrating, "call_command", lambda *_, **__: None)
    monkeypatch.setattr(demonstrating, "_is_served", lambda queue: True)
    return names


@pytest.fixture
def specification(admin_user: Any) -> dict[str, Any]:
    return dict(demonstrating.demonstrating(demonstrating.submit(admin_user), Path()).specification)


def carry_out(specification: dict[str, Any]) -> dict[str, Any]:
    return demonstrating.carry_out(specification, lambda: False)


def test_it_brings_a_worker_of_the_queue_that_it_is_done_in(served: list[str]) -> None:
    with demonstrating.workers():
        assert served == ["cpu"]
    assert served == []


def test_it_brings_a_worker_for_trainings_where_nobody_takes_them(
    served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstrating, "_is_served", lambda queue: False)
    with demonstrating.workers():
        assert served == ["cpu", "gpu"]


def test_it_ends_with_a_study_for_who_asked_and_a_report_as_a_job(
    served: list[str], specification: dict[str, Any], admin_user: Any, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    study = make_study(base_images=22, size=4)

    def until_answers(self: Demonstration, url: str, announce: Any, told: Any) -> tuple[dict[str, Any], Study]:
        for stage in list(STAGES)[:-1]:
            announce(stage)
        return {}, study

    monkeypatch.setattr(Demonstration, "until_answers", until_answers)
    monkeypatch.setattr(following, "follow", lambda jobs, told: told(jobs.values()))
    assert carry_out(specification) == {"study": study.pk, "report": None}
    assert study.role_of(admin_user) == Role.OWNER
    assert Job.objects.get(kind=Job.Kind.ANALYSE).parameters["population"] == "simulated"
    assert [stage in capsys.readouterr().out for stage in ["analysis"]] == [True]


@pytest.mark.parametrize("end", [Terminated(), JobFailed("The training failed.")])
def test_however_it_ends_its_jobs_are_not_gone_on_with(
    served: list[str], specification: dict[str, Any], monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    study = make_study(base_images=22, size=4)
    others = make_study(base_images=22, size=4)
    for made in (study, others):
        Job.objects.submit(Job.Kind.TRAIN, {"model_run": made.model_run.pk})
        Job.objects.submit(Job.Kind.PREPARE, {"dataset": made.dataset.pk})

    def interrupted(self: Demonstration, *_: Any) -> None:
        raise end

    monkeypatch.setattr(Demonstration, "until_answers", interrupted)
    monkeypatch.setattr(Demonstration, "dataset_name", study.dataset.name)
    with pytest.raises((Terminated, ValueError)):
        carry_out(specification)
    cancelled = Job.objects.filter(state=Job.State.CANCELLED)
    assert {job.parameters.get("model_run") or -job.parameters["dataset"] for job in cancelled} == {
        study.model_run.pk, -study.dataset.pk,
    }  # fmt: skip


def test_a_stage_and_the_jobs_in_it_are_told_as_parts_of_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    progress = demonstrating._Progress(tuple(STAGES))
    progress.begin("two gaze models")
    progress.tell([Job(progress={"fraction": 0.5}), Job(state=Job.State.SUCCEEDED)])
    first, second = capsys.readouterr().out.splitlines()
    assert '"fraction": 0.1666' in first
    assert '"fraction": 0.2916' in second
    assert demonstration.STAGES["two gaze models"].startswith("Two gaze models")


def test_a_study_that_only_has_its_name_is_left_alone() -> None:
    others, made = make_study(opened=False, base_images=22, size=4), make_study(base_images=22, size=4)
    with pytest.raises(ValueError, match="is not the demonstration's: it is left alone"):
        Demonstration(others.slug).study(made.model_run)
    others.refresh_from_db()
    assert others.state == Study.State.DRAFT
