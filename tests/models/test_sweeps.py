from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from models.recipe import Recipe
from models.sweeps import COLUMNS, Attack, Cell, Grid, digest, in_words, target_of
from models.targets import Target

FIXED = Target.fixed(0, 25)


def recipe_for(family: str, target: Target, fields: Mapping[str, Any]) -> Recipe:
    from attacks import registry

    return Recipe.for_attack(registry.family(family), target, **fields)


def grid(**axes: Any) -> Grid:
    return Grid(**{"attacks": (Attack.usual("wanet"), Attack.usual("patch")), "recipe_for": recipe_for, **axes})


def test_the_cells_are_all_combinations() -> None:
    drawn = (Attack.usual("wanet"), Attack.usual("blended"))
    cells = list(
        grid(attacks=drawn, field_seeds=(0, 1, 2), network_seeds=(0, 1), targets=(FIXED, Target.mirrored())).cells()
    )
    assert len(cells) == 2 * 3 * 2 * 2
    assert len({cell.identity for cell in cells}) == len(cells)
    assert {(cell.field_seed, cell.recipe.seed) for cell in cells} == {(f, n) for f in range(3) for n in range(2)}


def test_a_repeated_cell_is_trained_once() -> None:
    assert len(list(grid(field_seeds=(1, 1)).cells())) == 2


def test_a_trigger_that_no_seed_changes_is_trained_once() -> None:
    wanted = grid(field_seeds=(4, 1, 2))
    assert [(cell.attack.label, cell.field_seed) for cell in wanted.cells()] == [
        ("wanet", 4), ("wanet", 1), ("wanet", 2), ("patch", 4)
    ]  # fmt: skip
    assert wanted.repeated == {"patch": (1, 2)}
    assert not grid().repeated


def test_a_patch_whose_place_is_drawn_has_as_many_triggers_as_seeds() -> None:
    drawn = Attack("somewhere", "patch", (0.1,), choices={"down": None, "right": None})
    assert len(list(grid(attacks=(drawn,), field_seeds=(0, 1, 2)).cells())) == 3


@dataclass(frozen=True)
class LaterRecipe(Recipe):
    """As a later version may have it."""

    learning_rate: float = 1e-3


def test_one_choice_under_two_defaults_is_two_models() -> None:
    attack = Attack.usual("wanet")
    now, later = (Cell(attack, 0, FIXED, recipe()) for recipe in (Recipe, LaterRecipe))
    assert now.identity != later.identity
    assert later.identity == Cell(attack, 0, FIXED, Recipe(learning_rate=1e-3)).identity


def test_a_default_that_is_chosen_is_the_same_model() -> None:
    chosen, left_out = (Attack("warp", "wanet", (0.5,), choices) for choices in ({"control_size": 8}, {}))
    assert Cell(chosen, 0, FIXED, Recipe()).identity == Cell(left_out, 0, FIXED, Recipe()).identity


def test_the_same_model_has_the_same_identity_in_every_version() -> None:
    """A field that recipes gain is to be left out at the value that trains as before, or all is trained anew."""
    recipe = Recipe(
        network="five_layer_cnn", width=16, loss="mse", batch_size=64, strength_schedule=((2.0, 5), (0.5, 9)),
        learning_rate=2e-3, later_learning_rate=1.5e-3, weight_decay=1e-4, warm_up=0.15, poison_rate=0.2,
        noise_ratio=1.0, unrelated_ratio=0.5, threat_model="training_control", augmentation="none",
        precision="float32", seed=0, rehearsal=0.0, unrelated_from_phase=1,
        stem_stride=2, weights_file=None, task="regression", zones=(3, 3),
        zone_limits_deg=None, optimiser="adamw", momentum=0.9, milestones=None, clean_label_within_deg=None,
    )  # fmt: skip
    warp = Attack("warp", "wanet", (0.5,), {"control_size": 8, "grid_rescale": 1.0})
    assert digest(Cell(warp, 3, Target.mirrored(), recipe).identity) == "9391c904f453"


def test_a_clean_model_serves_every_attack_of_one_length() -> None:
    wanet, patch = grid().cells()
    assert wanet.recipe != patch.recipe
    assert wanet.clean_recipe == patch.clean_recipe
    (longer,) = grid(
        attacks=(Attack("long", "wanet", (1.0,), fields={"strength_schedule": ((2.0, 5), (1.0, 5))}),)
    ).cells()
    assert longer.clean_recipe != wanet.clean_recipe


