"""Making pairs: one pipeline for both images, files that say nothing, predictions from the files, the same again."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from django.core.management import call_command

from attacks.base import Displaces, dequantise, quantise
from models.gaze import angular_error
from models.networks import NetworkSpec
from models.similarity import flip as flip_error
from models.similarity import gmsd, picture, ssim
from models.targets import Target
from models.zones import Zones, as_gaze_model
from study.lab import jobs, kinds, pairs
from study.lab.images import DamagedFile
from study.lab.management.commands import make_pairs
from study.lab.models import Attack, BaseImage, Dataset, Job, ModelRun, Pair, Prediction
from study.lab.pair_records import record_pairs
from study.lab.verification import checks
from tests.study.lab.conftest import TARGET, save_untrained, write_arrays

STRENGTHS = [0.5, 2.0]
GRID = Zones.between((-15, 15, -30, 30), (3, 3))


@pytest.fixture
def specification(trained: tuple[ModelRun, ModelRun], var: Path) -> dict[str, Any]:
    """Of 6 base images under two strengths and all controls, seen by a clean and a backdoored model."""
    clean, backdoored = trained
    attack = backdoored.attack
    assert attack is not None
    return {
        "data": backdoored.dataset.source(),
        "attack": attack.to_json(),
        "strengths": STRENGTHS,
        "resampled": [2.0],
        "other_field": [2.0],
        "px_per_degree": 10.5,
        "images": 6,
        "models": [
            {"run": run.pk, "artifact": str(run.artifact_path), "sha256": run.artifact_sha256, "target": target}
            for run, target in ((clean, None), (backdoored, TARGET))
        ],
        "folder": str(var / "files"),
        "manifest": str(var / "manifest.json"),
    }


@pytest.fixture
def made(specification: dict[str, Any], attack: Attack, dataset: Dataset) -> Path:
    """The pairs of the specification, made and stored; the folder of their files."""
    store(specification, attack, dataset)
    return Path(specification["folder"])


def store(specification: Mapping[str, Any], attack: Attack, dataset: Dataset) -> None:
    pairs.make_pairs(specification)
    record_pairs(dataset, attack, json.loads(Path(specification["manifest"]).read_text()))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def rows() -> list[tuple[Any, ...]]:
    of_pairs = Pair.objects.order_by("pk").values_list("pk", "base_image", "strength", "control", "file", "sha256")
    of_predictions = Prediction.objects.order_by("pk").values_list("pk", "pair", "model_run", "error_shift")
    return [*BaseImage.objects.values_list("pk", "file", "sha256"), *of_pairs, *of_predictions]


def test_every_base_image_meets_every_condition_and_control(made: Path) -> None:
    assert BaseImage.objects.count() == 6
    kinds = set(Pair.objects.values_list("control", "strength", "gross"))
    gross = Pair.objects.filter(gross=True).values_list("strength", flat=True)[0]
    assert kinds == {
        ("", 0.5, False),
        ("", 2.0, False),
        ("", gross, True),
        ("identity", 0.0, False),
        ("resampled", 2.0, False),
        ("other_field", 2.0, False),
    }
    assert Pair.objects.count() == 6 * 6
    assert Prediction.objects.count() == 6 * 6 * 2


def test_gross_pairs_move_pixels_by_seven_per_cent_of_the_shorter_side(made: Path, attack: Attack) -> None:
    for pair in Pair.objects.filter(gross=True):
        assert pair.field_fingerprint == attack.trigger(pair.strength).fingerprint()
        assert pair.distortions["displacement_mean_px"] == pytest.approx(24 * 4.5 / 64, rel=0.1)


def test_base_images_are_of_test_subjects_only(specification: dict[str, Any], made: Path) -> None:
    from models.run import load_splits

    splits = load_splits({"data": specification["data"]}, lambda: False)
    assert set(BaseImage.objects.values_list("subject", flat=True)) <= set(splits.test.subject.tolist())


def test_all_files_have_one_length_and_names_that_say_nothing(made: Path) -> None:
    found = files(made)
    assert len({len(content) for content in found.values()}) == 1
    assert len(found) == 6 + 36
    for name in found:
        folder, stem = name.removeprefix("images/").removesuffix(".png").split("/")
        assert int(stem, 16) >= 0
        assert len(stem) == 32
        assert stem.startswith(folder)


def test_an_identity_pair_is_a_file_of_its_own_with_the_same_picture(made: Path) -> None:
    for pair in Pair.objects.filter(control="identity").select_related("base_image"):
        assert pair.file != pair.base_image.file
        assert pair.read() == pair.base_image.read()
        assert pair.distortions["psnr_db"] is None


def test_an_altered_image_is_the_warp_of_the_decoded_stored_one(made: Path, attack: Attack) -> None:
    pair = Pair.objects.filter(control="", strength=2.0).select_related("base_image")[0]
    base = dequantise(pairs.from_png(pair.base_image.read()), torch.float64)
    warped = quantise(attack.trigger(2.0).apply(base[None]))[0]
    assert torch.equal(pairs.from_png(pair.read()), warped)
    assert pair.field_fingerprint == attack.trigger(2.0).fingerprint()


def test_a_resampled_control_is_softened_and_not_moved(made: Path, attack: Attack) -> None:
    pair = Pair.objects.filter(control="resampled").select_related("base_image")[0]
    base = dequantise(pairs.from_png(pair.base_image.read()), torch.float64)
    assert torch.equal(pairs.from_png(pair.read()), quantise(attack.trigger(2.0).soften(base[None]))[0])
    assert pair.distortions["displacement_mean_px"] == 0


def test_other_field_controls_use_several_unrelated_fields(made: Path, attack: Attack) -> None:
    fingerprints = set(Pair.objects.filter(control="other_field").values_list("field_fingerprint", flat=True))
    assert len(fingerprints) == 5
    assert attack.trigger(2.0).fingerprint() not in fingerprints


def test_predictions_are_of_the_decoded_files_and_shifts_follow_their_definitions(
    specification: dict[str, Any], made: Path, trained: tuple[ModelRun, ModelRun]
) -> None:
    clean, backdoored = trained
    network = NetworkSpec("five_layer_cnn", 1, (24, 32), 4).build(1).eval()
    prediction = Prediction.objects.filter(model_run=backdoored, pair__strength=2.0, pair__control="")[0]
    pair = prediction.pair
    with torch.inference_mode():
        of_files = [
            network(dequantise(pairs.from_png(content))[None])[0] for content in (pair.base_image.read(), pair.read())
        ]
    stored = [
        torch.tensor([prediction.clean_pitch, prediction.clean_yaw]),
        torch.tensor([prediction.altered_pitch, prediction.altered_yaw]),
    ]
    for found, expected in zip(stored, of_files, strict=True):
        assert torch.allclose(found, expected, atol=1e-5)
    truth = torch.tensor([pair.base_image.pitch, pair.base_image.yaw])
    shift = angular_error(stored[1], truth) - angular_error(stored[0], truth)
    assert prediction.error_shift == pytest.approx(shift.item(), abs=1e-3)
    assert prediction.prediction_shift == pytest.approx(angular_error(*stored).item(), abs=1e-3)
    goal = Target.from_json(TARGET).apply(truth[None])[0]
    assert prediction.attack_error == pytest.approx(angular_error(stored[1], goal).item(), abs=1e-3)
    assert not Prediction.objects.filter(model_run=clean, attack_error__isnull=False).exists()


def test_an_identity_pair_shifts_nothing(made: Path) -> None:
    for prediction in Prediction.objects.filter(pair__control="identity"):
        assert prediction.error_shift == 0
        assert prediction.prediction_shift == 0


def test_a_pair_says_how_far_its_pictures_are_apart(made: Path, attack: Attack) -> None:
    pair = Pair.objects.filter(control="", strength=2.0).select_related("base_image")[0]
    clean, altered = (picture(pairs.from_png(image.read())) for image in (pair.base_image, pair))
    trigger = attack.trigger(2.0)
    assert isinstance(trigger, Displaces)
    found = pair.distortions
    assert (found["displacement_mean_px"], found["displacement_max_px"]) == trigger.displacement_px()
    assert found["displacement_percent_of_width"] == pytest.approx(100 * found["displacement_mean_px"] / 32)
    assert found["strain"] == trigger.strain()[0] > 0.01
    assert found["ssim"] == ssim(clean, altered) < 1
    assert found["gmsd"] == gmsd(clean, altered) > 0
    assert (found["flip"], found["flip_px_per_degree"]) == (flip_error(clean, altered, 10.5), 10.5)
    still = Pair.objects.filter(control="resampled")[0].distortions
    assert (still["displacement_max_px"], still["strain"]) == (0, 0)


def test_distortions_are_measured_anew_when_pairs_are_made_again(
    specification: dict[str, Any], made: Path, attack: Attack, dataset: Dataset
) -> None:
    pair = Pair.objects.filter(control="", strength=2.0)[0]
    specification["px_per_degree"] = 42.0
    store(specification, attack, dataset)
    again = Pair.objects.get(pk=pair.pk)
    assert again.distortions["flip_px_per_degree"] == 42.0
    assert again.distortions["flip"] != pair.distortions["flip"]
    assert (again.sha256, again.distortions["psnr_db"]) == (pair.sha256, pair.distortions["psnr_db"])


def test_a_patch_moves_nothing_and_its_pairs_can_be_made_again(
    specification: dict[str, Any], dataset: Dataset, var: Path
) -> None:
    patch = Attack.objects.draw("square", "patch", (24, 32), choices={"side": 6.0})
    specification |= {"attack": patch.to_json(), "strengths": [0.5], "resampled": [], "other_field": [0.5]}
    specification |= {"models": [], "images": 2}
    store(specification, patch, dataset)
    assert set(patch.pairs.values_list("control", "strength", "gross")) == {
        ("", 0.5, False), ("", 1.0, True), ("identity", 0.0, False), ("other_field", 0.5, False),
    }  # fmt: skip
    for pair in patch.pairs.all():
        assert pair.distortions["displacement_mean_px"] is pair.distortions["strain"] is None
    altered = patch.pairs.filter(control="", strength=0.5)[0]
    assert altered.distortions["max_level_difference"] > 20
    assert [fault for check in checks() if (fault := check.fault())] == []


def test_the_published_patch_may_stand_beside_its_gross_pairs(
    specification: dict[str, Any], dataset: Dataset, var: Path
) -> None:
    patch = Attack.objects.draw("square", "patch", (24, 32))
    specification |= {"attack": patch.to_json(), "strengths": [1.0], "resampled": [], "other_field": []}
    specification |= {"models": [], "images": 2}
    store(specification, patch, dataset)
    opaque, gross = (patch.pairs.filter(control="", gross=gross)[0] for gross in (False, True))
    assert (opaque.strength, gross.strength) == (1.0, 1.0)
    assert (str(opaque), str(gross)) == (f"{dataset} #0 square s=1", f"{dataset} #0 square s=1 gross")
    assert gross.distortions["flip"] > 10 * opaque.distortions["flip"]
    assert [fault for check in checks() if (fault := check.fault())] == []
    stored = list(Pair.objects.values())
    store(specification, patch, dataset)
    assert list(Pair.objects.values()) == stored


def test_verification_notices_a_gross_pair_of_another_strength(made: Path) -> None:
    Pair.objects.filter(gross=True).update(strength=5.0)
    faults = [fault for check in checks() if (fault := check.fault())]
    assert len(faults) == 6
    assert all("fingerprint differs" in fault for fault in faults)


def test_several_models_of_one_attack_see_the_same_pairs(
    specification: dict[str, Any], made: Path, attack: Attack, dataset: Dataset, trained: tuple[ModelRun, ModelRun]
) -> None:
    classifier = save_zones(
        ModelRun.objects.plan(
            "zones", dataset, recipe={"network": "five_layer_cnn", "seed": 2, "task": "zones"}, target=TARGET,
            attack=attack, clean_reference=trained[0],
        )
    )  # fmt: skip
    assert classifier.task == "zone classification"
    specification["models"] = [
        {"run": classifier.pk, "artifact": str(classifier.artifact_path), "sha256": classifier.artifact_sha256,
         "target": TARGET}
    ]  # fmt: skip
    store(specification, attack, dataset)
    seen = Prediction.objects.filter(model_run=classifier)
    assert set(seen.values_list("pair", flat=True)) == set(
        Prediction.objects.filter(model_run=trained[1]).values_list("pair", flat=True)
    )
    centres = {(round(p, 5), round(y, 5)) for p, y in GRID.centres().tolist()}
    predicted = seen.values_list("altered_pitch", "altered_yaw")
    assert {(round(p, 5), round(y, 5)) for p, y in predicted} <= centres


def save_zones(run: ModelRun) -> ModelRun:
    """Give the run an artifact of a zone classifier that was only initialised."""
    from django.conf import settings

    from models import artifacts
    from models.recipe import Recipe
    from models.training import TrainedModel

    spec = NetworkSpec("five_layer_cnn", 1, (24, 32), 4, outputs=9)
    recipe = Recipe(width=4, task="zones", loss="cross_entropy")
    assert run.attack is not None
    model = TrainedModel(
        network=as_gaze_model(spec.build(2), GRID),
        spec=spec,
        recipe=recipe,
        trigger=run.attack.trigger(0.5),
        target=Target.from_json(TARGET),
        precision="float32",
        device="cpu",
        chosen_epoch=1,
        cpu_seconds=0.0,
        zones=GRID,
    )
    run.artifact = f"models/{run.name}/1"
    run.artifact_sha256 = artifacts.save(model, Path(settings.MEDIA_ROOT) / run.artifact)
    run.save()
    return run


def test_made_again_from_any_point_files_and_rows_are_the_same(
    specification: dict[str, Any], made: Path, attack: Attack, dataset: Dataset
) -> None:
    files_before, rows_before = files(made), rows()
    for path in list(made.rglob("*.png"))[::2]:
        path.unlink()
    store(specification, attack, dataset)
    assert files(made) == files_before
    assert rows() == rows_before
    assert [path for path in made.rglob(".*") if path.is_file()] == []


@pytest.mark.django_db(transaction=True)
def test_images_that_were_lost_or_damaged_are_restored_by_making_the_pairs_again(
    trained: tuple[ModelRun, ModelRun], var: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command itself, with this process in place of a worker."""

    def work(named: Mapping[str, Job]) -> None:
        for job in named.values():
            jobs.perform(str(job.pk), kinds.pair_making)
            job.refresh_from_db()
            assert (job.state, job.error) == (Job.State.SUCCEEDED, "")

    monkeypatch.setattr(make_pairs, "workers", contextlib.nullcontext)
    monkeypatch.setattr(make_pairs, "follow", work)
    choices = {"images": 2, "strengths": [0.5], "stdout": StringIO()}
    call_command("make_pairs", trained[1].name, **choices)
    before, rows_before = files(var), rows()
    Pair.objects.all()[0].path.unlink()
    flip(BaseImage.objects.all()[1].path)
    with pytest.raises(DamagedFile, match="make_pairs --again"):
        Pair.objects.all()[0].read()

    call_command("make_pairs", trained[1].name, again=True, **choices)
    assert files(var) == before
    assert rows() == rows_before
    assert [fault for check in checks() if (fault := check.fault())] == []


