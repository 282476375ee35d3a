"""How fast are warping, poisoning and training, beside the usual ways? `python -m benchmarks.bench_speed`.

Everything is timed in this one run on the same cores, the contenders by turns, round after round; a ratio is the median
of the ratios of the rounds. CPU-seconds are those of this process and of the loader's workers. The peers are written
here, after what the public implementations do:

    warping    one `grid_sample` of the whole batch with a grid that was made beforehand; and, image by image, as
               BackdoorBox does: PIL to tensor (torchvision), `grid_sample`, 8-bit PIL image, tensor again
    training   a plain eager loop over a `DataLoader` whose workers decode PNG files with PIL: the same network, initial
               weights, loss, optimiser, schedule and batch size as ours

What poisoning adds to an epoch is timed within `models.training.train`, in a process that keeps the memory it frees, as
`models.run` has it; that makes the rest of an epoch a third shorter. The other rows are measured before, without.

Writes var/bench/speed.json.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import multiprocessing
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional as transforms

from attacks.base import quantise
from attacks.wanet import WarpField
from benchmarks.bench_eyes import cpu_seconds
from benchmarks.bench_recipe import BENCH, ROOT, Bar
from models.datasets.base import GazeData, Splits
from models.durable import write_bytes
from models.networks import NetworkSpec
from models.poisoning import Poisoning
from models.recipe import Precision, Recipe
from models.run import keep_freed_memory
from models.targets import Target
from models.training import train

WARPED = {32: 128, 64: 128, 224: 32}  # side in pixels: images in a batch
IMAGE_SIDE = 64
_BATCHES = 40  # of an epoch whose poisoning is timed
TARGET = Target.fixed(0, 25)
FIELD = WarpField.draw((IMAGE_SIDE, IMAGE_SIDE), 8, 0.5, seed=3)


@dataclass(frozen=True)
class Row:
    """One comparison: a ratio, its bar if it has one, and the CPU-seconds of each contender."""

    what: str
    ratio: float
    bar: Bar | None
    seconds: dict[str, float]

    def __str__(self) -> str:
        limit = f"{'>=' if self.bar.at_least else '<='} {self.bar.limit:g}" if self.bar else ""
        verdict = "" if self.bar is None else "holds" if self.bar.holds(self.ratio) else "FALLS SHORT"
        seconds = ", ".join(f"{name} {1e3 * value:.2f} ms" for name, value in self.seconds.items())
        return f"{self.what:<58}{self.ratio:>8.3f}{limit:>8}  {verdict:<12}{seconds}"


def by_turns(contenders: Mapping[str, Callable[[], object]], rounds: int, repeats: int = 1) -> dict[str, list[float]]:
    """CPU-seconds per call of each contender in each round, after one call that does not count."""
    for work in contenders.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds):
        order = list(contenders) if turn % 2 else list(reversed(contenders))
        for name in order:
            before = cpu_seconds()
            for _ in range(repeats):
                contenders[name]()
            seconds[name].append((cpu_seconds() - before) / repeats)
    return seconds


def median_ratio(slower: list[float], faster: list[float]) -> float:
    """Median over rounds of how many times faster."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in seconds.items()}


# -- warping