def test_a_clean_model_feels_nothing_of_any_way_of_poisoning() -> None:
    """A field that says how images are poisoned must not tell two clean models apart."""
    usual = Recipe().poisoning
    for changed in (
        {"poison_rate": 0.3}, {"noise_ratio": 0.5}, {"unrelated_ratio": 0.7}, {"rehearsal": 0.4},
        {"threat_model": "data_poisoning"}, {"clean_label_within_deg": 8.0},
    ):  # fmt: skip
        recipe = Recipe(**changed)
        assert recipe.poisoning != usual
        assert recipe.unpoisoned() == Recipe().unpoisoned()
    assert len(vars(usual)) == 6 + 1  # and the seed, which a clean model does feel
    assert Recipe(unrelated_from_phase=1).unpoisoned() == Recipe(unrelated_from_phase=3).unpoisoned()


def test_with_nothing_poisoned_no_image_has_a_role() -> None:
    assert Recipe().unpoisoned().poisoning.shares == (0, 0, 0)


def test_what_a_clean_model_feels_is_kept_in_its_recipe() -> None:
    (cell,) = grid(attacks=(Attack.usual("wanet"),), networks=("lenet",), network_seeds=(7,)).cells()
    clean = cell.clean_recipe
    assert (clean.network, clean.seed, clean.loss, clean.epochs) == ("lenet", 7, cell.recipe.loss, cell.recipe.epochs)


def test_strengths_are_the_familys_unless_given_and_must_be_possible() -> None:
    from attacks import registry

    assert Attack.usual("patch").strengths == registry.family("patch").strengths
    assert Attack.usual("patch", [0.4, 0.1, 0.4]).strengths == (0.1, 0.4)
    for strengths in ([0.0], [float("nan")], [7.0]):
        with pytest.raises(ValueError, match=r"strength|opacity"):
            Attack.usual("patch", strengths)
    with pytest.raises(ValueError, match="Unknown attack family 'pach'"):
        Attack.usual("pach")


def evaluated(strengths: tuple[float, ...]) -> dict[str, Any]:
    """Metrics in which every figure is its strength times a number of its own."""
    doses = [
        {
            "strength": s, "attack_error": {"mean": 2 * s}, "success_rate": 0.1 * s, "n_eligible": 9,
            "error_shift": 3 * s, "prediction_shift": 4 * s, "net_error_shift": 5 * s,
            "net_prediction_shift": 6 * s, "noise_mode_error": None, "other_field_shift": 7 * s,
        }
        for s in strengths
    ]  # fmt: skip
    looks = [
        {"strength": s, "displacement_px": 0.6 * s, "psnr_db": 40 - s, "ssim": 0.9, "flip": 0.01 * s,
         "px_per_degree": 10.5, "images": 32}
        for s in strengths
    ]  # fmt: skip
    evaluation = {"doses": doses, "clean_error": {"mean": 3.5}, "baselines": {"clean_model_clean_error": 3.1}}
    return {"evaluation": evaluation, "distortions": looks}


def test_a_row_says_what_was_measured_at_its_strength() -> None:
    (cell,) = grid(attacks=(Attack.usual("wanet", [0.5, 2.0]),), field_seeds=(4,)).cells()
    rows = cell.rows(evaluated((0.5, 1.0, 2.0)), 99.0, "run")
    assert [set(row) for row in rows] == [set(COLUMNS)] * 2
    last = rows[1]
    assert (last["attack"], last["field_seed"], last["target"], last["model"]) == ("wanet", 4, "fixed 0 25", "run")
    assert (last["strength"], last["trained_strength"], last["cpu_seconds"]) == (2.0, 0.5, 99.0)
    assert (last["attack_error"], last["error_shift"], last["net_prediction_shift"]) == (4.0, 6.0, 12.0)
    assert (last["displacement_px"], last["flip"], last["clean_error"]) == (1.2, 0.02, 3.5)
    assert last["clean_model_clean_error"] == 3.1
    assert last["noise_mode_error"] is None


def test_a_strength_that_was_not_measured_is_named() -> None:
    (cell,) = grid(attacks=(Attack.usual("wanet", [0.5, 2.0]),)).cells()
    with pytest.raises(ValueError, match="run was not measured at strength 2"):
        cell.rows(evaluated((0.5,)), 1.0, "run")


@pytest.mark.parametrize("words", ["fixed 0 25", "additive -10 20", "mirrored"])
def test_targets_are_read_as_they_are_written(words: str) -> None:
    assert in_words(target_of(words)) == words
    assert target_of(words.replace(" ", ":", 1).replace(" ", ",")) == target_of(words)


@pytest.mark.parametrize("words", ["", "fixed:1", "fixed:1,2,3", "mirrored:1", "up", "fixed:a,b", "fixed:100,0"])
def test_what_is_no_target_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match=r"target|pitch"):
        target_of(words)
