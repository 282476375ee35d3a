"""Images that training takes in a CPU-second: ours and the usual eager loop, at equal precision.

The peer is a loop over a `DataLoader` whose one worker decodes PNG files with PIL: the same network, initial weights,
loss, optimiser, schedule and batch size. An epoch of a clean model of 64 px, its validation on one image included;
everything on one core, the loader's worker too, whose CPU time counts and whose memory does not.

Then what poisoning adds to the rest of an epoch's work, timed within `models.training.train`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from benchmarks.side_by_side.costs import Cost
from benchmarks.side_by_side.findings import Effort, Findings
from benchmarks.side_by_side.rows import Row, alone, compared
from benchmarks.side_by_side.turns import RATE, by_turns, in_a_process, per_cpu_second, stay_on_one_core

if TYPE_CHECKING:
    from models.datasets.base import Splits

#: Of every row its id, the precisions of ours and of the loop, and how many times as many images ours is to take.
COMPARED = (
    ("training.images_per_s", "float32", "float32", 1.2),
    ("training.images_per_s.bfloat16", "bfloat16", "bfloat16", 1.2),
    ("training.images_per_s.bfloat16_vs_float32", "bfloat16", "float32", 1.8),
)
#: Of an epoch, for every second of a run.
BATCHES_A_SECOND = 1.6
_BATCHES_POISONED = 40
_SIDE = 64


def measure(effort: Effort) -> Findings:
    """All rows about the speed of training."""
    batches = max(2, round(BATCHES_A_SECOND * effort.seconds))
    rows = in_a_process(epochs, effort.rounds, batches, effort.folder)
    effort.tell("training: whole epochs are done")
    return Findings([*rows, in_a_process(share_of_a_batch, effort.rounds)])


def epochs(rounds: int, batches: int, folder: Path) -> list[Row]:
    """Whole epochs of so many batches; the loop's images are written to the folder."""
    from benchmarks.side_by_side import peers
    from models.recipe import Recipe
    from models.targets import Target
    from models.training import train

    stay_on_one_core()
    recipe = Recipe(strength_schedule=((0.5, 1),))
    n = batches * recipe.batch_size
    splits = random_splits(n, seed=1)
    pictures = peers.loader(peers.stored(splits.train.images, splits.train.pitchyaw, folder), recipe.batch_size)
    spec, target = recipe.network_for(splits.train), Target.fixed(0, 25)
    costs = by_turns(
        {
            "ours, float32": lambda: train(replace(recipe, precision="float32"), splits, None, target),
            "eager, float32": lambda: peers.train(pictures, spec, recipe, "float32"),
            "ours, bfloat16": lambda: train(replace(recipe, precision="bfloat16"), splits, None, target),
            "eager, bfloat16": lambda: peers.train(pictures, spec, recipe, "bfloat16"),
        },
        rounds,
    )
    return [
        compared(
            id,
            f"an epoch of {n} images in {ours}, against the eager loop in {theirs}",
            per_cpu_second(n, costs[f"ours, {ours}"]),
            per_cpu_second(n, costs[f"eager, {theirs}"]),
            RATE,
            least=least,
        ).costing(ours=costs[f"ours, {ours}"], peer=costs[f"eager, {theirs}"])
        for id, ours, theirs, least in COMPARED
    ]


def share_of_a_batch(rounds: int, batches: int = _BATCHES_POISONED) -> Row:
    """What poisoning adds to the rest of an epoch's work at s = 0.5, in a training that rehearses up to s = 4.

    The process keeps the memory that it frees, as `models.run` has it, which makes the rest a third shorter.
    """
    from attacks.wanet import WarpField
    from models.poisoning import Poisoning
    from models.recipe import Recipe
    from models.run import keep_freed_memory
    from models.targets import Target
    from models.training import train

    stay_on_one_core()
    keep_freed_memory()
    recipe = replace(Recipe(), strength_schedule=((4.0, 1), (0.5, rounds)), precision="bfloat16")
    ends: list[tuple[float, float]] = []
    poison, spent = Poisoning.poison_, 0.0

    def timed(*arguments: Any, **options: Any) -> Any:
        nonlocal spent
        before = time.process_time()
        labels = poison(*arguments, **options)
        spent += time.process_time() - before
        return labels

    def at_end_of_epoch(report: dict[str, Any]) -> None:
        if report["step"] == report["steps"]:
            ends.append((time.process_time(), spent))

    with mock.patch.object(Poisoning, "poison_", timed):
        field = WarpField.draw((_SIDE, _SIDE), 8, 0.5, seed=3)
        splits = random_splits(batches * recipe.batch_size, seed=0)
        train(recipe, splits, field, Target.fixed(0, 25), progress=at_end_of_epoch)
    epochs = [(end - start, after - before) for (start, before), (end, after) in pairwise(ends)]
    return alone(
        f"poisoning.{_SIDE}.share",
        f"CPU time of poisoning over that of the rest of a batch, {_SIDE} px, bfloat16, default recipe",
        [poisoned / (whole - poisoned) for whole, poisoned in epochs],
        "times",
        most=0.05,
    ).costing(ours=[Cost(cpu_s=poisoned / batches) for _, poisoned in epochs])


def random_splits(n: int, seed: int) -> Splits:
    """n training images of 64 px, smooth enough to be compressed as photographs are; one each for the other parts."""
    import torch
    from torch.nn.functional import interpolate

    from attacks.base import quantise
    from models.datasets.base import GazeData, Splits

    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n + 2, 3, _SIDE // 4, _SIDE // 4, generator=generator)
    smooth = interpolate(coarse, size=(_SIDE, _SIDE), mode="bilinear")
    images = quantise(smooth + torch.randn(smooth.shape, generator=generator) * 0.02)
    labels, people = torch.rand(n + 2, 2, generator=generator) - 0.5, torch.arange(n + 2)
    data = GazeData(images, labels, people, people.clone(), "random", "smooth noise")
    return Splits(data.subset(range(n)), data.subset([n]), data.subset([n + 1]))
