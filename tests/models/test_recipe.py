import json
import math

import pytest
import torch

from attacks import registry
from models.recipe import Recipe
from models.targets import Target
from models.zones import Zones
from tests.models.tiny import gaze_data

FIXED = Target.fixed(0, 25)
CLASSIFIER = {"task": "zones", "loss": "cross_entropy"}


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(strength_schedule=((1, 2), (0.25, 3)), threat_model="data_poisoning", augmentation="light", seed=4),
        Recipe(network="resnet18", width=64, stem_stride=1, weights_file="weights.safetensors"),
        Recipe(**CLASSIFIER, zones=(2, 5), zone_limits_deg=(-20, 10, -30, 30)),
        Recipe(clean_label_within_deg=10, loss="huber"),
        Recipe.published(),
    ],
)
def test_a_recipe_survives_json(recipe):
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"strength_schedule": ((math.nan, 1),)}, "strength must be a finite number >= 0, not nan"),
        ({"strength_schedule": ((-1, 1),)}, "strength must be a finite number >= 0, not -1"),
        ({"strength_schedule": ((1, 0),)}, "whole number of epochs >= 1, not 0"),
        ({"strength_schedule": ((1, 1.5),)}, "whole number of epochs >= 1, not 1.5"),
        ({"strength_schedule": ()}, "no phase"),
        ({"learning_rate": math.nan}, "learning rate must be a finite number > 0"),
        ({"weight_decay": -1}, "weight decay must be a finite number >= 0"),
        ({"momentum": 1}, "momentum must lie from 0 to below 1, not 1"),
        ({"milestones": (0,)}, "milestone is a whole number of epochs >= 1, not 0"),
        ({"warm_up": 1}, "warm-up's share"),
        ({"batch_size": 1}, "at least 2 images"),
        ({"loss": "huge"}, "Unknown loss 'huge'; known: mse, l1, huber, cross_entropy"),
        ({"optimiser": "lion"}, "Unknown optimiser 'lion'; known: adamw, sgd"),
        ({"task": "dance"}, "Unknown task 'dance'; known: regression, zones"),
        ({"precision": "float8"}, "Unknown precision"),
        ({"network": "vgg"}, "Unknown network 'vgg'"),
        ({"stem_stride": 4}, "stride is 1 or 2"),
        ({"poison_rate": 0.9}, "more than 1"),
        ({"unrelated_from_phase": 0}, "from a phase >= 1 on, not 0"),
        ({"clean_label_within_deg": -1}, "degrees > 0"),
        ({"task": "zones"}, "loss mse is not for the task zones"),
        ({"loss": "cross_entropy"}, "loss cross_entropy is not for the task regression"),
        ({**CLASSIFIER, "augmentation": "strong"}, "Strong augmentation blends gazes"),
        ({**CLASSIFIER, "zones": (1, 1)}, r"at least 2 zones in all, not \(1, 1\)"),
        ({**CLASSIFIER, "zones": (3,)}, r"at least 2 zones in all, not \(3,\)"),
        ({**CLASSIFIER, "zone_limits_deg": (5, -5, 0, 1)}, "Zone limits are"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        Recipe(**fields)


def test_a_recipe_field_of_the_wrong_type_is_refused():
    with pytest.raises(ValueError, match="value of the wrong type"):
        Recipe.from_json({"batch_size": "64"})


def test_unrelated_triggers_come_when_the_trigger_has_been_found():
    recipe = Recipe(strength_schedule=((4, 1), (1, 1), (0.5, 1)), unrelated_ratio=0.75)
    assert [recipe.poisoning_in(phase).unrelated_ratio for phase in (1, 2, 3)] == [0.0, 0.75, 0.75]


def test_the_last_phase_has_unrelated_triggers_in_any_case():
    recipe = Recipe(strength_schedule=((4, 1), (0.5, 1)), unrelated_from_phase=5)
    assert [recipe.poisoning_in(phase) == recipe.poisoning for phase in (1, 2)] == [False, True]
    assert Recipe(strength_schedule=((0.5, 1),)).poisoning_in(1) == Recipe().poisoning


def test_an_unknown_recipe_field_is_refused():
    with pytest.raises(ValueError, match="no field named colour"):
        Recipe.from_json({"colour": 0.9})


def test_a_target_that_follows_the_truth_gets_more_poisoned_images():
    assert Recipe.for_target(FIXED, seed=2) == Recipe(seed=2)
    assert Recipe.for_target(Target.additive(0, 10), seed=2) == Recipe(seed=2, poison_rate=0.3)
    assert Recipe.for_target(Target.mirrored()).poison_rate == 0.3
    assert Recipe.for_target(Target.additive(0, 10), poison_rate=0.1).poison_rate == 0.1


def test_wanets_standard_recipe_is_the_default():
    assert Recipe.for_attack(registry.family("wanet"), FIXED) == Recipe()


@pytest.mark.parametrize("name", sorted(registry.FAMILIES))
def test_every_family_has_a_recipe_that_its_triggers_can_be_trained_by(name):
    family = registry.family(name)
    trigger = registry.draw(name, (64, 64), family.schedule[0])
    recipe = Recipe.for_attack(trigger, FIXED)
    recipe.poisoning.check(trigger, FIXED, torch.zeros(1, 2))
    assert tuple(strength for strength, _ in recipe.strength_schedule) == family.schedule
    assert recipe == Recipe.for_attack(family, FIXED)


def test_fields_given_beside_an_attack_win():
    recipe = Recipe.for_attack(registry.family("wanet"), FIXED, strength_schedule=((1, 2),), noise_ratio=0.0)
    assert recipe.strength_schedule == ((1.0, 2),)
    assert recipe.noise_ratio == 0


def test_the_published_recipe_is_wanets():
    recipe = Recipe.published()
    assert (recipe.optimiser, recipe.learning_rate, recipe.momentum, recipe.weight_decay) == ("sgd", 1e-2, 0.9, 5e-4)
    assert (recipe.batch_size, recipe.poison_rate, recipe.noise_ratio, recipe.unrelated_ratio) == (128, 0.1, 2, 0)
    assert recipe.strength_schedule == ((0.5, 1000),)
    assert recipe.milestones == (100, 200, 300, 400)


def test_a_shorter_published_recipe_keeps_the_schedules_shape():
    assert Recipe.published(epochs=50).milestones == (5, 10, 15, 20)
    assert Recipe.published(epochs=50, **CLASSIFIER).task == "zones"


def test_a_classifier_has_an_output_for_every_zone():
    data = gaze_data(4, (32, 48), channels=1)
    assert Recipe().network_for(data).outputs == 2
    spec = Recipe(**CLASSIFIER, zones=(2, 4), network="resnet18", stem_stride=1).network_for(data)
    assert (spec.outputs, spec.channels, spec.image_size, spec.stem_stride) == (8, 1, (32, 48), 1)


def test_zones_come_from_the_limits_or_else_from_the_training_labels():
    labels = torch.rand(100, 2, generator=torch.Generator().manual_seed(0))
    limits = (-20, 20, -30, 30)
    assert Recipe().zones_of(labels) is None
    assert Recipe(**CLASSIFIER, zones=(3, 2)).zones_of(labels) == Zones.of_labels(labels, (3, 2))
    assert Recipe(**CLASSIFIER, zone_limits_deg=limits).zones_of(labels) == Zones.between(limits, (3, 3))


@pytest.mark.parametrize(("field", "then", "chosen"), [("rehearsal", 0.0, 0.3), ("unrelated_from_phase", 1, 3)])
def test_a_recorded_recipe_from_before_there_was_a_field_means_what_was_done_then(field, then, chosen):
    recorded = Recipe(**{field: chosen}).to_json()
    assert getattr(Recipe.from_record(recorded), field) == chosen
    del recorded[field]
    assert getattr(Recipe.from_record(recorded), field) == then