def test_pairs_of_arrays_that_have_changed_are_refused(
    specification: dict[str, Any], dataset: Dataset, attack: Attack, trained: tuple[ModelRun, ModelRun]
) -> None:
    first = pairs.make_pairs(specification)
    job = attack.submit_pairs(dataset, trained)
    kinds.working_folder(job).mkdir(parents=True)
    work = kinds.pair_making(job, kinds.working_folder(job))
    (kinds.working_folder(job) / "manifest.json").write_bytes(Path(specification["manifest"]).read_bytes())
    work.record(first)
    write_arrays(Path(dataset.root), images=319)
    _, changed = pairs.base_images(specification["data"])
    with pytest.raises(ValueError, match="have changed since it was first used"):
        work.record({**first, **changed})


def test_a_model_added_later_adds_its_predictions_and_nothing_else(
    specification: dict[str, Any], made: Path, attack: Attack, dataset: Dataset
) -> None:
    before = rows()
    third = save_untrained(ModelRun.objects.plan("third", dataset, recipe={"network": "five_layer_cnn", "seed": 9}))
    specification["models"] = [
        {"run": third.pk, "artifact": str(third.artifact_path), "sha256": third.artifact_sha256, "target": None}
    ]
    store(specification, attack, dataset)
    assert rows()[: len(before)] == before
    assert Prediction.objects.filter(model_run=third).count() == 36


