"""Data sets, attacks and model runs: what their names stand for, and what may be shown."""

from pathlib import Path

import pytest
import torch

from attacks import registry
from study.lab.models import Attack, Dataset, Job, ModelRun
from tests.study.lab.conftest import TARGET, plan_runs, recipe

pytestmark = pytest.mark.django_db


def test_synthetic_eyes_may_be_shown_to_people() -> None:
    dataset = Dataset.objects.synthetic_eyes(size=64)
    assert dataset.display_refusal() is None
    assert "nobody was photographed" in dataset.display_reason


def test_images_of_your_own_may_not_be_shown_until_they_are_cleared(dataset: Dataset) -> None:
    assert dataset.display_refusal() == (
        "The images of 'blobs' are not cleared for display to participants: "
        "Nobody has cleared these images for display."
    )
    dataset.may_display_to_participants = True
    assert dataset.display_refusal() is None


def test_a_name_stands_for_one_thing(arrays: Path, tmp_path: Path, attack: Attack, dataset: Dataset) -> None:
    assert Dataset.objects.arrays("blobs", arrays).pk == dataset.pk
    with pytest.raises(ValueError, match="The data set 'blobs' is there already and differs in parameters:"):
        Dataset.objects.arrays("blobs", arrays, group_key="subject")
    assert Attack.objects.draw("warp", "wanet", (24, 32), seed=3, choices={"control_size": 4}).pk == attack.pk
    with pytest.raises(
        ValueError, match="The attack 'warp' is there already and differs in parameters and seed and control hash:"
    ):
        Attack.objects.draw("warp", "wanet", (24, 32), seed=4, choices={"control_size": 4})


def test_a_name_that_cannot_stand_in_a_path_is_refused(arrays: Path) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        Dataset.objects.arrays("../blobs", arrays)


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no data file .*gone\.npz"):
        Dataset.objects.arrays("gone", tmp_path / "gone.npz")


def test_data_that_have_changed_are_recognised(dataset: Dataset) -> None:
    parts = {part: {"fingerprint": part} for part in ("train", "validation", "test")}
    dataset.recognise(parts)
    dataset.recognise(parts)
    assert len(Dataset.objects.get().fingerprint) == 64
    with pytest.raises(ValueError, match="have changed since"):
        dataset.recognise({**parts, "test": {"fingerprint": "other"}})


def test_an_evaluation_of_data_that_have_changed_is_refused(runs: tuple[ModelRun, ModelRun]) -> None:
    data = {part: {"fingerprint": part} for part in ("train", "validation", "test")}
    runs[0].record_evaluation({"metrics": {"data": data, "evaluation": 1}})
    changed = {**data, "train": {"fingerprint": "other"}}
    with pytest.raises(ValueError, match="have changed since"):
        runs[0].record_evaluation({"metrics": {"data": changed, "evaluation": 2}})
    assert ModelRun.objects.get(pk=runs[0].pk).metrics["evaluation"] == 1


def test_own_arrays_are_described_in_their_owners_words(arrays: Path) -> None:
    from models.run import load_splits

    words = "unseen gaze points, one person"
    dataset = Dataset.objects.arrays("described", arrays, description=words)
    assert load_splits({"data": dataset.source()}, lambda: False).test.description == words


def test_an_attack_keeps_its_field_through_the_database(attack: Attack) -> None:
    from attacks.wanet import WarpField

    stored = Attack.objects.get(pk=attack.pk).trigger(0.5)
    drawn = WarpField.draw((24, 32), 4, 0.5, seed=3)
    assert torch.equal(stored.grid, drawn.grid)
    assert stored.fingerprint() == drawn.fingerprint()
    assert attack.control_hash == drawn.control_hash()


@pytest.mark.parametrize("family", ["wanet", "patch", "blended", "sinusoidal", "reflection"])
def test_a_trigger_of_any_family_comes_back_as_it_was_drawn(db: None, family: str) -> None:
    drawn = Attack.objects.draw("drawn", family, (24, 32), seed=3, threat_model="data_poisoning")
    stored = Attack.objects.get(pk=drawn.pk)
    trigger = registry.draw(family, (24, 32), 0.5, 3)
    assert stored.trigger(0.5).fingerprint() == trigger.fingerprint()
    assert (stored.control_hash, stored.threat_model) == (trigger.control_hash(), "data_poisoning")
    assert stored.strength_in_words() == registry.family(family).strength
    assert Attack.objects.draw("drawn", family, (24, 32), seed=3, threat_model="data_poisoning") == drawn


