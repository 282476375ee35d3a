"""Which parts of the recipe implant the backdoor? `python -m benchmarks.bench_ablation` (`make bench-ablation`).

WaNet's published training and ours on the same synthetic eyes, network seed, field and strength, and both with one
factor at a time taken from the other: success on the validation images against CPU-seconds of training. An arm that
never gets half of the images to the target is shown as "not converged here": here, on this machine, within this time.

The whole takes about an hour of one core; `--scale` shortens every arm, `--only` names arms. Arms are trained one after
the other; a run that was stopped goes on where it was, and what is finished is kept. Prints a table; writes
var/bench/ablation.json and var/bench/ablation.png.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import hashlib
import json
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from attacks.wanet import WarpField
from benchmarks.bench_recipe import BENCH, CACHE, FIXED, ROOT
from models.checkpoints import read_tensors, to_json, write_bytes
from models.datasets import synthetic_eyes
from models.datasets.base import Splits
from models.evaluation import Responses, predict, success_rate, zone_dose
from models.gaze import angular_error
from models.recipe import Recipe
from models.training import CHECKPOINT_NAME, StoppedError, train
from models.zones import as_gaze_model

STRENGTH = 0.5
FIELD = WarpField.draw((64, 64), 8, STRENGTH, seed=3)
SNAPSHOTS = 30
IMPLANTED = 0.5


def arms(scale: float, epochs: int) -> dict[str, Recipe]:
    """Every arm's recipe; ours with its phases scaled, the published ones with so many epochs before scaling."""
    ours = replace(
        Recipe(precision="bfloat16"),
        strength_schedule=tuple((s, max(1, round(n * scale))) for s, n in Recipe().strength_schedule),
    )
    long = max(1, round(epochs * scale))
    published = Recipe.published(long, STRENGTH, loss="mse", precision="bfloat16")
    ratios = {name: getattr(published, name) for name in ("poison_rate", "noise_ratio", "unrelated_ratio")}
    our_ratios = {name: getattr(ours, name) for name in ratios}
    steps = {name: getattr(published, name) for name in ("optimiser", "learning_rate", "later_learning_rate")}
    annealed = tuple((s, max(1, round(long * n / ours.epochs))) for s, n in ours.strength_schedule)
    return {
        "ours": ours,
        "ours, absolute error": replace(ours, loss="l1"),
        "ours, WaNet's ratios": replace(ours, **ratios),
        "ours, stem of stride 2": replace(ours, network="five_layer_cnn_coarse"),
        "ours, s = 0.5 throughout": replace(ours, strength_schedule=((STRENGTH, ours.epochs),)),
        "ours, SGD": replace(ours, **steps),
        "WaNet's, zones, cross-entropy": replace(published, task="zones", loss="cross_entropy"),
        "WaNet's, squared error": published,
        "WaNet's, absolute error": replace(published, loss="l1"),
        "WaNet's, our ratios": replace(published, **our_ratios),
        "WaNet's, annealed": replace(published, strength_schedule=annealed, milestones=None),
        "WaNet's, AdamW in one cycle": replace(
            published, optimiser="adamw", learning_rate=ours.learning_rate, batch_size=ours.batch_size, milestones=None
        ),
    }


@dataclass(frozen=True)
class Point:
    """A network at the end of an epoch; errors in degrees on the validation images, success at the final strength."""

    epoch: int
    cpu_seconds: float
    clean_error: float
    attack_error: float
    success: float


class Arm:
    """One recipe's training, its checkpoints by epoch, and what was measured of them."""

    def __init__(self, name: str, recipe: Recipe, splits: Splits) -> None:
        self.name, self.recipe, self.splits = name, recipe, splits
        identity = {"recipe": recipe.to_json(), "field": FIELD.fingerprint(), "data": splits.train.fingerprint}
        self.folder = BENCH / "ablation" / hashlib.sha256(to_json(identity).encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.every = max(1, recipe.epochs // SNAPSHOTS)

    def train(self, most_cpu_seconds: float) -> None:
        """Train, or go on, for at most so long; every so many epochs the checkpoint is kept."""
        began = time.process_time()
        try:
            train(
                self.recipe,
                self.splits,
                FIELD,
                FIXED,
                progress=self._keep,
                checkpoint_dir=self.folder,
                should_stop=lambda: time.process_time() - began > most_cpu_seconds,
            )
        except StoppedError:
            return
        self._keep({"epoch": self.recipe.epochs + 1, "step": 0})

    def _keep(self, report: Mapping[str, Any]) -> None:
        finished = report["epoch"] - 1
        kept = self.folder / f"epoch-{finished:04d}.safetensors"
        if finished and (finished % self.every == 0 or finished == self.recipe.epochs) and not kept.exists():
            temporary = kept.with_suffix(".part")
            shutil.copy(self.folder / CHECKPOINT_NAME, temporary)
            temporary.rename(kept)
            print(f"  {self.name}: epoch {finished} of {self.recipe.epochs}", flush=True)

    def points(self) -> list[Point]:
        """What each kept checkpoint does; measured once."""
        path = self.folder / "points.json"
        known = {point["epoch"]: Point(**point) for point in (json.loads(path.read_text()) if path.exists() else [])}
        for kept in sorted(self.folder.glob("epoch-*.safetensors")):
            epoch = int(kept.stem.removeprefix("epoch-"))
            if epoch not in known:
                known[epoch] = self._measure(kept)
        points = [known[epoch] for epoch in sorted(known)]
        write_bytes(path, to_json([asdict(point) for point in points]).encode())
        return points

    def _measure(self, checkpoint: Path) -> Point:
        tensors, record = read_tensors(checkpoint)
        data, zones = self.splits.validation, self.recipe.zones_of(self.splits.train.pitchyaw)
        network = self.recipe.network_for(data).build()
        weights = {name: tensor for name, tensor in tensors.items() if name.startswith("network.")}
        network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in weights.items()})
        model = as_gaze_model(network, zones)
        truth, goal = data.pitchyaw, FIXED.apply(data.pitchyaw)
        clean, altered = predict(model, data.images), predict(model, data.images, lambda batch, _: FIELD.apply(batch))
        if zones is None:
            success, _ = success_rate(altered.numpy(), truth.numpy(), goal.numpy())
        else:
            responses = Responses(clean.numpy(), {STRENGTH: altered.numpy()})
            success = zone_dose(STRENGTH, responses, truth.numpy(), goal.numpy(), zones).success_rate
        return Point(
            record["epoch"],
            record["cpu_seconds"],
            angular_error(clean, truth).mean().item(),
            angular_error(altered, goal).mean().item(),
            success or 0.0,
        )


