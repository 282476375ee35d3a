from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import kept
from benchmarks.bench_ablation import EPOCHS, Point, arms
from benchmarks.bench_recipe import groups
from benchmarks.side_by_side.attacking import ASKED, PUBLISHED, _made_by, bar_of, curves, judged, published

GROUPS = groups("data")
BY_ID = {asked.id: asked for asked in ASKED}


def test_a_bar_must_hold_for_the_worst_pair() -> None:
    row = judged(BY_ID["attack.s050.success"], "success", [0.9, 0.7, 0.95])
    assert (row.ours, row.spread, row.ok, row.bar) == (0.7, (0.7, 0.95), False, "at least 0.8")
    row = judged(BY_ID["attack.specificity"], "share", [0.01, 0.04, -0.02])
    assert (row.ours, row.spread, row.ok, row.bar) == (0.04, (-0.02, 0.04), True, "at most 0.05")


def test_a_figure_without_a_bar_is_the_median_of_the_pairs() -> None:
    row = judged(BY_ID["attack.s025.error"], "error", [2.0, 9.0, 3.0])
    assert (row.ours, row.ok) == (3.0, None)


def test_every_bar_of_a_single_model_has_its_row() -> None:
    asked = {(each.group, each.figure) for each in ASKED if bar_of(each)}
    for group in PUBLISHED:
        assert {bar.name for bar in GROUPS[group].bars} - {"clean model, deg"} <= {
            name for of, name in asked if of == group
        }


def test_the_peer_is_the_beginning_of_the_published_training_for_the_same_attack() -> None:
    for group, epochs in PUBLISHED.items():
        ours = GROUPS[group].cases[0]
        peer = published(ours, epochs)
        assert (peer.recipe.optimiser, peer.recipe.milestones) == ("sgd", (100, 200, 300, 400))
        assert peer.recipe.strength_schedule == ((ours.recipe.final_strength, epochs),)
        assert (peer.trigger(), peer.recipe.network, peer.target) == (ours.trigger(), ours.recipe.network, ours.target)


def test_the_peer_trains_as_the_ablation_has_it_for_longer() -> None:
    recipe = published(GROUPS["default"].cases[0], EPOCHS).recipe
    assert recipe == arms()["WaNet's, as it is"]


POINTS = {
    name: [Point(1, 5.0, 4, 30, 0.1), Point(2, 10.0, 4, 9, 0.6)]
    for name in ("ours, as it is", "ours, one strength", "WaNet's, as it is", "WaNet's, longer")
}


def test_both_recipes_are_in_every_picture_and_the_variants_in_their_own() -> None:
    found = {curve.id: curve for curve in curves(POINTS)}
    assert list(found) == [
        f"attack-{short}-{whose}" for whose in ("ours", "published") for short in ("success", "error")
    ]
    assert list(found["attack-success-ours"].lines) == ["ours, as it is", "WaNet's, as it is", "ours, one strength"]
    assert list(found["attack-error-published"].lines) == ["ours, as it is", "WaNet's, as it is", "WaNet's, longer"]
    assert found["attack-success-ours"].lines["ours, as it is"] == [(5.0, 0.1), (10.0, 0.6)]
    assert found["attack-error-ours"].lines["ours, as it is"] == [(5.0, 30), (10.0, 9)]


def test_without_variants_there_is_no_second_picture_of_the_same_two_recipes() -> None:
    both = {name: points for name, points in POINTS.items() if name.endswith("as it is")}
    assert [curve.id for curve in curves(both)] == ["attack-success-ours", "attack-error-ours"]


def test_what_other_code_made_is_said_in_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "code", lambda: {"sources": "s", "commit": "abc", "torch": "2"})
    kept.sign(tmp_path)
    assert _made_by("ours", [tmp_path]) == ""
    monkeypatch.setattr(kept, "code", lambda: {"sources": "t", "commit": "def", "torch": "2"})
    assert _made_by("ours", [tmp_path]) == " (ours kept from commit abc)"
    assert _made_by("", [tmp_path, tmp_path]) == " (kept from commit abc)"