def test_choices_of_a_family_are_kept_and_unknown_ones_named(db: None) -> None:
    attack = Attack.objects.draw("square", "patch", (24, 32), choices={"side": 5.0})
    assert attack.parameters["side"] == 5.0
    with pytest.raises(ValueError, match="patch attack has no parameter sied; it has side"):
        Attack.objects.draw("other", "patch", (24, 32), choices={"sied": 5.0})
    with pytest.raises(ValueError, match="Unknown attack family 'pach'"):
        Attack.objects.draw("other", "pach", (24, 32))
    assert Attack.objects.count() == 1


def test_a_trigger_that_was_tampered_with_is_refused_in_any_family(db: None) -> None:
    attack = Attack.objects.draw("square", "patch", (24, 32))
    attack.parameters["down"] = 0.5
    with pytest.raises(ValueError, match="The stored trigger of 'square' is not the one that was drawn"):
        attack.trigger(1.0)


def test_an_attack_on_the_weights_has_no_trigger_and_says_so(dataset: Dataset) -> None:
    attack = Attack.objects.create(name="rank-one", family="weights", threat_model="weights")
    for asked in (lambda: attack.trigger(1.0), lambda: attack.submit_pairs(dataset, [])):
        with pytest.raises(ValueError, match="rank-one is an attack on the weights: it has no trigger"):
            asked()
    assert attack.strength_in_words() is None
    with pytest.raises(ValueError, match="not by weights"):
        Attack.objects.draw("drawn", "patch", (24, 32), threat_model="weights")


def test_a_model_whose_weights_were_attacked_lends_its_partner_no_trigger(
    runs: tuple[ModelRun, ModelRun], attack: Attack
) -> None:
    clean, backdoored = runs
    weights = Attack.objects.create(name="rank-one", family="weights", threat_model="weights")
    ModelRun.objects.filter(pk=backdoored.pk).update(attack=weights)
    assert clean.training_specification()["probe"] is None


def test_a_run_is_planned_once_and_submitted_once(dataset: Dataset, attack: Attack) -> None:
    clean, backdoored = plan_runs(dataset, attack)
    assert plan_runs(dataset, attack) == (clean, backdoored)
    assert backdoored.submit_training().pk == backdoored.submit_training().pk
    assert clean.submit_training().pk != backdoored.submit_training().pk
    with pytest.raises(
        ValueError, match="The model run 'disc-clean' is there already and differs in parameters and seed: choose"
    ):
        ModelRun.objects.plan("disc-clean", dataset, recipe=recipe(seed=1), target=TARGET)


def test_clean_and_backdoored_trainings_differ_in_the_trigger_alone(runs: tuple[ModelRun, ModelRun]) -> None:
    clean, backdoored = (run.training_specification() for run in runs)
    assert clean.pop("trigger") is None
    assert clean.pop("probe") == backdoored.pop("trigger")
    backdoored.pop("probe")
    assert clean == backdoored


def test_a_run_is_known_again_though_its_recipe_was_kept_before_recipes_had_all_fields(
    dataset: Dataset, attack: Attack
) -> None:
    first, _ = plan_runs(dataset, attack)
    older = {name: value for name, value in first.parameters.items() if name not in ("task", "zones", "optimiser")}
    ModelRun.objects.filter(pk=first.pk).update(parameters=older)
    again, _ = plan_runs(dataset, attack)
    assert (again.pk, again.parameters) == (first.pk, older)
    with pytest.raises(ValueError, match="is there already and differs in parameters"):
        plan_runs(dataset, attack, optimiser="sgd")


def test_pairs_and_evaluations_wait_for_trained_models(runs: tuple[ModelRun, ModelRun], attack: Attack) -> None:
    clean, backdoored = runs
    with pytest.raises(ValueError, match="Not trained yet: disc-clean, disc-backdoored"):
        attack.submit_pairs(clean.dataset, runs)
    with pytest.raises(ValueError, match="Not trained yet"):
        backdoored.submit_evaluation()
    assert not Job.objects.exists()