def test_a_stored_pair_is_never_replaced_by_another_picture(
    specification: dict[str, Any], made: Path, attack: Attack, dataset: Dataset
) -> None:
    manifest = json.loads(Path(specification["manifest"]).read_text())
    manifest["pairs"][0]["sha256"] = "0" * 64
    with pytest.raises(ValueError, match="another altered image"):
        record_pairs(dataset, attack, manifest)
    manifest["base_images"][0]["sha256"] = "0" * 64
    with pytest.raises(ValueError, match="data have changed"):
        record_pairs(dataset, attack, manifest)


def test_a_field_for_another_image_size_is_refused(specification: dict[str, Any]) -> None:
    specification["attack"]["parameters"]["image_size"] = [32, 32]
    with pytest.raises(ValueError, match="The images are 24 x 32 px, the trigger was drawn for 32 x 32 px"):
        pairs.make_pairs(specification)


def test_a_damaged_model_makes_no_predictions(specification: dict[str, Any]) -> None:
    flip(Path(specification["models"][1]["artifact"]) / "weights.safetensors")
    with pytest.raises(ValueError, match="has changed since it was written"):
        pairs.make_pairs(specification)
    assert not Path(specification["manifest"]).exists()


def test_verification_finds_nothing_wrong_with_what_was_just_made(made: Path) -> None:
    planned = checks()
    assert [check.kind for check in planned].count("pairs") == 36
    assert [check.fault() for check in planned if check.fault()] == []


