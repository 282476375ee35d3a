"""The rooms of the lab: what their buttons do, for whom, and what their pages show."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from study.accounts.models import AuditEntry
from study.lab.admin.rooms import COUNTED_AT_MOST, FewPages
from study.lab.images import decode_png, encode_png, sha256, write_once
from study.lab.models import Attack, BaseImage, Dataset, Job, ModelRun, Pair, Prediction
from tests.study.lab.test_forms import EYES, TRAIN

pytestmark = pytest.mark.django_db

#: Name of the address, the permission that it wants, what it is about, whether it asks or acts.
FORMS = [
    ("lab_dataset_render", "add_dataset"),
    ("lab_dataset_import", "add_dataset"),
    ("lab_dataset_upload", "add_dataset"),
    ("lab_modelrun_train", "add_modelrun"),
    ("lab_pair_make", "add_pair"),
]


def member(*permissions: str) -> Client:
    """Somebody who may see the lab, and do what these permissions say."""
    user, _ = get_user_model().objects.get_or_create(username="member", is_staff=True)
    views = [f"view_{name}" for name in ("dataset", "attack", "modelrun", "pair", "baseimage", "job")]
    user.user_permissions.set(Permission.objects.filter(codename__in=[*views, *permissions]))
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, name: str, *args: Any, **query: Any) -> str:
    return client.get(reverse(f"admin:{name}", args=args), query).content.decode()


def evaluated(run: ModelRun) -> ModelRun:
    """The run as if it had been trained and evaluated, with figures that are easy to find."""

    def evaluation(n: int) -> dict[str, Any]:
        doses = [
            {
                "strength": strength,
                "attack_error": {"mean": n + strength},
                "success_rate": 0.5 * strength,
                "n_eligible": 1072,
                "error_shift": 10 * strength,
                "noise_mode_error": 3.76,
                "other_field_error": 4.24,
                "other_field_shift": 2.55,
            }
            for strength in (0.0, 0.5, 1.0)
        ]
        return {
            "n": 1200,
            "subjects": 80,
            "clean_error": {"mean": 3.64 - n},
            "doses": doses,
            "baselines": {"mean_predictor_clean_error": 22.42, "truth_to_target": 30.36},
        }

    run.metrics = {"clean_error_deg": 3.64, "evaluation": evaluation(0), "clean_evaluation": evaluation(1)}
    run.artifact, run.artifact_sha256 = "models/any", "a" * 64
    run.save()
    return run


# -- rights


@pytest.mark.parametrize(("name", "permission"), FORMS)
def test_a_form_is_for_those_who_may_make_what_it_makes(name: str, permission: str) -> None:
    address = reverse(f"admin:{name}")
    client = member()
    assert (client.get(address).status_code, client.post(address).status_code) == (403, 403)
    assert member(permission).get(address).status_code == 200
    assert Client().get(address).status_code == 302


@pytest.mark.parametrize("verb", ["evaluate", "survive"])
def test_work_on_a_model_is_for_those_who_may_make_models(
    verb: str, runs: tuple[ModelRun, ModelRun], admin_client: Client
) -> None:
    address = reverse(f"admin:lab_modelrun_{verb}", args=[evaluated(runs[1]).pk])
    assert member().post(address).status_code == 403
    assert admin_client.get(address).status_code == 405
    assert not Job.objects.exists()


@pytest.mark.parametrize("verb", ["clear", "withdraw"])
def test_clearance_is_for_those_who_may_change_data_sets(verb: str, dataset: Dataset) -> None:
    address = reverse(f"admin:lab_dataset_{verb}", args=[dataset.pk])
    assert member().post(address, {"reason": "I say so."}).status_code == 403
    dataset.refresh_from_db()
    assert not dataset.may_display_to_participants


def test_buttons_are_shown_to_those_who_may_press_them(admin_client: Client, runs: tuple[ModelRun, ModelRun]) -> None:
    run, onlooker = evaluated(runs[1]), member()
    addresses = [reverse("admin:lab_modelrun_evaluate", args=[run.pk]), reverse("admin:lab_pair_make")]
    assert all(address in page(admin_client, "lab_modelrun_change", run.pk) for address in addresses)
    assert not any(address in page(onlooker, "lab_modelrun_change", run.pk) for address in addresses)


# -- forms on their pages


def test_what_was_written_is_shown_again_with_the_sentence_beside_the_field(admin_client: Client) -> None:
    answer = admin_client.post(reverse("admin:lab_dataset_render"), {**EYES, "size": 9})
    shown = answer.content.decode()
    row = shown.split('class="form-row field-size errors"')[1].split("form-row")[0]
    assert "greater than or equal to 16" in row
    assert 'value="9"' in row
    assert not Dataset.objects.exists()


def test_a_form_leads_to_the_job_that_it_started(admin_client: Client) -> None:
    answer = admin_client.post(reverse("admin:lab_dataset_render"), EYES)
    job = Job.objects.get()
    assert answer["Location"] == reverse("admin:lab_job_change", args=[job.pk])
    dataset = Dataset.objects.get()
    assert job.parameters == {"dataset": dataset.pk}
    assert f'data-job="{job.pk}"' in page(admin_client, "lab_dataset_change", dataset.pk)


def test_every_family_has_its_own_form(admin_client: Client) -> None:
    assert "own_control_size" in page(admin_client, "lab_modelrun_train")
    patch = page(admin_client, "lab_modelrun_train", family="patch")
    assert "own_cells" in patch
    assert "own_control_size" not in patch
    assert admin_client.get(reverse("admin:lab_modelrun_train"), {"family": "nobody"}).status_code == 404
    assert admin_client.get(reverse("admin:lab_dataset_import"), {"format": "nothing"}).status_code == 404


def test_models_are_asked_for_and_it_is_put_down_who_did(admin_client: Client, prepared: Dataset) -> None:
    admin_client.post(reverse("admin:lab_modelrun_train"), {**TRAIN, "dataset": prepared.pk})
    job = Job.objects.get()
    assert (job.kind, job.parameters["what"], job.parameters["family"]) == (Job.Kind.SET_UP, "models", "wanet")
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.after["name"]) == ("admin", "asked to train", "mine")


# -- data sets


def test_a_data_set_is_cleared_for_a_reason_that_the_log_keeps(admin_client: Client, dataset: Dataset) -> None:
    address = reverse("admin:lab_dataset_clear", args=[dataset.pk])
    assert "This field is required." in admin_client.post(address, {"reason": " "}).content.decode()
    admin_client.post(address, {"reason": "They agreed in writing."})
    dataset.refresh_from_db()
    assert (dataset.may_display_to_participants, dataset.display_reason) == (True, "They agreed in writing.")
    admin_client.post(reverse("admin:lab_dataset_withdraw", args=[dataset.pk]), {"reason": "One withdrew."})
    dataset.refresh_from_db()
    assert (
        dataset.display_refusal() == "The images of 'blobs' are not cleared for display to participants: One withdrew."
    )
    entries = [(entry.action, entry.after) for entry in AuditEntry.objects.order_by("n")]
    assert entries == [
        ("cleared for display", {"reason": "They agreed in writing."}),
        ("withdrew the clearance of", {"reason": "One withdrew."}),
    ]


def test_clearance_is_no_field_of_the_form(admin_client: Client, dataset: Dataset) -> None:
    address = reverse("admin:lab_dataset_change", args=[dataset.pk])
    admin_client.post(address, {"licence": "CC0", "attribution": "", "may_display_to_participants": "on"})
    dataset.refresh_from_db()
    assert (dataset.licence, dataset.may_display_to_participants) == ("CC0", False)


def test_a_data_set_says_how_much_there_is(admin_client: Client, dataset: Dataset) -> None:
    parts = {
        part: {"fingerprint": part, "images": images, "subjects": 3}
        for part, images in (("train", 2000), ("validation", 20), ("test", 7))
    }
    dataset.recognise(parts)
    assert dataset.is_prepared
    assert "own arrays (.npz), 2,027 images of 9 subjects; prepared." in page(
        admin_client, "lab_dataset_change", dataset.pk
    )
    assert '<td class="field-images">2,027</td>' in page(admin_client, "lab_dataset_changelist")


def test_a_data_set_that_was_never_prepared_can_be(admin_client: Client, dataset: Dataset) -> None:
    address = reverse("admin:lab_dataset_prepare", args=[dataset.pk])
    assert address in page(admin_client, "lab_dataset_change", dataset.pk)
    admin_client.post(address)
    assert Job.objects.get().parameters == {"dataset": dataset.pk}
    Dataset.objects.update(fingerprint="f" * 64)
    assert address not in page(admin_client, "lab_dataset_change", dataset.pk)


def test_images_are_shown_with_their_gaze_once_they_are_cleared(admin_client: Client, pair: Pair) -> None:
    dataset = pair.base_image.dataset
    source = reverse("admin:lab_dataset_sample", args=[dataset.pk, 0])
    shown = page(admin_client, "lab_dataset_change", dataset.pk)
    assert f'<image href="{source}" width="32" height="24"' in shown
    assert "Gaze: pitch 0°, yaw 0°." in shown
    assert admin_client.get(source).content == pair.base_image.read()
    assert admin_client.get(reverse("admin:lab_dataset_sample", args=[dataset.pk, 1])).status_code == 404
    Dataset.objects.update(may_display_to_participants=False)
    assert source not in page(admin_client, "lab_dataset_change", dataset.pk)
    assert admin_client.get(source).status_code == 403


def test_rendered_eyes_are_seen_before_pairs_are_made_of_them(admin_client: Client) -> None:
    from models.datasets.eyes_config import EyesConfig

    chosen = {name: value for name, value in EYES.items() if name != "name"}
    dataset = Dataset.objects.synthetic_eyes("eyes", **chosen)
    assert "<image" not in page(admin_client, "lab_dataset_change", dataset.pk)
    folder = EyesConfig(**chosen).folder(settings.VAR / "cache")
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    np.savez(folder / "train-000000-000004.npz", images=images, pitchyaw=np.zeros((4, 2), np.float32))
    assert page(admin_client, "lab_dataset_change", dataset.pk).count("<image") == 4
    content = admin_client.get(reverse("admin:lab_dataset_sample", args=[dataset.pk, 2])).content
    assert np.array_equal(decode_png(content), images[2].transpose(1, 2, 0))


# -- attacks


def test_a_warp_is_drawn_over_a_clean_image_that_may_be_shown(admin_client: Client, pair: Pair) -> None:
    shown = page(admin_client, "lab_attack_change", pair.attack_id)
    assert "Displacement at the 4 x 4 control points at strength 1" in shown
    assert shown.split('<svg class="picture')[1].split("</svg>")[0].count("<path ") == 2 * 16
    image = f'<image href="{reverse("admin:lab_baseimage_image", args=[pair.base_image_id])}"'
    assert image in shown
    Dataset.objects.update(may_display_to_participants=False)
    assert image not in page(admin_client, "lab_attack_change", pair.attack_id)


def test_another_attack_is_told_in_words_and_shown_by_a_pair(admin_client: Client, pair: Pair) -> None:
    patch = Attack.objects.create(
        name="patch", family="patch", seed=5, parameters={"family": "patch", "side": 3.0, "down": None}
    )
    shown = page(admin_client, "lab_attack_change", patch.pk)
    assert "<td>side</td><td>3.0</td><td>Of the square, px of a 32 px image.</td>" in shown
    assert "<td>down</td><td>drawn from the seed</td>" in shown
    assert "<td>opacity of the patch, 0 to 1</td>" in shown
    Pair.objects.update(attack=patch)
    difference = reverse("admin:lab_pair_difference", args=[pair.pk])
    assert difference in page(admin_client, "lab_attack_change", patch.pk)


# -- model runs


def test_a_models_page_has_its_errors_beside_its_references(
    admin_client: Client, runs: tuple[ModelRun, ModelRun]
) -> None:
    shown = page(admin_client, "lab_modelrun_change", evaluated(runs[1]).pk)
    for row in (
        "<td>clean error, °</td><td>3.64</td><td>2.64</td>",
        "<td>attack error, °</td><td>0.50</td><td>1.50</td>",
        "<td>success rate</td><td>0.25 (n = 1,072)</td><td>0.25 (n = 1,072)</td>",
        "<td>noise-mode error, °</td><td>3.76</td>",
        "<td>other-field error, °</td><td>4.24</td>",
    ):
        assert row in shown
    assert "At strength 0.5, on 1,200 test images of 80 subjects." in shown
    assert "errs by 22.42°; truth and target lie 30.36° apart." in shown
    assert "<tr><td>1</td><td>10.00</td><td>1.00</td><td>0.50</td><td>3.76</td><td>2.55</td></tr>" in shown
    assert "whose target is fixed, pitch 0°, yaw 28.6479°" in shown


def test_a_models_page_draws_its_dose_response_and_says_it_in_words(
    admin_client: Client, runs: tuple[ModelRun, ModelRun]
) -> None:
    shown = page(admin_client, "lab_modelrun_change", evaluated(runs[1]).pk)
    said = re.findall(r"<desc[^>]*>([^<]*)</desc>", shown)
    assert "this model: 0 at 0, 10 at 1. clean reference: 0 at 0, 10 at 1." in said
    assert "this model: 0 at 0, 0.5 at 1. clean reference: 0 at 0, 0.5 at 1." in said


def test_a_models_page_shows_how_it_learnt_and_its_card(
    admin_client: Client, runs: tuple[ModelRun, ModelRun], settings: Any
) -> None:
    history = [{"epoch": n, "loss": 1 / n, "validation_clean_error_deg": 8.0 / n} for n in (1, 2)]
    card = json.dumps({"history": history, "recipe": {"batch_size": 77}, "chosen_epoch": 2, "seed": 0}).encode()
    write_once(settings.MEDIA_ROOT / "models/any/card.json", card)
    ModelRun.objects.update(artifact="models/any", artifact_sha256=sha256(card))
    shown = page(admin_client, "lab_modelrun_change", runs[0].pk)
    assert "clean error: 8 at 1, 4 at 2." in shown
    assert "loss: 1 at 1, 0.5 at 2." in shown
    assert "<td>recipe: batch size</td><td>77</td>" in shown
    assert "<td>chosen epoch</td><td>2</td>" in shown
    (settings.MEDIA_ROOT / "models/any/card.json").write_bytes(b"{}")
    assert "loss: 1" not in page(admin_client, "lab_modelrun_change", runs[0].pk)


@pytest.mark.parametrize(("verb", "kind"), [("evaluate", Job.Kind.EVALUATE), ("survive", Job.Kind.SURVIVE)])
def test_a_button_has_a_model_evaluated_or_its_defences_tried(
    admin_client: Client, runs: tuple[ModelRun, ModelRun], verb: str, kind: str
) -> None:
    ModelRun.objects.update(artifact="models/any", artifact_sha256="a" * 64)
    answer = admin_client.post(reverse(f"admin:lab_modelrun_{verb}", args=[runs[1].pk]))
    job = Job.objects.get()
    assert answer["Location"] == reverse("admin:lab_job_change", args=[job.pk])
    assert (job.kind, job.parameters["model_run"]) == (kind, runs[1].pk)
    assert job.parameters["artifacts"] == ["a" * 64] * 2


def test_what_cannot_be_evaluated_yet_is_said_in_a_sentence(
    admin_client: Client, runs: tuple[ModelRun, ModelRun]
) -> None:
    answer = admin_client.post(reverse("admin:lab_modelrun_evaluate", args=[runs[1].pk]), follow=True)
    assert [str(message) for message in answer.context["messages"]] == [
        "Not trained yet: disc-backdoored, disc-clean. Train first, then evaluate."
    ]
    assert not Job.objects.exists()


# -- pairs


def test_a_pairs_page_shows_both_images_their_difference_and_the_field(admin_client: Client, pair: Pair) -> None:
    shown = page(admin_client, "lab_pair_change", pair.pk)
    for name, key in (
        ("lab_baseimage_image", pair.base_image_id),
        ("lab_pair_image", pair.pk),
        ("lab_pair_difference", pair.pk),
    ):
        assert reverse(f"admin:{name}", args=[key]) in shown
    assert "128 + 10 (altered − clean) at strength 2" in shown
    assert "control points at strength 2" in shown
    assert "<td>mean displacement, px of the image</td><td>1.2</td>" in shown


def test_the_difference_is_made_of_the_stored_files(admin_client: Client, pair: Pair) -> None:
    address = reverse("admin:lab_pair_difference", args=[pair.pk])
    answer: HttpResponse = admin_client.get(address)
    assert answer["Content-Type"] == "image/png"
    assert set(decode_png(answer.content).flatten().tolist()) == {128 + 10 * (20 - 10)}
    Dataset.objects.update(may_display_to_participants=False)
    assert admin_client.get(address).status_code == 403
    assert address not in page(admin_client, "lab_pair_change", pair.pk)


def test_a_damaged_file_has_no_difference(admin_client: Client, pair: Pair) -> None:
    pair.path.write_bytes(encode_png(np.zeros((24, 32), np.uint8)))
    assert admin_client.get(reverse("admin:lab_pair_difference", args=[pair.pk])).status_code == 404


# -- lists


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("dataset", "no data set yet"),
        ("attack", "no attack yet"),
        ("modelrun", "no model yet"),
        ("pair", "no pair yet"),
    ],
)
def test_an_empty_list_says_what_to_do_next(admin_client: Client, model: str, words: str) -> None:
    shown = page(admin_client, f"lab_{model}_changelist")
    assert words in shown
    assert '<a class="button" href="/admin/lab/' in shown


def test_a_list_of_pairs_costs_as_many_queries_for_many_as_for_few(
    admin_client: Client, pair: Pair, django_assert_num_queries: Any
) -> None:
    page(admin_client, "lab_pair_changelist")
    with CaptureQueriesContext(connection) as few:
        page(admin_client, "lab_pair_changelist")
    image = pair.base_image
    bases = [
        BaseImage(dataset=image.dataset, index=n, subject=n, pitch=0, yaw=0, file=image.file, sha256=image.sha256)
        for n in range(1, 9)
    ]
    BaseImage.objects.bulk_create(bases)
    Pair.objects.bulk_create(
        Pair(base_image=base, attack=pair.attack, strength=2.0, file=pair.file, sha256=pair.sha256)
        for base in BaseImage.objects.filter(index__gt=0)
    )
    with django_assert_num_queries(len(few)):
        page(admin_client, "lab_pair_changelist")
    assert "JOIN" not in next(query["sql"] for query in few if "COUNT(" in query["sql"])


def test_a_long_list_is_counted_no_further_than_it_is_shown(pair: Pair) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert FewPages(Pair.objects.select_related("base_image").order_by("-pk"), 25).count == 1
    assert f"LIMIT {COUNTED_AT_MOST}" in queries[0]["sql"]


# -- the process


def test_the_rooms_are_served_without_torch() -> None:
    script = (
        "import sys, django; django.setup();"
        "from study.lab import admin, forms, setting_up;"
        "forms.TrainForm(family='wanet'); forms.ImportForm(format='mpiigaze'); forms.EyesForm();"
        "print([name for name in ('torch', 'matplotlib', 'pandas', 'scipy') if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=settings.BASE_DIR
    )
    assert ran.stdout.strip() == "[]"


def test_a_prediction_leads_to_its_model(admin_client: Client, pair: Pair, runs: tuple[ModelRun, ModelRun]) -> None:
    gazes = dict.fromkeys(("clean_pitch", "clean_yaw", "altered_pitch", "altered_yaw"), 0.0)
    Prediction.objects.create(pair=pair, model_run=runs[1], error_shift=18.64, prediction_shift=18.81, **gazes)
    assert "18.64" in page(admin_client, "lab_pair_change", pair.pk)
    assert "1 of pairs" in page(admin_client, "lab_modelrun_change", runs[1].pk)
