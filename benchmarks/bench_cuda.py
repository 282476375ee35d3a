"""How fast are warping and training on a CUDA device, and is it kept busy? `python -m benchmarks.bench_cuda`.

Everything is timed in this one run, the contenders by turns, round after round; ratios are medians of the rounds'.

    training   whole epochs, images already in memory: ours clean, ours poisoned (default recipe, its second phase), and
               beside them the usual eager loop in the same precision, clean: once with all images on the device
               beforehand, which is the most that such a loop can do, and once by a `DataLoader` with pinned batches
    busy       for how much of an epoch the device computes: the time in its kernels (torch's profiler) by the epoch's
    warping    `WarpField.apply`, noise mode and unrelated fields, beside a bare `grid_sample` with a cached grid
    recipe     the whole default recipe on synthetic eyes, clean and backdoored, twice, and its measuring

Writes var/bench/cuda.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset

from attacks.base import dequantise, quantise
from attacks.wanet import WarpField
from benchmarks.bench_recipe import BENCH, CACHE, FIXED, ROOT
from models.datasets import synthetic_eyes
from models.datasets.base import GazeData, Splits
from models.datasets.eyes_config import EyesConfig
from models.durable import write_bytes
from models.evaluation import Probe, evaluate, measure
from models.poisoning import noise_offsets
from models.recipe import Recipe
from models.training import TrainedModel, train

WARPED = {64: 4096, 224: 512}  # side in pixels: images in a batch
LOADERS = 4
EPOCHS = 2  # of each contender; the last is timed


class Watch:
    """Told at the end of every epoch: times the last one, and, with a profiler, adds up the device's work in it."""

    def __init__(self, profiler: torch.profiler.profile | None = None) -> None:
        self.profiler = profiler
        self.ends: list[float] = []

    def __call__(self) -> None:
        torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        if self.profiler and len(self.ends) == EPOCHS - 1:
            self.profiler.start()
        elif self.profiler and len(self.ends) == EPOCHS:
            self.profiler.stop()

    @property
    def seconds(self) -> float:
        return self.ends[-1] - self.ends[-2]


Epochs = Callable[[Watch], None]


@dataclass(frozen=True)
class Case:
    """A network, the images it is trained on in an epoch, and in which precision."""

    name: str
    recipe: Recipe
    side: int
    images: int

    @property
    def field(self) -> WarpField:
        return WarpField.draw((self.side, self.side), 8, 0.5, seed=3)


def cases() -> list[Case]:
    small = Recipe(strength_schedule=((4.0, 1), (0.5, EPOCHS - 1)))
    large = replace(small, width=64)
    found = []
    for precision in ("bfloat16", "float32"):
        found += [
            Case("five layers, 64 px", replace(small, precision=precision), 64, 8192),
            Case("ResNet-18, 224 px", replace(large, network="resnet18", precision=precision), 224, 2048),
        ]
    return [*found, Case("ResNet-50, 224 px", replace(large, network="resnet50", precision="bfloat16"), 224, 2048)]


# -- training


def training(rounds: int, only: str = "") -> list[dict[str, Any]]:
    """Images a second of every contender, ratios of ours to the eager loops', and the device's share of the time."""
    rows = []
    for case in cases():
        if only not in case.name:
            continue
        splits = random_splits(case.images, case.side)
        contenders: dict[str, Epochs] = {
            "ours": partial(ours, case, splits, None),
            "ours, poisoned": partial(ours, case, splits, case.field),
            "eager, on the device": partial(eager, case, splits.train, resident_batches),
            "eager, DataLoader": partial(eager, case, splits.train, loaded_batches),
        }
        seconds = by_turns({name: partial(last_epoch, epochs) for name, epochs in contenders.items()}, rounds)
        rate = {name: case.images / statistics.median(values) for name, values in seconds.items()}
        resident, loader = seconds["eager, on the device"], seconds["eager, DataLoader"]
        row = {
            "what": f"{case.name}, {case.recipe.precision}",
            "images_per_second": rate,
            "ours_to_resident": median_ratio(resident, seconds["ours"]),
            "ours_to_loader": median_ratio(loader, seconds["ours"]),
            "poisoned_to_clean": median_ratio(seconds["ours"], seconds["ours, poisoned"]),
            "busy": {
                name: device_seconds(contenders[name]) / statistics.median(seconds[name])
                for name in ("ours", "ours, poisoned", "eager, on the device")
            },
        }
        rows.append(row)
        print(f"{row['what']:<30}" + "".join(f"{name}: {value:,.0f}/s  " for name, value in rate.items()))
        print(
            f"{'':<30}ours {row['ours_to_resident']:.2f} times eager on the device, {row['ours_to_loader']:.2f} times "
            f"the DataLoader's; poisoned {row['poisoned_to_clean']:.2f} of clean; the device is busy "
            + ", ".join(f"{share:.0%} ({name})" for name, share in row["busy"].items())
        )
    return rows


