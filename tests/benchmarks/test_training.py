from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.side_by_side import peers, training
from models.recipe import Recipe


def test_the_share_of_poisoning_is_found_for_every_epoch_after_the_first_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "stay_on_one_core", lambda: None)
    monkeypatch.setattr("models.run.keep_freed_memory", lambda: None)
    monkeypatch.setattr("models.recipe.Recipe", partial(Recipe, width=2, batch_size=4))
    row = training.share_of_a_batch(rounds=2, batches=1)
    assert row.spread is not None
    assert 0 < row.spread[0] <= row.ours <= row.spread[1] < 1
    assert row.bar == "at most 0.05 times"
    assert row.costs["ours"].cpu_s


def test_the_loop_reads_the_very_images_that_ours_trains_on(tmp_path: Path) -> None:
    data = training.random_splits(3, seed=1).train
    pictures = peers.stored(data.images, data.pitchyaw, tmp_path)
    assert len(pictures) == 3
    for i in range(3):
        image, label = pictures[i]
        assert torch.equal((image * 255).round().to(torch.uint8), data.images[i])
        assert torch.equal(label, data.pitchyaw[i])


def test_the_loop_trains_for_the_recipes_epochs(tmp_path: Path) -> None:
    data = training.random_splits(4, seed=1).train
    recipe = Recipe(strength_schedule=((4.0, 1), (0.5, 1)), batch_size=2, width=2)
    read: list[int] = []

    class Batches:
        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[tuple[Any, Any]]:
            read.append(1)
            return iter([(data.images[i : i + 2].float() / 255, data.pitchyaw[i : i + 2]) for i in (0, 2)])

    peers.train(Batches(), recipe.network_for(data), recipe, "bfloat16")  # type: ignore[arg-type]
    assert len(read) == 2
