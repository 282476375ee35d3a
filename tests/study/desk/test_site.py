"""The researchers' site: the order of the work, the desk, and nothing of studies that are not one's own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from study.accounts import audit
from study.accounts.groups import RESEARCHERS, make_researchers
from study.desk import first_steps, overview, retention, status, study_jobs
from study.desk.first_steps import Standing
from study.desk.site import GROUPS, DeskSite
from study.lab import about
from study.lab.models import Dataset, Job
from study.trials.models import Study
from study.trials.rights import Role
from tests.study.factories import make_study, start

pytestmark = pytest.mark.django_db


@pytest.fixture
def superuser() -> Any:
    return get_user_model().objects.create_superuser("root")


def researcher(name: str, *studies: Study, role: Role = Role.VIEWER) -> Any:
    user = get_user_model().objects.create_user(name, is_staff=True)
    for study in studies:
        study.admit(user, role)
    return user


def client_of(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def tiny(**fields: Any) -> Study:
    return make_study(**{"base_images": 22, "size": 4, **fields})


def job_about(study: Study, state: str = Job.State.QUEUED, **fields: Any) -> Job:
    job = Job.objects.submit(Job.Kind.PLAN, {"study": study.pk})
    Job.objects.filter(pk=job.pk).update(state=state, **fields)
    job.refresh_from_db()
    return job


# --- the navigation


def lists(user: Any) -> list[tuple[str, list[str]]]:
    request = RequestFactory().get("/admin/")
    request.user = user
    return [(group["name"], [model["name"] for model in group["models"]]) for group in admin.site.get_app_list(request)]


def test_the_lists_stand_in_the_order_of_the_work(superuser: Any) -> None:
    wanted = [(title, [entry.name for entry in entries]) for title, entries in GROUPS]
    assert lists(superuser)[: len(wanted)] == wanted


def test_whoever_may_see_nothing_of_the_lab_has_no_lists_of_it() -> None:
    titles = [title for title, _ in lists(researcher("nobody"))]
    assert not {"What is attacked", "What is shown", "People"} & set(titles)


def test_before_signing_in_there_is_a_form_and_no_navigation() -> None:
    reply = Client().get(reverse("admin:login"))
    assert reply.status_code == 200
    assert b"desk-navigation" not in reply.content


def test_every_registered_model_stays_reachable(superuser: Any) -> None:
    request = RequestFactory().get("/admin/")
    request.user = superuser
    listed = {model["model"] for group in admin.site.get_app_list(request) for model in group["models"]}
    reachable = {model for model, options in admin.site._registry.items() if options.has_module_permission(request)}
    assert isinstance(admin.site._wrapped, DeskSite)
    assert listed == reachable


def test_numbers_beside_the_lists_count_what_goes_on(superuser: Any) -> None:
    study = tiny()
    job_about(study)
    said = client_of(superuser).get(reverse("admin:index")).content.decode()
    assert '<span class="badge">1 under way</span>' in said
    assert '<span class="badge">1 open</span>' in said


def test_a_page_of_an_app_lists_its_models(superuser: Any) -> None:
    reply = client_of(superuser).get(reverse("admin:app_list", args=["lab"]))
    assert reply.context["title"] == "Lab"
    assert [group["name"] for group in reply.context["app_list"]] == [
        "What is attacked",
        "What is shown",
        "What goes on",
    ]


def test_django_s_list_of_recent_actions_is_gone(superuser: Any) -> None:
    assert b"Recent actions" not in client_of(superuser).get(reverse("admin:index")).content


# --- the desk


def test_a_failed_job_and_an_erasure_that_is_overdue_want_attention(superuser: Any) -> None:
    study = tiny()
    job_about(study, Job.State.FAILED, error="There was no room.", finished_at=timezone.now())
    Study.objects.filter(pk=study.pk).update(retain_until=timezone.localdate() - timedelta(days=1))
    said = client_of(superuser).get(reverse("admin:index")).content.decode()
    assert "There was no room." in said
    assert "what was to be erased on" in said


def test_an_erasure_that_has_been_done_or_is_to_come_wants_none() -> None:
    today = timezone.localdate()
    done, to_come = tiny(), tiny()
    Study.objects.filter(pk=done.pk).update(retain_until=today - timedelta(days=1), erased_at=timezone.now())
    Study.objects.filter(pk=to_come.pk).update(retain_until=today + timedelta(days=1))
    assert list(retention.overdue()) == []


def test_the_desk_shows_nothing_of_studies_that_one_has_no_role_on() -> None:
    mine, other = tiny(title="Mine"), tiny(title="Not for everybody")
    start(other)
    job_about(other, Job.State.FAILED, error="Secret fault.", finished_at=timezone.now())
    with audit.acting("somebody"):
        for study in (mine, other):
            audit.record("opened", study)
    said = client_of(researcher("r", mine)).get(reverse("admin:index")).content.decode()
    assert "Mine" in said
    assert "Not for everybody" not in said
    assert "Secret fault." not in said


def test_the_log_of_study_1_is_not_that_of_study_11() -> None:
    study = tiny()
    audit.record("opened", f"study {study.pk}1: another")
    audit.record("opened", study)
    (entry,) = overview.entries_about(Study.objects.filter(pk=study.pk), researcher("r", study))
    assert entry.subject.startswith(f"study {study.pk}: ")


def test_a_researcher_without_studies_sees_no_log() -> None:
    audit.record("changed", "data set 1: eyes")
    assert list(overview.entries_about(Study.objects.none(), researcher("r"))) == []


# --- the first steps


def standings(user: Any) -> list[str]:
    return [step.standing for step in first_steps.guide(user)]


def test_an_empty_database_begins_with_a_data_set(superuser: Any) -> None:
    assert standings(superuser) == [Standing.NEXT, Standing.BLOCKED, Standing.BLOCKED, Standing.BLOCKED]


def test_each_step_that_was_taken_leads_to_the_next(superuser: Any) -> None:
    dataset = Dataset.objects.create(name="eyes", kind=Dataset.Kind.SYNTHETIC_EYES)
    assert standings(superuser)[:2] == [Standing.DONE, Standing.NEXT]
    dataset.delete()
    tiny(opened=False)
    assert standings(superuser) == [Standing.DONE, Standing.DONE, Standing.DONE, Standing.NEXT]


def test_the_guide_is_gone_once_a_study_has_been_opened(superuser: Any) -> None:
    tiny()
    assert standings(superuser) == []


@pytest.mark.parametrize("name", ["demo-eyes", "demo-12-eyes"])
def test_what_a_demonstration_made_is_no_step(superuser: Any, name: str) -> None:
    Dataset.objects.filter(pk=tiny().dataset.pk).update(name=name)
    assert standings(superuser)[0] == Standing.NEXT


def test_every_step_leads_to_a_page(superuser: Any) -> None:
    addresses = [step.address for step in first_steps.guide(superuser)]
    assert [client_of(superuser).get(address).status_code for address in addresses] == [200] * 4


# --- jobs of studies


def test_jobs_of_a_study_are_seen_by_its_members_and_jobs_of_the_lab_by_everybody() -> None:
    mine, other = tiny(), tiny()
    job_of_mine, _ = job_about(mine), job_about(other)
    of_the_lab = Job.objects.submit(Job.Kind.PREPARE, {"dataset": mine.dataset.pk})
    seen = study_jobs.visible_to(researcher("r", mine), Job.objects.all())
    assert set(seen) == {job_of_mine, of_the_lab}


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.ANALYST, 302)])
def test_whoever_may_only_look_at_a_study_cannot_cancel_its_jobs(role: Role, status: int) -> None:
    study = tiny()
    job = job_about(study)
    user = researcher("r", study, role=role)
    make_researchers()
    user.groups.add(Group.objects.get(name=RESEARCHERS))
    client = client_of(user)
    assert client.post(reverse("admin:lab_job_cancel", args=[job.pk])).status_code == status
    job.refresh_from_db()
    assert (job.state == Job.State.CANCELLED) == (status == 302)


def test_a_job_about_a_study_bears_its_title(superuser: Any) -> None:
    job_about(tiny(title="Which eye?"))
    (job,) = about.with_names(Job.objects.all())
    assert about.title(job) == "plan a study: Which eye?"
    (referred,) = about.referred(job)
    assert referred.model is Study


def test_the_status_page_is_silent_about_studies_of_others() -> None:
    other = tiny(title="Not for everybody")
    job_about(other, Job.State.FAILED, error="Secret fault.", finished_at=timezone.now())
    found = status.now(researcher("r"))
    assert (list(found.studies), list(found.failed)) == ([], [])


def test_no_way_leads_from_a_number_to_the_address_of_a_study() -> None:
    study = tiny(opened=False)
    kind = ContentType.objects.get_for_model(Study).pk
    assert client_of(researcher("stranger")).get(f"/admin/r/{kind}/{study.pk}/").status_code == 404
