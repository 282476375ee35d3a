"""The planner in the admin: a form that refuses what cannot be planned, a job, and its words as the study's reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from study.accounts.models import AuditEntry
from study.analysis.power_design import Design, faults
from study.desk import planning
from study.desk.power import reason
from study.lab import files
from study.lab.images import sha256
from study.lab.models import Job
from study.trials.models import Study
from study.trials.rights import Role
from tests.study.desk.researchers import signed_in
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db

FORM = {
    "participants": 20, "trials": 4, "stimuli": 30, "conditions": 2, "bound": "0.6", "pc": 0.5, "detectable_pc": "",
    "participant_sd": 0.2, "stimulus_sd": 0.2, "studies": 100,
}  # fmt: skip


def share(value: float) -> dict[str, float]:
    return {"share": value, "error": 0.01}


def answer(**design: Any) -> dict[str, Any]:
    asked = Design(participants=20, trials=4, stimuli=30, conditions=2, grid_participants=(20,), grid_trials=(4,))
    cell = {"participants": 20, "trials": 4, "below": share(0.83), "detectable": share(0.5)}
    fields = {name: list(v) if isinstance(v, tuple) else v for name, v in asked.__dict__.items()}
    return {
        "design": fields | design, "planned": cell, "grid": [cell], "warnings": ["Too few."],
        "smallest": [{"claim": "detectable", "power": 0.8, "least_trials": 1, "participants": None, "trials": None}],
    }  # fmt: skip


def planned(study: Study) -> Job:
    """A plan that a worker has made."""
    job = planning.submit(study, {"participants": 20})
    work = planning.planning(job, Path())
    files.path(work.specification["folder"]).mkdir(parents=True)
    (files.path(work.specification["folder"]) / "power.svg").write_bytes(b"<svg/>")
    folder = work.specification["folder"]
    result = {"power": answer(), "folder": folder, "files": {"power.svg": sha256(b"<svg/>")}}
    Job.objects.filter(pk=job.pk).update(state=Job.State.SUCCEEDED, result=result)
    job.refresh_from_db()
    return job


@pytest.fixture
def draft() -> Study:
    return make_study(opened=False, base_images=22, size=4)


def page(study: Study) -> str:
    return reverse("admin:study_power", args=[study.pk])


def test_the_form_begins_with_what_the_study_decides(draft: Study) -> None:
    form = signed_in(draft, Role.VIEWER).get(page(draft)).context["form"]
    assert (form["participants"].value(), form["trials"].value(), form["conditions"].value()) == (6, 6, 2)
    assert form["stimuli"].value() == len(draft.design_json()["stimuli"])


def test_a_study_that_cannot_be_planned_from_says_why_and_is_planned_from_scratch(draft: Study) -> None:
    draft.protocol = Study.Protocol.YES_NO
    draft.save()
    reply = signed_in(draft, Role.ANALYST).get(page(draft))
    assert "is a yes/no study" in reply.content.decode()
    assert reply.context["form"]["participants"].value() == Design().participants


def test_a_click_submits_one_job_for_one_design(draft: Study) -> None:
    client = signed_in(draft, Role.ANALYST)
    for _ in range(2):
        client.post(page(draft), FORM)
    job = Job.objects.get(kind=Job.Kind.PLAN)
    assert Design(**job.parameters["design"]) == Design(
        participants=20, trials=4, stimuli=30, conditions=2, studies=100
    )
    assert AuditEntry.objects.filter(action="planned").exists()


def test_a_viewer_has_nothing_planned(draft: Study) -> None:
    assert signed_in(draft, Role.VIEWER).post(page(draft), FORM).status_code == 403


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("trials", 31, "31 trials per person and condition need as many stimuli, not 30"),
        ("participants", 1, "The number of participants is 1; it must be 2 or more."),
        ("pc", 1.5, "The true proportion correct is 1.5; it must be between .01 and .99."),
        ("studies", 10**9, "Ensure this value is less than or equal to 5000."),
    ],
)
def test_what_cannot_be_planned_is_refused_next_to_its_field(
    draft: Study, field: str, value: float, sentence: str
) -> None:
    reply = signed_in(draft, Role.ANALYST).post(page(draft), {**FORM, field: value})
    assert reply.status_code == 422
    assert reply.context["form"].errors[field][0].startswith(sentence)
    assert not Job.objects.exists()


def test_a_design_refuses_what_the_form_refuses() -> None:
    with pytest.raises(ValueError, match="The number of participants is 1"):
        Design(participants=1)
    assert list(faults(Design())) == []


def test_the_answer_is_on_the_page_with_its_figure(draft: Study) -> None:
    job, client = planned(draft), signed_in(draft, Role.VIEWER)
    said = client.get(page(draft)).content.decode()
    assert reason(job.result["power"]) in said
    assert "Too few." in said
    assert "Detectable, power 80 %: no design tried" in said
    figure = reverse("admin:study_power_figure", args=[draft.pk])
    reply = client.get(figure, {"job": job.pk, "name": "power.svg"})
    assert (reply.content, reply["Content-Type"]) == (b"<svg/>", "image/svg+xml")
    assert client.get(figure, {"job": job.pk, "name": "../power.svg"}).status_code == 404


def test_the_figure_of_another_study_is_not_served(draft: Study) -> None:
    other = make_study(opened=False, base_images=22, size=4)
    job = planned(other)
    figure = reverse("admin:study_power_figure", args=[draft.pk])
    assert signed_in(draft, Role.OWNER).get(figure, {"job": job.pk, "name": "power.svg"}).status_code == 404


def test_the_reason_says_what_the_simulations_gave() -> None:
    assert reason(answer()) == (
        "Simulations (2000 studies each) of 20 participants × 4 trials per condition on 30 images, in 2 conditions,"
        " with SDs of 0.2 between people and 0.2 between images (logit): in 83 % of them the alteration is claimed"
        " below .60 at a true PC of .50, and in 50 % it is claimed detectable at a true PC of .60."
    )


def test_an_editor_takes_the_reason_over_into_the_draft(draft: Study) -> None:
    job, client = planned(draft), signed_in(draft, Role.EDITOR)
    client.post(page(draft), {"use": job.pk})
    draft.refresh_from_db()
    assert draft.sample_size_reason == reason(job.result["power"])
    entry = AuditEntry.objects.get(action="changed")
    assert entry.after == {"sample size reason": draft.sample_size_reason}


def test_nobody_changes_the_reason_of_a_study_that_was_opened(draft: Study) -> None:
    job, client = planned(draft), signed_in(draft, Role.OWNER)
    draft.open()
    assert b"Use as the reason" not in client.get(page(draft)).content
    reply = client.post(page(draft), {"use": job.pk}, follow=True)
    draft.refresh_from_db()
    assert draft.sample_size_reason == ""
    assert "reasons are part of the frozen design" in reply.content.decode()


def test_an_analyst_does_not_change_the_reason(draft: Study) -> None:
    job = planned(draft)
    assert signed_in(draft, Role.ANALYST).post(page(draft), {"use": job.pk}).status_code == 403


def test_the_process_writes_figure_and_numbers(draft: Study) -> None:
    small = {
        "participants": 10,
        "trials": 2,
        "stimuli": 12,
        "studies": 100,
        "grid_participants": [10],
        "grid_trials": [2],
    }
    work = planning.planning(planning.submit(draft, small), Path())
    result = planning.carry_out(work.specification, lambda: False)
    assert sorted(result["files"]) == ["power.csv", "power.json", "power.png", "power.svg"]
    assert result["power"]["planned"]["participants"] == 10
