import numpy as np
import pytest

from benchmarks.bench_recipe import Bar, Group, folder_of, groups, print_table, share_of_move
from models.recipe import Recipe

GROUPS = groups("data")


def test_the_share_of_a_move_is_one_whatever_error_the_model_has():
    rng = np.random.default_rng(0)
    clean, asked = rng.normal(size=(50, 2)), np.tile([0.0, 0.2], (50, 1))
    assert share_of_move(clean, clean + asked, asked) == pytest.approx(1)
    assert share_of_move(clean, clean + 0.4 * asked, asked) == pytest.approx(0.4)
    assert share_of_move(clean, clean + asked[:, ::-1], asked) == pytest.approx(0)


def test_recipes_that_differ_in_poisoning_alone_share_a_clean_model():
    shared = [GROUPS[name].cases[0] for name in ("default", "additive", "mirrored", "clean_label")]
    assert len({str(folder_of(case.clean())) for case in shared}) == 1
    assert len({str(folder_of(case.backdoored())) for case in shared}) == len(shared)


def test_the_subtle_recipe_ends_at_its_strength_and_only_goes_down():
    for strength in (0.3, 0.25, 0.125):
        recipe = Recipe.subtle(strength)
        strengths = [s for s, _ in recipe.strength_schedule]
        assert recipe.final_strength == strength
        assert strengths == sorted(strengths, reverse=True)
        assert recipe.rehearsal > 0


def test_a_bar_must_hold_in_every_case(capsys):
    group = Group("title", (), lambda _: {}, (Bar("error", 2.0), Bar("success", 0.8, at_least=True)))
    rows = [("a", {"error": 1.0, "success": 0.9}), ("b", {"error": 2.5, "success": 0.85})]
    print_table(group, rows)
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].endswith("mean 1.750 worst 2.500 mean holds")
    assert lines[4].endswith("mean 0.875 worst 0.850 holds")


def test_the_worst_is_the_greatest_error_and_the_least_success():
    assert Bar("error", 2.0).worst([1.0, 2.5]) == 2.5
    assert Bar("success", 0.8, at_least=True).worst([0.9, 0.85]) == 0.85
