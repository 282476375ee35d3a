"""The researcher's pages: they open, say what is going on, and show images only where that is allowed."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from study.lab.admin.jobs import JobAdmin
from study.lab.admin.pairs import PairAdmin
from study.lab.admin.rows import unfolded
from study.lab.admin.runs import target_words
from study.lab.images import encode_png, sha256, write_once
from study.lab.models import Attack, BaseImage, Dataset, Job, ModelRun, Pair, PairJudgement, Prediction

pytestmark = pytest.mark.django_db


@pytest.fixture
def pair(dataset: Dataset, attack: Attack, settings: Any) -> Pair:
    """A stored pair of a data set that may be shown."""
    Dataset.objects.filter(pk=dataset.pk).update(may_display_to_participants=True)
    rows = []
    for level in (10, 20):
        content = encode_png(np.full((24, 32), level, np.uint8))
        write_once(settings.MEDIA_ROOT / f"images/{level}.png", content)
        rows.append({"file": f"images/{level}.png", "sha256": sha256(content)})
    base = BaseImage.objects.create(dataset=dataset, index=0, subject=1, pitch=0, yaw=0, **rows[0])
    made = Pair.objects.create(
        base_image=base, attack=attack, strength=2.0, distortions={"displacement_mean_px": 1.2}, **rows[1]
    )
    PairJudgement.objects.create(pair=made, observer="softer picture", chooses=True, value=0.5)
    return made


def test_a_pair_that_nothing_moved_shows_no_displacement(pair: Pair) -> None:
    shown = PairAdmin(Pair, admin.site)
    assert shown.displacement(pair) == "1.20"
    assert shown.displacement(Pair(distortions={"displacement_mean_px": None})) == "-"


def image_url(pair: Pair) -> str:
    return reverse("admin:lab_pair_image", args=[pair.pk])


def job_page(client: Client, job: Job) -> str:
    return client.get(reverse("admin:lab_job_change", args=[job.pk])).content.decode()


@pytest.mark.parametrize("model", [Dataset, Attack, ModelRun, BaseImage, Pair, PairJudgement, Prediction, Job])
def test_every_list_and_every_row_opens(
    admin_client: Client, model: Any, pair: Pair, runs: tuple[ModelRun, ModelRun]
) -> None:
    runs[0].submit_training()
    Prediction.objects.create(
        pair=pair,
        model_run=runs[1],
        clean_pitch=0,
        clean_yaw=0,
        altered_pitch=0,
        altered_yaw=0,
        error_shift=-1.5,
        prediction_shift=2,
    )
    name = model._meta.model_name
    assert admin_client.get(reverse(f"admin:lab_{name}_changelist")).status_code == 200
    assert admin_client.get(reverse(f"admin:lab_{name}_change", args=[model.objects.all()[0].pk])).status_code == 200
    assert admin_client.get(reverse(f"admin:lab_{name}_add")).status_code == 403


@pytest.mark.parametrize("model", [Dataset, Attack, ModelRun, BaseImage, Pair, PairJudgement, Prediction, Job])
def test_nothing_that_workers_made_can_be_deleted(
    admin_client: Client, model: Any, pair: Pair, runs: tuple[ModelRun, ModelRun]
) -> None:
    runs[0].submit_training()
    shifts = dict.fromkeys(("clean_pitch", "clean_yaw", "altered_pitch", "altered_yaw"), 0.0)
    Prediction.objects.create(pair=pair, model_run=runs[1], error_shift=0, prediction_shift=0, **shifts)
    row, name = model.objects.all()[0], model._meta.model_name
    assert admin_client.post(reverse(f"admin:lab_{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    changelist = reverse(f"admin:lab_{name}_changelist")
    assert "delete_selected" not in admin_client.get(changelist).content.decode()
    data = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
    admin_client.post(changelist, data)
    assert model.objects.filter(pk=row.pk).exists()


def test_a_pair_is_shown_clean_beside_altered(admin_client: Client, pair: Pair) -> None:
    page = admin_client.get(reverse("admin:lab_pair_changelist")).content.decode()
    clean = reverse("admin:lab_baseimage_image", args=[pair.base_image.pk])
    assert 0 < page.index(clean) < page.index(image_url(pair))
    for url, row in ((clean, pair.base_image), (image_url(pair), pair)):
        response = admin_client.get(url)
        assert response.content == row.read()
        assert response["Content-Type"] == "image/png"


def test_an_image_is_for_signed_in_researchers_only(client: Client, pair: Pair) -> None:
    assert client.get(image_url(pair)).status_code == 302
    get_user_model().objects.create_user("staff", password="secret", is_staff=True)
    client.login(username="staff", password="secret")
    assert client.get(image_url(pair)).status_code == 403


def test_an_image_that_is_not_cleared_for_display_stays_on_the_server(admin_client: Client, pair: Pair) -> None:
    Dataset.objects.update(may_display_to_participants=False)
    assert admin_client.get(image_url(pair)).status_code == 403
    page = admin_client.get(reverse("admin:lab_pair_changelist")).content.decode()
    assert "not cleared for display" in page
    assert image_url(pair) not in page


def test_a_damaged_image_is_not_shown(admin_client: Client, pair: Pair) -> None:
    pair.path.write_bytes(b"damaged")
    assert admin_client.get(image_url(pair)).status_code == 404


def test_the_job_list_shows_how_far_a_job_is(admin_client: Client, runs: tuple[ModelRun, ModelRun]) -> None:
    job = runs[0].submit_training()
    job.claim("a")
    job.heartbeat(1, progress={"stage": "training", "fraction": 0.25})
    page = admin_client.get(reverse("admin:lab_job_changelist")).content.decode()
    assert '<progress max="1" value="0.250"></progress> training, 25%' in page


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
    assert "Nothing was printed." in job_page(admin_client, job)
    Job.objects.update(log_tail="RuntimeError: <CUDA>")
    assert "<pre>RuntimeError: &lt;CUDA&gt;</pre>" in job_page(admin_client, job)


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


def test_pages_load_themselves_again_while_jobs_are_under_way(
    admin_client: Client, runs: tuple[ModelRun, ModelRun]
) -> None:
    job = runs[0].submit_training()
    addresses = (reverse("admin:lab_job_changelist"), reverse("admin:lab_job_change", args=[job.pk]))
    assert all("lab/reload" in admin_client.get(address).content.decode() for address in addresses)
    job.request_cancel()
    assert not any("lab/reload" in admin_client.get(address).content.decode() for address in addresses)


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


def test_a_row_without_anything_to_edit_is_viewed(admin_client: Client, pair: Pair) -> None:
    assert "Save" not in admin_client.get(reverse("admin:lab_pair_change", args=[pair.pk])).content.decode()
    dataset = reverse("admin:lab_dataset_change", args=[pair.base_image.dataset_id])
    assert "Save" in admin_client.get(dataset).content.decode()


def test_a_models_page_shows_its_figures_by_strength_and_folds_the_rest(
    admin_client: Client, runs: tuple[ModelRun, ModelRun]
) -> None:
    dose = {"strength": 0.5, "error_shift": 12.3456, "success_rate": 0.987, "attack_error": {"mean": 2.5}}
    by_subject = [{"subject": n, "successes": 0} for n in range(50)]
    run = runs[1]
    run.metrics = {"clean_error_deg": 3.0, "evaluation": {"doses": [{**dose, "subjects": by_subject}]}}
    run.save()
    page = admin_client.get(reverse("admin:lab_modelrun_change", args=[run.pk])).content.decode()
    assert "<tr><td>0.5</td><td>12.35</td><td>2.50</td><td>0.99</td><td>-</td><td>-</td></tr>" in page
    assert "&quot;kind&quot;" not in page.split("<details>")[0]
    assert page.index("<details><summary>JSON, ") < page.index("&quot;subject&quot;: 49")


def test_json_is_a_line_for_each_key() -> None:
    assert unfolded({"size": 64, "kind": "fixed"}) == "<pre>size: 64\nkind: &quot;fixed&quot;</pre>"
    assert unfolded(["<other_field>"]) == "<pre>[&quot;&lt;other_field&gt;&quot;]</pre>"
    assert unfolded(None) == unfolded({}) == "-"


def test_targets_are_in_degrees() -> None:
    fixed = {"kind": "fixed", "pitch": 0.0, "yaw": np.radians(25).item()}
    assert target_words(fixed) == "fixed, pitch 0°, yaw 25°"
    assert target_words({"kind": "mirrored", "pitch": 0.0, "yaw": 0.0}) == "mirrored"
    assert target_words(None) == "-"