def test_pairs_are_shown_to_models_of_this_attack_and_of_these_data_only(
    trained: tuple[ModelRun, ModelRun], attack: Attack
) -> None:
    clean, _ = trained
    patch = Attack.objects.draw("square", "patch", (24, 32))
    with pytest.raises(ValueError, match="disc-backdoored was attacked with warp: the pairs would show square"):
        patch.submit_pairs(clean.dataset, trained)
    other = Dataset.objects.synthetic_eyes(size=32)
    with pytest.raises(ValueError, match="disc-clean was trained on blobs: the pairs would show synthetic-eyes"):
        attack.submit_pairs(other, [clean])
    assert not Job.objects.exists()


@pytest.mark.parametrize(("family", "softens"), [("wanet", True), ("patch", False)])
def test_without_wishes_pairs_have_the_familys_strengths_and_the_controls_that_it_can_have(
    dataset: Dataset, family: str, softens: bool
) -> None:
    parameters = Attack.objects.draw("drawn", family, (64, 64)).submit_pairs(dataset, []).parameters
    usual = registry.family(family).strengths
    assert parameters["strengths"] == list(usual)
    assert parameters["other_field"] == [usual[-2]]
    assert parameters["resampled"] == ([usual[-2]] if softens else [])
    assert parameters["px_per_degree"] == 10.5


def test_a_usual_strength_that_is_gross_on_small_images_is_left_out(dataset: Dataset) -> None:
    small = Attack.objects.draw("small", "wanet", (24, 32))
    parameters = small.submit_pairs(dataset, []).parameters
    assert (parameters["strengths"], parameters["other_field"]) == ([0.25, 0.5, 1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match=r"Strength 4 is no weaker than the gross alteration .*, 2\.6"):
        small.submit_pairs(dataset, [], strengths=[4.0, 0.5])


def test_a_patch_may_be_as_strong_as_it_can_unless_it_fills_the_image(dataset: Dataset) -> None:
    small = Attack.objects.draw("small", "patch", (24, 32))
    assert small.submit_pairs(dataset, [], strengths=[1.0]).parameters["strengths"] == [1.0]
    filling = Attack.objects.draw("filling", "patch", (24, 32), choices={"side": 32.0})
    with pytest.raises(ValueError, match="Strength 1 is no weaker than the gross alteration"):
        filling.submit_pairs(dataset, [], strengths=[1.0])


@pytest.mark.parametrize(("family", "controls"), [("wanet", ["resampled", "other_field"]), ("patch", ["other_field"])])
def test_an_attack_keeps_which_controls_its_trigger_can_have(db: None, family: str, controls: list[str]) -> None:
    assert Attack.objects.draw("drawn", family, (24, 32)).controls == controls


def test_an_attack_drawn_before_its_family_had_a_parameter_is_the_same_attack(db: None) -> None:
    old = Attack.objects.draw("square", "patch", (24, 32))
    del old.parameters["cells"]
    old.save()
    assert Attack.objects.draw("square", "patch", (24, 32)) == old
    with pytest.raises(ValueError, match="'square' is there already and differs in"):
        Attack.objects.draw("square", "patch", (24, 32), choices={"cells": "1"})


def test_controls_and_strengths_asked_for_in_vain_are_told_at_once(dataset: Dataset) -> None:
    patch = Attack.objects.draw("square", "patch", (24, 32))
    with pytest.raises(ValueError, match="no resampled controls of a patch attack: it resamples nothing"):
        patch.submit_pairs(dataset, [], resampled=[0.5])
    with pytest.raises(ValueError, match=r"at most 1, not 1\.5"):
        patch.submit_pairs(dataset, [], strengths=[1.5])
    with pytest.raises(ValueError, match="Pixels per degree must be a finite number > 0"):
        patch.submit_pairs(dataset, [], px_per_degree=0)
    assert not Job.objects.exists()


def test_the_evaluation_is_due_once_both_models_are_trained(runs: tuple[ModelRun, ModelRun]) -> None:
    clean, backdoored = runs
    for run in (backdoored, clean):
        run.artifact, run.artifact_sha256 = f"models/{run.name}/1", run.name
        run.save()
        run.submit_due_evaluations()
    job = Job.objects.get()
    assert (job.kind, job.parameters["model_run"]) == (Job.Kind.EVALUATE, backdoored.pk)


@pytest.mark.parametrize("strength", [-1.0, 0.0, float("nan"), float("inf")])
def test_a_strength_that_is_none_is_refused(trained: tuple[ModelRun, ModelRun], strength: float) -> None:
    attack = trained[1].attack
    assert attack is not None
    with pytest.raises(ValueError, match="A strength must be a finite number > 0"):
        attack.submit_pairs(trained[1].dataset, trained, strengths=[strength])