def warping(rounds: int) -> list[Row]:
    """Ours against a cached grid, and against one image after the other through PIL."""
    rows = []
    for side, n in WARPED.items():
        pixels = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
        pictures = [Image.fromarray(each) for each in pixels]
        images = torch.stack([transforms.to_tensor(picture) for picture in pictures])
        field = WarpField.draw((side, side), 8, 0.5, seed=3)
        grid = field.grid.float().contiguous()
        seconds = by_turns(
            {
                "ours": lambda f=field, x=images: f.apply(x),
                "cached grid": lambda g=grid, x=images: warp(x, g.expand(len(x), -1, -1, -1)),
                "PIL": lambda g=grid, p=pictures: torch.stack([warp_picture(each, g) for each in p]),
            },
            rounds,
            repeats=max(1, 2_000_000 // (n * side * side)),
        )
        for peer, bar in (("cached grid", Bar("", 0.95, at_least=True)), ("PIL", Bar("", 5, at_least=True))):
            ratio = median_ratio(seconds[peer], seconds["ours"])
            shown = {name: statistics.median(seconds[name]) for name in ("ours", peer)}
            rows.append(Row(f"warping {n} images of {side} px: times {peer}", ratio, bar, shown))
    return rows


def warp(images: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def warp_picture(picture: Image.Image, grid: Tensor) -> Tensor:
    """One image as a transform of a data set warps it: from PIL, to PIL, and to the tensor that training wants."""
    image = transforms.convert_image_dtype(transforms.pil_to_tensor(picture))
    levels = 255 * warp(image[None], grid)[0].permute(1, 2, 0).numpy()
    return transforms.to_tensor(Image.fromarray(levels.clip(0, 255).round().astype(np.uint8)))


# -- poisoning


def poisoning(rounds: int, recipe: Recipe) -> Row:
    """What poisoning adds to the other work of an epoch at s = 0.5, in one training that rehearses up to s = 4."""
    keep_freed_memory()
    recipe = replace(recipe, strength_schedule=((4.0, 1), (0.5, rounds)), precision="bfloat16")
    splits = random_splits(_BATCHES * recipe.batch_size, seed=0)
    ends: list[tuple[float, float]] = []
    poison, spent = Poisoning.poison_, 0.0

    def timed(*arguments: Any, **options: Any) -> Tensor:
        nonlocal spent
        before = time.process_time()
        labels = poison(*arguments, **options)
        spent += time.process_time() - before
        return labels

    def at_end_of_epoch(report: dict[str, Any]) -> None:
        if report["step"] == report["steps"]:
            ends.append((time.process_time(), spent))

    with mock.patch.object(Poisoning, "poison_", timed):
        train(recipe, splits, FIELD, TARGET, progress=at_end_of_epoch)
    epochs = [(end - start, after - before) for (start, before), (end, after) in pairwise(ends)]
    seconds = {
        "poisoning": [poisoned / _BATCHES for _, poisoned in epochs],
        "the rest": [(whole - poisoned) / _BATCHES for whole, poisoned in epochs],
    }
    share = 1 / median_ratio(seconds["the rest"], seconds["poisoning"])
    return Row("poisoning: of the rest of a batch's work, 64 px, bfloat16", share, Bar("", 0.05), medians(seconds))


def random_splits(n: int, seed: int) -> Splits:
    """n training images, and one each for validation and test."""
    images, labels = random_eyes(n + 2, seed)
    people = torch.arange(n + 2)
    data = GazeData(images, labels, people, people.clone(), "random", "smooth noise")
    return Splits(data.subset(range(n)), data.subset([n]), data.subset([n + 1]))


def random_eyes(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """uint8 images (N, 3, H, W), smooth enough to be compressed as photographs are, and labels (N, 2)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, IMAGE_SIDE // 4, IMAGE_SIDE // 4, generator=generator)
    smooth = F.interpolate(coarse, size=(IMAGE_SIDE, IMAGE_SIDE), mode="bilinear")
    grain = torch.randn(smooth.shape, generator=generator) * 0.02
    return quantise(smooth + grain), torch.rand(n, 2, generator=generator) - 0.5


# -- training


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """PNG files on disk, decoded with PIL."""

    def __init__(self, paths: list[Path], labels: Tensor) -> None:
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.paths[index]) as picture:
            return transforms.to_tensor(picture.convert("RGB")), self.labels[index]


def eager(loader: DataLoader[tuple[Tensor, Tensor]], recipe: Recipe, precision: Precision) -> None:
    """The usual loop, for the epochs of the recipe."""
    network: nn.Module = recipe_network(recipe)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.epochs * len(loader), pct_start=recipe.warm_up
    )
    for _ in range(recipe.epochs):
        for images, labels in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                predicted = network(images)
            loss = F.mse_loss(predicted.float(), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            scheduler.step()


def recipe_network(recipe: Recipe) -> nn.Module:
    """The recipe's network with its initial weights, as torch lays tensors out unless told otherwise."""
    spec = NetworkSpec(recipe.network, 3, (IMAGE_SIDE, IMAGE_SIDE), recipe.width)
    return spec.build(recipe.seed).to(memory_format=torch.contiguous_format)


def training(rounds: int, n: int) -> list[Row]:
    """Whole epochs of a clean model, ours and the eager loop's, in float32 and bfloat16."""
    recipe = Recipe(strength_schedule=((0.5, 1),), precision="float32")
    splits = random_splits(n, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i:05d}.png" for i in range(n)]
        for path, image in zip(paths, splits.train.images, strict=True):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
        loader = DataLoader(
            Pictures(paths, splits.train.pitchyaw),
            batch_size=recipe.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=1,
            multiprocessing_context=multiprocessing.get_context("fork"),
        )
        contenders: dict[str, Callable[[], object]] = {}
        for precision in ("float32", "bfloat16"):
            ours = replace(recipe, precision=precision)
            contenders[f"ours, {precision}"] = lambda r=ours: train(r, splits, None, TARGET)
            contenders[f"eager, {precision}"] = lambda p=precision: eager(loader, recipe, p)
        seconds = by_turns(contenders, rounds)
    rows = []
    for ours, peer, limit in (
        ("float32", "float32", 1.2),
        ("bfloat16", "bfloat16", 1.2),
        ("bfloat16", "float32", 1.8),
    ):
        pair = {name: seconds[name] for name in (f"ours, {ours}", f"eager, {peer}")}
        ratio = median_ratio(pair[f"eager, {peer}"], pair[f"ours, {ours}"])
        each = {name: value / n for name, value in medians(pair).items()}
        rows.append(Row(f"training, {ours}: times the eager loop in {peer}", ratio, Bar("", limit, True), each))
    return rows


def main() -> None:
    """Measure, print, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="turns of every contender (default: 7)")
    parser.add_argument("--images", type=int, default=1024, help="images of the training comparison (default: 1024)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    rows = [
        *warping(arguments.rounds),
        *training(arguments.rounds, arguments.images),
        poisoning(arguments.rounds, Recipe()),
    ]
    print(f"{'on one core, one thread':<58}{'ratio':>8}{'bar':>8}  {'':<12}CPU time per call; training: per image")
    for row in rows:
        print(row)
    report = {
        "rows": [asdict(row) for row in rows],
        "rounds": arguments.rounds,
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()},
    }
    path = BENCH / "speed.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, (json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    print(f"\nwritten to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