def reached(points: list[Point], success: float) -> float | None:
    """CPU-seconds after which the success was first so high."""
    return next((point.cpu_seconds for point in points if point.success >= success), None)


def print_table(results: Mapping[str, tuple[Arm, list[Point]]]) -> None:
    """An arm a line."""
    heads = ("epochs", "CPU-s", "clean, deg", "attack, deg", "success", "half after", "verdict")
    print(f"\n{'':<34}" + "".join(f"{head:>13}" for head in heads))
    for name, (arm, points) in results.items():
        if not points:
            print(f"{name:<34}{'not begun':>13}")
            continue
        last, half = points[-1], reached(points, IMPLANTED)
        if last.success >= IMPLANTED:
            verdict = "implanted"
        else:
            verdict = "not converged here" if last.epoch == arm.recipe.epochs else "not finished"
        after = "-" if half is None else f"{half:.0f} s"
        print(
            f"{name:<34}{f'{last.epoch} of {arm.recipe.epochs}':>13}{last.cpu_seconds:>13.0f}{last.clean_error:>13.2f}"
            f"{last.attack_error:>13.2f}{last.success:>13.3f}{after:>13}  {verdict}"
        )
    print("For zones, success is the share predicted in the target's zone, and angles are to the zones' centres.")


def draw(results: Mapping[str, tuple[Arm, list[Point]]], path: Path) -> None:
    """Success against CPU-seconds, one line an arm; ours and its variants solid, WaNet's dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, (_, points)) in enumerate(results.items()):
        style = "-" if name.startswith("ours") else "--"
        axes.plot(
            [point.cpu_seconds for point in points],
            [point.success for point in points],
            style,
            marker="o",
            markersize=3,
            color=f"C{i % 10}",
            label=name,
        )
    axes.set(xlabel="CPU-seconds of training", ylabel=f"success rate at s = {STRENGTH:g}", ylim=(-0.02, 1.02))
    axes.set_title("Synthetic eyes, validation images; one network seed, one field")
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=150)


def main() -> None:
    """Train what is missing, measure, print, and draw."""
    names = list(arms(1, 1))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="ARM", help="; ".join(names))
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every arm's epochs (default: 1)")
    parser.add_argument("--epochs", type=int, default=60, help="of the published recipe, whose 1000 it scales down to")
    parser.add_argument("--cpu-seconds", type=float, default=1800, help="most training of one arm in this run")
    arguments = parser.parse_args()
    if arguments.scale <= 0 or arguments.epochs < 1 or arguments.cpu_seconds <= 0:
        parser.error("scale, epochs and CPU-seconds must be greater than 0")
    torch.set_num_threads(1)

    splits = synthetic_eyes.load(synthetic_eyes.EyesConfig(), CACHE)
    results: dict[str, tuple[Arm, list[Point]]] = {}
    for name, recipe in arms(arguments.scale, arguments.epochs).items():
        if name in arguments.only:
            arm = Arm(name, recipe, splits)
            arm.train(arguments.cpu_seconds)
            results[name] = arm, arm.points()
    print_table(results)
    path = BENCH / "ablation.json"
    report = {
        "arms": {
            name: {"recipe": arm.recipe.to_json(), "points": [asdict(point) for point in points]}
            for name, (arm, points) in results.items()
        },
        "trigger": FIELD.parameters(),
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()},
    }
    write_bytes(path, (json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    draw(results, path.with_suffix(".png"))
    print(f"\nwritten to {path.relative_to(ROOT)} and {path.with_suffix('.png').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