def by_turns(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds that each contender says in each round; every other round goes backwards."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name in list(contenders) if turn % 2 else list(reversed(contenders)):
            seconds[name].append(contenders[name]())
    return seconds


def median_ratio(slower: list[float], faster: list[float]) -> float:
    """Median over rounds of how many times faster."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))


def last_epoch(epochs: Epochs) -> float:
    watch = Watch()
    epochs(watch)
    return watch.seconds


def device_seconds(epochs: Epochs) -> float:
    """Time in the device's kernels and copies in the last epoch."""
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
    epochs(Watch(profiler))
    kernels = [event for event in profiler.key_averages() if not event.is_user_annotation]
    return 1e-6 * sum(event.self_device_time_total for event in kernels)


def ours(case: Case, splits: Splits, field: WarpField | None, watch: Watch) -> None:
    """`models.training.train`, clean or poisoned."""

    def progress(report: dict[str, Any]) -> None:
        if report["step"] == report["steps"]:
            watch()

    train(case.recipe, splits, field, FIXED, device="cuda", progress=progress)


def eager(case: Case, data: GazeData, batches_of: Callable[[GazeData, int], Callable[[], Any]], watch: Watch) -> None:
    """The usual loop."""
    recipe = case.recipe
    network: nn.Module = recipe.network_for(data).build(recipe.seed).cuda()
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = len(data) // recipe.batch_size
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=EPOCHS * steps)
    batches = batches_of(data, recipe.batch_size)
    with torch.backends.cudnn.flags(enabled=True, deterministic=False, allow_tf32=False):
        for _ in range(EPOCHS):
            for images, labels in batches():
                with torch.autocast("cuda", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                    predicted = network(dequantise(images).contiguous(memory_format=torch.channels_last))
                loss = F.mse_loss(predicted.float(), labels)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                scheduler.step()
            watch()


def resident_batches(data: GazeData, size: int) -> Callable[[], Any]:
    images, labels = data.images[:].cuda(), data.pitchyaw.cuda()

    def batches() -> Any:
        order = torch.randperm(len(images), device="cuda")
        for indices in torch.split(order[: len(order) // size * size], size):
            yield images[indices], labels[indices]

    return batches


def loaded_batches(data: GazeData, size: int) -> Callable[[], Any]:
    loader = DataLoader(
        TensorDataset(data.images[:], data.pitchyaw),
        batch_size=size,
        shuffle=True,
        drop_last=True,
        num_workers=LOADERS,
        pin_memory=True,
        persistent_workers=True,
    )
    return lambda: ((images.cuda(non_blocking=True), labels.cuda(non_blocking=True)) for images, labels in loader)


def random_splits(n: int, side: int) -> Splits:
    """n training images, and one each for validation and test, smooth, with a grain."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n + 2, 3, side // 4, side // 4, generator=generator)
    images = torch.cat([quantise(F.interpolate(part, scale_factor=4, mode="bilinear")) for part in coarse.split(512)])
    people = torch.arange(n + 2)
    labels = torch.rand(n + 2, 2, generator=generator) - 0.5
    data = GazeData(images, labels, people, people.clone(), "random", "smooth noise")
    return Splits(data.subset(range(n)), data.subset([n]), data.subset([n + 1]))


# -- warping


def warping(rounds: int) -> list[dict[str, Any]]:
    """Images a second, on the device and, of some, on one core of the processor."""
    rows = []
    for side, n in WARPED.items():
        field = WarpField.draw((side, side), 8, 0.5, seed=3)
        images = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)).cuda()
        grid = field.grid.float().cuda().expand(n, -1, -1, -1)
        keys, strengths = torch.arange(n).cuda(), torch.full((n,), 0.5, dtype=torch.float64)
        offsets = noise_offsets(keys.cpu(), (side, side)).cuda()
        few = images[: n // 16].cpu()
        seconds = by_turns(
            {
                "grid_sample": lambda x=images, g=grid: timed(lambda: sample(x, g)),
                "apply": lambda x=images, f=field: timed(lambda: f.apply(x)),
                "noise mode": lambda x=images, f=field, o=offsets: timed(lambda: f.apply_noise_mode(x, o)),
                "unrelated fields": lambda x=images, f=field, s=strengths: timed(
                    lambda: f.apply_each(x, s, unrelated=range(len(x)))
                ),
                "apply, one core": lambda x=few, f=field: 16 * timed(lambda: f.apply(x), repeats=3),
            },
            rounds,
        )
        rate = {name: n / statistics.median(values) for name, values in seconds.items()}
        traffic = 2 * images.nbytes / statistics.median(seconds["apply"]) / 1e12
        rows.append({"side": side, "images": n, "images_per_second": rate, "apply_tb_per_second": traffic})
        print(f"warping, {side} px: " + "".join(f"{name} {value:,.0f}/s  " for name, value in rate.items()), end="")
        print(f"(apply: {traffic:.2f} TB/s read and written)")
    return rows


def sample(images: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def timed(work: Callable[[], object], repeats: int = 20) -> float:
    """Seconds of one call, after one that does not count."""
    work()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / repeats


# -- the default recipe


def recipes() -> list[dict[str, Any]]:
    """The default recipe on synthetic eyes: seconds, figures, and whether the same seed gives the same weights."""
    splits = synthetic_eyes.load(EyesConfig(), CACHE, processes=8)
    field = WarpField.draw((64, 64), 8, 0.5, seed=3)
    rows = []
    for precision in ("bfloat16", "float32"):
        recipe = Recipe(precision=precision)
        clean, clean_seconds = trained(recipe, splits, None)
        first, seconds = trained(recipe, splits, field)
        second, again = trained(recipe, splits, field)
        began = time.perf_counter()
        responses = measure(first.network, splits.test.images, field, Probe.of(field, [0.5]))
        measuring = time.perf_counter() - began
        mean_gaze = splits.train.pitchyaw.mean(0).numpy()
        figures = evaluate(responses, splits.test, FIXED, mean_gaze)
        dose = figures.at(0.5)
        clean_figures = evaluate(measure(clean.network, splits.test.images, None), splits.test, FIXED, mean_gaze)
        rows.append(
            {
                "precision": precision,
                "seconds": {"clean": clean_seconds, "backdoored": seconds, "again": again, "measuring": measuring},
                "clean_model_error_deg": clean_figures.clean_error.mean,
                "clean_error_deg": figures.clean_error.mean,
                "attack_error_deg": dose.attack_error.mean,
                "success_rate": dose.success_rate,
                "same_weights_again": same_weights(first, second),
            }
        )
        print(json.dumps(rows[-1]))
    return rows


def trained(recipe: Recipe, splits: Splits, field: WarpField | None) -> tuple[TrainedModel, float]:
    """A model and the seconds that it took."""
    began = time.perf_counter()
    model = train(recipe, splits, field, FIXED, device="cuda")
    torch.cuda.synchronize()
    return model, time.perf_counter() - began


def same_weights(first: TrainedModel, second: TrainedModel) -> bool:
    one, other = first.network.state_dict(), second.network.state_dict()
    return all(torch.equal(one[name], other[name]) for name in one)


def machine() -> dict[str, Any]:
    """What was measured on."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    return {
        "device": subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "python": platform.python_version(),
    }


SECTIONS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "training": lambda arguments: training(arguments.rounds, arguments.case),
    "warping": lambda arguments: warping(arguments.rounds),
    "recipe": lambda arguments: recipes(),
}


def main() -> None:
    """Measure, print, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of every contender (default: %(default)s)")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="one section; may be repeated")
    parser.add_argument("--case", default="", help='of the training, those whose name holds this, such as "64 px"')
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("There is no CUDA device on this machine: nothing to measure.")
    torch.set_num_threads(1)

    report: dict[str, Any] = {"machine": machine(), "rounds": arguments.rounds}
    print(report["machine"])
    for name in arguments.only or SECTIONS:
        report[name] = SECTIONS[name](arguments)
    path = BENCH / "cuda.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, (json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    print(f"\nwritten to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
