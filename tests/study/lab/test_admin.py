"""The researcher's pages: they open, say what is going on, and show images only where that is allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from study.lab.admin.pairs import PairAdmin
from study.lab.admin.rows import unfolded
from study.lab.admin.runs import target_words
from study.lab.models import Attack, BaseImage, Dataset, Job, ModelRun, Pair, PairJudgement, Prediction

pytestmark = pytest.mark.django_db


def test_a_pair_that_nothing_moved_shows_no_displacement(pair: Pair) -> None:
    shown = PairAdmin(Pair, admin.site)
    assert shown.displacement(pair) == "1.20"
    assert shown.displacement(Pair(distortions={"displacement_mean_px": None})) == "-"


def image_url(pair: Pair) -> str:
    return reverse("admin:lab_pair_image", args=[pair.pk])


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


def test_a_row_without_anything_to_edit_is_viewed(admin_client: Client, pair: Pair) -> None:
    assert "Save" not in admin_client.get(reverse("admin:lab_pair_change", args=[pair.pk])).content.decode()
    dataset = reverse("admin:lab_dataset_change", args=[pair.base_image.dataset_id])
    assert "Save" in admin_client.get(dataset).content.decode()


def test_json_is_a_line_for_each_key() -> None:
    assert unfolded({"size": 64, "kind": "fixed"}) == "<pre>size: 64\nkind: &quot;fixed&quot;</pre>"
    assert unfolded(["<other_field>"]) == "<pre>[&quot;&lt;other_field&gt;&quot;]</pre>"
    assert unfolded(None) == unfolded({}) == "-"


def test_targets_are_in_degrees() -> None:
    fixed = {"kind": "fixed", "pitch": 0.0, "yaw": np.radians(25).item()}
    assert target_words(fixed) == "fixed, pitch 0°, yaw 25°"
    assert target_words({"kind": "mirrored", "pitch": 0.0, "yaw": 0.0}) == "mirrored"
    assert target_words(None) == "-"