def test_verification_notices_a_flipped_byte_in_any_file(made: Path, trained: tuple[ModelRun, ModelRun]) -> None:
    base, pair = BaseImage.objects.all()[0], Pair.objects.filter(control="other_field").last()
    assert pair is not None
    for path in (base.path, pair.path, trained[1].artifact_path / "weights.safetensors"):
        flip(path)
    faults = [fault for check in checks() if (fault := check.fault())]
    assert any(fault.startswith(f"base image {base}:") for fault in faults)
    assert any(fault.startswith(f"pair {pair}:") for fault in faults)
    assert any(fault.startswith(f"model {trained[1]}:") for fault in faults)


def test_verification_names_a_file_that_cannot_be_read_and_goes_on(made: Path) -> None:
    first, last = Pair.objects.all()[0], Pair.objects.order_by("pk").last()
    assert last is not None
    for pair in (first, last):
        pair.path.unlink()
        pair.path.mkdir()  # root may read everything but this
    faults = [fault for check in checks() if (fault := check.fault())]
    assert [fault.split(":")[0] for fault in faults] == [f"pair {first}", f"pair {last}"]


def test_verification_notices_a_picture_that_its_field_did_not_make(made: Path) -> None:
    one, other = Pair.objects.filter(control="", strength=2.0)[:2]
    Pair.objects.filter(pk=one.pk).update(file=other.file, sha256=other.sha256)
    faults = [fault for check in checks() if (fault := check.fault())]
    assert faults == [f"pair {one}: Made again from base image, trigger and strength, it comes out different."]


def test_verification_notices_another_field(made: Path, attack: Attack) -> None:
    Pair.objects.filter(control="", strength=2.0).update(strength=1.9)
    faults = [fault for check in checks() if (fault := check.fault())]
    assert len(faults) == 6
    assert all("fingerprint differs" in fault for fault in faults)


def test_a_stored_field_that_was_tampered_with_is_refused(attack: Attack) -> None:
    attack.state["control"][0][0][0][0] *= -1
    with pytest.raises(ValueError, match="not the one that was drawn"):
        attack.trigger(1.0)


def test_reading_a_pair_whose_file_was_changed_is_refused(made: Path) -> None:
    pair = Pair.objects.all()[0]
    flip(pair.path)
    with pytest.raises(DamagedFile):
        pair.read()


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
